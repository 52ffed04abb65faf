"""Figures of results: distances, confusions, gains."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mmgan.plots.style import MUTED, REAL, STYLE, SYNTHETIC, WIDTH, shortened

DASHES = ("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)), (0, (8, 3)))
MARKERS, HUES = "sD^vPX", (SYNTHETIC, "#8a63c4", "#2f9482", "#b1802a", MUTED, "#c2559d")


@rc_context(STYLE)
def cumulative(lines: dict[str, np.ndarray], bold: dict[str, str]) -> Figure:
    """Show the share of values (n,) below x for each of `lines`: those in `bold` in their colours, the others thin."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    share = np.linspace(0, 1, 101)
    ordered = sorted(lines, key=lambda name: name not in bold)
    thin = [name for name in ordered if name not in bold]
    for name in ordered:
        if name in bold:
            look = {"color": bold[name], "lw": 2, "zorder": 3}
        else:
            look = {"color": MUTED, "lw": 1, "ls": DASHES[thin.index(name) % len(DASHES)]}
        values = np.quantile(lines[name], share)
        # From 0 to 1 over the whole picture, so that a line of copies is not a point.
        axis.plot([0, *values, 1e9], [0, *share, 1], label=shortened(name, 30), **look)
    far = max(np.quantile(lines[name], 0.99) for name in bold if name in lines)
    axis.set(xlim=(0, float(np.clip(1.15 * far, 1.5, 6))), ylim=(0, 1.02), ylabel="share of samples")
    axis.set_xlabel("distance to the nearest training sample,\nin medians of the real held-out samples")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@rc_context(STYLE)
def confusion(matrix: np.ndarray, class_names: tuple[str, ...]) -> Figure:
    """Show a (K, K) matrix of shares, true classes downwards; with numbers, in percent, for at most 12 classes."""
    count = len(matrix)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    shares = np.nan_to_num(matrix)
    axis.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.8)  # pale enough that the text is legible in every cell
    for (row, column), share in np.ndenumerate(shares) if count <= 12 else ():
        text = f"{100 * share:.0f}" if share >= 0.005 else ""
        axis.text(column + 0.5, row + 0.52, text, ha="center", va="center")
    if count <= 30:
        places, names = np.arange(count) + 0.5, [shortened(name, 18) for name in class_names]
        axis.set_yticks(places, names)
        axis.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axis.set(xlabel="predicted", ylabel="true", aspect="equal")
    axis.invert_yaxis()
    axis.tick_params(length=0)
    return figure


@rc_context(STYLE)
def gains(curve: Mapping[str, Mapping[str, Any]], reference: str) -> Figure:
    """Show for each name the interval (`mean`, `low`, `high`) of every setting, in the order given; `reference` is a dashed line."""
    settings = list(dict.fromkeys(setting for line in curve.values() for setting in line))
    # No line joins these to the unequal classes.
    of_rows = np.array([not setting.startswith("imbalance") for setting in settings])
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color=MUTED, lw=0.7)
    names = [name for name in curve if name != reference]
    for number, (name, line) in enumerate(curve.items()):
        offset = 0.08 * (number - (len(curve) - 1) / 2)  # beside each other, or the intervals hide one another
        found = [line.get(setting) for setting in settings]
        mean, low, high = (np.array([getattr(each, end, np.nan) for each in found]) for end in ("mean", "low", "high"))
        look, dashes = {"color": REAL, "marker": "o"}, "--"
        if name != reference:
            nth = names.index(name) % len(HUES)
            look, dashes = {"color": HUES[nth], "marker": MARKERS[nth]}, "-"
        ends = np.maximum([mean - low, high - mean], 0)
        places = np.arange(len(settings)) + offset
        axis.errorbar(places, mean, ends, ls="none", ms=4, elinewidth=0.9, label=shortened(name, 30), **look)
        axis.plot(places[of_rows], mean[of_rows], ls=dashes, lw=1.4, color=look["color"])
    axis.set_xticks(np.arange(len(settings)), [setting.replace("imbalance", "unequal\n1 : ") for setting in settings])
    axis.set(xlabel="real training samples of each class", ylabel="gain in macro-F1")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
