"""The protocol: training, held-out and synthetic samples in, a row of a table out, at equal numbers and over several draws.

Everything fitted sees training samples only. Each set is a pair (x, y): {name: (n, *shape)} in physical units, labels (n,).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgan.data.arrays import LabelledSamples, check_samples, take
from mmgan.errors import MmganError
from mmgan.evaluation import classifiers, fidelity, utility
from mmgan.evaluation.coherence import Retrieval
from mmgan.evaluation.features import JOINT, FeatureSpace, nearest
from mmgan.evaluation.novelty import novelty
from mmgan.evaluation.signal import SampleStatistics, SignalComparison, sample_statistics
from mmgan.evaluation.statistics import by_key
from mmgan.schema import Arrays

NEIGHBOURS = 5
# Bounds of the work for large data sets: samples compared in a draw, and samples that a classifier is trained on.
MAX_COMPARED = 1200
MAX_TRAINED = 3000


@dataclass(frozen=True)
class _View:
    """What the metrics need of some samples; `distance` is to the nearest training sample, jointly and per modality."""

    y: np.ndarray
    flat: np.ndarray
    parts: dict[str, np.ndarray]
    embedded: np.ndarray
    distance: dict[str, np.ndarray]
    signal: dict[str, SampleStatistics]
    x: Arrays

    def take(self, index: np.ndarray) -> "_View":
        """Return the view of the samples `index`."""
        return _View(
            self.y[index],
            self.flat[index],
            take(self.parts, index),
            self.embedded[index],
            take(self.distance, index),
            {name: signal.take(index) for name, signal in self.signal.items()},
            take(self.x, index),
        )


def n_compared(heldout: int, synthetic: int, most: int | None = None) -> int:
    """Return how many samples of either kind are compared; raises MmganError where they have too few neighbours."""
    n = min(heldout // 2, synthetic, MAX_COMPARED, most or MAX_COMPARED)
    if n <= NEIGHBOURS:
        raise MmganError(
            f"only {n} samples of either kind can be compared, and {NEIGHBOURS} neighbours need at least "
            f"{NEIGHBOURS + 1}; give more synthetic samples, or twice as many held-out ones."
        )
    return n


class Evaluator:
    """Judges any number of synthetic sets against one pair of training and held-out samples.

    `n` samples of either kind are compared in each of `draws` draws; by default half of the held-out samples, and never more
    than the synthetic samples or 1200. Give the same `n` for every row of a table. `quick` makes one draw, takes 3 folds
    for the C2ST in place of 5, and leaves out the gain and the per-modality C2ST. Raises MmganError for unusable samples.
    """

    def __init__(
        self,
        train: LabelledSamples,
        heldout: LabelledSamples,
        n: int | None = None,
        draws: int = 5,
        seed: int = 0,
        quick: bool = False,
        unseen_groups: LabelledSamples | None = None,
    ) -> None:
        check_samples(train, train, "training")
        check_samples(train, heldout, "held-out")
        self._train, self._n, self._seed, self._quick = train, n, seed, quick
        self.draws = 1 if quick else draws
        self._space = FeatureSpace(train[0], seed=seed)
        self._train_parts = {name: self._space.flat(train[0], name) for name in (JOINT, *self._space.names)}
        fitted = np.random.default_rng(seed).permutation(len(train[1]))[:MAX_TRAINED]
        self._fitted = self._train_parts[JOINT][fitted], np.asarray(train[1])[fitted]
        self._panel = utility.fit_panel(*self._fitted, seed=seed)
        self._retrieval = Retrieval(self._space, train[0], seed)
        self._bandwidth = fidelity.median_bandwidth(self._space.embed(train[0]), seed)
        kept = np.random.default_rng(seed + 1).permutation(len(heldout[1]))[: 2 * MAX_COMPARED]
        self._heldout = self._view(take(heldout[0], kept), np.asarray(heldout[1])[kept])
        self._tested = self._heldout.flat, self._heldout.y, self._panel.predict(self._heldout.flat)
        self._unseen_groups = None
        if unseen_groups is not None:
            check_samples(train, unseen_groups, "held-out")
            flat = self._space.flat(unseen_groups[0])
            self._unseen_groups = self._tested = flat, np.asarray(unseen_groups[1]), self._panel.predict(flat)
        self._references: dict[int, tuple[float, SignalComparison]] = {}

    def __call__(self, synthetic: LabelledSamples) -> dict[str, Any]:
        """Return `metrics` {key: mean over draws}, `draws` {key: values}, `n`, and `missing_classes` of the synthetic samples."""
        check_samples(self._train, synthetic, "synthetic")
        x, y = synthetic[0], np.asarray(synthetic[1])
        n = n_compared(len(self._heldout.y), len(y), self._n)

        def drawn(draw: int, _: np.ndarray) -> _View:
            chosen = np.random.default_rng([self._seed, draw, 1]).permutation(len(y))[:n]
            return self._view(take(x, chosen), y[chosen])

        return self._over_draws(drawn, y, n)

    def real(self) -> dict[str, Any]:
        """Return the real row: one half of the held-out samples in the place of the synthetic ones, against the other.

        Its `deviation` says by how much metrics differ, as a standard deviation, from one pair of halves to another.
        """
        n = n_compared(len(self._heldout.y), len(self._heldout.y), self._n)
        found = self._over_draws(lambda _, rest: self._heldout.take(rest), self._heldout.y, n)
        return found | {"deviation": self._deviation(n)}

    def _over_draws(self, other: Callable[[int, np.ndarray], _View], y: np.ndarray, n: int) -> dict[str, Any]:
        """Judge `other(draw, held-out samples that do not judge)` in each draw; `y` are the labels of all that it draws from."""
        values = []
        for draw in range(self.draws):
            judging, rest = self._halves(draw, n)
            values.append(self._judge(judging, other(draw, rest), draw))
        per_draw = by_key(values)
        # The best classifier is chosen by its mean over the draws: a maximum in each draw would exceed .5 by chance.
        members = sorted(key for key in per_draw if ":" in key)
        for name in dict.fromkeys(key.split(":")[0] for key in members):
            best = max((key for key in members if key.split(":")[0] == name), key=lambda key: np.mean(per_draw[key]))
            per_draw[name] = per_draw[best]
        return {
            "metrics": {key: float(np.mean(found)) for key, found in per_draw.items()},
            "draws": per_draw,
            "n": n,
            "missing_classes": np.setdiff1d(self._train[1], y).tolist(),
        }

    def distances(self, x: Arrays) -> dict[str, np.ndarray]:
        """Return the distance (n,) of samples to their nearest training sample, `joint` and per modality."""
        return self._distances({name: self._space.flat(x, name) for name in self._train_parts})

    def confusion(self, synthetic: LabelledSamples | None = None) -> np.ndarray:
        """Return the confusion (true, predicted) of classifiers trained on synthetic samples, or on the training samples."""
        flat, y, predicted = self._tested
        if synthetic is not None:
            chosen = np.random.default_rng(self._seed).permutation(len(synthetic[1]))[:MAX_TRAINED]
            drawn = self._space.flat(take(synthetic[0], chosen)), np.asarray(synthetic[1])[chosen]
            predicted = utility.fit_panel(*drawn, self._seed).predict(flat)
        return utility.confusion(y, predicted, int(np.max(self._train[1])) + 1)

    def _halves(self, draw: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the held-out samples that judge in this draw, and as many others: the same for every row of a table."""
        order = np.random.default_rng([self._seed, draw % 2**32, 0]).permutation(len(self._heldout.y))
        return order[:n], order[n : 2 * n]

    def _view(self, x: Arrays, y: np.ndarray) -> _View:
        parts = {name: self._space.flat(x, name) for name in self._train_parts}
        distance, flat = self._distances(parts), parts.pop(JOINT)
        signal = {name: sample_statistics(parts[name], np.asarray(x[name])) for name in self._space.names}
        return _View(y, flat, parts, self._space.embed(x), distance, signal, {k: np.asarray(v) for k, v in x.items()})

    def _distances(self, parts: Arrays) -> dict[str, np.ndarray]:
        return {name: nearest(self._train_parts[name], flat)[:, 0] for name, flat in parts.items()}

    def _judge(self, judging: np.ndarray, other: _View, draw: int) -> dict[str, float]:
        heldout = self._heldout.take(judging)
        null, signal = self._reference(len(judging))
        return {
            **self._c2st(heldout, other, draw),
            **self._neighbourhood(heldout, other),
            "mmd": fidelity.mmd(heldout.embedded, other.embedded, self._bandwidth),
            "mmd_null": null,
            **self._utility(judging, other, draw),
            **self._novelty(heldout, other),
            **signal(heldout.signal, other.signal),
        }

    def _deviation(self, n: int, splits: int = 20) -> dict[str, float]:
        values = []
        for split in range(splits):
            first, second = (self._heldout.take(half) for half in self._halves(-1 - split, n))
            values.append(self._neighbourhood(first, second) | self._novelty(first, second))
        # Of an AUC by its null (Mann & Whitney 1947), since classifiers are too dear to fit again and again.
        null = float(np.sqrt((2 * n + 1) / (12 * n * n)))
        return {"c2st": null, **{key: float(np.std(found, ddof=1)) for key, found in by_key(values).items()}}

    def _neighbourhood(self, heldout: _View, other: _View) -> dict[str, float]:
        spread = fidelity.within_class_spread(heldout.embedded, heldout.y)
        return {
            **fidelity.prdc(heldout.embedded, other.embedded, NEIGHBOURS),
            "spread": fidelity.within_class_spread(other.embedded, other.y) / max(spread, 1e-12),
            **self._class_spread(heldout, other),
            **self._retrieval(other.x, other.y),
        }

    @staticmethod
    def _class_spread(heldout: _View, other: _View) -> dict[str, float]:
        ours, real = (fidelity.class_variance(view.embedded, view.y) for view in (other, heldout))
        return {f"class_spread/{k}": ours[k] / max(real[k], 1e-12) for k in ours if k in real}

    def _reference(self, n: int) -> tuple[float, SignalComparison]:
        """Return what real samples differ from real samples by: the 95th percentile of the MMD, and the signals' units."""
        if n not in self._references:
            null = fidelity.mmd_null(self._heldout.embedded, n, self._bandwidth, seed=self._seed)
            signal = SignalComparison(self._heldout.signal, n, seed=self._seed)
            self._references[n] = float(np.percentile(null, 95)), signal
        return self._references[n]

    def _c2st(self, heldout: _View, other: _View, draw: int) -> dict[str, float]:
        members = classifiers.two_sample_classifiers(heldout.flat.shape[1], draw)
        found = {"c2st": fidelity.c2st_auc(heldout.flat, other.flat, members, 3 if self._quick else 5, seed=draw)}
        if not self._quick and len(self._space.names) > 1:
            members = classifiers.fast_classifiers(draw)
            for name in self._space.names:
                pair = heldout.parts[name], other.parts[name]
                found[f"c2st/{name}"] = fidelity.c2st_auc(*pair, members, folds=3, seed=draw)
        return {f"{key}:{member}": auc for key, each in found.items() for member, auc in each.items()}

    def _utility(self, judging: np.ndarray, other: _View, draw: int) -> dict[str, float]:
        test, truth, answers = self._tested
        if self._unseen_groups is None:
            test, truth, answers = test[judging], truth[judging], answers[:, judging]
        trtr = utility.panel_f1(truth, answers)
        predicted = utility.fit_panel(other.flat, other.y, draw).predict(test)
        result = {
            "trtr": trtr,
            "tstr": utility.panel_f1(truth, predicted),
            "trts": utility.panel_f1(other.y, self._panel.predict(other.flat)),
            **{f"class_recall/{label}": v for label, v in utility.class_recall(truth, predicted).items()},
        }
        if not self._quick:
            both = [np.concatenate(pair) for pair in zip(self._fitted, (other.flat, other.y), strict=True)]
            grown = utility.fit_panel(*both, seed=self._seed).predict(test)
            result["gain"] = utility.panel_f1(truth, grown) - trtr
        return result

    def _novelty(self, heldout: _View, other: _View) -> dict[str, float]:
        result = {}
        for name in heldout.distance:
            if name != JOINT and len(self._space.names) == 1:
                continue
            suffix = "" if name == JOINT else f"/{name}"
            found = novelty(heldout.distance[name], other.distance[name])
            result |= {key + suffix: value for key, value in found.items()}
        return result
