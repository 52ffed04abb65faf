"""All classes of a data set at a glance: some real and some synthetic samples of each, beside each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mmgan.plots.canvas import Box, Canvas, Ends, Panel, numbered
from mmgan.plots.samples import NUMBERS, colours_of, draw_sample, is_curve, limits_of, panel_of, scale_of
from mmgan.plots.style import REAL, STYLE, SYNTHETIC, shortened
from mmgan.schema import Arrays

MOST_CLASSES = 40  # a picture of more could not be opened
CELL = {1: 0.62, 2: 0.62, 3: 1.25}  # height of a sample in inches, by the rank of its shape
WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 11.0, 1.75, 0.95, 0.62, 0.62, 0.3  # inches
EACH = 3
COLUMN = (WIDTH - LEFT - RIGHT - GAP) / (2 * EACH)


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
    heights = [TOP + BOTTOM + len(classes) * CELL[values.ndim - 1] for values in real.values()]
    canvas, above = Canvas(WIDTH, sum(heights) + GAP), GAP
    for (name, values), height in zip(real.items(), heights, strict=True):
        pairs = [[x[name][y == k][:EACH] for x, y in ((real, y_real), (synthetic, y_synthetic))] for k in classes]
        _block(canvas, above, name, pairs, [class_names[k] for k in classes], scale_of(values), kinds)
        above += height
    if len(found) > len(classes):
        canvas.text(WIDTH / 2, 0.16, f"the first {len(classes)} of {len(found)} classes", fontsize=9)
    return canvas.done()


def _block(
    canvas: Canvas,
    above: float,
    name: str,
    pairs: Sequence[Sequence[np.ndarray]],
    class_names: Sequence[str],
    scale: Ends,
    kinds: tuple[str, str],
) -> None:
    """Draw the samples of one modality, `above` inches below the top of the figure: a line for each class."""
    shape = pairs[0][0].shape[1:]
    cell, limits, panels = CELL[len(shape)], limits_of([samples for pair in pairs for samples in pair], scale), []
    _headings(canvas, above, name, kinds)
    for line, (pair, class_name) in enumerate(zip(pairs, class_names, strict=True)):
        top = above + TOP + line * cell
        written = shortened(class_name, 20)
        canvas.text(LEFT - 0.42, top + 0.45 * cell, written, ha="right", fontsize=9 if len(written) <= 15 else 7)
        for place in range(2 * EACH):
            samples, left = pair[place // EACH], LEFT + place * COLUMN + GAP * (place >= EACH)
            box = Box(left, top + 0.04 * cell, 0.92 * COLUMN, 0.86 * cell)
            panels.append(panel_of(canvas, box, shape, limits))
            panels[-1].frame()
            if place % EACH < len(samples):
                draw_sample(panels[-1], samples[place % EACH], scale, (REAL, SYNTHETIC)[place // EACH])
            elif not place % EACH:
                box.write(canvas, "no sample")
    _number(canvas, panels, shape, limits)
    canvas.text(WIDTH / 2, above + TOP + len(pairs) * cell + 0.35, _axes_of(shape), fontsize=8)
    if not is_curve(shape):
        _add_bar(canvas, above + TOP, min(len(pairs) * cell, 2.4), scale, colours_of(shape))


def _number(canvas: Canvas, panels: Sequence[Panel], shape: tuple[int, ...], limits: Ends) -> None:
    """Number the axes of a block where they stand for all: the first panel's heights, and the lowest line's places."""
    *_, rows, places = (1, *shape)
    ends = sorted({0, places - 1})
    for panel in panels[-2 * EACH :: EACH]:
        panel.number("x", ends, [str(end + 1) for end in ends], NUMBERS)
    if is_curve(shape):
        heights, written, power = numbered(limits)
        panels[0].number("y", heights, written, NUMBERS)
        canvas.text(LEFT, panels[0].box.top - 0.1, power, ha="left", fontsize=NUMBERS)
    else:
        ends = sorted({0, rows - 1})
        panels[0].number("y", ends, [str(end + 1) for end in ends], NUMBERS)


def _add_bar(canvas: Canvas, top: float, height: float, scale: Ends, colours: str) -> None:
    """Add the scale of a block's colours to its right, `top` inches below the top of the figure."""
    box = [1 - (RIGHT - 0.15) / WIDTH, 1 - (top + height) / canvas.height, 0.13 / WIDTH, height / canvas.height]
    bar = ScalarMappable(Normalize(*scale), colours)
    canvas.figure.colorbar(bar, cax=canvas.figure.add_axes(box), label="value, in the data's units")


def _headings(canvas: Canvas, above: float, name: str, kinds: tuple[str, str]) -> None:
    canvas.text(0.15, above + 0.16, shortened(name, 60), ha="left", fontsize=11, fontweight="bold")
    for number, kind in enumerate(kinds):
        middle = LEFT + (number + 0.5) * EACH * COLUMN + GAP * number
        canvas.text(middle, above + 0.45, kind, color=(REAL, SYNTHETIC)[number])


def _axes_of(shape: tuple[int, ...]) -> str:
    """Return what the axes of a sample are."""
    if is_curve(shape):
        return f"across: place, 1 to {shape[-1]}; up: value, in the data's units"
    if len(shape) == 2:
        return f"across: place, 1 to {shape[1]}; down: channel, 1 to {shape[0]}"
    return f"across: column, 1 to {shape[2]}; down: row, 1 to {shape[1]}"
