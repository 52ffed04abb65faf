"""The pictures of a report: which samples and distances they show, and what is said of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.neighbors import NearestNeighbors

from mmgan.data.arrays import LabelledSamples, n_samples_of, take
from mmgan.evaluation.axis import FEWEST_POINTS
from mmgan.evaluation.evaluator import FoldSamples
from mmgan.evaluation.features import JOINT, FeatureSpace
from mmgan.evaluation.signal import autocorrelation
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.table import REAL
from mmgan.plots import drawings
from mmgan.plots import samples as plots
from mmgan.plots.channels import mean_and_spread
from mmgan.report.content import Picture

MOST_CLASSES, MOST_POINTS, SAMPLES = 12, 800, 3
REAL_SAMPLES = "real samples"  # the entry of a curve that is no model


@dataclass(frozen=True)
class Shown:
    """What the pictures show: some samples of the folds that were judged together, and what was found of all.

    `distances` are, by set ("real" and others) and then jointly or by modality, those to the nearest training sample of the
    class (n,); `confusions` are, by what was trained on, matrices (K, K) whose lines sum to 1. `ordered` names the vectors
    whose values have an order.
    """

    folds: Sequence[FoldSamples]
    class_names: tuple[str, ...]
    distances: dict[str, dict[str, np.ndarray]]
    confusions: dict[str, np.ndarray]
    ordered: Sequence[str] = ()

    def samples(self, kind: Literal["train", "heldout", "synthetic"]) -> LabelledSamples:
        """Return the samples of all folds as ({name: (n, *shape)} in physical units, class indices (n,))."""
        sets = [getattr(fold, kind) for fold in self.folds]
        x = {name: np.concatenate([each[name] for each, _ in sets]) for name in sets[0][0]}
        return x, np.concatenate([y for _, y in sets])


def pictures(shown: Shown, ours: str) -> list[Picture]:
    """Return the pictures of all sections but the curve's; `ours` is the judged set's name among the distances."""
    space = FeatureSpace(shown.samples("train")[0], max_dims=2)
    return [
        *_samples(shown.folds[0], shown.class_names, space),
        *_planes(shown, space),
        *_autocorrelations(shown),
        *_spectra(shown),
        *_distances(shown, ours),
        *_confusions(shown),
    ]


def curve_picture(curve: Mapping[str, Mapping[str, Interval]]) -> Picture:
    """Return the picture of {model: {samples of a class: gain}}; the model `real` is the line to compare with."""
    about = (
        "What synthetic samples add to the macro-F1 of classifiers on real held-out samples, by the number of real samples that"
        " they are trained on; dashed: what as many more real samples add."
    )
    named = {REAL_SAMPLES if model == REAL else model: found for model, found in curve.items()}
    return Picture("Curve", "gain in macro-F1, with intervals", drawings.gains(named, REAL_SAMPLES), about)


def _classes(*labels: np.ndarray) -> tuple[list[int], str]:
    """Return the classes that get pictures, and a sentence about those that do not."""
    found = [int(k) for k in np.unique(np.concatenate(labels))]
    few = len(found) <= MOST_CLASSES
    return found[:MOST_CLASSES], "" if few else f" The first {MOST_CLASSES} of {len(found)} classes are shown."


def _samples(fold: FoldSamples, class_names: tuple[str, ...], space: FeatureSpace) -> Iterator[Picture]:
    classes, note = _classes(fold.heldout[1], fold.synthetic[1])
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(space.flat(fold.train[0]).astype(np.float64))
    usual = float(np.median(search.kneighbors(space.flat(fold.heldout[0]).astype(np.float64))[0]))
    about = (
        "Real held-out samples, synthetic samples, and the training sample nearest to each synthetic one, in all modalities"
        f" at once. Above it its distance, in medians of the held-out samples' ones: near 0 is a copy.{note}"
    )
    for k in classes:
        real, synthetic = (_some(samples, k, SAMPLES) for samples in (fold.heldout, fold.synthetic))
        # Without samples scikit-learn refuses to search.
        found = search.kneighbors(space.flat(synthetic).astype(np.float64)) if n_samples_of(synthetic) else ([], [])
        distance, index = np.reshape(found[0], -1), np.reshape(found[1], -1).astype(int)
        nearest = take(fold.train[0], index)
        for name in space.names:
            scale = _scale(fold.train, name, k)
            ratios = distance / usual if usual > 0 else distance
            figure = plots.beside_nearest(real[name], synthetic[name], nearest[name], ratios, scale)
            yield Picture("Samples", f"{class_names[k]}: {name}", figure, about)


def _some(samples: LabelledSamples, k: int, most: int) -> dict[str, np.ndarray]:
    """Return at most so many samples of a class, from all over them."""
    x, y = samples
    members = np.flatnonzero(y == k)
    return take(x, members[np.linspace(0, len(members) - 1, min(len(members), most)).round().astype(int)])


def _scale(train: LabelledSamples, name: str, k: int) -> tuple[float, float]:
    """Return the colour scale of a class: the training samples', or of a class without any, all samples'."""
    x, y = train
    return plots.scale_of(x[name][y == k] if (y == k).any() else x[name])


def _planes(shown: Shown, space: FeatureSpace) -> Iterator[Picture]:
    about = (
        "As many real held-out as synthetic samples in the first two principal components of the training samples: the two"
        " clouds should be one. What these two components do not show may still differ."
    )
    sets = [shown.samples(kind) for kind in ("heldout", "synthetic")]
    count, rng = min(MOST_POINTS, *(len(y) for _, y in sets)), np.random.default_rng(0)
    chosen = [take(x, np.sort(rng.choice(len(y), count, replace=False))) for x, y in sets]
    for name in _views(space.names):
        real, synthetic = (_two(space.embed(x, name)) for x in chosen)
        yield Picture("PCA", _view_title(name), plots.scatter(real, synthetic), about)


def _views(names: tuple[str, ...]) -> tuple[str, ...]:
    return (JOINT, *names) if len(names) > 1 else (JOINT,)


def _view_title(name: str) -> str:
    return "all modalities" if name == JOINT else name


def _two(embedded: np.ndarray) -> np.ndarray:
    """(n, 1 or 2) -> (n, 2): a single component lies on a line."""
    return np.pad(embedded, ((0, 0), (0, 2 - embedded.shape[1])))


def _autocorrelations(shown: Shown) -> Iterator[Picture]:
    about = (
        "How like a signal is to itself some places further on, its mean removed: mean and one standard deviation over the samples"
        " of all classes. Below the real line: too rough; above it: too smooth. Rows of an image are averaged."
    )
    (real, _), (synthetic, _) = shown.samples("heldout"), shown.samples("synthetic")
    for name, values in real.items():
        has_axis = values.ndim > 2 or name in shown.ordered
        if has_axis and values.shape[-1] >= FEWEST_POINTS:
            unit = float(values.std(dtype=np.float64)) or 1.0
            found = [autocorrelation(x[name] / unit) for x in (real, synthetic)]
            pair = ({name: each.mean(2) if each.ndim == 4 else each} for each in found)
            figure = mean_and_spread(*pair, names=("lag", "autocorrelation"), first=1)
            yield Picture("Autocorrelation", name, figure, about)


def _spectra(shown: Shown) -> Iterator[Picture]:
    sets = [shown.samples(kind) for kind in ("heldout", "synthetic")]
    classes, note = _classes(*(y for _, y in sets))
    about = (
        "Mean and one standard deviation of every channel along its axis, in the data's own units. A vector is one"
        f" channel; an image's channels are averaged over its columns.{note}"
    )
    for k in classes:
        real, synthetic = (take(x, np.flatnonzero(y == k)) for x, y in sets)
        yield Picture("Spectra", shown.class_names[k], mean_and_spread(real, synthetic), about)


def _distances(shown: Shown, ours: str) -> Iterator[Picture]:
    about = (
        "How far samples are from their nearest training sample of the class. A line left of the real one is of copies or of samples"
        " without variety, a line right of it of samples that real ones never resemble."
    )
    for name in shown.distances[REAL]:
        usual = float(np.median(shown.distances[REAL][name]))
        lines = {key: np.asarray(of[name]) / (usual if usual > 0 else 1.0) for key, of in shown.distances.items()}
        figure = drawings.cumulative(lines, {REAL: plots.REAL, ours: plots.SYNTHETIC})
        yield Picture("Distances", _view_title(name), figure, about)


def _confusions(shown: Shown) -> Iterator[Picture]:
    about = "What a classifier makes of real held-out samples: in each line the shares, in percent, of one true class."
    for name, matrix in shown.confusions.items():
        figure = drawings.confusion(np.asarray(matrix, dtype=float), shown.class_names)
        yield Picture("Confusion", name, figure, about)
