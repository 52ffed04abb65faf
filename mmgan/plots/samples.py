"""Samples as figures: as they are, and as points of a plane."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mmgan.plots.canvas import Box, Canvas, Ends, Panel, room_of, spanned
from mmgan.plots.style import MUTED, REAL, STYLE, SYNTHETIC, WIDTH
from mmgan.schema import Arrays

GAP, NUMBERS = 0.06, 7  # inches between samples; size of their numbers in points


def is_curve(shape: tuple[int, ...]) -> bool:
    """Say whether a sample of this shape is drawn as a curve: a vector, or one channel, of which a map is one line."""
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


def panel_of(canvas: Canvas, box: Box, shape: tuple[int, ...], limits: Ends) -> Panel:
    """Return the panel of a sample of this shape in a box; `limits` are the ends of a curve's axis."""
    *_, rows, columns = (1, *shape)
    if is_curve(shape):
        margin = 0.05 * (columns - 1) or 0.5
        return Panel(canvas, box, (-margin, columns - 1 + margin), limits)
    fitted = box.fitted(columns / rows) if len(shape) == 3 else box
    return Panel(canvas, fitted, (-0.5, columns - 0.5), (rows - 0.5, -0.5))


def draw_sample(panel: Panel, sample: np.ndarray, scale: Ends, colour: str = REAL) -> None:
    """Draw one sample: (C, L) as a map on a scale of colours, an image as itself, a vector as a curve."""
    if is_curve(sample.shape):
        panel.curve(sample.ravel(), colour)
    elif sample.ndim == 2:
        panel.image(sample, scale, colours_of(sample.shape))
    else:
        image = (sample.transpose(1, 2, 0) - scale[0]) / max(scale[1] - scale[0], 1e-12)  # (C, H, W) -> (H, W, C)
        shown = image.clip(0, 1) if sample.shape[0] == 3 else image[..., 0]
        panel.image(shown, (0, 1), colours_of(sample.shape))


def colours_of(shape: tuple[int, ...]) -> str:
    """Return the name of the colours that samples of this shape are drawn in."""
    return "magma" if len(shape) == 2 else "gray"


def scale_of(values: np.ndarray) -> Ends:
    """Return the ends of a colour scale for these values, whatever few of them are far off."""
    return float(values.min()), float(np.quantile(values, 0.995))


def limits_of(values: Iterable[np.ndarray], scale: Ends) -> Ends:
    """Return the ends of the axis that curves share: of all values, but for those far beyond the scale, which would flatten the others."""
    reach = max(scale[1] - scale[0], 1e-12)
    return spanned(*(np.clip(each, scale[0] - reach, scale[1] + reach).ravel() for each in values))


@dataclass(frozen=True)
class Line:
    """One line of `grid`: samples (n, *shape) on one colour scale, and what stands above them."""

    label: str
    samples: Sequence[np.ndarray] | np.ndarray
    scale: Ends
    colour: str = REAL
    titles: Sequence[str] = ()


@rc_context(STYLE)
def grid(
    lines: Sequence[Line],
    columns: int,
    cell: tuple[float, float],
    title: str = "",
    names: tuple[str, str] | None = None,
) -> Figure:
    """Show lines of at most `columns` samples, each in a cell of this width and height in inches.

    `names` are those of the axes; without them no axis has a scale.
    """
    width, height = cell[0] * columns + 0.5, cell[1] * len(lines) + 0.45
    canvas = Canvas(width, height)
    limits = [
        limits_of([x for other in lines if other.scale == line.scale for x in other.samples], line.scale)
        for line in lines
    ]
    heights = [_heights(line, *ends) for line, ends in zip(lines, limits, strict=True)]
    left, top, below = 0.28, 0.26 if title else 0.06, 0.06
    if names is not None:
        left, below = 0.5 + max(room_of(written, NUMBERS) for _, written in heights), 0.42
        canvas.name_axes(names, left, top, below)
    between = GAP if names is None else 2 * GAP  # numbers stand at the ends
    titled = [0.17 * bool(line.titles) for line in lines]
    box_width = (width - left - 0.06 - GAP * (columns - 1)) / columns
    box_height = (height - top - below - sum(titled) - between * (len(lines) - 1)) / len(lines)
    for number, (line, ends) in enumerate(zip(lines, limits, strict=True)):
        y = top + sum(titled[: number + 1]) + number * (box_height + between)
        boxes = [Box(left + column * (box_width + GAP), y, box_width, box_height) for column in range(columns)]
        canvas.text(0.14 if names is None else 0.31, y + box_height / 2, line.label, rotation=90)
        for column, (box, sample) in enumerate(zip(boxes, line.samples, strict=False)):
            panel = panel_of(canvas, box, sample.shape, ends)
            draw_sample(panel, sample, line.scale, line.colour)
            if names is not None and column == 0:
                panel.number("y", *heights[number], NUMBERS)
            if names is not None and number == len(lines) - 1:
                places = sorted({0, sample.shape[-1] - 1})
                panel.number("x", places, list(map(str, places)), NUMBERS, within=True)
        if not len(line.samples):
            boxes[0].write(canvas, "no sample")
        for box, above in zip(boxes, line.titles, strict=False):
            canvas.text(box.left + box_width / 2, y - 0.09, above, fontsize=8.5)
    canvas.text(width / 2, 0.13, title, fontsize=10 if names is None else 8.5)
    return canvas.done()


def _heights(line: Line, low: float, high: float) -> tuple[list[float], list[str]]:
    """Return the places that are numbered beside a line's first sample, and their numbers; `low` and `high` are the ends of curves."""
    if not len(line.samples):
        return [], []
    *_, rows, _ = (1, *line.samples[0].shape)
    places = np.linspace(low, high, 5)[[1, 3]] if is_curve(line.samples[0].shape) else sorted({0, rows - 1})
    return list(places), [f"{place:.3g}" for place in places]


def real_and_synthetic(
    real: Arrays,
    synthetic: Arrays,
    name: str,
    class_name: object,
    rows: int = 3,
    kinds: tuple[str, str] = ("real", "synthetic"),
) -> Figure:
    """Show, for one class and modality, some real samples above some synthetic ones on one colour scale; `kinds` are their names."""
    scale, shown = scale_of(real[name]), [x[name][:rows] for x in (real, synthetic)]
    lines = [Line(label, x, scale, colour) for label, x, colour in zip(kinds, shown, (REAL, SYNTHETIC), strict=True)]
    return grid(lines, max(map(len, shown)), (2.2, 1.6), f"{name}, class {class_name}")


def beside_nearest(
    real: np.ndarray, synthetic: np.ndarray, nearest: np.ndarray, ratios: np.ndarray, scale: Ends
) -> Figure:
    """Show at most three real samples (n, *shape) above as many synthetic ones, and below these their nearest training samples.

    `ratios` (m,) stand above the nearest samples; `scale` are the ends of the colour scale.
    """
    shape, columns = real.shape[1:], 3
    height = 0.85 if len(shape) < 3 else float(np.clip(1.25 * shape[1] / shape[2], 0.75, 1.6))
    titles = [f"{ratio:.2g} \N{MULTIPLICATION SIGN}" for ratio in ratios]
    lines = [
        Line("real", real, scale),
        Line("synthetic", synthetic, scale, SYNTHETIC),
        Line("nearest", nearest, scale, titles=titles),
    ]
    names = {1: ("position", "value"), 2: ("position", "channel"), 3: ("column", "row")}[
        1 if is_curve(shape) else len(shape)
    ]
    title = "" if is_curve(shape) else f"dark to bright: {scale[0]:.3g} to {scale[1]:.3g}"
    return grid(lines, columns, ((WIDTH - 0.5) / columns, height), title, names)


def traversal(
    samples: list[np.ndarray], dimensions: list[int], values: np.ndarray, name: str, class_name: object
) -> Figure:
    """Show for each latent dimension, a line each, the samples (len(values), *shape) that its `values` make; others stay."""
    scale, titles = scale_of(np.concatenate(samples)), [f"{value:+.1f}" for value in values]
    lines = [
        Line(f"z[{dimension}]", drawn, scale, titles=() if number else titles)
        for number, (drawn, dimension) in enumerate(zip(samples, dimensions, strict=True))
    ]
    title = f"{name}, class {class_name}: one latent dimension at a time, in standard deviations"
    return grid(lines, len(values), (1.5, 1.2), title)


@rc_context(STYLE)
def scatter(
    real: np.ndarray,
    synthetic: np.ndarray,
    names: tuple[str, str] = ("1st principal component", "2nd principal component"),
) -> Figure:
    """Show real (n, 2) and synthetic (m, 2) points around the real ones, and say how many lie outside of the picture.

    `names` are those of the axes.
    """
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axis = figure.subplots()
    low, high = real.min(0), real.max(0)
    margin = 0.5 * np.maximum(high - low, 1e-6)
    inside = ((synthetic >= low - margin) & (synthetic <= high + margin)).all(1)
    for part in range(8):  # in turn, so that neither kind lies on top
        known = {"alpha": 0.6, "lw": 0, "s": 10, "zorder": 1 + part / 10}
        labels = (None, None) if part else ("real", "synthetic")
        axis.scatter(*real[part::8].T, color=REAL, label=labels[0], **known)
        axis.scatter(*synthetic[inside][part::8].T, color=SYNTHETIC, label=labels[1], marker="D", **known)
    if not inside.all():
        axis.set_title(f"{(~inside).sum()} of {len(inside)} synthetic samples lie outside", loc="left")
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.locator_params(nbins=5)
    figure.legend(loc="outside upper right", ncols=2, markerscale=1.8)
    return figure


@rc_context(STYLE)
def losses_and_points(
    losses: dict[str, list[float]], epochs: int, real: np.ndarray, synthetic: np.ndarray, title: str
) -> Figure:
    """Show the losses of each epoch so far, on an axis of `epochs` epochs, beside real (n, 2) and synthetic (m, 2) points."""
    figure = Figure(figsize=(8.4, 3.8))  # a constrained layout would take twice as long, frame by frame
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.12, top=0.92, wspace=0.15)
    for (name, values), colour in zip(losses.items(), (REAL, SYNTHETIC, MUTED), strict=False):
        left.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, lw=1.2, marker=".", ms=4)
    left.set(xlim=(0.5, max(epochs, 2) + 0.5), xlabel="epoch", title="losses")
    if losses:  # a model without a critic has none of these
        left.legend()
    margin = 0.35 * np.ptp(real, axis=0)
    low, high = real.min(0) - margin, real.max(0) + margin
    for points, name, colour in ((real, "real", REAL), (synthetic, "synthetic", SYNTHETIC)):
        right.scatter(*points.T, s=8, alpha=0.6, color=colour, label=name, lw=0)
    right.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=title)
    right.legend(loc="upper left")
    return figure
