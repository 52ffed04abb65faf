"""Augmentation: what do extra samples add to classifiers that have few real ones?"""

import numpy as np
from sklearn.base import ClassifierMixin

from mmgan.baselines import mixup
from mmgan.data.arrays import LabelledSamples, check_samples
from mmgan.evaluation.classifiers import macro_f1, probabilities
from mmgan.evaluation.features import FeatureSpace
from mmgan.evaluation.utility import fit_panel, log_loss

TIMES = 4  # extra real samples per real one where classes are equally few
SYNTHETIC = 400  # synthetic samples of a class; 200 carry less of what unlabelled samples tell, more cost time


def real_per_class(kept: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return how many real samples (K,) to add to classes of `kept` (K,) samples, of which `left_out` (K,) more exist.

    Classes of unequal size are filled up to the largest; those of equal size get up to four times their samples.
    """
    level = kept.max() if (kept < kept.max()).any() else (1 + TIMES) * kept.max()
    return np.minimum(level - kept, left_out)


def synthetic_of_a_class(unlabelled: int, n_classes: int) -> int:
    """Return how many synthetic samples of a class to make where so many unlabelled samples were learnt from.

    A few of them tell little, and many samples that say no more than the labelled ones do harm: -1.5 points by a pool of ten.
    """
    return min(SYNTHETIC, 10 * unlabelled // n_classes)


def synthetic_per_class(kept: np.ndarray, unlabelled: int | None = None) -> np.ndarray:
    """Return how many synthetic samples (K,) to add to classes of `kept` (K,) samples, of a generator that learnt from `unlabelled` others.

    `SYNTHETIC` (with few unlabelled samples less), and what unequal classes lack.
    """
    return kept.max() - kept + (SYNTHETIC if unlabelled is None else synthetic_of_a_class(unlabelled, len(kept)))


class Augmentation:
    """Measures what extra samples add to real training samples, on held-out samples: to the vote of the panel, and to its members.

    Everything fitted before sees the training samples only. Raises MmganError for unusable samples. Metrics are `baseline`
    and `f1`, the vote's macro-F1 without and with the extra samples, and `gain`, their difference; `members_baseline` and
    `members_gain`, means over the five classifiers; `log_loss_gain`, by how much the vote's log loss falls; and for each
    classifier `baseline/<name>` and `f1/<name>`.
    """

    def __init__(self, train: LabelledSamples, heldout: LabelledSamples, seed: int = 0) -> None:
        check_samples(train, train, "training")
        check_samples(train, heldout, "held-out")
        self._space = FeatureSpace(train[0])
        self._train, self._seed = train, seed
        self._real = self._space.flat(train[0]), np.asarray(train[1])
        self._test = self._space.flat(heldout[0]), np.asarray(heldout[1])
        self._n_classes = int(max(self._real[1].max(), self._test[1].max())) + 1
        self._alone = self._scores(*self._real)

    def samples(self, extra: LabelledSamples) -> dict[str, float]:
        """Return the metrics of extra samples, synthetic or real."""
        check_samples(self._train, extra, "extra")
        added = self._space.flat(extra[0]), np.asarray(extra[1])
        return self._metrics(self._scores(*(np.concatenate(pair) for pair in zip(self._real, added, strict=True))))

    def class_weights(self) -> dict[str, float]:
        """Return the metrics of weighing classes inversely to their size, which adds no samples."""
        return self._metrics(self._scores(*self._real, balanced=True))

    def mixup(self, count: int) -> dict[str, float]:
        """Return the metrics of `count` convex mixtures of training samples."""
        return self.samples(mixup(*self._train, count, np.random.default_rng(self._seed)))

    def _scores(self, flat: np.ndarray, y: np.ndarray, balanced: bool = False) -> dict[str, float]:
        """Return macro-F1 of the vote (`""`) and of each member, and the vote's `log_loss`."""
        panel = fit_panel(flat, y, self._seed, balanced, self._n_classes)
        answers = {name: self._answers(member) for name, member in panel.members.items()}
        vote, true = np.mean(list(answers.values()), axis=0), self._test[1]
        found = {name: macro_f1(true, each.argmax(1)) for name, each in answers.items()}
        return {"": macro_f1(true, vote.argmax(1)), "log_loss": log_loss(true, vote), **found}

    def _answers(self, member: ClassifierMixin) -> np.ndarray:
        return probabilities(member, self._test[0], self._n_classes)

    def _metrics(self, found: dict[str, float]) -> dict[str, float]:
        before, members = self._alone, [name for name in found if name not in ("", "log_loss")]
        mean_before, mean = (float(np.mean([each[name] for name in members])) for each in (before, found))
        metrics = {
            "baseline": before[""],
            "f1": found[""],
            "gain": found[""] - before[""],
            "members_baseline": mean_before,
            "members_gain": mean - mean_before,
            "log_loss_gain": before["log_loss"] - found["log_loss"],
        }
        parts = {"baseline": before, "f1": found}
        return metrics | {f"{key}/{name}": each[name] for key, each in parts.items() for name in members}
