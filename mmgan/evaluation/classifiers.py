"""The classifiers that judge: fixed settings, standardised samples in, one thread, quiet about convergence."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC


def forest(width: int, seed: int = 0, share: float = 0.5) -> RandomForestClassifier:
    """Return 100 trees for samples of `width` features, of which each split tries `share` of the usual sqrt(width).

    A half, and between real and synthetic samples a quarter, give the same F1 and AUC (to .02) in as much less time.
    """
    return RandomForestClassifier(100, max_features=max(1, round(share * math.sqrt(width))), random_state=seed)


def task_classifiers(width: int, seed: int = 0) -> dict[str, ClassifierMixin]:
    """Return the four classifiers of the utility columns."""
    return {
        "logistic": LogisticRegression(C=0.1, max_iter=200),
        "forest": forest(width, seed),
        "svc": SVC(C=10.0, gamma="scale"),
        "mlp": MLPClassifier((128,), alpha=1e-3, max_iter=40, batch_size=64, random_state=seed),
    }


def fast_classifiers(seed: int = 0) -> dict[str, ClassifierMixin]:
    """Return the two classifiers of single modalities and of the score while training: the trees find no less than a forest."""
    return {
        "logistic": LogisticRegression(C=0.1, max_iter=50),
        "trees": ExtraTreesClassifier(60, random_state=seed),
    }


def two_sample_classifiers(width: int, seed: int = 0) -> dict[str, ClassifierMixin]:
    """Return the classifiers that tell real from synthetic samples of `width` features."""
    return {
        "logistic": LogisticRegression(C=0.1, max_iter=200),
        "forest": forest(width, seed, share=0.25),
        "mlp": MLPClassifier(
            (64,), alpha=1e-2, max_iter=25, batch_size=200, learning_rate_init=2e-3, random_state=seed
        ),
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of convergence and of batches cut to few samples: the settings above are a definition, no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Got `batch_size`")
        yield


def fit(
    classifier: ClassifierMixin, flat: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> ClassifierMixin:
    """Fit on (n, F) samples; samples of one class only get the constant answer that they deserve."""
    if len(np.unique(y)) < 2:
        return DummyClassifier(strategy="most_frequent").fit(flat, y)
    with quiet():
        return classifier.fit(flat, y, sample_weight=weights)


def macro_f1(y_true: np.ndarray, y_predicted: np.ndarray) -> float:
    """Return the macro-F1 over the classes that `y_true` has."""
    labels = np.unique(y_true)
    return float(f1_score(y_true, y_predicted, labels=labels, average="macro", zero_division=0.0))
