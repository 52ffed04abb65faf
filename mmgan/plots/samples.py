"""Samples as figures: as they are, and as points of a plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmgan.plots.style import MUTED, REAL, STYLE, SYNTHETIC, WIDTH
from mmgan.schema import Arrays


def is_curve(shape: tuple[int, ...]) -> bool:
    """Say whether a sample of this shape is drawn as a curve: a vector, or one channel, of which a map is one line."""
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


def draw_sample(axis: Axes, sample: np.ndarray, low: float, high: float, colour: str = REAL) -> None:
    """Draw one sample: (C, L) as a map on the scale `low` to `high`, an image as itself, a vector as a curve."""
    if is_curve(sample.shape):
        axis.plot(sample.ravel(), lw=0.8, color=colour)
    elif sample.ndim == 2:
        axis.imshow(sample, aspect="auto", vmin=low, vmax=high, cmap="magma", interpolation="none")
    else:
        image = (sample.transpose(1, 2, 0) - low) / max(high - low, 1e-12)  # (C, H, W) -> (H, W, C)
        shown = image.clip(0, 1) if sample.shape[0] == 3 else image[..., 0]
        axis.imshow(shown, vmin=0, vmax=1, interpolation="none")


def scale_of(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of a colour scale for these values, whatever few of them are far off."""
    return float(values.min()), float(np.quantile(values, 0.995))


@dataclass(frozen=True)
class Line:
    """One line of `grid`: samples (n, *shape) on one colour scale, and what stands above them."""

    label: str
    samples: Sequence[np.ndarray] | np.ndarray
    scale: tuple[float, float]
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
    figure = Figure(figsize=(cell[0] * columns + 0.5, cell[1] * len(lines) + 0.45), layout="constrained")
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, row in zip(lines, axes, strict=True):
        row[0].set_ylabel(line.label)
        for column, axis in enumerate(row):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if column < len(line.samples):
                draw_sample(axis, line.samples[column], *line.scale, line.colour)
                if is_curve(line.samples[column].shape):
                    axis.set_ylim(*_limits(lines, line.scale))
            elif column == 0:
                axis.text(0.5, 0.5, "no sample", ha="center", va="center", transform=axis.transAxes)
            if column < len(line.titles):
                axis.set_title(line.titles[column], fontsize=8.5, pad=2)
    if names is not None:
        _add_scales(lines, axes)
        figure.supxlabel(names[0], fontsize=9)
        figure.supylabel(names[1], fontsize=9)
    figure.suptitle(title, fontsize=10 if names is None else 8.5)
    return figure


def _add_scales(lines: Sequence[Line], axes: np.ndarray) -> None:
    """Number the ends of the lowest line's and the first column's axes, where they have a sample."""
    for number, (line, row) in enumerate(zip(lines, axes, strict=True), start=1):
        for column, sample in enumerate(line.samples[: len(row)]):
            *_, height, width = (1, *sample.shape)
            if number == len(lines):
                row[column].set_xticks(sorted({0, width - 1}))
            if column == 0:
                bounds = np.linspace(*row[0].get_ylim(), 5)[[1, 3]] if is_curve(sample.shape) else [0, height - 1]
                row[0].set_yticks(sorted(set(bounds)), [f"{bound:.3g}" for bound in sorted(set(bounds))])
            row[column].tick_params(length=2, pad=1.5, labelsize=7)


def _limits(lines: Sequence[Line], scale: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the axis that all curves of a scale share: one sample that is far off would flatten the others."""
    values = np.concatenate([np.ravel(sample) for line in lines if line.scale == scale for sample in line.samples])
    low, high = np.nanmin(values), np.nanmax(values)
    span, margin = max(scale[1] - scale[0], 1e-12), 0.05 * max(high - low, 1e-12)
    return max(low - margin, scale[0] - span), min(high + margin, scale[1] + span)


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
    real: np.ndarray, synthetic: np.ndarray, nearest: np.ndarray, ratios: np.ndarray, scale: tuple[float, float]
) -> Figure:
    """Show at most three real samples (n, *shape) above as many synthetic ones, and below these their nearest training samples.

    `ratios` (m,) stand above the nearest samples; `scale` are the ends of the colour scale.
    """
    shape, columns = real.shape[1:], 3
    height = 0.85 if len(shape) < 3 else float(np.clip(1.25 * shape[1] / shape[2], 0.5, 1.6))
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
