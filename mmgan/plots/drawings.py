"""The drawings of a report: arrays to figures that are legible on a telephone and side by side on a wide screen."""

import numpy as np
from matplotlib.figure import Figure

from mmgan.plots.samples import MUTED, REAL, SYNTHETIC, draw_sample, is_curve

# As wide as a telephone's screen: several stand side by side on a wider one.
WIDTH = 4.4
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.parse_math": False,  # a class may be called $x
}
DASHES = ("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)), (0, (8, 3)))
MARKERS, HUES = "sD^vPX", (SYNTHETIC, "#8a63c4", "#2f9482", "#b1802a", MUTED, "#c2559d")


def beside_nearest(
    real: np.ndarray, synthetic: np.ndarray, nearest: np.ndarray, ratios: np.ndarray, scale: tuple[float, float]
) -> Figure:
    """Show at most three real samples (n, *shape) above as many synthetic ones, and below these their nearest samples.

    `ratios` (m,) stand above the nearest samples; `scale` are the ends of the colour scale.
    """
    shape = real.shape[1:]
    height = 0.85 if len(shape) < 3 else float(np.clip(1.25 * shape[1] / shape[2], 0.5, 1.6))
    figure = Figure(figsize=(WIDTH, 3 * height + 0.45), layout="constrained")
    axes = figure.subplots(3, 3, sharex=True, sharey=True, squeeze=False)
    lines = (("real", real, REAL), ("synthetic", synthetic, SYNTHETIC), ("nearest", nearest, REAL))
    for line, (label, rows, colour) in enumerate(lines):
        axes[line, 0].set_ylabel(label)
        for column, axis in enumerate(axes[line]):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if column < len(rows):
                draw_sample(axis, rows[column], *scale, colour)
                if rows is nearest:
                    axis.set_title(f"{ratios[column]:.2g} \N{MULTIPLICATION SIGN}", fontsize=8.5, pad=2)
            elif column == 0:
                axis.text(0.5, 0.5, "no row", ha="center", va="center", transform=axis.transAxes)
    if is_curve(shape):  # one row that is far off would make lines of all others
        (bottom, top), span = axes[0, 0].get_ylim(), max(scale[1] - scale[0], 1e-12)
        axes[0, 0].set_ylim(max(bottom, scale[0] - span), min(top, scale[1] + span))
    return figure


def bands(groups: dict[str, list[tuple[str, np.ndarray, np.ndarray]]]) -> Figure:
    """Show mean +- one standard deviation of real (n, L) and synthetic (m, L) samples in one panel per (title, real, synthetic).

    Three panels stand in a line; a group of one has a line to itself. Arrays may be absent on either side.
    """
    lines = sum(-(-len(panels) // 3) for panels in groups.values())
    figure = Figure(figsize=(WIDTH, 0.92 * lines + 0.3), layout="constrained")
    grid, line = figure.add_gridspec(lines, 3), 0
    for panels in groups.values():
        for number, (title, real, synthetic) in enumerate(panels):
            place = grid[line, :] if len(panels) == 1 else grid[line + number // 3, number % 3]
            axis = figure.add_subplot(place)
            for label, rows, colour in (("real", real, REAL), ("synthetic", synthetic, SYNTHETIC)):
                _draw_band(axis, rows, label, colour)
            axis.set_title(title, loc="left", fontsize=8.5, pad=2)
            axis.locator_params(nbins=2)
            axis.margins(x=0.02)
            axis.tick_params(length=2, pad=1.5)
        line += -(-len(panels) // 3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _draw_band(axis, rows: np.ndarray, label: str, colour: str) -> None:
    mean, spread = (rows.mean(0), rows.std(0)) if len(rows) else (np.full(rows.shape[1], np.nan),) * 2
    places, alone = np.arange(len(mean)), len(mean) == 1  # a single value is no line
    axis.plot(places, mean, lw=1.1, color=colour, label=label, marker="o" if alone else None)
    if alone:
        axis.errorbar(places, mean, spread, color=colour)
    axis.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.22, lw=0)


def plane(real: np.ndarray, synthetic: np.ndarray) -> Figure:
    """Show real (n, 2) and synthetic (m, 2) points around the real ones, and say how many lie outside of the picture."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    axis = figure.subplots()
    low, high = real.min(0), real.max(0)
    margin = 0.5 * np.maximum(high - low, 1e-6)
    inside = ((synthetic >= low - margin) & (synthetic <= high + margin)).all(1)
    for part in range(8):  # by turns, so that neither kind lies on top
        known = {"alpha": 0.6, "lw": 0, "zorder": 1 + part / 10}
        label = (None, None) if part else ("real", "synthetic")
        axis.scatter(*real[part::8].T, s=10, color=REAL, label=label[0], **known)
        axis.scatter(*synthetic[inside][part::8].T, s=10, color=SYNTHETIC, label=label[1], marker="D", **known)
    if not inside.all():
        axis.set_title(f"{(~inside).sum()} of {len(inside)} synthetic samples lie outside", loc="left")
    axis.set(xlabel="first component", ylabel="second component")
    axis.locator_params(nbins=5)
    figure.legend(loc="outside upper right", ncols=2, markerscale=1.8)
    return figure


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
    axis.set_xlabel("distance to the nearest training row,\nin medians of the real held-out samples")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def confusion(matrix: np.ndarray, class_names: tuple[str, ...]) -> Figure:
    """Show a (K, K) matrix of shares, true classes downwards; with numbers, in percent, for at most 12 classes."""
    count = len(matrix)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    shares = np.nan_to_num(matrix)
    mesh = axis.pcolormesh(shares, edgecolor="none", lw=0)
    # Pale enough that the text is legible in every cell, be the page light or dark.
    mesh.set(array=None, facecolor=[(REAL, 0.5 * float(np.clip(share, 0, 1))) for share in shares.ravel()])
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


def gains(curve: dict[str, dict[str, tuple[float, float, float]]], reference: str) -> Figure:
    """Show for each name the (mean, low, high) of every setting, in the order given; `reference` is a dashed line."""
    settings = list(dict.fromkeys(setting for line in curve.values() for setting in line))
    # No line joins these to the unequal classes.
    of_rows = np.array([not setting.startswith("imbalance") for setting in settings])
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color=MUTED, lw=0.7)
    names = [name for name in curve if name != reference]
    for number, (name, line) in enumerate(curve.items()):
        offset = 0.08 * (number - (len(curve) - 1) / 2)  # beside each other, or the intervals hide one another
        mean, low, high = np.array([line.get(setting, (np.nan,) * 3) for setting in settings], float).T
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


def shortened(name: object, most: int) -> str:
    """Return the name, its end cut off where it is longer than `most` characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
