"""Utility: how good are classifiers trained on synthetic samples, on real samples that nobody has seen?"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from mmgan.evaluation.classifiers import fit, macro_f1, task_classifiers


@dataclass(frozen=True)
class Panel:
    """The four classifiers of `task_classifiers`, fitted on one set of samples."""

    members: dict[str, ClassifierMixin]

    def predict(self, flat: np.ndarray) -> np.ndarray:
        """Return the labels (4, n) that each member gives to the samples (n, F)."""
        return np.stack([member.predict(flat) for member in self.members.values()])


def fit_panel(flat: np.ndarray, y: np.ndarray, seed: int = 0, balanced: bool = False) -> Panel:
    """Fit the panel on samples (n, F) with labels (n,); `balanced` weighs classes inversely to their size."""
    weights = compute_sample_weight("balanced", y) if balanced else None
    return Panel(
        {name: fit(member, flat, y, weights) for name, member in task_classifiers(flat.shape[1], seed).items()}
    )


def panel_f1(y_true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the members' predictions (4, n) of the macro-F1 against `y_true` (n,)."""
    return float(np.mean([macro_f1(y_true, answers) for answers in predicted]))


def class_recall(y_true: np.ndarray, predicted: np.ndarray) -> dict[int, float]:
    """Return per class of `y_true` the share of its samples found, as the mean over the members' predictions (4, n)."""
    return {int(c): float(np.mean(predicted[:, y_true == c] == c)) for c in np.unique(y_true)}


def confusion(y_true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the members' mean confusion matrix (true, predicted); the line of each class that occurs sums to 1."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (np.broadcast_to(y_true, predicted.shape), predicted), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def train_and_test(
    train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray, seed: int = 0, balanced: bool = False
) -> float:
    """Return the macro-F1 on `test` of classifiers trained on `train`, mean over the panel: TRTR, TSTR or TRTS.

    Papers: https://arxiv.org/abs/1706.02633, https://arxiv.org/abs/1905.10887.
    """
    return panel_f1(test_y, fit_panel(train, train_y, seed, balanced).predict(test))


def captured(gain: float, real_gain: float, real_gain_error: float) -> float | None:
    """Return the share of the gain of as many extra real samples; None where that gain is within 2 standard errors of 0."""
    return gain / real_gain if real_gain > 2 * real_gain_error else None
