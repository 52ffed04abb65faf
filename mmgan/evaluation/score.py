"""The one scalar for tuning: a geometric mean of four parts in [0, 1], in at most a second on one thread."""

import numpy as np

from mmgan.data.arrays import LabelledSamples, all_finite, n_samples_of, take
from mmgan.errors import MmganError
from mmgan.evaluation import classifiers
from mmgan.evaluation.axis import axis_classifier, axis_statistics
from mmgan.evaluation.features import FeatureSpace, nearest, nearest_within
from mmgan.evaluation.fidelity import c2st_auc
from mmgan.schema import Arrays

PARTS = ("utility", "coverage", "indistinguishability", "novelty")

# Bounds of the work, so that a data set of 200 000 samples costs as little as one of 2000.
MAX_COMPARED = 400
MAX_TRAINED = 1000
MAX_REFERENCE = 10_000
MIN_SAMPLES = 6  # two samples of either kind for each of the three folds of the C2ST


class CheapScore:
    """Scores synthetic samples against held-out samples; what does not depend on them is computed once.

    Samples are {name: (n, *shape)} in physical units, labels (n,) integers. Raises MmganError where either has fewer
    than 6 samples. `pool` are samples without labels that the generator saw too: they count for novelty. `tested` are labelled
    samples that judge utility in the place of the held-out ones.
    """

    def __init__(
        self,
        train_x: Arrays,
        train_y: np.ndarray,
        heldout_x: Arrays,
        heldout_y: np.ndarray,
        seed: int = 0,
        pool: Arrays | None = None,
        tested: LabelledSamples | None = None,
    ) -> None:
        if n_samples_of(heldout_x) < MIN_SAMPLES or n_samples_of(train_x) < MIN_SAMPLES:
            raise MmganError(
                f"a score needs {MIN_SAMPLES} training and {MIN_SAMPLES} held-out samples; train for a fixed length."
            )
        self.seed = seed
        reference = self._limit(n_samples_of(train_x), MAX_REFERENCE)
        train_x, self._train_y = take(train_x, reference), np.asarray(train_y)[reference]
        kept = self._limit(n_samples_of(heldout_x), MAX_TRAINED)
        heldout_x = take(heldout_x, kept)
        self._space = FeatureSpace(train_x, seed=seed)
        self._train = self._space.flat(train_x)
        self._heldout = self._space.flat(heldout_x)
        self._tested = self._heldout, np.asarray(heldout_y)[kept]
        if tested is not None:
            kept = self._limit(len(tested[1]), MAX_TRAINED)
            self._tested = self._space.flat(take(tested[0], kept)), np.asarray(tested[1])[kept]
        self._seen = self._train if pool is None else np.concatenate([self._train, self._space.flat(pool)])
        self._train_embedded = self._space.embed(train_x)
        self._heldout_embedded = self._space.embed(heldout_x)
        self._heldout_axis = self._axis(heldout_x)
        self._heldout_distance = float(np.median(nearest(self._seen, self._heldout)))
        self._trtr = self._f1(self._train, self._train_y)
        self._real_coverage: dict[int, float] = {}

    def __call__(self, synth_x: Arrays, synth_y: np.ndarray) -> dict[str, float]:
        """Return `score` and its parts; samples that are not finite, or fewer than 6, score 0 in everything."""
        n = n_samples_of(synth_x)
        if n < MIN_SAMPLES or not all_finite(synth_x):
            return {"score": 0.0, **dict.fromkeys(PARTS, 0.0)}
        kept = self._limit(n, min(MAX_TRAINED, len(self._train)))
        synth_x, synth_y = take(synth_x, kept), np.asarray(synth_y)[kept]
        flat, embedded = self._space.flat(synth_x), self._space.embed(synth_x)
        size = min(len(flat), len(self._heldout), MAX_COMPARED)
        parts = {
            "utility": self._utility(flat, synth_y),
            "coverage": min(1.0, self._coverage(embedded, size) / max(self._coverage_of_real(size), 1e-6)),
            "indistinguishability": self._indistinguishability(flat, self._axis(synth_x), size),
            "novelty": self._novelty(flat),
        }
        score = float(np.prod([parts[key] for key in PARTS]) ** (1 / len(PARTS)))
        return {"score": score, **parts}

    def _limit(self, n: int, most: int) -> np.ndarray:
        """Return a random order of at most `most` of the indices of `n` samples; the same one each time."""
        return np.random.default_rng(self.seed).permutation(n)[:most]

    def _f1(self, flat: np.ndarray, y: np.ndarray) -> float:
        flat, y = flat[:MAX_TRAINED], y[:MAX_TRAINED]
        fitted = [classifiers.fit(c, flat, y) for c in classifiers.fast_classifiers(self.seed).values()]
        tested, labels = self._tested
        return float(np.mean([classifiers.macro_f1(labels, c.predict(tested)) for c in fitted]))

    def _utility(self, flat: np.ndarray, y: np.ndarray) -> float:
        if len(np.unique(self._train_y)) < 2:
            return 1.0  # one class: nothing to tell apart, so nothing can be lost
        return min(1.0, self._f1(flat, y) / max(self._trtr, 1e-6))

    def _coverage(self, embedded: np.ndarray, size: int) -> float:
        """Return the mean coverage of `size` held-out samples by as many other samples, over up to five disjoint draws."""
        heldout = self._heldout_embedded[:size]
        radius = nearest_within(heldout, min(5, size - 1))[:, -1]
        draws = [embedded[start : start + size] for start in range(0, len(embedded) - size + 1, size)]
        return float(np.mean([nearest(draw, heldout)[:, 0] <= radius for draw in draws[:5]]))

    def _coverage_of_real(self, size: int) -> float:
        if size not in self._real_coverage:
            self._real_coverage[size] = self._coverage(self._train_embedded, min(size, len(self._train_embedded)))
        return self._real_coverage[size]

    def _axis(self, x: Arrays) -> np.ndarray:
        return np.concatenate([axis_statistics(self._space.in_units(x, name)) for name in self._space.names], axis=1)

    def _indistinguishability(self, flat: np.ndarray, axis: np.ndarray, size: int) -> float:
        """Return 2 - 2 AUC, the geometric mean of that by values and of that along the axis, where there is one."""
        members = classifiers.two_sample_classifiers(flat.shape[1], self.seed)
        del members["mlp"]  # it takes as long as the rest and a forest is better on all that was tried
        auc = [max(c2st_auc(self._heldout[:size], flat[:size], members, folds=3, seed=self.seed).values())]
        if axis.shape[1]:
            along = {"axis": axis_classifier()}
            auc.append(c2st_auc(self._heldout_axis[:size], axis[:size], along, folds=3, seed=self.seed)["axis"])
        return float(np.prod(np.clip(2 - 2 * np.array(auc), 0.01, 1.0)) ** (1 / len(auc)))

    def _novelty(self, flat: np.ndarray) -> float:
        distance = float(np.median(nearest(self._seen, flat)))
        if self._heldout_distance < 1e-9:
            return 1.0  # unseen real samples are copies themselves: no distance can be asked of synthetic ones
        return min(1.0, distance / self._heldout_distance)
