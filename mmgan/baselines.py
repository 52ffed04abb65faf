"""The baselines: classical generators that anyone can run in seconds, and that a model has to beat.

Each is a function (x, y, labels, rng) -> samples: training samples {name: (n, *shape)} in physical units with their labels (n,),
the wanted labels (m,), and a numpy Generator; it returns {name: (m, *shape)}. `weights` (n,) are of the training samples that
new ones start from (None: all alike). All raise MmganError for a wanted class without training samples.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from imblearn.over_sampling import SMOTE
from scipy.special import ndtri
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from mmgan.data.arrays import flatten, n_samples_of, take, unflatten
from mmgan.errors import MmganError, NonNegative, Range, Share, Width, checked
from mmgan.schema import Arrays

MAX_QUANTILES = 256
MAX_QUANTILE_FEATURES = 4096
MAX_NEIGHBOUR_DIMS = 40

Weights = np.ndarray | None


def duplicate(
    x: Arrays, y: np.ndarray, labels: np.ndarray, rng: np.random.Generator, weights: Weights = None
) -> dict[str, np.ndarray]:
    """Return copies of training samples of the wanted classes, each once before any is used again, or by their weights."""
    return take(x, _partners(y, labels, rng, weights, replace=weights is not None))


@checked
def jitter(
    x: Arrays,
    y: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    scale: NonNegative = 0.3,
    weights: Weights = None,
) -> dict[str, np.ndarray]:
    """Return copies of training samples with Gaussian noise of `scale` standard deviations of each feature."""
    flat, chosen = flatten(x), _partners(y, labels, rng, weights)
    noise = rng.standard_normal((len(chosen), flat.shape[1]))
    return unflatten(flat[chosen] + scale * flat.std(axis=0, dtype=np.float64) * noise, x)


@checked
def smote(
    x: Arrays,
    y: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    neighbours: Width = 5,
    weights: Weights = None,
) -> dict[str, np.ndarray]:
    """Return points on the lines between training samples and their nearest neighbours of the same class.

    A class of no more than `neighbours` samples uses those that it has; a single sample is copied. imbalanced-learn draws all samples
    alike, whatever their weights. Paper: https://arxiv.org/abs/1106.1813.
    """
    _check_classes(y, labels)
    flat = flatten(x).astype(np.float64)
    out = np.empty((len(labels), flat.shape[1]))
    for label in np.unique(labels):
        rows, wanted = flat[y == label], np.flatnonzero(labels == label)
        if len(rows) == 1:
            out[wanted] = rows
            continue
        # imbalanced-learn wants two classes; it interpolates within the resampled one only, so the other is a stand-in.
        sampler = SMOTE(
            sampling_strategy={1: len(rows) + len(wanted)},
            k_neighbors=min(neighbours, len(rows) - 1),
            random_state=int(rng.integers(2**31)),
        )
        resampled, _ = sampler.fit_resample(np.concatenate([rows, rows[:1]]), np.repeat([1, 0], [len(rows), 1]))
        out[wanted] = rng.permutation(resampled[len(rows) + 1 :])
    return unflatten(out, x)


def copula(
    x: Arrays, y: np.ndarray, labels: np.ndarray, rng: np.random.Generator, weights: Weights = None
) -> dict[str, np.ndarray]:
    """Return draws from a shrunk Gaussian per class, fitted after a quantile-to-normal transform of each feature."""
    return smoothed_bootstrap(x, y, labels, rng, h=1.0, weights=weights)


@checked
def smoothed_bootstrap(
    x: Arrays, y: np.ndarray, labels: np.ndarray, rng: np.random.Generator, h: Share = 0.5, weights: Weights = None
) -> dict[str, np.ndarray]:
    """Return class mean + sqrt(1 - h^2) (sample - mean) + h (shrunk within-class noise), in quantile-normal space.

    The mixture keeps each class's mean and covariance for every h in [0, 1]: 0 copies samples, 1 is `copula`. Raises
    MmganError for another h. Paper: Silverman & Young 1987, https://doi.org/10.1093/biomet/74.3.469.
    """
    space = NormalSpace(x, rng)
    normal, chosen = space.forward(x), _partners(y, labels, rng, weights)
    out = np.empty((len(labels), normal.shape[1]))
    for label in np.unique(labels):
        wanted = np.flatnonzero(labels == label)
        rows = normal[y == label]
        mean = rows.mean(axis=0)
        # A lone sample has no spread of its own: it borrows that of all samples around their class means.
        centred = rows - mean if len(rows) > 1 else _centred(normal, y)
        out[wanted] = mean + np.sqrt(1 - h**2) * (normal[chosen[wanted]] - mean)
        out[wanted] += h * _shrunk_noise(centred, len(wanted), rng)
    return space.backward(out, x)


@checked
def neighbour_bootstrap(
    x: Arrays,
    y: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    form: Literal["differences", "combinations"] = "differences",
    neighbours: Width = 40,
    h: Share = 0.9,
    differences: Annotated[int, Range(1, 100)] = 2,
    weights: Weights = None,
) -> dict[str, np.ndarray]:
    """Return samples drawn towards the mean of their neighbours, plus noise made of the neighbours, in quantile-normal space.

    With m the mean of the k = `neighbours` samples of the class that are nearest to x_i (itself among them, by 40 principal
    components), the form `differences` is m + sqrt(1 - h^2) (x_i - m) + h (x_a - x_b + x_c - x_d) / 2, of random neighbours
    a != b, c != d, or more or fewer of such `differences`; `combinations` is m + (x_i - m) / 2 + h sum_j e_j (x_j - m),
    e_j ~ N(0, 1/k), for which k = 20 and h = .8 serve. A class of fewer samples uses those that it has; a lone sample
    borrows the noise of all samples around their class means. After the manifold Parzen windows of Vincent & Bengio 2003,
    https://papers.nips.cc/paper/2203-manifold-parzen-windows.
    """
    space = NormalSpace(x, rng)
    normal, chosen = space.forward(x), _partners(y, labels, rng, weights)
    reduced = PCA(min(MAX_NEIGHBOUR_DIMS, *normal.shape), random_state=int(rng.integers(2**31))).fit_transform(normal)
    keep = np.sqrt(1 - h**2) if form == "differences" else 0.5
    out = normal[chosen]
    for label in np.unique(labels):
        wanted, members = np.flatnonzero(labels == label), np.flatnonzero(y == label)
        if len(members) == 1:
            out[wanted] += h * _shrunk_noise(_centred(normal, y), len(wanted), rng)
            continue
        search = NearestNeighbors(n_neighbors=min(neighbours, len(members))).fit(reduced[members])
        near = search.kneighbors(reduced[chosen[wanted]], return_distance=False)  # (n, k), places among the members
        noise = _differences(near.shape, differences, rng) if form == "differences" else _combinations(near.shape, rng)
        # Each sample is a weighted sum of the class's: one product, so that (n, k, F) neighbours never exist. Bounded, since
        # what is an extreme value in one sample would be a spike in another.
        weights = np.zeros((len(wanted), len(members)))
        np.put_along_axis(weights, near, (1 - keep) / near.shape[1] + h * noise, axis=1)
        out[wanted] = keep * out[wanted] + weights @ space.bounded(normal[members])
    return space.backward(out, x)


def _differences(shape: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights (n, k) of `count` differences of two of k neighbours each, of variance 1 in sum."""
    n, k = shape
    first = rng.integers(k, size=(n, count))
    second = (first + rng.integers(1, k, size=(n, count))) % k  # another one
    weights, samples = np.zeros(shape), np.arange(n)[:, None]
    np.add.at(weights, (samples, first), 1.0)
    np.add.at(weights, (samples, second), -1.0)
    return weights / np.sqrt(2 * count)


def _combinations(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return random weights (n, k) of k neighbours' deviations from their mean, as weights of the neighbours themselves."""
    weights = rng.standard_normal(shape) / np.sqrt(shape[1])
    return weights - weights.mean(axis=1, keepdims=True)


class NormalSpace:
    """Samples as (n, F) with every feature made normal by its quantiles; wide modalities are only standardised."""

    def __init__(self, x: Arrays, rng: np.random.Generator) -> None:
        self._transforms, self._units = {}, {}
        self._most = -ndtri(0.5 / n_samples_of(x))
        for name in x:
            flat = flatten(x, (name,)).astype(np.float64)
            # scikit-learn takes what differs by less than 1e-7 for equal; powers of two change no digit.
            span = np.ptp(flat, axis=0)
            self._units[name] = np.exp2(np.floor(np.log2(np.where(span > 0, span, 1.0))))
            transform = StandardScaler()
            if flat.shape[1] <= MAX_QUANTILE_FEATURES:
                count, seed = min(MAX_QUANTILES, len(flat)), int(rng.integers(2**31))
                transform = QuantileTransformer(n_quantiles=count, output_distribution="normal", random_state=seed)
            self._transforms[name] = transform.fit(flat / self._units[name])

    def forward(self, x: Arrays) -> np.ndarray:
        """Return (n, F) in normal space."""
        parts = [
            each.transform(flatten(x, (name,)).astype(np.float64) / self._units[name])
            for name, each in self._transforms.items()
        ]
        return np.concatenate(parts, axis=1)

    def bounded(self, normal: np.ndarray) -> np.ndarray:
        """Return (n, F) with a feature's extremes, which `forward` puts at +-5.2, at the normal quantiles of their ranks."""
        return normal.clip(-self._most, self._most)

    def backward(self, normal: np.ndarray, like: Arrays) -> dict[str, np.ndarray]:
        """Return samples {name: (n, *shape)} of physical units from (n, F)."""
        ends = np.cumsum([each.n_features_in_ for each in self._transforms.values()])
        parts = np.split(normal, ends[:-1], axis=1)
        found = [
            each.inverse_transform(part) * self._units[name]
            for (name, each), part in zip(self._transforms.items(), parts, strict=True)
        ]
        return unflatten(np.concatenate(found, axis=1), like)


def _centred(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[y == label] - rows[y == label].mean(axis=0) for label in np.unique(y)])


def _shrunk_noise(centred: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws (count, F) of N(0, (1 - s) S + s (tr S / F) I), S the covariance of `centred` (n, F).

    Drawn from the samples themselves, so that a wide modality's F x F covariance never exists. Shrinkage s by Ledoit & Wolf
    2004, https://doi.org/10.1016/S0047-259X(03)00096-4.
    """
    n, width = centred.shape
    shrinkage = _shrinkage(centred)
    from_rows = rng.standard_normal((count, n)) @ centred / np.sqrt(n)
    variance = float((centred**2).mean())
    white = rng.standard_normal((count, width)) * np.sqrt(variance)
    return np.sqrt(1 - shrinkage) * from_rows + np.sqrt(shrinkage) * white


def _shrinkage(centred: np.ndarray) -> float:
    """Return Ledoit and Wolf's s in [0, 1], of `centred` (n, F): the error of S over its distance from (tr S / F) I.

    Both are sums of the squared scalar products of samples, or of features: the fewer are taken.
    """
    n, width = centred.shape
    products = centred @ centred.T if n < width else centred.T @ centred
    squares = (centred**2).sum(axis=1)
    norm = (products**2).sum() / n**2  # |S|^2
    distance = norm - squares.mean() ** 2 / width  # |S - (tr S / F) I|^2
    error = (squares**2).mean() / n - norm / n
    return float(min(error / distance, 1)) if width > 1 and error > 0 else 0.0


def _check_classes(y: np.ndarray, labels: np.ndarray) -> None:
    missing = np.setdiff1d(labels, y)
    if len(missing):
        raise MmganError(f"class {missing[0]} has no training samples to start from; ask for other labels.")


def _partners(
    y: np.ndarray, labels: np.ndarray, rng: np.random.Generator, weights: Weights = None, replace: bool = True
) -> np.ndarray:
    """Return for each wanted label the index of a training sample of that class.

    Drawn with replacement, as a bootstrap is, by their weights if any; otherwise every sample of a class once before any repeats.
    """
    _check_classes(y, labels)
    chosen = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members, wanted = np.flatnonzero(y == label), np.flatnonzero(labels == label)
        if replace:
            shares = None if weights is None else weights[members] / weights[members].sum()
            chosen[wanted] = rng.choice(members, len(wanted), p=shares)
            continue
        rounds = -(-len(wanted) // len(members))
        chosen[wanted] = np.concatenate([rng.permutation(members) for _ in range(rounds)])[: len(wanted)]
    return chosen


def mixup(
    x: Arrays, y: np.ndarray, count: int, rng: np.random.Generator, alpha: float = 0.2
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return `count` convex mixtures of two training samples of any classes, and the label of the heavier one.

    The weight is Beta(alpha, alpha). Hard labels, since not every classifier of the panel takes soft ones: something to train on,
    never a synthetic sample of a class. Paper: https://arxiv.org/abs/1710.09412.
    """
    first, second = rng.integers(len(y), size=(2, count))
    weight = rng.beta(alpha, alpha, size=count)
    flat = flatten(x)
    mixed = weight[:, None] * flat[first] + (1 - weight[:, None]) * flat[second]
    return unflatten(mixed, x), np.where(weight >= 0.5, y[first], y[second])


Baseline = Callable[..., dict[str, np.ndarray]]

# The rows of every table, beside the real one: name -> (function, options).
BASELINES: dict[str, tuple[Baseline, dict[str, Any]]] = {
    "duplicate": (duplicate, {}),
    "jitter": (jitter, {"scale": 0.3}),
    "smote": (smote, {}),
    "copula": (copula, {}),
    "smoothed_bootstrap_5": (smoothed_bootstrap, {"h": 0.5}),
    "smoothed_bootstrap_8": (smoothed_bootstrap, {"h": 0.8}),
    "neighbour_bootstrap": (neighbour_bootstrap, {}),
    "neighbour_combinations": (neighbour_bootstrap, {"form": "combinations", "neighbours": 20, "h": 0.8}),
}
