"""The job of tune.py: the sweep over the folds that are asked for, its tables, and its summary."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_class, instantiate
from lightning.pytorch.callbacks import Callback, ProgressBar
from omegaconf import DictConfig, OmegaConf
from sqlalchemy.engine import URL

from mmgan.commands import build
from mmgan.commands.arguments import shell_line
from mmgan.commands.opening import tell_opening
from mmgan.commands.train import next_command, print_lines, print_results, tell_unlabelled
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.folds import fold_name, make_folds
from mmgan.errors import MmganError
from mmgan.report.page import write_report
from mmgan.training.callbacks import TellEpoch
from mmgan.training.duration import seconds_of_epoch, seconds_of_training, seconds_of_trials
from mmgan.training.fit import FitResult, FoldRun
from mmgan.training.folder import RunFolder
from mmgan.training.quiet import quiet_lightning
from mmgan.tuning.settings import MakePruning, SweepSettings, Trials
from mmgan.tuning.space import is_plain, usable_space, warm_params
from mmgan.tuning.study import FoldStudy
from mmgan.tuning.summary import summary, write_study
from mmgan.tuning.sweep import Sweep
from mmgan.tuning.view import progress_shown
from mmgan.tuning.workers import run_workers

# Options of tune.py that say how a sweep goes on; a refit is a training like that of train.py.
SWEEP_KEYS = (
    "search", "pruner", "n_trials", "max_epochs", "timeout", "workers", "storage", "study", "warm_start", "report",
)  # fmt: skip


@dataclass(frozen=True)
class ConfiguredTrials(Trials):
    """Trials and refits of a configuration, whose keys the parameters replace."""

    cfg: DictConfig

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set, loaded once by each process."""
        return build.load_data(self.cfg)

    def __getstate__(self) -> dict[str, Any]:
        return {"cfg": self.cfg}  # to another process, which loads the data itself

    def run_trial(self, fold: int, params: Mapping[str, Any], folder: Path, pruning: MakePruning) -> float:
        return self._run(fold, params).train_trial(RunFolder(folder), trial_epochs(self.cfg), pruning)

    def refit(self, fold: int, params: Mapping[str, Any], folder: Path) -> FitResult:
        run = self._run(fold, params)

        def callbacks() -> dict[str, Callback]:  # the sweep has a view of its own
            own = {name: each for name, each in run.callbacks().items() if not isinstance(each, ProgressBar)}
            return own | {"epoch": TellEpoch()}

        settings = self.refit_settings(fold, params)
        return replace(run, final=True, resume=True, settings=settings, callbacks=callbacks).run(folder)

    def refit_settings(self, fold: int, params: Mapping[str, Any]) -> dict[str, Any]:
        found = build.settings_of(with_params(self.cfg, params), self.dataset, fold)
        return {key: value for key, value in found.items() if key not in SWEEP_KEYS} | {"final": True}

    def sizes(self, fold: int) -> tuple[int, int]:
        datamodule = build.make_datamodule(self.cfg, self.dataset, fold, final=False)
        return len(datamodule.training_indices), len(datamodule.inner_val_indices)

    def _run(self, fold: int, params: Mapping[str, Any]) -> FoldRun:
        return build.fold_run(with_params(self.cfg, params), self.dataset, fold, params)


def tune_folds(cfg: DictConfig) -> list[FitResult]:
    """Tune every fold that `cfg.fold` asks for, refit the best parameters, and print what came of it.

    With `report` nothing is run: the summary of the studies as they stand is written.
    """
    quiet_lightning()
    trials = ConfiguredTrials(cfg)
    paths = {fold: build.fold_path(cfg, "tune", fold) for fold in build.chosen_folds(cfg, trials.dataset)}
    home = sweep_folder(cfg, paths)
    if cfg.trainer.get("strategy") is not None:
        raise MmganError("trainer: a trial trains on one device; leave trainer=ddp out, and give workers=.")
    sweep = Sweep(sweep_settings(cfg, trials, paths, home), trials)
    runs = [build.fold_run(cfg, trials.dataset, fold) for fold in paths]
    ready, folds = build.check_runs(cfg, runs)
    for fold in paths:
        if not trials.sizes(fold)[1]:
            raise MmganError(
                f"{trials.dataset.source}: {fold_name(fold)} has no inner split (it takes 60 training samples and data.inner_val above"
                " 0), so that trials cannot be compared; use train.py, which trains for a fixed length."
            )
    if cfg.report:
        if not cfg.storage and not (home / "study.db").exists():
            raise MmganError(f"{home}: there is no sweep to report on; run it first, or give its out_dir=.")
        _write(sweep.studies(create=False), home, sweep)
        return []
    ahead = _seconds(cfg, runs, folds, seconds_of_epoch(ready.trainer, ready.model, ready.data))
    tell_opening(cfg, trials.dataset, folds, ready.trainer, ahead)
    results = run_sweep(sweep, home, one_machine=not cfg.storage)
    print_results(results, build.task_of(cfg))
    tell_unlabelled(results)
    shown = _shown_folder(home, paths)
    lines = {
        "files": f"{shown} (best_params.yaml, trials.csv, history.png, parameters.png of each fold)",
        "report": home / "summary.html",
        "watch": shell_line("tensorboard", "--logdir", shown),
        "next": sweep.settings.next_command,
    }
    print_lines(lines)
    return list(results.values())


def sweep_settings(cfg: DictConfig, trials: ConfiguredTrials, paths: Mapping[int, Path], home: Path) -> SweepSettings:
    """Return how a sweep goes, as its configuration says."""
    asked = build.plain(cfg.search.space) or {}
    values = {key: OmegaConf.select(cfg, key, default=None) for key in asked}
    space = usable_space(asked, values, f"conf/search/{cfg.model.name}.yaml")
    first = {"default": {key: values[key] for key in space}}
    if cfg.warm_start:
        first[f"warm_start {Path(cfg.warm_start).resolve()}"] = warm_params(cfg.warm_start, space)
    return SweepSettings(
        title=f"{cfg.model.name} on {cfg.data.name}",
        folders=paths,
        names={fold: f"{cfg.study or build.run_name(cfg)}-{build.short_name(fold)}" for fold in paths},
        # What the trials of a study have in common: all settings but `storage`, which may hold a password.
        identities={
            fold: build.settings_of(cfg, trials.dataset, fold) | {"trial_epochs": trial_epochs(cfg), "storage": None}
            for fold in paths
        },
        url=cfg.storage or URL.create("sqlite", database=str((home / "study.db").absolute())).render_as_string(),
        direction=f"{get_class(cfg.model._target_).mode}imize",
        space=space,
        first=first,
        n_trials=cfg.n_trials,
        max_epochs=cfg.max_epochs,
        deadline=np.inf if cfg.timeout is None else time.time() + cfg.timeout,
        trial_epochs=trial_epochs(cfg),
        refit_epochs=int(cfg.trainer.max_epochs),
        n_startup=cfg.search.n_startup,
        pruner=instantiate(cfg.pruner),
        seed=cfg.seed,
        workers=cfg.workers,
        next_command=next_command(cfg, _shown_folder(home, paths)),
    )


def trial_epochs(cfg: DictConfig) -> int:
    """Return the length of a trial: `search.epochs`, bounded by `trainer.max_epochs`."""
    return min(int(cfg.search.epochs), int(cfg.trainer.max_epochs))


def _seconds(cfg: DictConfig, runs: Sequence[FoldRun], folds: Sequence[FoldDataModule], epoch: float) -> float:
    """Return how long a sweep takes at most, of the default model's seconds of an epoch's batches."""
    epochs = min(cfg.n_trials * trial_epochs(cfg), cfg.max_epochs or np.inf)
    workers = min(cfg.workers, len(runs) * cfg.n_trials)
    trials = min(len(runs) * seconds_of_trials(epochs, epoch) / workers, cfg.timeout or np.inf)
    refits = [seconds_of_training(replace(run, final=True), data, epoch) for run, data in zip(runs, folds, strict=True)]
    return trials + sum(refits) / min(workers, len(runs))


def with_params(cfg: DictConfig, params: Mapping[str, Any]) -> DictConfig:
    """Return a copy of the configuration with these dotted keys of the search space changed; a study or a file may hold others."""
    changed = cfg.copy()
    for key, value in params.items():
        if key not in cfg.search.space or not is_plain(value):
            raise MmganError(
                f"the study holds a trial with {key}={str(value)[:100]}, which this search does not choose; it was changed:"
                " give another out_dir= (with storage=, another study=)."
            )
        OmegaConf.update(changed, key, value)
    return changed


def run_sweep(sweep: Sweep, home: Path, *, one_machine: bool = True) -> dict[int, FitResult]:
    """Bring every study to its end and refit its best parameters; return what the refits left."""
    with contextlib.ExitStack() as held:
        if one_machine:
            for path in sweep.settings.folders.values():
                held.enter_context(RunFolder(path).locked("study.lock"))
        studies = sweep.studies()
        if one_machine:  # nobody else is here, so that nobody runs what a kill left running
            for study in studies.values():
                study.requeue_all()
        with progress_shown(studies), _leaving(studies):
            if sweep.settings.workers == 1:
                sweep.work(studies)
            else:
                run_workers(sweep, sweep.settings.workers)
        _write(studies, home, sweep)
        return {fold: sweep.result(study) for fold, study in studies.items()}


@contextlib.contextmanager
def _leaving(studies: Mapping[int, FoldStudy]) -> Iterator[None]:
    """Queue again, on the way out, what processes of this machine that are gone were running."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(MmganError):
            for study in studies.values():
                study.storage.leaving = True
                with study.storage.lock(study.name):
                    study.requeue(study.lost(), killed=isinstance(error, Exception))
        raise


def sweep_folder(cfg: DictConfig, paths: Mapping[int, Path]) -> Path:
    """Return the folder of the whole sweep: the one that holds the folds', or with out_dir= and one fold that itself."""
    first = next(iter(paths.values()))
    return first if cfg.out_dir is not None and first == Path(cfg.out_dir) else first.parent


def _shown_folder(home: Path, paths: Mapping[int, Path]) -> Path:
    return home if len(paths) > 1 else next(iter(paths.values()))


def _write(studies: Mapping[int, FoldStudy], home: Path, sweep: Sweep) -> None:
    """Write trials.csv and Optuna's pictures of these folds, and the summary of all folds that the sweep's folder has."""
    for study in studies.values():
        write_study(study)
    write_report(summary(_with_neighbours(studies, home, sweep)), home, "summary")


def _with_neighbours(studies: Mapping[int, FoldStudy], home: Path, sweep: Sweep) -> dict[int, FoldStudy]:
    """Return the studies with those of other folds beside them, which other calls may have run, of the same configuration."""
    trials, storage, found = sweep.trials, next(iter(studies.values())).storage, dict(studies)
    for fold in make_folds(trials.dataset, trials.cfg.data.split, trials.cfg.data.n_splits):
        path = home / f"fold{fold.fold}"
        if fold.fold not in found and path.exists():
            with contextlib.suppress(MmganError):
                settings = sweep_settings(trials.cfg, trials, {fold.fold: path}, home)
                found[fold.fold] = FoldStudy(settings, fold.fold, storage, trials, create=False)
    return dict(sorted(found.items()))
