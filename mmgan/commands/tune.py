"""The job of tune.py: the sweep over the folds that are asked for, its tables, and its summary."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from optuna.trial import TrialState

from mmgan.commands.arguments import command_line, shell_line, tell, trust_option
from mmgan.commands.train import print_results
from mmgan.data.dataset import Dataset
from mmgan.data.folds import make_folds
from mmgan.errors import MmganError
from mmgan.report.page import write_report
from mmgan.training.folder import RunFolder
from mmgan.training.quiet import quiet_lightning
from mmgan.training.run import FitResult, Run, chosen_folds, fold_path, generates, load_data, make_datamodule, trusted
from mmgan.tuning.space import check_space
from mmgan.tuning.study import FoldStudy, warm_params
from mmgan.tuning.summary import summary
from mmgan.tuning.sweep import Sweep
from mmgan.tuning.view import shown
from mmgan.tuning.workers import run_workers


def tune_folds(cfg: DictConfig) -> list[FitResult]:
    """Tune every fold that `cfg.fold` asks for, refit the best parameters, and print what came of it.

    With `report` nothing is run: the summary of the studies as they stand is written.
    """
    quiet_lightning()
    dataset = load_data(cfg)
    check_space(cfg)
    folds = chosen_folds(cfg, dataset)
    if cfg.warm_start:
        warm_params(cfg.warm_start, cfg.search.space)
    if cfg.final or cfg.resume:
        raise MmganError(
            "final=true and resume=true are train.py's: a sweep goes on by itself, and its refit takes all samples."
        )
    if cfg.trainer.get("strategy") is not None:
        raise MmganError("trainer: a trial trains on one device; leave trainer=ddp out, and give workers=.")
    for fold in folds:
        Run(cfg, dataset, fold).check()
        if not len(make_datamodule(cfg, dataset, fold, final=False).inner_val_indices):
            raise MmganError(
                f"{dataset.source}: fold {fold} has no inner split (it takes 60 training samples and data.inner_val above"
                " 0), so that trials cannot be compared; use train.py, which trains for a fixed length."
            )
    paths = {fold: fold_path(cfg, "tune", fold) for fold in folds}
    home = sweep_folder(cfg, paths)
    if cfg.report and not cfg.storage and not (home / "study.db").exists():
        raise MmganError(f"{home}: there is no sweep to report on; run it first, or give its out_dir=.")
    url = cfg.storage or f"sqlite:///{(home / 'study.db').absolute()}"
    deadline = np.inf if cfg.timeout is None else time.time() + cfg.timeout
    sweep = Sweep(cfg, paths, url, deadline)
    if cfg.report:
        _write(sweep.studies(dataset, create=False), home, url)
        return []
    results = run_sweep(sweep, home, dataset)
    print_results(results, cfg)
    shown_folder = home if len(paths) > 1 else next(iter(paths.values()))
    tell(
        f"files:  {shown_folder} (best_params.yaml, trials.csv, history.png, importance.png of each fold)",
        f"report: {home / 'summary.html'}",
        f"watch:  {shell_line('tensorboard', '--logdir', shown_folder)}",
        *(
            [f"next:   {command_line('synthesize', f'ckpt={shown_folder}', *trust_option(trusted(cfg)))}"]
            if generates(cfg)
            else []
        ),
    )
    return list(results.values())


def run_sweep(sweep: Sweep, home: Path, dataset: Dataset) -> dict[int, FitResult]:
    """Bring every study to its end and refit its best parameters, in `workers` processes; return what the refits left."""
    with contextlib.ExitStack() as held:
        if not sweep.cfg.storage:
            for path in sweep.paths.values():
                held.enter_context(RunFolder(path).locked("study.lock"))
        studies = sweep.studies(dataset)
        if not sweep.cfg.storage:  # nobody else is here, so that nobody runs what a kill left running
            for study in studies.values():
                study.requeue_all()
        with shown(studies), _leaving(studies):
            if sweep.cfg.workers == 1:
                sweep.work(studies)
            else:
                run_workers(sweep, sweep.cfg.workers)
        _write(studies, home, sweep.url)
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
                study.requeue_lost(killed=isinstance(error, Exception))
        raise


def sweep_folder(cfg: DictConfig, paths: Mapping[int, Path]) -> Path:
    """Return the folder of the whole sweep: the one that holds the folds', or with out_dir= and one fold that itself."""
    first = next(iter(paths.values()))
    return first if cfg.out_dir is not None and first == Path(cfg.out_dir) else first.parent


def _write(studies: Mapping[int, FoldStudy], home: Path, url: str) -> None:
    """Write trials.csv and Optuna's pictures of these folds, and the summary of all folds that the sweep's folder has."""
    for study in studies.values():
        write_study(study)
    write_report(summary(_with_neighbours(studies, home), home, url), home, "summary")


def _with_neighbours(studies: Mapping[int, FoldStudy], home: Path) -> dict[int, FoldStudy]:
    """Return the studies with those of other folds beside them, which other calls may have run, of the same configuration."""
    first, found = next(iter(studies.values())), dict(studies)
    for fold in make_folds(first.dataset, first.cfg.data.split, first.cfg.data.n_splits):
        path = home / f"fold{fold.fold}"
        if fold.fold not in found and path.exists():
            with contextlib.suppress(MmganError):
                options = first.cfg, first.dataset, fold.fold, path, first.storage
                found[fold.fold] = FoldStudy(*options, create=False)
    return dict(sorted(found.items()))


def write_study(study: FoldStudy) -> None:
    """Write trials.csv and Optuna's pictures of one study into the folder of its fold."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as pictures

    RunFolder(study.path).make()
    study.study.trials_dataframe().to_csv(study.path / "trials.csv", index=False)
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    drawn = {"history": pictures.plot_optimization_history, "parallel": pictures.plot_parallel_coordinate}
    if len(complete) > 1:
        drawn["importance"] = pictures.plot_param_importances
    for name, draw in drawn.items():
        if complete:
            with warnings.catch_warnings(), pyplot.rc_context():  # Optuna sets a style for good
                warnings.simplefilter("ignore", UserWarning)  # of an axis on which all trials have one value
                figure = draw(study.study).figure
            figure.set_size_inches(14 if name == "parallel" else 10, 6)
            figure.savefig(study.path / f"{name}.png", dpi=90, bbox_inches="tight")
            pyplot.close(figure)  # which pyplot keeps otherwise, fold after fold
