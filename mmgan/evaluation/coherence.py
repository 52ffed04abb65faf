"""Coherence: do the modalities of one synthetic sample belong to each other, beyond belonging to the same class?

The class alone explains most naive scores, so the true partner is only compared with partners of the same class.
"""

from itertools import permutations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import euclidean_distances

from mmgan.data.arrays import n_samples_of, take
from mmgan.evaluation.features import FeatureSpace
from mmgan.schema import Arrays

MAX_FITTED = 4000
MAX_PER_CLASS = 1000


def retrieval_rank(predicted: np.ndarray, partner: np.ndarray, y: np.ndarray) -> float:
    """Return the mean rank of each sample's true partner among those of its class: 0 is best, .5 chance.

    `predicted` and `partner` are (n, F), `y` is (n,); ties share their rank. NaN where no class has two samples.
    """
    ranks = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)[:MAX_PER_CLASS]
        if len(members) < 2:
            continue
        distance = euclidean_distances(predicted[members], partner[members])  # (m, m), sample i against partner j
        own = np.diag(distance)[:, None]
        nearer, tied = (distance < own).sum(1), (distance == own).sum(1) - 1
        ranks.append((nearer + tied / 2) / (len(members) - 1))
    return float(np.mean(np.concatenate(ranks))) if ranks else float("nan")


class Retrieval:
    """Ridge regressions between all ordered pairs of modalities, fitted on training samples.

    They predict the principal components of the goal, where the noise of hundreds of features drowns no distance.
    """

    def __init__(self, space: FeatureSpace, train_x: Arrays, seed: int = 0) -> None:
        self._space = space
        chosen = np.random.default_rng(seed).permutation(n_samples_of(train_x))[:MAX_FITTED]
        fitted = take(train_x, chosen)
        # A light penalty: a heavy one pulls predictions to the middle, which then rank samples by their own distance to it.
        self._models = {
            (source, goal): Ridge(alpha=10.0).fit(space.flat(fitted, source), space.embed(fitted, goal))
            for source, goal in permutations(space.names, 2)
        }

    def predict(self, x: Arrays) -> dict[tuple[str, str], np.ndarray]:
        """Return by (source, goal) what the source modality says the goal's principal components (n, dims) are."""
        flat = {name: self._space.flat(x, name) for name in self._space.names}
        found = {(source, goal): model.predict(flat[source]) for (source, goal), model in self._models.items()}
        return {key: each.reshape(len(each), -1) for key, each in found.items()}  # one dimension comes as (n,)
