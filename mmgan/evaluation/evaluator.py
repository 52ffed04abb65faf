"""The protocol: training, held-out and synthetic samples in, a row of a table out, at equal numbers and over several draws.

Everything fitted sees training samples only. Each set is a pair (x, y): {name: (n, *shape)} in physical units, labels (n,).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mmgan.data.arrays import LabelledSamples, check_samples, n_samples_of, take
from mmgan.errors import MmganError
from mmgan.evaluation import fidelity, utility
from mmgan.evaluation.comparison import MAX_TRAINED, NEIGHBOURS, Pair, Reference, View
from mmgan.evaluation.features import JOINT, FeatureSpace
from mmgan.evaluation.metrics import METRICS, Metric, metric_of
from mmgan.evaluation.signal import SignalComparison
from mmgan.evaluation.statistics import by_key
from mmgan.schema import Arrays

MAX_COMPARED = 1200  # samples that are compared in a draw, for large data sets
SPLITS = 20  # pairs of halves that say by how much metrics of real samples differ


@dataclass(frozen=True)
class FoldSamples:
    """What one fold's table needs: the samples that its generator saw, those that judge, and the synthetic ones.

    Fold 0 stands for samples that no fold was asked for: the generator saw all training samples. Utility is judged on
    `unseen_groups` where they are given, fidelity and novelty always on `heldout`. `others` are real samples that neither
    judge nor are said to have been seen: copies of them show that the generator saw more than `train`. `pool` are samples without labels
    that it saw too.
    """

    fold: int
    train: LabelledSamples
    heldout: LabelledSamples
    synthetic: LabelledSamples
    unseen_groups: LabelledSamples | None = None
    others: LabelledSamples | None = None
    pool: Arrays | None = None

    def check(self, where: object) -> None:
        """Raise MmganError, naming `where` and the fold, for samples that cannot be judged."""
        try:
            check_samples(self.train, self.train, "training")
            check_samples(self.train, self.heldout, "held-out")
            check_samples(self.train, self.synthetic, "synthetic")
        except MmganError as error:
            raise MmganError(f"{where}" + (f", fold {self.fold}" if self.fold else "") + f": {error}") from None


def n_compared(heldout: int, synthetic: int) -> int:
    """Return how many samples of either kind are compared; raises MmganError where they have too few neighbours."""
    n = min(heldout // 2, synthetic, MAX_COMPARED)
    if n <= NEIGHBOURS:
        raise MmganError(
            f"only {n} samples of either kind can be compared, and {NEIGHBOURS} neighbours need at least "
            f"{NEIGHBOURS + 1}; give more synthetic samples, or twice as many held-out ones, as a file of all folds has."
        )
    return n


class Evaluator:
    """Judges synthetic samples against held-out ones: of one fold, or of several folds together, each by its own training samples.

    `n` samples of either kind are compared in each of `draws` draws: half of the held-out samples, and never more than the
    folds have synthetic samples, or 1200; the same for every row of a table. `quick` makes one draw, takes 3 folds for the
    C2ST in place of 5, and leaves out the gain and single modalities. Raises MmganError for unusable samples.
    """

    def __init__(
        self,
        folds: Sequence[FoldSamples],
        draws: int = 5,
        seed: int = 0,
        quick: bool = False,
        ordered: Sequence[str] = (),
    ) -> None:
        for fold in folds:
            fold.check("these samples")
        self._folds, self._seed, self._quick = folds, seed, quick
        self.draws = 1 if quick else draws
        self.n_classes = 1 + max(int(np.max(fold.train[1])) for fold in folds)
        space = FeatureSpace(_joined([fold.train[0] for fold in folds]), seed=seed)
        options = {"seed": seed, "n_classes": self.n_classes, "ordered": ordered}
        self._references = [
            Reference(fold.train, space, source=s, pool=fold.pool, **options) for s, fold in enumerate(folds)
        ]
        heldout, _ = zip(*(distinct(fold) for fold in folds), strict=True)
        self._heldout = self._view(heldout, 2 * MAX_COMPARED)
        others = [
            reference.flat_parts(fold.others[0])
            for reference, fold in zip(self._references, folds, strict=True)
            if fold.others is not None and len(fold.others[1])
        ]
        self._others = _joined(others) if others else {}
        self._unseen_groups = None
        if all(fold.unseen_groups is not None for fold in folds):
            self._unseen_groups = self._view([fold.unseen_groups for fold in folds])
        self.n = n_compared(len(self._heldout.y), sum(len(fold.synthetic[1]) for fold in folds))
        embedded = self._heldout.embedded[JOINT]
        self._bandwidth = fidelity.median_bandwidth(space.embed(_joined([fold.train[0] for fold in folds])), seed)
        null = fidelity.mmd_null(embedded, self.n, self._bandwidth, seed=seed)
        self._mmd_null = float(np.percentile(null, 95))
        self._signal = SignalComparison(self._heldout.signal, self.n, seed=seed)

    def __call__(
        self,
        synthetic: Sequence[LabelledSamples] | None = None,
        metrics: Sequence[Metric] | None = None,
        draws: int | None = None,
    ) -> dict[str, Any]:
        """Return `metrics` {key: mean over draws}, `draws` {key: values}, `n` and `missing_classes` of each fold's samples.

        By default of the folds' synthetic samples. `metrics` are all by default, `draws` at most those of the judge.
        """
        synthetic = [fold.synthetic for fold in self._folds] if synthetic is None else list(synthetic)
        for fold, samples in zip(self._folds, synthetic, strict=True):
            check_samples(fold.train, samples, "synthetic")
        sizes = [len(y) for _, y in synthetic]
        if sum(sizes) < self.n:
            raise MmganError(f"{sum(sizes)} synthetic samples are given, but {self.n} are compared; give as many.")
        starts = np.cumsum([0, *sizes])

        def drawn(draw: int, _: np.ndarray) -> View:
            chosen = np.sort(np.random.default_rng([self._seed, draw, 1]).permutation(starts[-1])[: self.n])
            own = [chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(starts)]
            return self._view([(take(x, i), np.asarray(y)[i]) for (x, y), i in zip(synthetic, own, strict=True)])

        return self._over_draws(drawn, np.concatenate([y for _, y in synthetic]), self._heldout, metrics, draws)

    def real(self, metrics: Sequence[Metric] | None = None) -> dict[str, Any]:
        """Return the real row: one half of the held-out samples in the place of the synthetic ones, against the other.

        Its `deviation` says by how much metrics differ, as a standard deviation, from one pair of halves to another.
        """
        found = self._over_draws(lambda _, rest: self._heldout.take(rest), self._heldout.y, None, metrics)
        mean, deviation = self._halves_of_real()
        return found | {"metrics": found["metrics"] | mean, "deviation": deviation}

    def _over_draws(
        self,
        other: Callable[[int, np.ndarray], View],
        y: np.ndarray,
        unseen: View | None,
        metrics: Sequence[Metric] | None,
        draws: int | None = None,
    ) -> dict[str, Any]:
        """Judge `other(draw, held-out samples that do not judge)` in each draw; `y` are the labels of all that it draws from."""
        values, metrics = [], self._metrics() if metrics is None else metrics
        for draw in range(min(self.draws, draws or self.draws)):
            judging, rest = self._halves(draw)
            values.append(self._judge(self._pair(judging, other(draw, rest), draw, unseen), metrics))
        per_draw = by_key(values)
        # The best classifier is chosen by its mean over the draws: a maximum in each draw would exceed .5 by chance.
        members = sorted(key for key in per_draw if ":" in key)
        for name in dict.fromkeys(key.split(":")[0] for key in members):
            best = max((key for key in members if key.split(":")[0] == name), key=lambda key: np.mean(per_draw[key]))
            per_draw[name] = per_draw[best]
        return {
            "metrics": {key: float(np.mean(found)) for key, found in per_draw.items()},
            "draws": per_draw,
            "n": self.n,
            "missing_classes": np.setdiff1d(np.concatenate([each.y for each in self._references]), y).tolist(),
        }

    def distances(self, samples: Sequence[LabelledSamples]) -> dict[str, np.ndarray]:
        """Return the distance (n,) of each fold's samples to their nearest training sample of the class, by part."""
        return self._view(samples).within

    def confusion(self, synthetic: bool) -> np.ndarray:
        """Return the confusion (true, predicted) of classifiers trained on the synthetic samples, or on the training samples."""
        test = self._unseen_groups or self._heldout
        predicted = test.predicted
        if synthetic:
            other = self._view([fold.synthetic for fold in self._folds], MAX_TRAINED)
            predicted = self._pair(np.arange(len(self._heldout.y)), other, 0).answers.argmax(1)
        return utility.confusion(test.y, predicted, self.n_classes)

    def _view(self, samples: Sequence[LabelledSamples], most: int | None = None) -> View:
        """Return the view of each fold's samples together, of at most so many in all."""
        views = []
        for reference, (x, y) in zip(self._references, samples, strict=True):
            kept = np.random.default_rng(self._seed + 1).permutation(len(y))[: most and -(-most // len(samples))]
            views.append(reference.view(take(x, kept), np.asarray(y)[kept]) if len(kept) else None)
        return View.joined([view for view in views if view is not None])

    def _halves(self, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the held-out samples that judge in this draw, and as many others: the same for every row of a table."""
        order = np.random.default_rng([self._seed, draw % 2**32, 0]).permutation(len(self._heldout.y))
        return order[: self.n], order[self.n : 2 * self.n]

    def _pair(self, judging: np.ndarray, other: View, draw: int, unseen: View | None = None) -> Pair:
        heldout = self._heldout.take(judging)
        unseen = unseen or heldout
        return Pair(
            heldout,
            other,
            self._references,
            unseen.flat,
            self._others,
            self._bandwidth,
            self._mmd_null,
            self._signal,
            self._unseen_groups,
            draw,
            self._quick,
        )

    def _metrics(self) -> list[Metric]:
        return [each for each in METRICS.values() if each.cost != "costly" or not self._quick]

    @staticmethod
    def _judge(pair: Pair, metrics: Sequence[Metric]) -> dict[str, float]:
        return {key: value for metric in metrics for key, value in metric.of(pair).items()}

    def _halves_of_real(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the mean and the standard deviation of cheap metrics of real samples, over pairs of halves of the held-out ones."""
        cheap, values = [each for each in METRICS.values() if each.cost == "cheap"], []
        for split in range(SPLITS):
            first, second = self._halves(-1 - split)
            values.append(self._judge(self._pair(first, self._heldout.take(second), 0), cheap))
        found = {key: each for key, each in by_key(values).items() if np.isfinite(each).sum() > 1}
        mean = {key: float(np.nanmean(each)) for key, each in found.items()}
        deviation = {
            key: max(
                float(np.nanstd(each, ddof=1)) * _honest_factor(key, self.n),
                _least_deviation(key, mean[key], self._n_behind(key)),
            )
            for key, each in found.items()
        }
        # Of an AUC by its null (Mann & Whitney 1947), since classifiers are too dear to fit again and again.
        null = float(np.sqrt((2 * self.n + 1) / (12 * self.n * self.n)))
        auc = dict.fromkeys(["c2st", "axis_c2st", *(f"c2st/{name}" for name in self._folds[0].train[0])], null)
        return mean, auc | deviation

    def _n_behind(self, key: str) -> int:
        """Return how many of the compared samples a figure is of: all, or those of a class."""
        if not metric_of(key).by_class:
            return self.n
        return max(1, round(self.n * float(np.mean(self._heldout.y == int(key.rpartition("/")[2])))))


def _honest_factor(key: str, n: int) -> float:
    """Return by how much figures of fresh samples differ more than those of halves do: measured on 40 partitions of `watch`.

    Of few samples the deviation itself is not known well.
    """
    return (1.75 if metric_of(key).uneven else 1.25) * (1 + 30 / n)


def _least_deviation(key: str, mean: float, n: int) -> float:
    """Return the standard deviation of a share of n samples whose mean is known from about as many (Laplace's rule)."""
    if not metric_of(key).share:
        return 0.0
    share = (mean * n + 1) / (n + 2)
    return float(np.sqrt(share * (1 - share) / n))


def _joined(sets: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([x[name] for x in sets]) for name in sets[0]}


def distinct(fold: FoldSamples) -> tuple[LabelledSamples, int]:
    """Return a fold's held-out samples without those that equal a training sample or an earlier one, and how many those are.

    Samples that were recorded twice would pass for copies. Where that leaves less than half, as of integers, all stay.
    """
    known = [x for x in (fold.train[0], fold.pool) if x is not None]
    seen = {_bytes(x, i) for x in known for i in range(n_samples_of(x))}
    (x, y), kept = fold.heldout, []
    for i in range(len(y)):
        if (own := _bytes(x, i)) not in seen:
            seen.add(own)
            kept.append(i)
    if 2 * len(kept) < len(y):
        return fold.heldout, len(y) - len(kept)
    return (take(x, np.array(kept)), np.asarray(y)[kept]), len(y) - len(kept)


def _bytes(x: Mapping[str, np.ndarray], i: int) -> bytes:
    return b"".join(np.asarray(values[i], np.float32).tobytes() for values in x.values())
