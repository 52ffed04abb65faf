"""The job of train.py: one fold or all of them, and the table at the end."""

import numpy as np
from hydra.utils import get_class
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from mmgan.commands.arguments import command_line, shell_line, tell, trust_option
from mmgan.models.vqgan import VQGAN
from mmgan.training.checkpoint import load
from mmgan.training.predictions import ensemble, write_predictions
from mmgan.training.quiet import quiet_lightning
from mmgan.training.run import FitResult, Run, chosen_folds, fit, fold_path, generates, load_data, trusted


def train_folds(cfg: DictConfig) -> list[FitResult]:
    """Train every fold that `cfg.fold` asks for and print what came of it."""
    quiet_lightning()
    dataset = load_data(cfg)
    folds = chosen_folds(cfg, dataset)
    for fold in folds[1:]:  # the first is checked as it starts
        Run(cfg, dataset, fold).check()
    results = {fold: fit(cfg, dataset, fold, fold_path(cfg, "train", fold)) for fold in folds}
    first = next(iter(results.values())).folder
    shown = first.parent if str(cfg.fold) == "all" else first
    print_results(results, cfg)
    tell(f"files:  {shown}", f"watch:  {shell_line('tensorboard', '--logdir', shown)}")
    if generates(cfg):
        tell(f"next:   {command_line('synthesize', f'ckpt={shown}', *trust_option(trusted(cfg)))}")
    elif issubclass(get_class(cfg.model._target_), VQGAN):
        command = command_line("train", "model=ldm", f"first_stage={shown}", *trust_option(trusted(cfg)))
        tell(f"next:   {command} and the same data= options, fold= and final=")
    elif dataset.x_test is not None:
        answers = ensemble(
            [load(result.folder / "best.ckpt", trust=trusted(cfg)) for result in results.values()], dataset.x_test
        )
        write_predictions(shown / "predictions.csv", dataset.schema, answers)
        tell(f"x_test: {shown / 'predictions.csv'}")
    return list(results.values())


def print_results(results: dict[int, FitResult], cfg: DictConfig) -> None:
    """Print a row per fold, and mean and spread over several."""
    # A fold with too few val_indices has no scores of its own.
    parts = list(dict.fromkeys(part for result in results.values() for part in result.metrics["scores"]))
    table = Table(title=get_class(cfg.model._target_).scored)
    # A terminal's line is short.
    headings = {"indistinguishability": "indist.", "calibration_error": "calibr. error", "log_likelihood": "log-lik."}
    for column in ("fold", "epochs", "inner score", *parts):
        table.add_column(headings.get(column, column), justify="right", no_wrap=True)
    for fold, result in results.items():
        scores = [result.score, *[result.metrics["scores"].get(part) for part in parts]]
        table.add_row(str(fold), str(result.epochs), *map(_shown, scores))
    if len(results) > 1:
        columns = [[r.score for r in results.values()]]
        columns += [[r.metrics["scores"].get(part) for r in results.values()] for part in parts]
        known = [[value for value in column if value is not None] for column in columns]
        table.add_row("mean", "", *[_shown(np.mean(values) if values else None) for values in known])
        table.add_row("spread", "", *[_shown(np.std(values, ddof=1) if len(values) > 1 else None) for values in known])
    Console().print(table)


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.3f}"
