"""Utility: how good are classifiers trained on synthetic samples, on real samples that nobody has seen?"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from mmgan.evaluation.classifiers import fit, macro_f1, probabilities, task_classifiers

LEAST_PROBABILITY = 1e-3  # in a log loss: a class that a classifier never saw costs 6.9


@dataclass(frozen=True)
class Panel:
    """The five classifiers of `task_classifiers`, fitted on one set of samples; their soft vote answers."""

    members: dict[str, ClassifierMixin]
    n_classes: int

    def probabilities(self, flat: np.ndarray) -> np.ndarray:
        """Return the members' mean class probabilities (n, n_classes) of samples (n, F)."""
        return np.mean([probabilities(member, flat, self.n_classes) for member in self.members.values()], axis=0)

    def predict(self, flat: np.ndarray) -> np.ndarray:
        """Return the labels (n,) of the soft vote."""
        return self.probabilities(flat).argmax(1)


def fit_panel(
    flat: np.ndarray, y: np.ndarray, seed: int = 0, balanced: bool = False, n_classes: int | None = None
) -> Panel:
    """Fit the panel on samples (n, F) with labels (n,); `balanced` weighs classes inversely to their size."""
    weights = compute_sample_weight("balanced", y) if balanced else None
    members = task_classifiers(flat.shape[1], seed)
    return Panel({name: fit(each, flat, y, weights) for name, each in members.items()}, n_classes or int(y.max()) + 1)


def log_loss(y_true: np.ndarray, found: np.ndarray) -> float:
    """Return the mean negative log probability of the true class; `found` is (n, K)."""
    return float(-np.log(np.maximum(found[np.arange(len(y_true)), y_true], LEAST_PROBABILITY)).mean())


def class_recall(y_true: np.ndarray, predicted: np.ndarray) -> dict[int, float]:
    """Return per class of `y_true` the share of its samples found."""
    return {int(c): float(np.mean(predicted[y_true == c] == c)) for c in np.unique(y_true)}


def confusion(y_true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the confusion matrix (true, predicted); the line of each class that occurs sums to 1."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (y_true, predicted), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def train_and_test(
    train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray, seed: int = 0, balanced: bool = False
) -> float:
    """Return the macro-F1 on `test` of the panel trained on `train`: TRTR, TSTR or TRTS.

    Papers: https://arxiv.org/abs/1706.02633, https://arxiv.org/abs/1905.10887.
    """
    n_classes = int(max(train_y.max(), test_y.max())) + 1
    return macro_f1(test_y, fit_panel(train, train_y, seed, balanced, n_classes).predict(test))


def chance_f1(y: np.ndarray) -> float:
    """Return the macro-F1 of always answering the most frequent class of `y`, and 2 standard errors: no more says nothing."""
    constant = macro_f1(y, np.full(len(y), np.bincount(y).argmax()))
    return constant + 2 * float(np.sqrt(constant * (1 - constant) / len(y)))


def captured(gain: float, real_gain: float, real_gain_error: float) -> float | None:
    """Return the share of the gain of as many extra real samples; None where that gain is within 2 standard errors of 0."""
    return gain / real_gain if real_gain > 2 * real_gain_error else None
