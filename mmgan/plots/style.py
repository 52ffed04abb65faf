"""What all figures have in common: colours, sizes, and names that are shown as they are."""

REAL, SYNTHETIC, MUTED = "#1f5a94", "#c8553d", "#6b7480"
WIDTH = 4.4  # inches: a telephone's screen
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


def shortened(name: object, most: int) -> str:
    """Return the name, its end cut off where it is longer than `most` characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
