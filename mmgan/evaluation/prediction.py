"""How good the class probabilities of a classifier are."""

import numpy as np

from mmgan.evaluation.classifiers import macro_f1


def scores(y_true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return accuracy, macro-F1, calibration error and mean log-likelihood of probabilities (n, K) against class indices (n,)."""
    answers = probabilities.argmax(1)
    of_truth = probabilities[np.arange(len(y_true)), y_true]
    return {
        "macro_f1": macro_f1(y_true, answers),
        "accuracy": float(np.mean(answers == y_true)),
        "calibration_error": calibration_error(y_true, probabilities),
        "log_likelihood": float(np.mean(np.log(np.maximum(of_truth, 1e-12)))),
    }


def calibration_error(y_true: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: |accuracy - confidence| in bins of equal width, weighted by their samples.

    Paper: Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y_true
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)  # samples times the gap of each bin
    return float(np.abs(gaps).sum() / len(y_true))
