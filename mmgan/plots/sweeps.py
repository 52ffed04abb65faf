"""Figures of a sweep: scores of its trials, by their order and by their parameters, and which parameters matter."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmgan.plots.style import MUTED, REAL, STYLE, WIDTH

ACROSS = 4  # panels in a line
DECADES = 1.5  # that values cover before an axis is logarithmic


@rc_context(STYLE)
def history(scores: Mapping[str, Mapping[int, float]], *, maximize: bool) -> Figure:
    """Show for each name the score of every trial {number: score}, and the best so far as a line."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, found in scores.items():
        numbers, values = list(found), np.array(list(found.values()), dtype=float)
        best = (np.maximum if maximize else np.minimum).accumulate(values)
        (line,) = axis.step(numbers, best, where="post", lw=1.2, label=name)
        axis.plot(numbers, values, ".", ms=5, alpha=0.5, color=line.get_color())
    last = max([0, *(number for found in scores.values() for number in found)])
    axis.set(xlabel="trial", ylabel="score on the inner split", xlim=(-0.5, last + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(loc="outside upper right", ncols=4)
    return figure


@rc_context(STYLE)
def importances(means: Mapping[str, float], of_folds: Mapping[str, Sequence[float]]) -> Figure:
    """Show the mean share of each parameter as a bar, and those of single folds as points; the largest on top."""
    figure = Figure(figsize=(WIDTH, 0.7 + 0.36 * len(means)), layout="constrained")
    axis = figure.subplots()
    for place, (name, share) in enumerate(reversed(means.items())):
        axis.barh(place, share, color=MUTED, alpha=0.35)
        axis.plot(of_folds[name], [place] * len(of_folds[name]), "o", ms=3, color=REAL)
    axis.set_yticks(range(len(means)), [two_lines(name) for name in reversed(means)])
    axis.set_xlabel("share of the variance of scores")
    return figure


@rc_context(STYLE)
def by_parameter(params: Mapping[str, Sequence[Any]], scores: Sequence[float], logarithmic: Collection[str]) -> Figure:
    """Show the score (n,) of every trial by its value of each parameter {name: (n,)}, a panel for each."""
    lines = -(-len(params) // ACROSS)
    figure = Figure(figsize=(2.5 * min(ACROSS, len(params)) + 0.3, 1.75 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, min(ACROSS, len(params)), squeeze=False, sharey=True).ravel()
    for axis, (name, values) in zip(panels, params.items(), strict=False):
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        axis.plot(values if numeric else [str(value) for value in values], scores, ".", ms=5, alpha=0.6, color=REAL)
        axis.set_title(two_lines(name), fontsize=8.5)
        if numeric and name in logarithmic and min(values) > 0 and np.log10(max(values) / min(values)) > DECADES:
            axis.set_xscale("log")
        elif numeric:
            axis.xaxis.set_major_locator(MaxNLocator(3))
        else:
            axis.tick_params(axis="x", rotation=20)
            axis.margins(x=0.3)
    for axis in panels[len(params) :]:
        axis.set_visible(False)
    figure.supylabel("score on the inner split", fontsize=9)
    return figure


def two_lines(name: str) -> str:
    """Return a parameter's dotted name on two lines, without the group that all are of."""
    above, dot, last = name.removeprefix("model.").rpartition(".")
    return f"{above}{dot}\n{last}" if above else last
