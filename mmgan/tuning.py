"""The Optuna study of one fold: trials, pruning, and the refit of the best parameters on the whole fold."""

import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import FrozenTrial, TrialState
from optuna_integration import PyTorchLightningPruningCallback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError
from mmgan.run import FitResult, Run, chosen_folds, fit, fold_path, load_data, make_datamodule, makes_rows, run_name
from mmgan.run_folder import RunFolder, differing_keys
from mmgan.training import print_results, quiet_lightning

# What one choice of parameters may bring about: a loss that is not finite, no memory. The sweep goes on without it.
TRIAL_FAILS = (MmganError, RuntimeError)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
RETRY_OF = "retry_of"  # a trial's mark: it repeats the trial of that number, whose process was killed


def tune_folds(cfg: DictConfig) -> list[FitResult]:
    """Tune every fold that `cfg.fold` asks for, refit the best parameters, and print what came of it."""
    quiet_lightning()
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dataset = load_data(cfg)
    check_space(cfg)
    folds = chosen_folds(cfg, dataset)
    for fold in folds:
        Run(cfg, dataset, fold).check()
    results = {fold: tune(cfg, dataset, fold, fold_path(cfg, "tune", fold)) for fold in folds}
    print_results(results, cfg)
    first = next(iter(results.values())).folder
    shown = first.parent if str(cfg.fold) == "all" else first
    console = Console()
    console.print(
        f"files:  {shown} (best_params.yaml, trials.csv, history.png, importance.png)", highlight=False, soft_wrap=True
    )
    console.print(f"watch:  tensorboard --logdir {shown}", highlight=False, soft_wrap=True)
    if makes_rows(cfg):
        console.print(f"next:   python synthesize.py ckpt={shown}", highlight=False, soft_wrap=True)
    return list(results.values())


def check_space(cfg: DictConfig) -> None:
    """Raise MmganError for a search space that names keys which the configuration does not have.

    `optional` keys, those of one of several choices, are then left out of it.
    """
    for key, options in list(cfg.search.space.items()):
        if OmegaConf.select(cfg, key, default=None) is None and options.get("optional"):
            with open_dict(cfg.search.space) as space:
                del space[key]
            continue
        if OmegaConf.select(cfg, key, default=None) is None:
            raise MmganError(
                f"search.space: there is no key '{key}' in the configuration; correct conf/search/{cfg.model.name}.yaml."
            )
        if options.type not in ("int", "float", "categorical"):
            raise MmganError(f"search.space: '{key}' has type {options.type}; choose int, float or categorical.")


def tune(cfg: DictConfig, dataset: Dataset, fold: int, path: Path) -> FitResult:
    """Bring the study of one fold to `n_trials` finished trials, then refit its best parameters on the whole fold."""
    if not len(make_datamodule(cfg, dataset, fold, final=False).monitor_indices):
        raise MmganError(
            f"{dataset.source}: fold {fold} has no inner split (it takes 60 training rows and data.inner_val above 0), so"
            " that trials cannot be compared; use train.py, which trains for a fixed length."
        )
    folder = RunFolder(path)
    with folder.locked("study.lock"):
        study = open_study(cfg, dataset, fold, path)
        _requeue_interrupted(study)
        run_trials(cfg, dataset, fold, path, study)
        _write_study(study, path)
        if not [t for t in study.trials if t.state == TrialState.COMPLETE]:
            raise MmganError(
                f"{path}: no trial was completed ({len(study.trials)} failed or were pruned); see trials.csv."
            )
        return refit(cfg, dataset, fold, folder, study.best_trial)


def open_study(cfg: DictConfig, dataset: Dataset, fold: int, path: Path) -> optuna.Study:
    """Open or create the fold's study; raises MmganError if the one there belongs to another configuration."""
    identity = Run(cfg, dataset, fold).params() | {"trial_epochs": trial_epochs(cfg)}
    search = cfg.search
    direction = f"{get_class(cfg.model._target_).mode}imize"
    storage = f"sqlite:///{(path / 'study.db').absolute()}"
    study = optuna.create_study(
        study_name=f"{run_name(cfg)}-fold{fold}", storage=storage, direction=direction, load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=search.n_startup // 2, n_warmup_steps=search.warmup),
    )  # fmt: skip
    known = study.user_attrs.get("config")
    if known and (differing := differing_keys(known, identity)):
        raise MmganError(
            f"{path}: the study there has another configuration ({', '.join(differing)});"
            " give the same one to go on, or another out_dir=."
        )
    if not known:
        study.set_user_attr("config", identity)
    finished = len(study.trials)
    # One sampler seed per fold and number of trials: a fixed one would repeat the first trials on every resume.
    seed = int(np.random.SeedSequence([cfg.seed, fold, finished]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.n_startup, multivariate=True)
    return study


def run_trials(cfg: DictConfig, dataset: Dataset, fold: int, path: Path, study: optuna.Study) -> None:
    """Run trials, one after another, until `n_trials` are finished."""
    with _progress() as progress:
        task = progress.add_task(f"fold {fold}", total=cfg.n_trials, completed=len(finished_trials(study)), note="")
        while (done := len(finished_trials(study))) < cfg.n_trials:
            study.optimize(
                lambda trial: run_trial(cfg, dataset, fold, path, trial),
                n_trials=1,
                catch=TRIAL_FAILS,
                gc_after_trial=True,  # a Trainer and its model refer to each other
            )
            progress.update(task, completed=done + 1, note=_note(study))


def run_trial(cfg: DictConfig, dataset: Dataset, fold: int, path: Path, trial: optuna.Trial) -> float:
    """Train once with the trial's parameters for `search.epochs` and return the score on the inner split."""
    chosen = with_params(cfg, suggest(trial, cfg.search.space))
    folder = RunFolder(path / "trials" / f"trial{trial.number:03d}")
    folder.make()
    pruning = functools.partial(PyTorchLightningPruningCallback, trial)
    return Run(chosen, dataset, fold).train_trial(folder, trial_epochs(cfg), pruning)


def trial_epochs(cfg: DictConfig) -> int:
    """Return the length of a trial: `search.epochs`, bounded by `trainer.max_epochs`."""
    return min(int(cfg.search.epochs), int(cfg.trainer.max_epochs))


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted key: value} as the trial's sampler chooses within the search space."""
    chosen = {}
    for key, options in space.items():
        if options.type == "categorical":
            chosen[key] = trial.suggest_categorical(key, list(options.choices))
        else:
            propose = trial.suggest_int if options.type == "int" else trial.suggest_float
            chosen[key] = propose(key, options.low, options.high, log=options.get("log", False))
    return chosen


def with_params(cfg: DictConfig, params: Mapping[str, Any]) -> DictConfig:
    """Return a copy of the configuration with these dotted keys changed."""
    changed = cfg.copy()
    for key, value in params.items():
        OmegaConf.update(changed, key, value)
    return changed


def refit(cfg: DictConfig, dataset: Dataset, fold: int, folder: RunFolder, best: FrozenTrial) -> FitResult:
    """Train the best trial's parameters at full length on all the fold's training rows; once per best trial."""
    known = folder.read_metrics()
    length = int(cfg.trainer.max_epochs)
    if known.get("trial") == best.number and known.get("max_epochs") == length and folder.best.exists():
        return FitResult(folder.path, known["epochs"], known["inner_score"], known)
    chosen = with_params(cfg, best.params)
    with open_dict(chosen):
        del chosen.search, chosen.n_trials
    chosen.final = chosen.resume = True
    if known or folder.holds_other_than(Run(chosen, dataset, fold).params()):
        folder.set_aside()  # the refit of an earlier best trial, or of another length
    folder.write_yaml("best_params.yaml", best.params)
    result = fit(chosen, dataset, fold, folder.path, best_params=best.params)
    folder.write_json("metrics.json", folder.read_metrics() | {"trial": best.number, "trial_score": best.value})
    return result


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count: complete, pruned or failed, but not those that were cut off and queued again."""
    cut_off = {trial.user_attrs.get(RETRY_OF) for trial in study.trials}
    return [trial for trial in study.trials if trial.state in FINISHED and trial.number not in cut_off]


def _requeue_interrupted(study: optuna.Study) -> None:
    """Queue the parameters of a trial whose process was killed again; we hold the lock, so nobody is running it."""
    queued = {trial.user_attrs.get(RETRY_OF) for trial in study.trials}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.number not in queued:  # nor queue it twice, when killed right here
            study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())


def _note(study: optuna.Study) -> str:
    states = [t.state for t in finished_trials(study)]
    note = f"pruned {states.count(TrialState.PRUNED)}  failed {states.count(TrialState.FAIL)}"
    if TrialState.COMPLETE in states:
        note = f"best {study.best_value:.3f} (trial {study.best_trial.number})  {note}"
    return note


def _write_study(study: optuna.Study, path: Path) -> None:
    """Write trials.csv and Optuna's pictures of the study."""
    study.trials_dataframe().to_csv(path / "trials.csv", index=False)
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as pictures

    drawn = {"history": pictures.plot_optimization_history, "parallel": pictures.plot_parallel_coordinate}
    if len(complete) > 1:
        drawn["importance"] = pictures.plot_param_importances
    for name, draw in drawn.items():
        if complete:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an axis on which all trials have one value
                figure = draw(study).figure
            figure.set_size_inches(14 if name == "parallel" else 10, 6)
            figure.savefig(path / f"{name}.png", dpi=90, bbox_inches="tight")
            pyplot.close(figure)  # which pyplot keeps otherwise, fold after fold
