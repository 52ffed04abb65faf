"""One model, one fold: objects in, a trained model in its folder out."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mmgan.data.datamodule import FoldDataModule
from mmgan.errors import MmganError
from mmgan.training.callbacks import FolderCheckpoint, KeepNew
from mmgan.training.checkpoint import WholeCheckpoints, read_checkpoint, write_checkpoint, write_whole
from mmgan.training.folder import RunFolder
from mmgan.training.tasks import Task

# Checkpoints at the end of epochs, under one name, so that a run resumes at an epoch's beginning.
KEEP = {"enable_version_counter": False, "save_on_train_epoch_end": True}

MakeTrainer = Callable[..., L.Trainer]  # (folder, **options of lightning.Trainer)


@dataclass(frozen=True)
class FitResult:
    """What a training leaves: where, how long, how good (no `score` without an inner split)."""

    folder: Path
    epochs: int
    score: float | None
    metrics: dict[str, Any] = field(default_factory=dict)


def fit(
    model: Any,
    datamodule: FoldDataModule,
    trainer: MakeTrainer,
    folder: RunFolder,
    callbacks: Iterable[L.Callback] = (),
    *,
    resume: bool = False,
) -> tuple[int, float | None]:
    """Train once, with checkpoints best.ckpt and last.ckpt in `folder`; return the length in epochs and the score of the best.

    Without an inner split the best is the last, or the last that `KeepNew` keeps, and has no score. `trainer` makes a `lightning.Trainer` of a folder and options.
    Raises MmganError where the training to resume is longer than asked for, and DivergedError.
    """
    scored, callbacks = len(datamodule.inner_val_indices) > 0, list(callbacks)
    monitored = {"monitor": model.monitor if scored else None, "mode": model.mode}
    keeper = next((each for each in callbacks if isinstance(each, KeepNew)), None)
    best = FolderCheckpoint(folder.path, "best", keeper, **monitored, **KEEP)
    last = FolderCheckpoint(folder.path, "last", **KEEP)
    run = _trainer(trainer, folder, [*callbacks, best, last], limit_val_batches=None if scored else 0)
    run.strategy.checkpoint_io = WholeCheckpoints()
    resume_from = str(folder.last) if resume and folder.last.exists() else None
    if resume_from and (done := _epochs_done(folder.last)) > run.max_epochs:
        raise MmganError(
            f"{folder.path}: {done} epochs are done there; give trainer.max_epochs={done} or more to resume."
        )
    if run.logger is not None:  # hparams.yaml, and TensorBoard's table of runs
        run.logger.log_hyperparams(_told(model.recipe))
    run_trainer(run, model, datamodule, ckpt_path=resume_from, weights_only=True)
    # Of several processes that trained, this one knows only what they left.
    state = read_checkpoint(folder.best)
    score = state["callbacks"][best.state_key]["best_model_score"] if scored else None
    return state["epoch"] + 1, None if score is None else float(score)


def _epochs_done(last: Path) -> int:
    content = read_checkpoint(last)
    if not content.keys() >= {"epoch", "loops", "optimizer_states"}:
        raise MmganError(
            f"{last}: no training can go on from it; put the run's own back, or leave resume=true out to start anew,"
            " which keeps what is there."
        )
    return content["epoch"] + 1


def _trainer(trainer: MakeTrainer, folder: RunFolder, callbacks: list[L.Callback], **options: Any) -> L.Trainer:
    bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    return trainer(folder.path, callbacks=callbacks, enable_progress_bar=bar, **options)


def run_trainer(trainer: L.Trainer, model: Any, datamodule: FoldDataModule, **options: Any) -> None:
    """Call `trainer.fit`; raise SIGTERMException wherever in it the process was told to end.

    Lightning itself raises it after a batch or an epoch, and forgets a signal that comes later, or as a callback ends the training.
    """
    try:
        trainer.fit(model, datamodule=datamodule, **options)
    finally:  # also where a trial is pruned: wandb would go on with its run in the next one
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.experiment.finish()
        if trainer.received_sigterm:
            raise SIGTERMException


def _told(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a logger keeps of a run's settings: the model's and the data's, by dotted names."""
    return {key: recipe[key] for key in ("model", "data", "fold", "seed", "final") if key in recipe}


@dataclass(frozen=True)
class FoldRun:
    """The training of one fold, as objects that can be made anew.

    `build` (final) -> a fresh model that has seen its training samples and carries its recipe, and the fold's datamodule, set up;
    `data` (final) -> that datamodule alone; `callbacks` () -> fresh callbacks by name; `load` (file) -> the finished model; `settings` are what params.yaml keeps.
    """

    task: Task
    build: Callable[[bool], tuple[Any, FoldDataModule]]
    data: Callable[[bool], FoldDataModule]
    trainer: Callable[[int], MakeTrainer]
    callbacks: Callable[[], Mapping[str, L.Callback]]
    load: Callable[[Path], Any]
    settings: Mapping[str, Any]
    max_epochs: int
    final: bool = False
    select_length: bool = False
    resume: bool = False

    def run(self, path: Path) -> FitResult:
        """Train into a folder: best.ckpt, last.ckpt, best.pth, params.yaml, metrics.json, a picture, events.

        With `final`, all the training samples are used, for the whole length; with `select_length` too, for the one that a first
        training with the inner split, in `selection/`, found best. The fold's `val_indices` are scored once, at the end.
        """
        started, folder = time.monotonic(), RunFolder(path)
        with folder.opened(self.settings, resume=self.resume):
            epochs, score = self.train_whole(folder)
            best = read_checkpoint(folder.best)
            write_checkpoint(folder.light, best["recipe"], best["state_dict"])
            metrics = {"epochs": epochs, "max_epochs": self.max_epochs, "inner_score": score}
            metrics |= self._learnt(folder)
            data = self.data(True)
            metrics["scores"] = self.task.score(self.load(folder.best), data, folder.path)
            metrics["references"] = self.task.references(data)
            folder.write_json("metrics.json", metrics | {"seconds": round(time.monotonic() - started, 1)})
        return FitResult(path, epochs, score, metrics)

    def _learnt(self, folder: RunFolder) -> dict[str, Any]:
        """Write what the teacher said of unlabelled samples, and return what is to be told of it; nothing without any."""
        data = self.data(self.final)
        if data.pool is None:
            return {}
        data.pseudo_labels.write(folder.path, data.schema, data.pool.indices)
        return {"unlabelled": data.pseudo_labels.summary(data.schema, data.pool.source)}

    def train_whole(self, folder: RunFolder) -> tuple[int, float | None]:
        """Train as `run` does, and leave the checkpoints alone; return the length in epochs and the score that chose it."""
        if not self.select_length:
            epochs, score = self.train(folder, self.max_epochs)
            return epochs, None if self.final else score
        length, chosen = self._selected_length(folder.path / "selection")
        epochs, score = self.train(folder, length)
        return epochs, chosen if self.final else score

    def train(self, folder: RunFolder, max_epochs: int) -> tuple[int, float | None]:
        """Train once for `max_epochs`; return the length in epochs and the score of the best."""
        model, datamodule = self.build(self.final)
        if not model.needs_training:
            write_checkpoint(folder.best, model.recipe, model.state_dict())
            return 0, self.task.inner_score(self.task.finished(model), datamodule)
        callbacks = self.fitting_callbacks(model)
        callbacks.pop("novelty" if len(datamodule.inner_val_indices) else "score", None)
        fitted = fit(model, datamodule, self.trainer(max_epochs), folder, callbacks.values(), resume=self.resume)
        content = read_checkpoint(folder.best)
        model.float().load_state_dict(content["state_dict"])
        if model.calibrate():
            write_whole(folder.best, content | {"state_dict": model.state_dict()})
        return fitted

    def train_trial(self, folder: RunFolder, max_epochs: int, pruning: Callable[[str], L.Callback]) -> float:
        """Train once as a sweep's trial, with neither checkpoints nor pictures nor bar; return the last value of what the model is chosen by.

        `pruning` makes, for the name of that value, the callback that may end the trial.
        """
        model, datamodule = self.build(False)
        scoring = [callback for name, callback in self.fitting_callbacks(model).items() if name == "score"]
        callbacks = [*scoring, pruning(model.monitor)]
        run = _trainer(self.trainer(max_epochs), folder, callbacks, enable_checkpointing=False)
        run_trainer(run, model, datamodule)
        value = float(run.callback_metrics[model.monitor])
        if isinstance(run.logger, TensorBoardLogger):  # a row of the table of trials
            run.logger.log_hyperparams(model.recipe["best_params"], {f"trial/{model.monitor.partition('/')[2]}": value})
            run.logger.finalize("success")
        return value

    def fitting_callbacks(self, model: Any) -> dict[str, L.Callback]:
        """Return fresh callbacks by name: those whose needs the task and the model offer."""
        offers = self.task.offers - (set() if hasattr(model, "latents") else {"latents"})
        return {name: c for name, c in self.callbacks().items() if getattr(c, "needs", None) in (None, *offers)}

    def _selected_length(self, path: Path) -> tuple[int, float | None]:
        """Return the best length and its score, from a training with the inner split; from its folder where that has ended."""
        selection = RunFolder(path)
        known = selection.read_metrics()
        if known.get("max_epochs") != self.max_epochs:
            selection.make()
            epochs, score = replace(self, final=False, select_length=False).train(selection, self.max_epochs)
            known = {"epochs": epochs, "max_epochs": self.max_epochs, "inner_score": score}
            selection.write_json("metrics.json", known)
        return known["epochs"], known["inner_score"]
