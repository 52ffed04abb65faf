"""All classes of a data set at a glance: some real and some synthetic samples of each, beside each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mmgan.plots.samples import draw_sample, is_curve, scale_of
from mmgan.plots.style import REAL, STYLE, SYNTHETIC, shortened
from mmgan.schema import Arrays

MOST_CLASSES = 40  # a picture of more could not be opened
CELL = {1: 0.62, 2: 0.62, 3: 1.25}  # height of a sample in inches, by the rank of its shape
WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 11.0, 1.75, 0.95, 0.62, 0.62, 0.3  # inches
EACH = 3


@rc_context(STYLE)
def overview(
    real: Arrays,
    y_real: np.ndarray,
    synthetic: Arrays,
    y_synthetic: np.ndarray,
    class_names: Sequence[str],
    kinds: tuple[str, str] = ("real", "synthetic"),
) -> Figure:
    """Show of each class three real samples, then three synthetic ones: a block for each modality {name: (n, *shape)}.

    All samples of a modality have one scale, in the data's own units, which stands beside them.
    """
    found = np.unique(np.concatenate([y_real, y_synthetic]))
    classes = found[:MOST_CLASSES]
    heights = [TOP + BOTTOM + len(classes) * _cell(values.shape[1:]) for values in real.values()]
    figure, above = Figure(figsize=(WIDTH, sum(heights) + GAP)), GAP
    for (name, values), height in zip(real.items(), heights, strict=True):
        pairs = [[x[name][y == k][:EACH] for x, y in ((real, y_real), (synthetic, y_synthetic))] for k in classes]
        _block(figure, above, name, pairs, [class_names[k] for k in classes], scale_of(values), kinds)
        above += height
    if len(found) > len(classes):
        figure.suptitle(
            f"the first {len(classes)} of {len(found)} classes", fontsize=9, y=1 - 0.1 / figure.get_figheight()
        )
    return figure


def _cell(shape: tuple[int, ...]) -> float:
    return CELL[len(shape)]


def _block(
    figure: Figure,
    above: float,
    name: str,
    pairs: Sequence[Sequence[np.ndarray]],
    class_names: Sequence[str],
    scale: tuple[float, float],
    kinds: tuple[str, str],
) -> None:
    """Draw the samples of one modality, `above` inches below the top of the figure: a line for each class."""
    shape, (width, height) = pairs[0][0].shape[1:], figure.get_size_inches()
    cell, column = _cell(shape), (WIDTH - LEFT - RIGHT - GAP) / (2 * EACH)
    shown = np.concatenate([samples.ravel() for pair in pairs for samples in pair])
    low, high = _limits(shown, scale)
    for line, (pair, class_name) in enumerate(zip(pairs, class_names, strict=True)):
        top = above + TOP + line * cell
        for place in range(2 * EACH):
            samples, left = pair[place // EACH], LEFT + place * column + GAP * (place >= EACH)
            box = [left / width, 1 - (top + 0.9 * cell) / height, 0.92 * column / width, 0.86 * cell / height]
            axis = figure.add_axes(box)
            if place % EACH < len(samples):
                draw_sample(axis, samples[place % EACH], *scale, (REAL, SYNTHETIC)[place // EACH])
            elif not place % EACH:
                axis.text(0.5, 0.5, "no sample", ha="center", va="center", transform=axis.transAxes)
            if is_curve(shape):
                axis.set_ylim(low, high)
            _finish(axis, shape, numbered=(place == 0 and line == 0, line == len(pairs) - 1 and place % EACH == 0))
        figure.text(
            (LEFT - 0.42) / width, 1 - (top + 0.45 * cell) / height, shortened(class_name, 20), ha="right", va="center"
        )
    _headings(figure, above, name, kinds, column)
    below = 1 - (above + TOP + len(pairs) * cell + 0.35) / height
    figure.text(0.5, below, _axes_of(shape), ha="center", va="center", fontsize=8)
    if not is_curve(shape):
        bar = min(len(pairs) * cell, 2.4) / height
        box = [1 - (RIGHT - 0.15) / width, 1 - (above + TOP) / height - bar, 0.13 / width, bar]
        colours = ScalarMappable(Normalize(*scale), "magma" if len(shape) == 2 or shape[0] != 3 else "gray")
        figure.colorbar(colours, cax=figure.add_axes(box), label="value, in the data's units")


def _limits(shown: np.ndarray, scale: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the axis of curves: all values, but for those far beyond the scale."""
    reach = max(scale[1] - scale[0], 1e-12)
    low, high = max(shown.min(), scale[0] - reach), min(shown.max(), scale[1] + reach)
    return float(low - 0.05 * reach), float(high + 0.05 * reach)


def _finish(axis: Axes, shape: tuple[int, ...], numbered: tuple[bool, bool]) -> None:
    """Number the axes of a sample where they stand for a block's: the first's heights, and the lowest line's places."""
    *_, rows, places = (1, *shape)
    axis.tick_params(length=2, pad=1.5, labelsize=7)
    if not numbered[0]:
        axis.set_yticks([])
    elif not is_curve(shape):
        axis.set_yticks(sorted({0, rows - 1}), [str(number) for number in sorted({1, rows})])
    if numbered[1]:
        axis.set_xticks(sorted({0, places - 1}), [str(number) for number in sorted({1, places})])
    else:
        axis.set_xticks([])


def _headings(figure: Figure, above: float, name: str, kinds: tuple[str, str], column: float) -> None:
    width, height = figure.get_size_inches()
    figure.text(
        0.15 / width, 1 - (above + 0.16) / height, shortened(name, 60), fontsize=11, fontweight="bold", va="center"
    )
    for number, kind in enumerate(kinds):
        middle = LEFT + (number + 0.5) * EACH * column + GAP * number
        figure.text(
            middle / width, 1 - (above + 0.45) / height, kind, ha="center", va="center", color=(REAL, SYNTHETIC)[number]
        )


def _axes_of(shape: tuple[int, ...]) -> str:
    """Return what the axes of a sample are."""
    if is_curve(shape):
        return f"across: place, 1 to {shape[-1]}; up: value, in the data's units"
    if len(shape) == 2:
        return f"across: place, 1 to {shape[1]}; down: channel, 1 to {shape[0]}"
    return f"across: column, 1 to {shape[2]}; down: row, 1 to {shape[1]}"
