"""Channels of samples: bands of mean and spread along their axis, and power spectra."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmgan.plots.style import REAL, STYLE, SYNTHETIC, WIDTH, shortened
from mmgan.schema import Arrays

MOST_CHANNELS = 8
# Inches in a figure of `mean_and_spread`: a line of panels, the drawn part of one, what stands below it, and above and left of all.
LINE, PANEL, BELOW, TOP, LEFT, GAP = 0.92, 0.55, 0.2, 0.28, 0.26, 0.1


@rc_context(STYLE)
def mean_and_spread(
    real: Arrays,
    synthetic: Arrays,
    class_name: object = None,
    names: tuple[str, str] = ("position", "value"),
    first: int = 0,
) -> Figure:
    """Show mean +- one standard deviation of real and synthetic samples {name: (n, *shape)} along every channel's axis.

    A vector is one channel; an image's channels are averaged over its columns. Three channels stand in a line, at most eight
    of a modality are shown. Samples may be absent on either side. `names` are those of the axes, `first` is the first position.
    """
    groups = [_panels(name, real[name], synthetic[name]) for name in real]
    lines = sum(-(-len(panels) // 3) for panels in groups)
    figure, placed, line = Figure(figsize=(WIDTH, LINE * lines + 0.5)), [], 0
    for panels in groups:
        for number, (title, *pair) in enumerate(panels):
            axis = figure.add_axes((0, 0, 1, 1))
            placed.append(_Placed(axis, line + number // 3, number % 3, 3 if len(panels) == 1 else 1))
            for label, x, colour in zip(("real", "synthetic"), pair, (REAL, SYNTHETIC), strict=True):
                _draw_band(axis, x, label, colour, first)
            axis.locator_params(nbins=2)
            axis.margins(x=0.02)
            axis.tick_params(length=2, pad=1.5)
            _add_title(axis, title)
        line += -(-len(panels) // 3)
    _arrange(placed)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper right", borderaxespad=0.2, ncols=2)
    figure.supxlabel(names[0], fontsize=9)
    figure.supylabel(names[1], fontsize=9)
    if class_name is not None:
        figure.suptitle(f"class {class_name}", fontsize=10, x=0.02, ha="left")
    return figure


def _add_title(axis: Axes, title: str) -> None:
    """Write the title above an axis, and the power of ten of its numbers behind it, which would stand there too."""
    axis.ticklabel_format(axis="y", useOffset=False)
    numbers = axis.yaxis.get_major_formatter()
    numbers.format_ticks(axis.get_yticks())
    axis.yaxis.offsetText.set_visible(False)
    if power := numbers.get_offset():
        name, of, channel = title.rpartition(" ")
        title = f"{shortened(name, 4)}{of}{channel}, {power}" if "/" in channel else f"{title}, {power}"
    # With y given, matplotlib does not measure what stands above the axis.
    axis.set_title(title, loc="left", y=1.0, fontsize=7 if power else 8.5, pad=2)


class _Placed(NamedTuple):
    axis: Axes
    line: int
    column: int
    columns: int  # that it is wide


def _arrange(placed: Sequence[_Placed]) -> None:
    """Give each axis its box, with room for the numbers beside it; a layout engine, which measures every text, takes as long as drawing."""
    width, height = placed[0].axis.figure.get_size_inches()
    numbers = [max((_width_of_numbers(p.axis) for p in placed if p.column == k), default=0.0) for k in range(3)]
    panel = (width - LEFT - 3 * GAP - sum(numbers)) / 3
    starts = [LEFT + sum(numbers[: k + 1]) + k * (panel + GAP) for k in range(3)]
    for axis, line, column, columns in placed:
        right = starts[column + columns - 1] + panel
        bottom = height - TOP - (line + 1) * LINE + BELOW
        axis.set_position((starts[column] / width, bottom / height, (right - starts[column]) / width, PANEL / height))


def _width_of_numbers(axis: Axes) -> float:
    """Return the inches that the numbers beside an axis are wide, at most."""
    return 0.072 * max(map(len, axis.yaxis.get_major_formatter().format_ticks(axis.get_yticks())), default=0)


def log_power(values: np.ndarray) -> np.ndarray:
    """(n, C, L) -> (n, C, L // 2): log10 of the power at 1, 2, ... cycles in a sample, each sample's mean removed, Hann window."""
    length = values.shape[-1]
    centred = values.astype(np.float64) - values.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * np.hanning(length))[..., 1 : length // 2 + 1]) ** 2
    return np.log10(power + 1e-12 * (power.mean() or 1.0))


def _panels(name: str, real: np.ndarray, synthetic: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return (title, real (n, L), synthetic (m, L)) of every channel, or of some, from the first to the last."""
    real, synthetic = (_channels(values) for values in (real, synthetic))
    count = real.shape[1]
    if count == 1:
        return [(shortened(name, 40), real[:, 0], synthetic[:, 0])]
    chosen = np.linspace(0, count - 1, min(count, MOST_CHANNELS)).round().astype(int)
    return [(f"{shortened(name, 8)} {c + 1}/{count}", real[:, c], synthetic[:, c]) for c in chosen]


def _channels(values: np.ndarray) -> np.ndarray:
    """(n, L), (n, C, L) or (n, C, H, W) -> (n, channels, places)."""
    if values.ndim == 2:
        return values[:, None]
    return values.mean(axis=-1) if values.ndim == 4 else values


def _draw_band(axis: Axes, x: np.ndarray, label: str, colour: str, first: int) -> None:
    mean, spread = (x.mean(0), x.std(0)) if len(x) else (np.full(x.shape[1], np.nan),) * 2
    places, alone = first + np.arange(len(mean)), len(mean) == 1  # a single value is no line
    axis.plot(places, mean, lw=1.1, color=colour, label=label, marker="o" if alone else None)
    if alone:
        axis.errorbar(places, mean, spread, color=colour)
    axis.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.22, lw=0)
