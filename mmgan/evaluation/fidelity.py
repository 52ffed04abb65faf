"""Fidelity: do synthetic samples look like samples that nobody has seen?"""

from collections.abc import Mapping

import numpy as np
from scipy import stats
from sklearn.base import ClassifierMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold

from mmgan.errors import MmganError
from mmgan.evaluation.classifiers import quiet
from mmgan.evaluation.features import nearest, nearest_within


def c2st_auc(
    real: np.ndarray, synthetic: np.ndarray, members: Mapping[str, ClassifierMixin], folds: int = 5, seed: int = 0
) -> dict[str, float]:
    """Return each classifier's cross-validated AUC at telling `real` from `synthetic`, both (n, F).

    The mean over folds, not the AUC of the pooled answers: pooling scores of different fits is biased below .5.
    Paper: https://arxiv.org/abs/1610.06545.
    """
    flat = np.concatenate([real, synthetic])
    is_synthetic = np.repeat([0, 1], [len(real), len(synthetic)])
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(flat, is_synthetic))
    result = {}
    for name, member in members.items():
        auc = []
        for train, test in splits:
            with quiet():
                fitted = clone(member).fit(flat[train], is_synthetic[train])
            auc.append(roc_auc_score(is_synthetic[test], fitted.predict_proba(flat[test])[:, 1]))
        result[name] = float(np.mean(auc))
    return result


def prdc(real: np.ndarray, synthetic: np.ndarray, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of `synthetic` (m, d) against `real` (n, d).

    Raises MmganError where either has no more than k samples. Paper: https://arxiv.org/abs/2002.09797.
    """
    if min(len(real), len(synthetic)) <= k:
        raise MmganError(
            f"{min(len(real), len(synthetic))} samples have no {k} nearest neighbours; give more than {k}."
        )
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    real_radius = nearest_within(real, k)[:, -1]  # (n,)
    synthetic_radius = nearest_within(synthetic, k)[:, -1]  # (m,)
    inside = _balls_around(real, real_radius, synthetic)  # (m,) balls of real samples that hold each synthetic sample
    covered = nearest(synthetic, real)[:, 0] <= real_radius
    return {
        "precision": float(np.mean(inside > 0)),
        "recall": float(np.mean(_balls_around(synthetic, synthetic_radius, real) > 0)),
        "density": float(np.mean(inside) / k),
        "coverage": float(np.mean(covered)),
    }


def clipped(real: np.ndarray, synthetic: np.ndarray, k: int = 5) -> dict[str, float]:
    """Return clipped density and coverage of `synthetic` (m, d) against `real` (n, d): each reads as a share of good samples.

    Balls of outliers are cut to the median radius, no sample counts more than once, and both are calibrated so that the share
    of good samples comes out. Paper: https://arxiv.org/abs/2507.01761.
    """
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    radius = nearest_within(real, k)[:, -1]  # (n,)
    cut = np.minimum(radius, np.median(radius))
    own = np.minimum((_balls_around(real, cut, real) - 1) / k, 1).mean()  # a sample lies in its own ball
    density = np.minimum(_balls_around(real, cut, synthetic) / k, 1).mean()
    held = (euclidean_distances(real, synthetic) <= radius[:, None]).sum(axis=1)
    coverage = np.minimum(held / k, 1).mean()
    shares = np.linspace(0, 1, 101)
    expected = [_expected_coverage(len(real), round(share * len(synthetic)), k) for share in shares]
    return {
        "clipped_density": float(min(density / own, 1.0)) if own else float("nan"),
        "clipped_coverage": float(np.interp(coverage, expected, shares)),
    }


def _expected_coverage(n: int, good: int, k: int) -> float:
    """Return E min(c, k) / k, c the number of `good` samples, drawn as the n real ones are, in the ball of a k-th neighbour.

    The ball's probability is Beta(k, n - k) distributed, so c is beta-binomial.
    """
    below = stats.betabinom.cdf(np.arange(k), good, k, n - k) if good else np.ones(k)
    return float((1 - below).sum() / k)


def _balls_around(centres: np.ndarray, radius: np.ndarray, queries: np.ndarray, block: int = 1024) -> np.ndarray:
    """Return how many balls (centres, radius) hold each query, in blocks of queries."""
    counts = []
    for start in range(0, len(queries), block):
        distance = euclidean_distances(queries[start : start + block], centres)  # (block, n)
        counts.append((distance <= radius * (1 + 1e-7)).sum(axis=1))  # the k-th neighbour lies on the ball itself
    return np.concatenate(counts)


def median_bandwidth(x: np.ndarray, seed: int = 0, most: int = 2000) -> float:
    """Return the median distance between two of the samples (a random `most` of them): the kernel's width."""
    chosen = x[np.random.default_rng(seed).permutation(len(x))[:most]].astype(np.float64)
    distance = euclidean_distances(chosen)[np.triu_indices(len(chosen), k=1)]
    return float(np.median(distance)) or 1.0


def gaussian_kernel(a: np.ndarray, b: np.ndarray, bandwidth: float) -> np.ndarray:
    """Return exp(-|a - b|^2 / (2 bandwidth^2)), (n, m)."""
    squared = euclidean_distances(a.astype(np.float64), b.astype(np.float64), squared=True)
    return np.exp(squared / (-2 * bandwidth**2))


def mmd(real: np.ndarray, synthetic: np.ndarray, bandwidth: float) -> float:
    """Return the unbiased squared maximum mean discrepancy; may be below 0. Paper: Gretton et al. 2012, lemma 6."""
    n, m = len(real), len(synthetic)
    within_real = (gaussian_kernel(real, real, bandwidth).sum() - n) / (n * (n - 1))
    within_synthetic = (gaussian_kernel(synthetic, synthetic, bandwidth).sum() - m) / (m * (m - 1))
    return float(within_real + within_synthetic - 2 * gaussian_kernel(real, synthetic, bandwidth).mean())


def mmd_null(x: np.ndarray, size: int, bandwidth: float, permutations: int = 200, seed: int = 0) -> np.ndarray:
    """Return the discrepancies (permutations,) of random halves of `size` real samples each: real versus real."""
    rng = np.random.default_rng(seed)
    kernel = gaussian_kernel(x, x, bandwidth)
    np.fill_diagonal(kernel, 0.0)
    first, second = np.zeros((2, permutations, len(x)))
    for p in range(permutations):
        order = rng.permutation(len(x))
        first[p, order[:size]], second[p, order[size : 2 * size]] = 1.0, 1.0
    half = first @ kernel  # (permutations, n)
    same = (half * first).sum(1) + ((second @ kernel) * second).sum(1)
    return same / (size * (size - 1)) - 2 * (half * second).sum(1) / size**2


def within_class_spread(embedded: np.ndarray, y: np.ndarray) -> float:
    """Return the median squared distance of the samples (n, d) from their class mean: how varied the classes are.

    The mean, which is the trace of the covariance within classes, is ruled by a few outliers: two halves of the same
    real samples can differ by a quarter in it.
    """
    centred = [embedded[y == c].astype(np.float64) - embedded[y == c].mean(axis=0) for c in np.unique(y)]
    return float(np.median((np.concatenate(centred) ** 2).sum(axis=1)))


def class_variance(embedded: np.ndarray, y: np.ndarray) -> dict[int, float]:
    """Return per class the trace of the covariance of its samples (n, d); classes of a single sample are left out."""
    of_class = {int(c): embedded[y == c].astype(np.float64) for c in np.unique(y)}
    return {label: float(x.var(axis=0, ddof=1).sum()) for label, x in of_class.items() if len(x) > 1}
