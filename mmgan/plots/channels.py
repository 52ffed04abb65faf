"""Channels of samples: bands of mean and spread along their axis, and power spectra."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mmgan.plots.canvas import Box, Canvas, Panel, numbered, room_of, spanned
from mmgan.plots.style import REAL, STYLE, SYNTHETIC, WIDTH, shortened
from mmgan.schema import Arrays

MOST_CHANNELS = 8
# Inches in a figure of `mean_and_spread`: a line of panels, the drawn part of one, what stands below it, above and left of all, and between two.
LINE, PANEL, BELOW, TOP, LEFT, GAP = 0.92, 0.55, 0.2, 0.28, 0.26, 0.15
NUMBERS = 8  # points
KINDS = ("real", REAL, 1.73), ("synthetic", SYNTHETIC, 1.0)  # with their place in the legend, in inches from the right


@dataclass(frozen=True)
class _Channel:
    """A channel's mean and spread (L,) of each kind that has samples, and where it stands."""

    title: str
    bands: dict[str, tuple[np.ndarray, np.ndarray]]
    length: int
    line: int
    column: int
    columns: int  # that it is wide
    lowest: bool  # of its modality in its column: whose positions have numbers


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
    of a modality are shown; the lowest of a modality number the positions. Samples may be absent on either side. `names` are those of the axes, `first` is the first position.
    """
    channels: list[_Channel] = []
    for name in real:
        channels += _channels(name, real[name], synthetic[name], channels[-1].line + 1 if channels else 0)
    canvas = Canvas(WIDTH, LINE * (channels[-1].line + 1) + 0.5)
    panels = _placed(canvas, channels, first)
    for kind, colour, place in KINDS:
        _draw_bands(canvas, channels, panels, kind, first, colour)
        canvas.lines([np.array([(WIDTH - place, 0.13), (WIDTH - place + 0.25, 0.13)])], color=colour, lw=1.1)
        canvas.text(WIDTH - place + 0.31, 0.13, kind, ha="left", fontsize=8.5)
    canvas.name_axes(names, LEFT, TOP, 0.3)
    if class_name is not None:
        canvas.text(0.09, 0.13, f"class {shortened(class_name, 22)}", ha="left", fontsize=10)
    return canvas.done()


def _placed(canvas: Canvas, channels: Sequence[_Channel], first: int) -> list[Panel]:
    """Return each channel's panel, titled and numbered: those of a column stand below each other, with room for the numbers beside them."""
    ends = [spanned(*(m + s * side for m, s in channel.bands.values() for side in (-1, 1))) for channel in channels]
    numbers = [numbered(each) for each in ends]
    room = [0.0, 0.0, 0.0]
    for channel, (_, written, _) in zip(channels, numbers, strict=True):
        room[channel.column] = max(room[channel.column], room_of(written, NUMBERS))
    width = (WIDTH - LEFT - 3 * GAP - sum(room)) / 3
    starts = [LEFT + sum(room[: k + 1]) + k * (width + GAP) for k in range(3)]
    panels = []
    for channel, y, (places, written, power) in zip(channels, ends, numbers, strict=True):
        left, right = starts[channel.column], starts[channel.column + channel.columns - 1] + width
        x = (first, first + channel.length - 1)
        margin = 0.02 * (channel.length - 1) or 0.5
        top = TOP + (channel.line + 1) * LINE - BELOW - PANEL
        panel = Panel(canvas, Box(left, top, right - left, PANEL), (x[0] - margin, x[1] + margin), y)
        panel.frame()
        panel.number("y", places, written, NUMBERS)
        places, written, _ = numbered(x, whole=True)
        panel.number("x", places, written if channel.lowest else [""] * len(written), NUMBERS)
        canvas.text(left, top - 0.03, _titled(channel.title, power), "left", "bottom", fontsize=7 if power else 8.5)
        panels.append(panel)
    return panels


def _titled(title: str, power: str) -> str:
    """Return the title of a panel with the power of ten of its numbers behind it, where there is one."""
    if not power:
        return title
    name, of, channel = title.rpartition(" ")
    return f"{shortened(name, 4)}{of}{channel}, {power}" if "/" in channel else f"{title}, {power}"


def _draw_bands(
    canvas: Canvas, channels: Sequence[_Channel], panels: Sequence[Panel], kind: str, first: int, colour: str
) -> None:
    """Draw the means and spreads of one kind, all channels at once."""
    lines, outlines = [], []
    for channel, panel in zip(channels, panels, strict=True):
        if kind not in channel.bands:
            continue
        (mean, spread), places = channel.bands[kind], first + np.arange(channel.length)
        lines.append(panel.points(places, mean))
        around = np.concatenate([mean - spread, (mean + spread)[::-1]])
        outlines.append(panel.points(np.concatenate([places, places[::-1]]), around))
        if channel.length == 1:  # a single value is no line
            canvas.point(lines[-1][0], 6, colour)
            lines.append(outlines[-1])
    canvas.areas(outlines, color=colour, alpha=0.22, lw=0)
    canvas.lines(lines, color=colour, lw=1.1)


def log_power(values: np.ndarray) -> np.ndarray:
    """(n, C, L) -> (n, C, L // 2): log10 of the power at 1, 2, ... cycles in a sample, each sample's mean removed, Hann window."""
    length = values.shape[-1]
    centred = values.astype(np.float64) - values.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * np.hanning(length))[..., 1 : length // 2 + 1]) ** 2
    return np.log10(power + 1e-12 * (power.mean() or 1.0))


def _channels(name: str, real: np.ndarray, synthetic: np.ndarray, line: int) -> list[_Channel]:
    """Return every channel of a modality, or some, from the first to the last, in lines from `line` on."""
    kinds = {kind: _by_channel(x) for (kind, *_), x in zip(KINDS, (real, synthetic), strict=True)}
    _, count, length = kinds["real"].shape
    chosen = np.linspace(0, count - 1, min(count, MOST_CHANNELS)).round().astype(int)
    channels = []
    for number, c in enumerate(chosen):
        title = shortened(name, 40) if count == 1 else f"{shortened(name, 8)} {c + 1}/{count}"
        bands = {kind: (x[:, c].mean(0), x[:, c].std(0)) for kind, x in kinds.items() if len(x)}
        columns, lowest = 3 if count == 1 else 1, number + 3 >= len(chosen)
        channels.append(_Channel(title, bands, length, line + number // 3, number % 3, columns, lowest))
    return channels


def _by_channel(values: np.ndarray) -> np.ndarray:
    """(n, L), (n, C, L) or (n, C, H, W) -> (n, channels, places)."""
    if values.ndim == 2:
        return values[:, None]
    return values.mean(axis=-1) if values.ndim == 4 else values
