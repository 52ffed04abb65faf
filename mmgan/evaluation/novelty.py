"""Novelty: are synthetic samples as far from the training samples as unseen real samples are?

A sample that is nearer than real samples ever are is memorised. That says nothing of privacy.
"""

import numpy as np

PERCENTILES = (10, 50, 90)
COPY = 1e-5  # standard deviations: two equal samples come out some 1e-7 apart


def novelty(heldout_distance: np.ndarray, synthetic_distance: np.ndarray) -> dict[str, float]:
    """Return novelty10, novelty50 and novelty90, and `close`.

    Arguments are distances to the nearest training sample, (n,) and (m,). `noveltyP` is the synthetic samples' Pth percentile
    over the held-out samples' (1 is right, 0 is copying); `close` the share of synthetic samples nearer than 99 % of held-out
    samples are (.01 is right). Paper: https://arxiv.org/abs/2004.05675.
    """
    result = {}
    for percentile in PERCENTILES:
        real, synthetic = np.percentile(heldout_distance, percentile), np.percentile(synthetic_distance, percentile)
        result[f"novelty{percentile}"] = _ratio(float(synthetic), float(real))
    result["close"] = float(np.mean(synthetic_distance < np.percentile(heldout_distance, 1)))
    return result


def _ratio(value: float, reference: float) -> float:
    if reference < COPY:  # unseen samples are copies themselves, as integers often are: no ratio is defined
        return 1.0 if value < COPY else float("nan")
    return value / reference
