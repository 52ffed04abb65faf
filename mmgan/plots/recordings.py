"""Recordings as figures: a window as waveform, spectrum and envelope; class means; samples of all classes in a plane."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.signal import hilbert

from mmgan.plots.style import MUTED, REAL, STYLE, WIDTH, shortened

COLOURS = (REAL, "#c8553d", "#2f9482", "#8a63c4", "#b1802a", "#c2559d", MUTED, "#4f9fc9", "#7a8b2e", "#3b3f8f")
MOST_CHANNELS = 4


@rc_context(STYLE)
def window(signals: np.ndarray, rate: float | None, channels: Sequence[str], max_hz: float) -> Figure:
    """Show a window (C, T) over time in s, its amplitude spectrum, and that of its envelope up to `max_hz`, both over Hz.

    Without a rate in Hz the axes are samples and cycles per sample, up to half a cycle.
    """
    shown = min(len(signals), MOST_CHANNELS)
    figure = Figure(figsize=(WIDTH, 1.2 + 1.5 * 3), layout="constrained")
    axes = figure.subplots(3, 1)
    length = signals.shape[1]
    frequency = np.fft.rfftfreq(length, 1 / (rate or 1.0))
    for signal, name, colour in zip(signals[:shown].astype(float), channels, COLOURS, strict=False):
        centred = signal - signal.mean()
        envelope = np.abs(hilbert(centred))
        low = (frequency > 0) & (frequency <= (max_hz if rate else 0.5))
        axes[0].plot(np.arange(length) / (rate or 1.0), signal, lw=0.6, color=colour, label=shortened(name, 18))
        axes[1].plot(frequency, _amplitudes(centred), lw=0.6, color=colour)
        axes[2].plot(frequency[low], _amplitudes(envelope - envelope.mean())[low], lw=0.8, color=colour)
    time, hertz = ("time in s", "frequency in Hz") if rate else ("sample", "frequency in cycles per sample")
    for axis, x, y in zip(axes, (time, hertz, hertz), ("signal", "amplitude", "envelope"), strict=True):
        axis.set(xlabel=x, ylabel=y)
        axis.margins(x=0.01)
    if len(signals) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _amplitudes(signal: np.ndarray) -> np.ndarray:
    return 2 * np.abs(np.fft.rfft(signal)) / len(signal)


@rc_context(STYLE)
def class_means(means: Mapping[str, np.ndarray], x: np.ndarray, labels: tuple[str, str]) -> Figure:
    """Show a line (len(x),) for each class; `labels` are those of the axes."""
    figure = Figure(figsize=(WIDTH, 3.0 + 0.18 * -(-len(means) // 2)), layout="constrained")
    axis = figure.subplots()
    for number, (name, mean) in enumerate(means.items()):
        dashes = ("-", "--", ":")[number // len(COLOURS) % 3]
        axis.plot(x, mean, lw=1, ls=dashes, color=COLOURS[number % len(COLOURS)], label=shortened(name, 22))
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.margins(x=0.01)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@rc_context(STYLE)
def plane(points: np.ndarray, y: np.ndarray, names: Sequence[str]) -> Figure:
    """Show points (N, 2) in the colours of their classes (N,)."""
    figure = Figure(figsize=(WIDTH, 3.7 + 0.18 * -(-len(names) // 2)), layout="constrained")
    axis = figure.subplots()
    for number, name in enumerate(names):
        own, marker = points[y == number], "oD^sv"[number // len(COLOURS) % 5]
        axis.scatter(
            *own.T, s=9, lw=0, alpha=0.6, marker=marker, color=COLOURS[number % len(COLOURS)], label=shortened(name, 22)
        )
    axis.set(xlabel="1st principal component", ylabel="2nd principal component")
    axis.locator_params(nbins=5)
    figure.legend(loc="outside lower center", ncols=2, markerscale=1.8)
    return figure
