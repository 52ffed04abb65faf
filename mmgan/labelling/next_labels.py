"""Which unlabelled samples to label next: those whose labels would teach most."""

import numpy as np
from scipy.special import entr
from sklearn.cluster import KMeans

COUNT = 20
UNCERTAIN = 10  # times as many uncertain samples are grouped


def next_to_label(found: np.ndarray, features: np.ndarray, count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Return at most `count` places among n samples, by class probabilities (n, K) and features (n, D), the most uncertain first.

    Of the most uncertain samples, weighted by their entropy, k-means makes `count` groups, and the sample nearest to the middle of each
    is taken: so they are uncertain, and unlike each other. Paper: Zhdanov 2019, https://arxiv.org/abs/1901.05954.
    """
    entropy = entr(found).sum(axis=1)
    uncertain = np.argsort(-entropy, kind="stable")[: UNCERTAIN * count]
    count = min(count, len(np.unique(features[uncertain], axis=0)))
    if not count:
        return uncertain
    groups = KMeans(count, n_init=1, random_state=seed)
    distance = groups.fit(features[uncertain], sample_weight=entropy[uncertain] + 1e-12).transform(features[uncertain])
    places = uncertain[np.unique(distance.argmin(axis=0))]
    return places[np.argsort(-entropy[places], kind="stable")]
