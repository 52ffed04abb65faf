"""Draws what `measure=benchmarks.sizes.Sizes` found: python -m benchmarks.curve OUT.png LINES.jsonl ..."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.sizes import Sizes, by_size
from mmgan.evaluation.table import REAL
from mmgan.plots.style import MUTED, STYLE, SYNTHETIC, WIDTH
from mmgan.plots.style import REAL as BLUE
from mmgan.report.quality import read_lines

MEASURE = f"{Sizes.__module__}.{Sizes.__name__}"
COLUMNS = {"novelty50": "novelty 50 %", "close": "close", "coverage": "coverage", "c2st": "C2ST"}
COLOURS = {REAL: "black", "vacwgan": SYNTHETIC, "neighbour_bootstrap": BLUE, "smoothed_bootstrap_8": MUTED}


def main(out: str, *paths: str) -> None:
    """Draw a row of panels for each file, a column for each metric."""
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(
        len(paths), len(COLUMNS), figsize=(2.2 * WIDTH, 1.9 * len(paths)), squeeze=False, layout="constrained"
    )
    for row, path in zip(axes, paths, strict=True):
        found = by_size(read_lines(path, MEASURE))
        mean, error = found.mean(), found.sem()
        row[0].set_ylabel(Path(path).stem.removeprefix("sizes-"))
        for axis, (key, title) in zip(row, COLUMNS.items(), strict=True):
            axis.set_title(title)
            for model, colour in COLOURS.items():
                own = mean[key].xs(model, level="model")
                axis.errorbar(own.index, own, 2 * error[key].xs(model, level="model"), label=model, color=colour)
    axes[-1][0].set_xlabel("training samples a class")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS))
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
