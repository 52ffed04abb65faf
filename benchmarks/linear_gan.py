"""How near the tutorial's linear GAN comes to the truth, which is known: mean and covariance of 10 000 generated points.

The experiment as it is, and with one thing changed; aims: the mean within .15 of the true one in either coordinate, the covariance
within 20 % of the true one's Frobenius norm.

    python benchmarks/linear_gan.py workers=2
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from cells import Cell, Line, completed, markdown, read_options, stamped

from mmgan.data.sources.linear2d import COVARIANCE, MEAN

EXPERIMENT = "experiment=linear_gan callbacks=default"
COURSE = "model.training.ema_decay=0 model.optimizer.betas=[.9,.999]"
VARIANTS = {
    "the experiment": "",
    "no moving average": "model.training.ema_decay=0",
    "as courses have it: betas .9 and .999, no moving average": COURSE,
}
POINTS = 10_000
AIMS = {"mean": 0.15, "covariance": 0.2}


@dataclass
class Options:
    """The command line, as name=value; several values are separated by commas."""

    seeds: int = 5
    folds: str = "1"
    workers: int = 1
    out: str = "runs/linear_gan/linear_gan.jsonl"
    overrides: str = ""  # options of train.py for all trainings, separated by blanks


@dataclass(frozen=True)
class Variant(Cell):
    """A training of the experiment with one thing changed."""

    variant: str

    def overrides(self, of_all: str) -> str:
        """Return the options of train.py that make it, behind those of all variants."""
        return f"{EXPERIMENT} {of_all} {VARIANTS[self.variant]}"


def main() -> None:
    """Train the missing seeds in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    keys = [
        Variant("linear2d", 0, "full", "gan", int(fold), seed, name)
        for name in VARIANTS
        for seed in range(options.seeds)
        for fold in options.folds.split(",")
    ]
    wanted = stamped(keys, lambda key: key.settings(key.overrides(options.overrides), points=POINTS))
    log = Path("runs/linear_gan/log.txt")
    work = partial(measured, runs=log.parent, overrides=options.overrides)
    known = completed(wanted, work, Path(options.out), options.workers, log=log)
    print(table(list(known.values())))


def measured(key: Variant, runs: Path, overrides: str) -> Line:
    """Return how far mean and covariance of a model's points are from the true ones."""
    model = key.model_of(runs / key.variant.replace(" ", "_"), key.overrides(overrides))
    return {"metrics": errors(model.sample([0] * POINTS)["xy"])}


def errors(points: np.ndarray) -> dict[str, float]:
    """Return the larger of the mean's two errors, and the covariance's in the Frobenius norm, relative, of points (n, 2)."""
    off = np.linalg.norm(np.cov(points.T) - COVARIANCE) / np.linalg.norm(COVARIANCE)
    return {
        "mean": round(float(np.abs(points.mean(0) - MEAN).max()), 4),
        "covariance": round(float(off), 4),
    }


def table(lines: list[Line]) -> str:
    """Return the errors of all seeds as Markdown, a row for each variant."""
    rows = [["", *(f"error of the {name}, seed by seed" for name in AIMS), "seeds within both aims"]]
    for variant in VARIANTS:
        own = [line["metrics"] for line in lines if line["variant"] == variant]
        within = sum(all(metrics[name] <= aim for name, aim in AIMS.items()) for metrics in own)
        shown = [", ".join(f"{metrics[name]:.2f}" for metrics in own) for name in AIMS]
        rows.append([variant, *shown, f"{within} of {len(own)}"])
    return markdown(rows)


if __name__ == "__main__":
    main()
