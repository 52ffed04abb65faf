"""Many small panels in a figure, placed in inches: matplotlib takes longer to make and number axes than to draw what such panels hold."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, ScalarFormatter
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox

TICK, PAD = 0.028, 0.05  # inches: length of a tick, distance of its number
DIGIT = 0.072 / 8  # inches that a character of a number is wide at most, per point of its size
Ends = tuple[float, float]


class Box(NamedTuple):
    """A part of a canvas, in inches."""

    left: float
    top: float
    width: float
    height: float

    def fitted(self, aspect: float) -> "Box":
        """Return the largest box in the middle of this one that is `aspect` times as wide as it is high."""
        width, height = min(self.width, self.height * aspect), min(self.height, self.width / aspect)
        return Box(self.left + (self.width - width) / 2, self.top + (self.height - height) / 2, width, height)

    def write(self, canvas: "Canvas", text: str) -> None:
        """Write a text into the middle."""
        canvas.text(self.left + self.width / 2, self.top + self.height / 2, text)


class Canvas:
    """A figure of this width and height in inches; places on it are inches from its left upper corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        self.inches = Affine2D().scale(1, -1).translate(0, height) + self.figure.dpi_scale_trans
        self._strokes: list[np.ndarray] = []

    def done(self) -> Figure:
        """Return the figure, when all is on the canvas."""
        self.lines(self._strokes, colors="black", lw=0.6, capstyle="projecting")
        return self.figure

    @cached_property
    def axis(self) -> Axes:
        """The axes of all images, in inches: an image needs some, and stays sharp in a file of vectors."""
        ends = {"xlim": (0, self.width), "ylim": (self.height, 0)}
        axis = self.figure.add_axes((0, 0, 1, 1), autoscale_on=False, **ends)
        axis.set_axis_off()
        return axis

    def text(self, x: float, y: float, text: str, ha: str = "center", va: str = "center", **look: object) -> None:
        """Write a text."""
        self.figure.text(x, y, text, ha=ha, va=va, transform=self.inches, **look)

    def name_axes(self, names: tuple[str, str], left: float, top: float, below: float) -> None:
        """Write the names of the axes of all panels, which stand beyond `left` and between `top` and `below` inches from the edges."""
        middle, height = (left + self.width) / 2 / self.width, (self.height - top + below) / 2 / self.height
        look = {"ha": "center", "va": "center", "fontsize": 9}
        self.figure.supxlabel(names[0], x=middle, y=0.12 / self.height, **look)
        self.figure.supylabel(names[1], x=0.12 / self.width, y=height, **look)

    def lines(self, lines: Sequence[np.ndarray], **look: object) -> None:
        """Draw lines (n, 2) of one look."""
        self.figure.add_artist(LineCollection(lines, transform=self.inches, **look))

    def areas(self, outlines: Sequence[np.ndarray], **look: object) -> None:
        """Fill areas (n, 2) in one look."""
        self.figure.add_artist(PolyCollection(outlines, transform=self.inches, **look))

    def point(self, place: np.ndarray, size: float, colour: str) -> None:
        """Draw a point (2,) of a size in points."""
        self.figure.add_artist(Line2D(*place[:, None], marker="o", ms=size, color=colour, transform=self.inches))

    def stroke(self, line: np.ndarray) -> None:
        """Draw a thin black line (n, 2): of a frame, or a tick."""
        self._strokes.append(line)


class Panel:
    """A box on a canvas, and the values that its sides stand for: `x` from left to right, `y` from below to above."""

    def __init__(self, canvas: Canvas, box: Box, x: Ends, y: Ends):
        self.canvas, self.box, self.x, self.y = canvas, box, x, y

    def points(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return where values x and y (n,) lie on the canvas, (n, 2)."""
        across = (np.asarray(x, float) - self.x[0]) / (self.x[1] - self.x[0])
        down = (np.asarray(y, float) - self.y[1]) / (self.y[0] - self.y[1])
        return np.column_stack([self.box.left + self.box.width * across, self.box.top + self.box.height * down])

    def frame(self) -> None:
        """Draw the left and the lower side."""
        self.canvas.stroke(self.points([self.x[0], self.x[0], self.x[1]], [self.y[1], self.y[0], self.y[0]]))

    def curve(self, y: np.ndarray, colour: str) -> None:
        """Draw values (n,) at 0, 1, ...: what lies outside of the box is cut off; a single value is a point."""
        points = self.points(np.arange(len(y)), y)
        marker = "o" if len(y) == 1 else None
        line = Line2D(*points.T, lw=0.8, color=colour, marker=marker, ms=3, transform=self.canvas.inches)
        self.canvas.figure.add_artist(line)
        line.set_clip_box(TransformedBbox(Bbox.from_bounds(*self.box), self.canvas.inches))

    def image(self, values: np.ndarray, scale: Ends, colours: str) -> None:
        """Fill the box with an image, (rows, columns) on a scale of colours or (rows, columns, 3), its first row above."""
        left, top, width, height = self.box
        look = {"vmin": scale[0], "vmax": scale[1], "cmap": colours, "interpolation": "none", "aspect": "auto"}
        self.canvas.axis.imshow(values, extent=(left, left + width, top + height, top), **look)

    def number(
        self, side: str, places: Sequence[float], numbers: Sequence[str], size: float, within: bool = False
    ) -> None:
        """Put ticks with numbers below the panel (`side` "x") or to its left ("y"); a number may be ''.

        With `within` the first and the last number below do not reach beyond their ticks, where those of the next panel stand.
        """
        if side == "x":
            ends, shift, align = self.points(places, [self.y[0]] * len(places)), (0, 1), {"va": "top"}
        else:
            ends, shift, align = self.points([self.x[0]] * len(places), places), (-1, 0), {"ha": "right"}
        shift = np.array(shift)
        outer = {0: "left", len(numbers) - 1: "right"} if within and len(numbers) > 1 else {}
        for place, (end, number) in enumerate(zip(ends, numbers, strict=True)):
            self.canvas.stroke(np.stack([end, end + TICK * shift]))
            if number:
                look = align | ({"ha": outer[place]} if place in outer else {})
                self.canvas.text(*(end + PAD * shift), number, fontsize=size, **look)


def spanned(*values: np.ndarray, margin: float = 0.05) -> Ends:
    """Return the least and the greatest of the finite values, and a margin around them; (0, 1) of none."""
    finite = np.concatenate([each[np.isfinite(each)] for each in values]) if values else np.empty(0)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    low, high = AutoLocator().nonsingular(low, high)  # of a constant, some values around it
    return low - margin * (high - low), high + margin * (high - low)


def numbered(ends: Ends, whole: bool = False) -> tuple[np.ndarray, list[str], str]:
    """Return two or three round values between two ends, how they are written, and the power of ten that all are multiplied with, or ''."""
    locator, formatter = AutoLocator(), ScalarFormatter(useOffset=False)
    locator.set_params(nbins=2, integer=whole)
    places = locator.tick_values(*ends)
    places = places[(places >= ends[0]) & (places <= ends[1])]
    formatter.create_dummy_axis()
    formatter.axis.set_view_interval(*ends)
    return places, formatter.format_ticks(places), formatter.get_offset()


def room_of(numbers: Sequence[str], size: float) -> float:
    """Return the inches that numbers of this size are wide, at most."""
    return DIGIT * size * max(map(len, numbers), default=0)
