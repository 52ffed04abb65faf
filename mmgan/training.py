"""The job of train.py: one fold or all of them, and the table at the end."""

import warnings

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from mmgan.run import FitResult, chosen_folds, fit, fold_path, load_data


def train_folds(cfg: DictConfig) -> list[FitResult]:
    """Train every fold that `cfg.fold` asks for and print what came of it."""
    quiet_lightning()
    dataset = load_data(cfg)
    results = {fold: fit(cfg, dataset, fold, fold_path(cfg, "train", fold)) for fold in chosen_folds(cfg, dataset)}
    print_results(results)
    first = next(iter(results.values())).folder
    shown = first.parent if str(cfg.fold) == "all" else first
    console = Console()
    console.print(f"files:  {shown}", highlight=False)
    console.print(f"watch:  tensorboard --logdir {shown}", highlight=False)
    console.print(f"next:   python synthesize.py ckpt={shown}", highlight=False)
    return list(results.values())


def print_results(results: dict[int, FitResult]) -> None:
    """Print a row per fold, and mean and spread over several."""
    parts = list(next(iter(results.values())).metrics["scores"])
    table = Table(title="samples against the fold's own val_indices (1 is best)")
    for column in ("fold", "epochs", "inner val/score", *parts):
        table.add_column(column, justify="right")
    for fold, result in results.items():
        scores = result.metrics["scores"]
        table.add_row(str(fold), str(result.epochs), f"{result.score:.3f}", *[f"{scores[p]:.3f}" for p in parts])
    if len(results) > 1:
        columns = [[r.score for r in results.values()]] + [[r.metrics["scores"][p] for r in results.values()] for p in parts]
        table.add_row("mean", "", *[f"{np.mean(c):.3f}" for c in columns])
        table.add_row("spread", "", *[f"{np.std(c, ddof=1):.3f}" for c in columns])
    Console().print(table)


def quiet_lightning() -> None:
    """Silence two hints of Lightning that do not apply: the rows lie in memory, and one batch is one step of the log."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*")
