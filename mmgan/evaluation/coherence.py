"""Coherence: do the modalities of one synthetic row belong to each other, beyond belonging to the same class?

The class alone explains most naive scores, so the true partner is only compared with partners of the same class.
"""

from itertools import permutations

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics.pairwise import euclidean_distances

from mmgan.evaluation.features import FeatureSpace, Rows

MAX_FITTED = 4000
MAX_PER_CLASS = 1000


def retrieval_rank(predicted: np.ndarray, partner: np.ndarray, y: np.ndarray) -> float:
    """Return the mean rank of each row's true partner among those of its class: 0 is best, .5 chance.

    `predicted` and `partner` are (n, F), `y` is (n,); ties share their rank. NaN where no class has two rows.
    """
    ranks = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)[:MAX_PER_CLASS]
        if len(members) < 2:
            continue
        distance = euclidean_distances(predicted[members], partner[members])  # (m, m), row i against partner j
        own = np.diag(distance)[:, None]
        nearer, tied = (distance < own).sum(1), (distance == own).sum(1) - 1
        ranks.append((nearer + tied / 2) / (len(members) - 1))
    return float(np.mean(np.concatenate(ranks))) if ranks else float("nan")


class Retrieval:
    """Ridge regressions between all ordered pairs of modalities, fitted on training rows; call it to rank partners."""

    def __init__(self, space: FeatureSpace, train_x: Rows, seed: int = 0) -> None:
        self._space = space
        rows = len(next(iter(train_x.values())))
        chosen = np.random.default_rng(seed).permutation(rows)[:MAX_FITTED]
        flat = {name: space.flat(train_x, name)[chosen] for name in space.names}
        self._models = {}
        for source, goal in permutations(space.names, 2):
            # The strength of the penalty comes from leave-one-out on the training rows.
            model = RidgeCV(alphas=np.logspace(0, 4, 9)).fit(flat[source], flat[goal])
            self._models[source, goal] = model

    def __call__(self, x: Rows, y: np.ndarray) -> dict[str, float]:
        """Return `retrieval`, the mean over directions, and each `retrieval/<from>_to_<to>`; {} for one modality."""
        flat = {name: self._space.flat(x, name) for name in self._space.names}
        result = {
            f"retrieval/{source}_to_{goal}": retrieval_rank(model.predict(flat[source]), flat[goal], y)
            for (source, goal), model in self._models.items()
        }
        return {"retrieval": float(np.mean(list(result.values()))), **result} if result else {}
