"""The gate: unlabelled samples that look like none of the labelled ones are not learnt from."""

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

from mmgan.data.arrays import flatten
from mmgan.schema import Arrays

FAR = 2.0  # times the distance that hardly a labelled sample keeps from the next one
TOLD_APART = 0.98  # AUC; between the subjects of `watch` it is .92
FEWEST = 10  # samples of either kind for that AUC
MOST_DEVIATION = 20.0  # standard deviations; what is farther is equally wrong


def unlike(x: Arrays, unlabelled: Arrays) -> np.ndarray:
    """Say of each unlabelled sample (n,) whether it is farther from every labelled sample than those are from each other.

    Distances are root mean squares over features, in standard deviations of the labelled samples.
    """
    parts = []
    for name in x:
        flat = flatten(x, (name,)).astype(np.float64)
        deviation = flat.std(axis=0)
        usual = float(np.sqrt(np.mean(deviation**2))) or 1.0
        both = np.concatenate([flat, flatten(unlabelled, (name,))]) - flat.mean(axis=0)
        parts.append(
            np.clip(both / np.maximum(deviation, usual / 10), -MOST_DEVIATION, MOST_DEVIATION) / np.sqrt(flat.shape[1])
        )
    both = np.concatenate(parts, axis=1)
    labelled, other = np.split(both, [len(flat)])
    search = NearestNeighbors(n_neighbors=1).fit(labelled)
    return search.kneighbors(other)[0][:, 0] > FAR * np.percentile(search.kneighbors()[0], 99)


def told_apart(features: np.ndarray, is_labelled: np.ndarray, seed: int = 0) -> bool:
    """Say whether a forest, cross-validated, tells unlabelled from labelled samples (n, F) nearly always."""
    if min(np.bincount(is_labelled.astype(int), minlength=2)) < FEWEST:
        return False
    forest = ExtraTreesClassifier(60, max_features=8, min_samples_leaf=3, class_weight="balanced", random_state=seed)
    found = cross_val_predict(forest, features, is_labelled, cv=3, method="predict_proba")[:, 1]
    return roc_auc_score(is_labelled, found) > TOLD_APART
