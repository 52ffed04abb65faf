"""How well samples are rebuilt from few codes."""

import numpy as np

from mmgan.schema import Arrays


def psnr(x: Arrays, rebuilt: Arrays) -> float:
    """Return the peak signal-to-noise ratio in decibels, mean over modalities; the peak is the range of the values of `x`."""
    ratios = []
    for name, true in x.items():
        true = np.asarray(true, np.float64)
        error = max(float(np.mean((true - rebuilt[name]) ** 2)), 1e-12)
        ratios.append(10 * np.log10(max(float(np.ptp(true)), 1e-12) ** 2 / error))
    return float(np.mean(ratios))


def perplexity(codes: np.ndarray) -> float:
    """Return the exponential of the entropy of integer codes, of any shape: so many codes used alike would be as hard to guess."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def scores(x: Arrays, rebuilt: Arrays, codes: np.ndarray, size: int) -> dict[str, float]:
    """Return `psnr` in decibels, and of the codes of a codebook of `size` the `perplexity` and the share that is `used`."""
    found = {"psnr": psnr(x, rebuilt)}
    if not size:
        return found
    return found | {"perplexity": perplexity(codes), "used": len(np.unique(codes)) / size}
