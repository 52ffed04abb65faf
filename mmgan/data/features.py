"""Features of signals: pure functions (signal, rate) -> array, each window for itself.

A signal is an array (..., T) of any unit u, whose last axis is time; `rate` is in Hz. Leading axes are kept, so that a window's
features do not depend on the others that are computed with it. All return float32.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import ifft, rfft

from mmgan.errors import MmganError, Positive, Range

Count = Annotated[int, Range(1, 10_000)]
LOWEST, HIGHEST = 500 / 10_240, 10_000 / 10_240  # share of the Nyquist frequency that the carrier bands of `env` cover
STATS = ("rms", "peak", "crest", "shape", "impulse", "clearance", "skewness", "kurtosis")


def spec(
    signal: np.ndarray, rate: float, /, *, bands: Count = 7, points: Count = 48, gain: Positive = 50.0
) -> np.ndarray:
    """Return the log1p band power (..., bands, points): log(1 + gain P), P the mean of |X_k|^2 / T in u^2.

    X is the discrete Fourier transform of the window, without a taper. 0 Hz (left out) to rate / 2 is cut into bands x points
    equal cells, over each of which P is the mean (Welch's periodogram, averaged over frequencies:
    https://doi.org/10.1109/TAU.1967.1161901). White noise of variance s^2 has P = s^2 in every cell. Raises MmganError for a
    window with fewer frequencies than cells.
    """
    length = signal.shape[-1]
    if length // 2 < bands * points:
        raise MmganError(
            f"data.window: {length} samples have {length // 2} frequencies, fewer than spec's {bands} bands of {points} points;"
            f" give data.window={2 * bands * points} or more, or a smaller data.spec.points."
        )
    return band_power(rfft(np.asarray(signal, float)), length, bands, points, gain).astype(np.float32)


def env(
    signal: np.ndarray,
    rate: float,
    /,
    *,
    bands: Count = 5,
    points: Count = 32,
    max_hz: Positive = 200.0,
    gain: Positive = 1000.0,
) -> np.ndarray:
    """Return the log1p squared-envelope spectrum (..., bands, points): log(1 + gain |S|), |S| in u^2, up to `max_hz`.

    S are the Fourier coefficients of |a|^2 / 4, where a is the analytic signal of a carrier band (an ideal filter), at `points`
    frequencies from rate / T to max_hz, linearly interpolated (https://doi.org/10.1016/j.ymssp.2010.07.017). The bands cut 5 to 98 %
    of the Nyquist frequency into equal parts; max_hz is at most the width of one. Raises MmganError for a window that is too short
    to tell two frequencies below max_hz apart.
    """
    length = signal.shape[-1]
    edges = np.linspace(LOWEST, HIGHEST, bands + 1)[:-1] * (length // 2)
    width, lines = envelope_lines(length, rate, bands, max_hz)
    if lines < 2:
        raise MmganError(
            f"data.window: {length} samples at {rate:g} Hz are too short for env, whose lines are {rate / length:.3g} Hz apart;"
            " give a longer data.window, a higher data.env.max_hz, fewer data.env.bands, or leave env out of data.features."
        )
    spectra = rfft(np.asarray(signal, float))
    return envelope_spectrum(spectra, length, edges.astype(int), width, lines, points, gain).astype(np.float32)


def envelope_lines(length: int, rate: float, bands: int, max_hz: float) -> tuple[int, int]:
    """Return the width of a carrier band of `env`, and the number of its envelope's lines up to max_hz, rate / length apart."""
    width = int((HIGHEST - LOWEST) / bands * (length // 2))
    return width, min(int(max_hz * length / rate * (1 + 1e-9)), width - 1)


def raw(signal: np.ndarray, rate: float, /) -> np.ndarray:
    """Return the window as it is, (..., T), in u."""
    return np.asarray(signal, np.float32)


def stats(signal: np.ndarray, rate: float, /) -> np.ndarray:
    """Return the eight condition indicators `STATS` of the window without its mean, (..., 8).

    rms and peak (largest modulus) in u; crest = peak / rms, shape = rms / mean modulus, impulse = peak / mean modulus, clearance =
    peak / (mean root modulus)^2; skewness and kurtosis (3 for normal noise). A ratio whose denominator is 0 is 0.
    https://doi.org/10.1016/j.ymssp.2005.09.012
    """
    x = np.asarray(signal, float)
    constant = np.ptp(x, axis=-1) == 0
    x = x - x.mean(-1, keepdims=True)
    size = np.abs(x)
    rms, peak, mean = np.sqrt((x**2).mean(-1)), size.max(-1), size.mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [peak / rms, rms / mean, peak / mean, peak / np.sqrt(size).mean(-1) ** 2]
        moments = [(x**3).mean(-1) / rms**3, (x**4).mean(-1) / rms**4]
    found = np.stack([rms, peak, *ratios, *moments], axis=-1)
    return np.where(constant[..., None], 0, found).astype(np.float32)


def stft(signal: np.ndarray, rate: float, /, *, size: Count = 64, gain: Positive = 50.0) -> np.ndarray:
    """Return a log1p spectrogram (..., size, frames): log(1 + gain P), P = |X|^2 / sum(w^2) in u^2, low frequencies first.

    Frames of 2 size samples, their mean removed, overlap by half and have a Hann window w; the frequencies are rate / (2 size) to
    rate / 2. White noise of variance s^2 has P = s^2 (https://doi.org/10.1109/TASSP.1977.1162950). Raises MmganError for a window
    that is shorter than a frame.
    """
    length = 2 * size
    if signal.shape[-1] < length:
        raise MmganError(
            f"data.window: {signal.shape[-1]} samples are shorter than a frame of stft, {length}; give a longer data.window, or"
            " a smaller data.stft.size."
        )
    frames = sliding_window_view(np.asarray(signal, float), length, axis=-1)[..., ::size, :]  # (..., frames, 2 size)
    taper = np.hanning(length + 1)[:-1]
    spectra = rfft((frames - frames.mean(-1, keepdims=True)) * taper)[..., 1:]
    power = np.abs(spectra) ** 2 / (taper**2).sum()
    return np.log1p(gain * power).swapaxes(-1, -2).astype(np.float32)


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for function in (spec, env, raw, stats, stft)
}


def band_power(spectra: np.ndarray, length: int, bands: int, points: int, gain: float) -> np.ndarray:
    """Return the log1p power (..., bands, points) of the spectra (..., length // 2 + 1) of windows of `length` samples; see `spec`."""
    power = (spectra.real**2 + spectra.imag**2)[..., 1:] / length
    edges = np.linspace(0, power.shape[-1], bands * points + 1).astype(int)
    cells = np.add.reduceat(power, edges[:-1], axis=-1) / np.diff(edges)
    return np.log1p(gain * cells).reshape(*power.shape[:-1], bands, points)


def envelope_spectrum(
    spectra: np.ndarray, length: int, starts: np.ndarray, width: int, lines: int, points: int, gain: float
) -> np.ndarray:
    """Return the log1p squared-envelope spectrum (..., bands, points) of spectra (..., length // 2 + 1); see `env`.

    A band has `width` frequencies from its start on; of its envelope's lines, the first `lines` above 0 Hz are interpolated.
    """
    bands = np.stack([spectra[..., start : start + width] for start in starts], axis=-2)  # (..., bands, width)
    analytic = ifft(bands, n=2 * width, norm="forward") / length  # twice as long: squaring doubles the band
    squared = analytic.real**2 + analytic.imag**2
    found = np.abs(rfft(squared - squared.mean(-1, keepdims=True), norm="forward"))[..., 1 : lines + 1]
    place = np.linspace(0, lines - 1, points)
    low = np.minimum(place.astype(int), lines - 2)
    share = (place - low).astype(np.float32)
    return np.log1p(gain * (found[..., low] * (1 - share) + found[..., low + 1] * share))
