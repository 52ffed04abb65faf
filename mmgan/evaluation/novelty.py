"""Novelty: are synthetic samples as far from the training samples as unseen real samples are?

A sample that is nearer than real samples ever are is memorised. That says nothing of privacy.
"""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from mmgan.evaluation.features import FeatureSpace, nearest, nearest_within
from mmgan.schema import Arrays

PERCENTILES = (10, 50, 90)
FAR = 1.15  # times the distance that 99 % of held-out samples do not exceed
EQUAL = 1e-5  # of a usual distance: two equal samples come out some 1e-7 apart


class LeaveOneOut:
    """How far samples lie from the nearest training sample of their class, over how far training samples lie from each other.

    What unseen samples have is 1, so it takes no held-out samples to see that a generator copies. It is a ratio of medians, in units
    of each class's own; that of the training samples {name: (n, *shape)} with labels (n,) is the upper 90 % bound of a bootstrap, since few
    samples tell little of it. Samples without labels that the generator saw too, `pool`, count among those of every class.
    """

    def __init__(self, train_x: Arrays, train_y: np.ndarray, pool: Arrays | None = None, seed: int = 0) -> None:
        self._space = FeatureSpace(train_x, seed=seed)
        flat, labels = self._space.flat(train_x), np.asarray(train_y)
        others = flat[:0] if pool is None else self._space.flat(pool)
        self._seen = {int(k): np.concatenate([flat[labels == k], others]) for k in np.unique(labels)}
        found = {k: self._distances(k, flat[labels == k], 2) for k, seen in self._seen.items() if len(seen) > 1}
        least = EQUAL * float(np.linalg.norm(flat.std(axis=0)))
        self._unit = {k: unit for k, each in found.items() if (unit := float(np.median(each))) > least}
        distances = np.concatenate([found[k] / unit for k, unit in self._unit.items()] or [np.ones(1)])
        chosen = np.random.default_rng(seed).integers(len(distances), size=(200, len(distances)))
        self._usual = float(np.quantile(np.median(distances[chosen], axis=1), 0.9))

    def _distances(self, k: int, flat: np.ndarray, place: int = 1) -> np.ndarray:
        return nearest(self._seen[k], flat, place)[:, -1]  # of a training sample the nearest is itself

    def __call__(self, x: Arrays, y: np.ndarray) -> float:
        """Return the ratio of samples {name: (m, *shape)} with labels (m,).

        1 where training samples equal each other, as integers often do, or are alone in their class: then nothing is known.
        """
        flat, labels = self._space.flat(x), np.asarray(y)
        found = [self._distances(k, flat[labels == k]) / unit for k, unit in self._unit.items() if (labels == k).any()]
        return float(np.median(np.concatenate(found))) / self._usual if found else 1.0


class TrainingDistance:
    """Distances to the training samples of a class, in units of that class's usual one; flat (n, F), labels (n,).

    The unit is the median distance from a training sample to the next one of its class, so that a class of small scale
    counts as much as one of large scale. Samples without labels that a generator saw too, `pool` (m, F), count among those of every class.
    """

    def __init__(self, flat: np.ndarray, y: np.ndarray, pool: np.ndarray | None = None) -> None:
        self._of_class = {int(k): flat[y == k] for k in np.unique(y)}
        found = {k: _usual(rows) for k, rows in self._of_class.items()}
        known = [unit for unit in found.values() if unit > 0]
        rest = float(np.median(known)) if known else 1.0
        self.unit = {k: unit or rest for k, unit in found.items()}
        self._pool = flat[:0] if pool is None else pool
        self._search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat.astype(np.float64))
        self._units = np.array([self.unit[int(k)] for k in y])

    def within_class(self, flat: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distance (n,) of each sample to the nearest training sample of its class."""
        found = np.empty(len(flat))
        for k in np.unique(y):
            seen = np.concatenate([self._of_class[int(k)], self._pool])
            found[y == k] = nearest(seen, flat[y == k])[:, 0] / self.unit[int(k)]
        return found

    def to_any(self, flat: np.ndarray) -> np.ndarray:
        """Return the distance (n,) to the nearest training sample of any class: a copy may carry a wrong label."""
        distance, index = self._search.kneighbors(flat.astype(np.float64))
        found = distance[:, 0] / self._units[index[:, 0]]
        if not len(self._pool):
            return found
        return np.minimum(found, nearest(self._pool, flat)[:, 0] / np.median(self._units))


def _usual(rows: np.ndarray) -> float:
    if len(rows) < 2:
        return 0.0
    distance = nearest_within(rows, 1)[:, 0]
    usual = float(np.median(distance))
    return usual if usual > EQUAL * np.linalg.norm(rows.std(axis=0)) else 0.0


def novelty(heldout: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Return novelty10, novelty50 and novelty90, and `close`.

    Arguments are distances to the nearest training sample of the class, (n,) and (m,). `noveltyP` is the synthetic samples' Pth
    percentile over the held-out samples' (1 is right, 0 is copying); `close` the share of synthetic samples nearer than 99 %
    of held-out samples are (.01 is right), `far` the share farther than 1.15 times what 99 % of them are. Paper: https://arxiv.org/abs/2004.05675.
    """
    result = {}
    for percentile in PERCENTILES:
        real, ours = np.percentile(heldout, percentile), np.percentile(synthetic, percentile)
        result[f"novelty{percentile}"] = _ratio(float(ours), float(real))
    low, high = np.percentile(heldout, [1, 99])
    return {**result, "close": float(np.mean(synthetic < low)), "far": float(np.mean(synthetic > FAR * high))}


def _ratio(value: float, reference: float) -> float:
    if reference < EQUAL:  # unseen samples are copies themselves, as integers often are: no ratio is defined
        return 1.0 if value < EQUAL else float("nan")
    return value / reference


def copies(heldout: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the share of samples at no more than half of the distance that 99 % of held-out samples keep, given distances."""
    least = max(np.percentile(heldout, 1) / 2, EQUAL * float(np.median(heldout)))
    return float(np.mean(synthetic <= least))


def membership_auc(train: np.ndarray, heldout: np.ndarray, synthetic: np.ndarray, seed: int = 0) -> float:
    """Return how well an attacker tells training from held-out samples (n, F) by the synthetic ones: an AUC, .5 is best.

    The attacker's score is the distance to the nearest synthetic sample over that to the nearest other real one. As many
    training as held-out samples are compared. Paper: Hilprecht et al. 2019, https://doi.org/10.2478/popets-2019-0067.
    """
    rng, n = np.random.default_rng(seed), min(len(train), len(heldout))
    real = np.concatenate([each[rng.permutation(len(each))[:n]] for each in (train, heldout)])
    others, near = nearest_within(real, 1)[:, 0], nearest(synthetic, real)[:, 0]
    total = near + others
    score = np.where(total > 0, near / np.where(total > 0, total, 1), 0.5)  # the ratio's order, where others may be 0
    return float(roc_auc_score(np.repeat([1, 0], n), -score))
