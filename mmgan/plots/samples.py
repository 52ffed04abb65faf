"""Arrays to matplotlib figures; no state, no files."""

import numpy as np
from matplotlib.figure import Figure

# A page that recolours the figures knows these by their values, and black as the colour of its text.
REAL, SYNTHETIC, MUTED = "#1f5a94", "#c8553d", "#6b7480"


def _profile(rows: np.ndarray) -> np.ndarray:
    """(n, *shape) -> (n, values): the samples as curves, their channels one after another."""
    return rows.reshape(len(rows), -1)


def real_and_synthetic(
    real: dict[str, np.ndarray],
    synthetic: dict[str, np.ndarray],
    name: str,
    class_name: object,
    rows: int = 3,
    kinds: tuple[str, str] = ("real", "synthetic"),
) -> Figure:
    """Show, for one class and modality, some real samples above some synthetic ones on one colour scale; `kinds` are their names.

    (C, L) modalities are drawn as maps, channels downwards; images as images; vectors as curves.
    """
    a, b = real[name][:rows], synthetic[name][:rows]
    columns = max(len(a), len(b))
    figure = Figure(figsize=(2.2 * columns + 0.6, 3.6), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    low, high = float(real[name].min()), float(np.quantile(real[name], 0.995))
    for line, (label, shown) in enumerate(zip(kinds, (a, b), strict=True)):
        for column in range(columns):
            axis = axes[line, column]
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(label)
            if column < len(shown):
                draw_sample(axis, shown[column], low, high)
    figure.suptitle(f"{name}, class {class_name}", fontsize=10)
    return figure


def is_curve(shape: tuple[int, ...]) -> bool:
    """Say whether a row of this shape is drawn as a curve: a vector, or one channel, of which a map is one line."""
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


def draw_sample(axis, row: np.ndarray, low: float, high: float, colour: str = REAL) -> None:
    """Draw one row into an axis: (C, L) as a map on the scale `low` to `high`, an image as itself, a vector as a curve."""
    if is_curve(row.shape):
        axis.plot(row.ravel(), lw=0.8, color=colour)
    elif row.ndim == 2:
        axis.imshow(row, aspect="auto", vmin=low, vmax=high, cmap="magma", interpolation="none")
    else:
        image = (row.transpose(1, 2, 0) - low) / max(high - low, 1e-12)  # (C, H, W) -> (H, W, C)
        shown = image.clip(0, 1) if row.shape[0] == 3 else image[..., 0]
        axis.imshow(shown, vmin=0, vmax=1, interpolation="none")


def overview(
    real: dict[str, np.ndarray],
    y_real: np.ndarray,
    synthetic: dict[str, np.ndarray],
    y_synthetic: np.ndarray,
    class_names: tuple,
    most: int = 6,
    kinds: tuple[str, str] = ("real", "synthetic"),
) -> Figure:
    """Show one real and one synthetic row of each class (at most `most` of them), a pair of lines per modality; `kinds` are their names."""
    classes = [k for k in np.unique(y_real) if (y_synthetic == k).any()][:most]
    names = list(real)
    figure = Figure(figsize=(1.9 * len(classes) + 0.9, 2.3 * len(names) + 0.3), layout="constrained")
    axes = figure.subplots(2 * len(names), len(classes), squeeze=False)
    for line, name in enumerate(names):
        low, high = float(real[name].min()), float(np.quantile(real[name], 0.995))
        for column, k in enumerate(classes):
            pairs = zip(kinds, (real, synthetic), (y_real, y_synthetic), strict=True)
            for offset, (label, source, labels) in enumerate(pairs):
                axis = axes[2 * line + offset, column]
                axis.set_xticks([])
                axis.set_yticks([])
                draw_sample(axis, source[name][np.flatnonzero(labels == k)[0]], low, high)
                if column == 0:
                    axis.set_ylabel(f"{name}\n{label}", fontsize=8)
                if line == 0 and offset == 0:
                    axis.set_title(str(class_names[k]), fontsize=9)
    return figure


def mean_and_spread(real: dict[str, np.ndarray], synthetic: dict[str, np.ndarray], class_name: object) -> Figure:
    """Show, for one class, mean +- one standard deviation along every modality's flattened values, real and synthetic."""
    names = list(real)
    figure = Figure(figsize=(9, 2.2 * len(names)), layout="constrained")
    for axis, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        for label, rows, colour in (("real", real[name], REAL), ("synthetic", synthetic[name], SYNTHETIC)):
            curves = _profile(rows)
            mean, spread = curves.mean(0), curves.std(0)
            axis.plot(mean, lw=1, color=colour, label=label)
            axis.fill_between(np.arange(len(mean)), mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        axis.set_ylabel(name)
        axis.margins(x=0)
    axis.set_xlabel("value (channels one after another)")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)
    figure.suptitle(f"class {class_name}", fontsize=10, x=0.1)
    return figure


def scatter(real: np.ndarray, synthetic: np.ndarray, title: str = "first two principal components") -> Figure:
    """Show real (n, 2) and synthetic (m, 2) points in one plane."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.scatter(*real[:, :2].T, s=9, alpha=0.6, color=REAL, label="real", lw=0)
    axis.scatter(*synthetic[:, :2].T, s=9, alpha=0.6, color=SYNTHETIC, label="synthetic", lw=0)
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8)
    return figure


def game(losses: dict[str, list[float]], epochs: int, real: np.ndarray, synthetic: np.ndarray, title: str) -> Figure:
    """Show the losses of each epoch so far, on an axis of `epochs` epochs, beside real (n, 2) and synthetic (m, 2) points."""
    figure = Figure(figsize=(8.4, 3.8))  # a constrained layout would take twice as long, frame by frame
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.12, top=0.92, wspace=0.15)
    for (name, values), colour in zip(losses.items(), (REAL, SYNTHETIC, MUTED), strict=False):
        left.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, lw=1.2, marker=".", ms=4)
    left.set(xlim=(0.5, max(epochs, 2) + 0.5), xlabel="epoch", title="losses")
    if losses:  # a model without a critic has none of these
        left.legend(fontsize=8)
    margin = 0.35 * np.ptp(real, axis=0)
    low, high = real.min(0) - margin, real.max(0) + margin
    for points, name, colour in ((real, "real", REAL), (synthetic, "synthetic", SYNTHETIC)):
        right.scatter(*points.T, s=8, alpha=0.6, color=colour, label=name, lw=0)
    right.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=title)
    right.legend(fontsize=8, loc="upper left")
    return figure


def traversal(
    rows: list[np.ndarray], dimensions: list[int], values: np.ndarray, name: str, class_name: object
) -> Figure:
    """Show for each latent dimension, a line each, the samples (len(values), *shape) that its `values` make; others stay."""
    figure = Figure(figsize=(1.5 * len(values) + 0.8, 1.3 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(values), squeeze=False)
    low, high = (float(level) for level in np.quantile(np.concatenate(rows), (0, 0.995)))
    for line, (drawn, dimension) in enumerate(zip(rows, dimensions, strict=True)):
        for column, (row, value) in enumerate(zip(drawn, values, strict=True)):
            axis = axes[line, column]
            axis.set_xticks([])
            axis.set_yticks([])
            draw_sample(axis, row, low, high)
            if line == 0:
                axis.set_title(f"{value:+.1f}", fontsize=8)
        axes[line, 0].set_ylabel(f"z[{dimension}]", fontsize=8)
    figure.suptitle(f"{name}, class {class_name}: one latent dimension at a time, in standard deviations", fontsize=9)
    return figure
