"""The classifiers that judge: fixed settings, standardised samples in, one thread, quiet about convergence."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.utils.validation import has_fit_parameter

MAX_LDA_WIDTH = 1000


def forest(width: int, seed: int = 0, share: float = 0.5) -> RandomForestClassifier:
    """Return 100 trees for samples of `width` features, of which each split tries `share` of the usual sqrt(width).

    A half, and between real and synthetic samples a quarter, give the same F1 and AUC (to .02) in as much less time.
    """
    return RandomForestClassifier(100, max_features=max(1, round(share * math.sqrt(width))), random_state=seed)


def task_classifiers(width: int, seed: int = 0) -> dict[str, ClassifierMixin]:
    """Return the five classifiers of the utility columns, for samples of `width` features."""
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return {
        "logistic": LogisticRegression(C=0.1, max_iter=200),
        "svc": SVC(C=10.0, gamma="scale"),
        "trees": ExtraTreesClassifier(100, random_state=seed),
        "mlp": MLPClassifier((128,), alpha=1e-3, max_iter=40, batch_size=64, random_state=seed),
        # Its covariance is (width, width): wide samples are projected first.
        "lda": lda if width <= MAX_LDA_WIDTH else _Projected(lda, MAX_LDA_WIDTH // 2, seed),
    }


class _Projected(ClassifierMixin, BaseEstimator):
    """A classifier of at most `dims` principal components."""

    def __init__(self, classifier: ClassifierMixin, dims: int, seed: int) -> None:
        self.classifier, self.dims, self.seed = classifier, dims, seed

    def fit(self, flat: np.ndarray, y: np.ndarray) -> "_Projected":
        dims = min(self.dims, len(flat) - 1)
        self.fitted_ = make_pipeline(PCA(dims, svd_solver="randomized", random_state=self.seed), self.classifier)
        self.fitted_.fit(flat, y)
        self.classes_ = self.fitted_.classes_
        return self

    def predict_proba(self, flat: np.ndarray) -> np.ndarray:
        return self.fitted_.predict_proba(flat)


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
    """Silence warnings of convergence, and of batches and classes of few samples: the settings above are a definition, no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        few = "Got `batch_size`|Only one sample available|The number of unique classes is greater than 50%"
        warnings.filterwarnings("ignore", message=few)
        yield


def fit(
    classifier: ClassifierMixin, flat: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> ClassifierMixin:
    """Fit on (n, F) samples; samples of one class only get the constant answer that they deserve.

    Weights go to the classifiers that take some; a covariance needs more samples than classes.
    """
    classes = len(np.unique(y))
    if classes < 2 or ("LinearDiscriminant" in repr(classifier) and len(y) <= classes):
        return DummyClassifier(strategy="most_frequent").fit(flat, y)
    with quiet():
        if weights is not None and has_fit_parameter(classifier, "sample_weight"):
            return classifier.fit(flat, y, sample_weight=weights)
        return classifier.fit(flat, y)


def probabilities(classifier: ClassifierMixin, flat: np.ndarray, n_classes: int) -> np.ndarray:
    """Return class probabilities (n, n_classes); an SVC's are the softmax of its decision function."""
    if hasattr(classifier, "predict_proba"):
        found = classifier.predict_proba(flat)
    else:
        decided = classifier.decision_function(flat)
        found = softmax(np.stack([-decided, decided], axis=1) if decided.ndim == 1 else decided, axis=1)
    result = np.zeros((len(flat), n_classes))
    result[:, classifier.classes_] = found
    return result


def macro_f1(y_true: np.ndarray, y_predicted: np.ndarray) -> float:
    """Return the macro-F1 over the classes that `y_true` has."""
    labels = np.unique(y_true)
    return float(f1_score(y_true, y_predicted, labels=labels, average="macro", zero_division=0.0))
