"""The job of train.py: one fold or all of them, and the table at the end."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mmgan.commands.arguments import command_line, print_table, shell_line, tell, trust_option
from mmgan.commands.build import check_runs, chosen_folds, fold_path, fold_run, load_data, task_of, trusted
from mmgan.commands.opening import tell_opening
from mmgan.training.duration import seconds_of_epoch, seconds_of_training
from mmgan.training.fit import FitResult
from mmgan.training.quiet import quiet_lightning
from mmgan.training.tasks import Task

# A terminal's line is short.
HEADINGS = {
    "inner score": "inner",
    "indistinguishability": "indist.",
    "calibration_error": "calibr. error",
    "log_likelihood": "log-lik.",
}


def train_folds(cfg: DictConfig) -> list[FitResult]:
    """Train every fold that `cfg.fold` asks for and print what came of it."""
    quiet_lightning()
    dataset = load_data(cfg)
    runs = {fold: fold_run(cfg, dataset, fold) for fold in chosen_folds(cfg, dataset)}
    ready, folds = check_runs(cfg, runs.values())
    epoch = math.nan if cfg.resume else seconds_of_epoch(ready.trainer, ready.model, ready.data)
    ahead = sum(seconds_of_training(run, data, epoch) for run, data in zip(runs.values(), folds, strict=True))
    tell_opening(cfg, dataset, folds, ready.trainer, ahead)
    results = {fold: run.run(fold_path(cfg, "train", fold)) for fold, run in runs.items()}
    first, task = next(iter(results.values())).folder, task_of(cfg)
    shown = first.parent if str(cfg.fold) == "all" else first
    print_results(results, task)
    tell_unlabelled(results)
    watch = shell_line("tensorboard", "--logdir", shown)
    lines = {"files": shown, "watch": watch, "next": next_command(cfg, shown)}
    models = (run.load(results[fold].folder / "best.ckpt") for fold, run in runs.items())  # where they are asked for
    print_lines(lines | dict(task.after_folds(models, dataset, shown)))
    return list(results.values())


def next_command(cfg: DictConfig, folder: Path) -> str:
    """Return the command for what a training left in `folder`, with the options that its task asks to repeat; none is ''."""
    task = task_of(cfg)
    words = task.next_command(folder)
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    again = [word for word in typed if word.startswith(task.repeats)]
    if task.repeats and "final" not in cfg:
        again.append("final=true")  # as the refit of a sweep
    return command_line(*words, *again, *trust_option(trusted(cfg))) if words else ""


def print_results(results: Mapping[int, FitResult], task: Task) -> None:
    """Print a row per fold, mean and spread over several, and what the task doubts."""
    # A fold with too few val_indices has no scores of its own.
    found = [{"inner score": result.score} | result.metrics["scores"] for result in results.values()]
    scores = pandas.DataFrame(found, list(results), dtype=float)
    rows = [
        [str(fold or "none"), str(result.epochs), *map(_shown, scores.loc[fold])] for fold, result in results.items()
    ]
    if len(results) > 1:
        rows += [["mean", "", *map(_shown, scores.mean())], ["spread", "", *map(_shown, scores.std())]]
    for name in dict.fromkeys(name for result in results.values() for name in result.metrics.get("references", ())):
        beside = pandas.DataFrame(
            [result.metrics["references"].get(name, {}) for result in results.values()], dtype=float
        )
        rows.append([name, *map(_shown, beside.reindex(columns=scores.columns).mean())])
        rows[-1].insert(1, "")
    print_table(task.title, ["fold", "epochs", *(HEADINGS.get(column, column) for column in scores)], rows)
    tell(*kept_epochs(results))
    tell(*task.doubts({fold: result.metrics["scores"] for fold, result in results.items()}))


def kept_epochs(results: Mapping[int, FitResult]) -> Iterator[str]:
    """Yield a sentence for each fold that kept an earlier epoch than its last one, without an inner split to choose it."""
    for fold, result in results.items():
        if result.score is None and 0 < result.epochs < (length := result.metrics["max_epochs"]):
            yield (
                f"fold {fold or 'none'}: best.ckpt is of epoch {result.epochs} of {length}: later samples came nearer to training samples, as"
                " copies do (callbacks.novelty=null keeps the last epoch)."
            )


def tell_unlabelled(results: Mapping[int, FitResult]) -> None:
    """Print what was learnt from unlabelled samples, if from any, fold by fold."""
    for fold, result in results.items():
        for line in result.metrics.get("unlabelled", ()):
            tell(f"fold {fold or 'none'}, {line}")


def print_lines(lines: Mapping[str, str | Path]) -> None:
    """Print what was made, and what to do with it, a line each; nothing of what is empty."""
    tell(*(f"{what + ':':<8}{value}" for what, value in lines.items() if value))


def _shown(score: float) -> str:
    return "\N{EN DASH}" if pandas.isna(score) else f"{score:.3f}"
