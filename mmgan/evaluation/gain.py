"""Augmentation: what do extra samples add to classifiers that have few real ones?"""

from dataclasses import dataclass

import numpy as np

from mmgan.baselines import mixup
from mmgan.data.arrays import LabelledSamples, check_samples
from mmgan.evaluation import utility
from mmgan.evaluation.features import FeatureSpace

TIMES = 4  # extra samples per real one where classes are equally few


def extra_per_class(kept: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return how many samples (K,) to add to classes of `kept` (K,) samples, of which `left_out` (K,) more exist.

    Classes of unequal size are filled up to the largest; those of equal size get up to four times their samples. Never more
    than exist, so that as many extra *real* samples can be set against the synthetic ones.
    """
    level = kept.max() if (kept < kept.max()).any() else (1 + TIMES) * kept.max()
    return np.minimum(level - kept, left_out)


@dataclass(frozen=True)
class Gain:
    """Macro-F1 of the panel with the extra samples, and what that is more than without them; means over classifier seeds."""

    f1: float
    gain: float


class Augmentation:
    """Measures what extra samples add to real training samples, on held-out samples; classifiers are fitted with several seeds.

    Everything fitted before sees the training samples only. Raises MmganError for unusable samples.
    """

    def __init__(self, train: LabelledSamples, heldout: LabelledSamples, seeds: int = 3) -> None:
        check_samples(train, train, "training")
        check_samples(train, heldout, "held-out")
        self._space = FeatureSpace(train[0])
        self._train, self._seeds = train, range(seeds)
        self._real = self._space.flat(train[0]), np.asarray(train[1])
        self._test = self._space.flat(heldout[0]), np.asarray(heldout[1])
        self.baseline = [utility.train_and_test(*self._real, *self._test, seed=seed) for seed in self._seeds]

    def rows(self, extra: LabelledSamples) -> Gain:
        """Return the gain of extra samples, synthetic or real."""
        check_samples(self._train, extra, "extra")
        added = self._space.flat(extra[0]), np.asarray(extra[1])
        both = [np.concatenate(pair) for pair in zip(self._real, added, strict=True)]
        return self._gain_of([utility.train_and_test(*both, *self._test, seed=seed) for seed in self._seeds])

    def class_weights(self) -> Gain:
        """Return the gain of weighing classes inversely to their size, which adds no samples."""
        return self._gain_of(
            [utility.train_and_test(*self._real, *self._test, seed=seed, balanced=True) for seed in self._seeds]
        )

    def mixup(self, count: int) -> Gain:
        """Return the gain of `count` convex mixtures of training samples."""
        return self.rows(mixup(*self._train, count, np.random.default_rng(0)))

    def _gain_of(self, f1: list[float]) -> Gain:
        return Gain(float(np.mean(f1)), float(np.mean(np.subtract(f1, self.baseline))))
