"""The one place where a configuration becomes objects: data, model, trainer, and a fitted run in its folder."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from lightning.pytorch.callbacks import ProgressBar
from omegaconf import DictConfig, OmegaConf

import mmgan
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.files import file_digest
from mmgan.data.folds import make_folds
from mmgan.data.trust import build, named_targets, trusted_names
from mmgan.errors import MmganError, require
from mmgan.evaluation.files import samples_of_fold
from mmgan.models.module import PhasedModel
from mmgan.models.robust_classifier import RobustClassifier
from mmgan.models.synthesizer import Synthesizer
from mmgan.training.callbacks import FolderCheckpoint, SampleCallback, fold_judge, logged
from mmgan.training.checkpoint import (
    FORMAT,
    build_model,
    load,
    read_checkpoint,
    write_checkpoint,
    write_light_checkpoint,
)
from mmgan.training.first_stage import first_stage_file, read_first_stage
from mmgan.training.fold_scores import score_fold
from mmgan.training.folder import RunFolder

# Checkpoints at the end of epochs, under one name, so that a run resumes at an epoch's beginning.
KEEP = {"enable_version_counter": False, "save_on_train_epoch_end": True}


@dataclass(frozen=True)
class FitResult:
    """What a run leaves: where, how long, how good (no `score` without an inner split)."""

    folder: Path
    epochs: int
    score: float | None
    metrics: dict[str, Any] = field(default_factory=dict)


def load_data(cfg: DictConfig) -> Dataset:
    """Return the data set that `cfg.data.source` describes."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise MmganError(f"give {missing[0]}=... on the command line.")
    return build(plain(cfg.data.source))  # unlike Hydra it looks nothing up in a path


def chosen_folds(cfg: DictConfig, dataset: Dataset) -> list[int]:
    """Return the fold numbers that `cfg.fold` asks for; raises MmganError if it is neither a fold's number nor `all`."""
    numbers = [fold.fold for fold in make_folds(dataset, cfg.data.split, cfg.data.n_splits)]
    text = str(cfg.fold)
    if text == "all":
        return numbers
    if not text.isdecimal() or int(text) not in numbers:
        raise MmganError(f"fold={text}: give one of {', '.join(map(str, numbers))}, or all.")
    return [int(text)]


def run_name(cfg: DictConfig) -> str:
    """Return `<data>-<model>`, as folders and studies are called."""
    return f"{cfg.data.name}-{cfg.model.name}"


def generates(cfg: DictConfig) -> bool:
    """Say whether the model of a configuration is a generator."""
    return issubclass(get_class(cfg.model._target_), Synthesizer)


def fold_path(cfg: DictConfig, script: str, fold: int) -> Path:
    """Return the folder of one fold's run; `out_dir` is that folder, or with fold=all (and -m) the one that holds them."""
    if cfg.out_dir is None:
        return Path("runs") / script / run_name(cfg) / f"fold{fold}"
    several = str(cfg.fold) == "all" or (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)
    return Path(cfg.out_dir) / f"fold{fold}" if several else Path(cfg.out_dir)


def fit(
    cfg: DictConfig, dataset: Dataset, fold: int, path: Path, *, best_params: dict[str, Any] | None = None
) -> FitResult:
    """Train one fold into its folder: best.ckpt, last.ckpt, best.pth, params.yaml, metrics.json, samples.png, events.

    With `final`, all the training samples are used, for the whole length; with `select_length` too, for the one that a first
    training with the inner split, in `selection/`, found best. The fold's `val_indices` are scored once, at the end.
    `best_params`, of a sweep, go into the checkpoint's recipe.
    """
    started = time.monotonic()
    if cfg.select_length and not cfg.final:
        raise MmganError("select_length=true asks for a second training on all samples; give final=true too.")
    run = Run(cfg, dataset, fold, best_params or {})
    run.check()
    epochs, score = int(cfg.trainer.max_epochs), None
    folder = RunFolder(path)
    with folder.opened(run.params(), resume=cfg.resume):
        if cfg.final:
            if cfg.select_length:
                epochs, score = _selected_length(run, RunFolder(path / "selection"), epochs)
            run.train(folder, epochs, final=True)
        else:
            epochs, score = run.train(folder, epochs)
        write_light_checkpoint(folder.best, folder.light)
        metrics = {"epochs": epochs, "max_epochs": int(cfg.trainer.max_epochs), "inner_score": score}
        metrics["scores"] = run.score_fold(folder)
        folder.write_json("metrics.json", metrics | {"seconds": round(time.monotonic() - started, 1)})
    return FitResult(path, epochs, score, metrics)


def _selected_length(run: "Run", selection: RunFolder, max_epochs: int) -> tuple[int, float | None]:
    """Return the best length and its score, from a training with the inner split; from its folder where that has ended."""
    known = selection.read_metrics()
    if known.get("max_epochs") != max_epochs:
        selection.make()
        epochs, score = run.train(selection, max_epochs)
        known = {"epochs": epochs, "max_epochs": max_epochs, "inner_score": score}
        selection.write_json("metrics.json", known)
    return known["epochs"], known["inner_score"]


@dataclass(frozen=True)
class Run:
    """The objects of one configuration on one fold."""

    cfg: DictConfig
    dataset: Dataset
    fold: int
    best_params: dict[str, Any] = field(default_factory=dict)

    def params(self) -> dict[str, Any]:
        """Return every setting of the run, and what the data were, as params.yaml keeps them."""
        known = {"fold": self.fold, "data_fingerprint": self.dataset.fingerprint()}
        if self.cfg.data.synthetic is not None:
            known["synthetic_fingerprint"] = file_digest(self.cfg.data.synthetic)
        if self.cfg.first_stage is not None:
            known["first_stage_fingerprint"] = file_digest(first_stage_file(self.cfg.first_stage, self.fold))
        return plain(self.cfg) | known

    def train(self, folder: RunFolder, max_epochs: int, *, final: bool = False) -> tuple[int, float | None]:
        """Train once, with checkpoints; return length in epochs and score of the best (without inner split: the last, None)."""
        model, datamodule = self.build(final=final)
        if not isinstance(model, PhasedModel):
            return self._keep(model, datamodule, folder)
        scored = len(datamodule.inner_val_indices) > 0
        best = FolderCheckpoint(folder.path, "best", monitor=model.monitor if scored else None, mode=model.mode, **KEEP)
        last = FolderCheckpoint(folder.path, "last", **KEEP)
        callbacks = self._callbacks(model, [name for name in self.cfg.callbacks if scored or name != "score"])
        trainer = self._trainer(folder, max_epochs, [*callbacks, best, last], validate=scored)
        resume_from = str(folder.last) if self.cfg.resume and folder.last.exists() else None
        if resume_from and (done := read_checkpoint(resume_from)["epoch"] + 1) > max_epochs:
            raise MmganError(
                f"{folder.path}: {done} epochs are done there; give trainer.max_epochs={done} or more to resume."
            )
        with logged(trainer):
            trainer.fit(model, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
        # Of several processes that trained, this one knows only what they left.
        state = read_checkpoint(folder.best if scored else folder.last)
        score = state["callbacks"][best.state_key]["best_model_score"] if scored else None
        return state["epoch"] + 1, None if score is None else float(score)

    def train_trial(self, folder: RunFolder, max_epochs: int, pruning: Callable[[str], L.Callback]) -> float:
        """Train once as a sweep's trial, with neither checkpoints nor pictures nor bar, and return the last score."""
        model, datamodule = self.build()
        trainer = self._trainer(folder, max_epochs, [*self._callbacks(model, ["score"]), pruning(model.monitor)])
        with logged(trainer):
            trainer.fit(model, datamodule=datamodule)
        return float(trainer.callback_metrics[model.monitor])

    def check(self) -> None:
        """Build everything once, and throw it away: whatever is refused is refused before a folder is touched."""
        self.build(final=self.cfg.final and not self.cfg.select_length)
        instantiate(self.cfg.callbacks)
        trainer = instantiate(self.cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        if trainer.world_size > 1 and "fork" not in str(self.cfg.trainer.get("strategy")):
            raise MmganError(
                f"trainer.devices={self.cfg.trainer.devices}: give trainer=ddp, whose devices share each batch;"
                " or train several folds at once by several calls."
            )

    def build(self, *, final: bool = False) -> tuple[Synthesizer, FoldDataModule]:
        """Return a fresh model that has its recipe and has seen the training samples, and the fold's datamodule."""
        if "wandb" in self.cfg.logger._target_:
            require("wandb", "logger=wandb", extra="wandb")
        torch.set_num_threads(self.cfg.threads)
        torch.manual_seed(self.cfg.seed)
        datamodule = make_datamodule(self.cfg, self.dataset, self.fold, final=final)
        config = plain(self.cfg.model)
        if config.get("first_stage") != self.cfg.first_stage and "first_stage" in config:
            raise MmganError("model.first_stage: give the first stage as first_stage=.")
        stage = None
        if self.cfg.first_stage is not None:
            if "first_stage" not in config:
                raise MmganError(
                    f"first_stage: model={self.cfg.model.name} has no first stage; leave first_stage= out."
                )
            stage = read_first_stage(self.cfg, self.dataset, self.fold, final=final)
            config["first_stage"] = stage["recipe"]["model"]
        model = build_model(config, self.dataset.schema)
        if stage is not None:
            model.adopt(stage["state_dict"])
        model.fit_data(*datamodule.rows(datamodule.training_indices))
        if self.cfg.data.synthetic is not None:
            if not isinstance(model, RobustClassifier):
                raise MmganError(
                    f"data.synthetic: model={self.cfg.model.name} is no classifier, and only a classifier trains on them."
                )
            split = {
                "seed": self.cfg.seed,
                "inner_val": self.cfg.data.inner_val,
                "inner_val_indices": datamodule.inner_val_indices,
            }
            model.fit_synthetic(*samples_of_fold(self.cfg.data.synthetic, self.dataset, datamodule.fold, split))
        model.seed = self.cfg.seed
        model.recipe = self.recipe(config, final=final)
        return model, datamodule

    def recipe(self, model: dict[str, Any], *, final: bool) -> dict[str, Any]:
        """Return what a checkpoint must know to sample, and a reader to trust it; plain containers only."""
        return {
            "format": FORMAT,
            "model": model,
            "data": plain(self.cfg.data),
            "schema": self.dataset.schema.to_dict(),
            "fingerprint": self.dataset.fingerprint(),
            "fold": self.fold,
            "seed": self.cfg.seed,
            "final": final,
            "best_params": self.best_params,
            "versions": versions(),
        }

    def _keep(self, model: Synthesizer, datamodule: FoldDataModule, folder: RunFolder) -> tuple[int, float | None]:
        """Write the checkpoint of a generator that needs no training; return no epochs and its score (or None)."""
        write_checkpoint(folder.best, model)
        if not len(datamodule.inner_val_indices):
            return 0, None
        return 0, fold_judge(datamodule, datamodule.inner_val_indices, self.cfg.seed)(model)["score"]

    def score_fold(self, folder: RunFolder) -> dict[str, float]:
        """Score the saved model once against the fold's `val_indices`, and leave a picture."""
        return score_fold(
            load(folder.best, trust=trusted(self.cfg)),
            make_datamodule(self.cfg, self.dataset, self.fold, final=True),
            folder.path,
        )

    def _callbacks(self, model: PhasedModel, names: Sequence[str]) -> list[L.Callback]:
        """Return these callbacks of the configuration; of a model that makes no samples, without those that look at them."""
        callbacks = [instantiate(self.cfg.callbacks[name]) for name in names]
        return [c for c in callbacks if isinstance(model, Synthesizer) or not isinstance(c, SampleCallback)]

    def _trainer(
        self, folder: RunFolder, max_epochs: int, callbacks: list[L.Callback], *, validate: bool = True
    ) -> L.Trainer:
        keep = any(isinstance(callback, FolderCheckpoint) for callback in callbacks)
        return instantiate(
            self.cfg.trainer,
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=instantiate(self.cfg.logger)(save_dir=str(folder.path)),
            default_root_dir=str(folder.path),
            enable_checkpointing=keep,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            limit_val_batches=None if validate else 0,
        )


def trusted(cfg: DictConfig) -> list[str]:
    """Return what the checkpoint of a run may name: what the user typed, and the packages of `trust=`."""
    return [*named_targets(plain(cfg.model)), *named_targets(plain(cfg.data)), *trusted_names(cfg.trust)]


def make_datamodule(cfg: DictConfig, dataset: Dataset, fold: int, *, final: bool) -> FoldDataModule:
    """Return the fold's datamodule, set up."""
    known = ("split", "n_splits", "rows_per_class", "imbalance_ratio", "inner_val", "batch_size", "steps_per_epoch")
    options = {key: value for key, value in plain(cfg.data).items() if key in known}
    datamodule = FoldDataModule(dataset, fold, final=final, seed=cfg.seed, **options)
    datamodule.setup("fit")
    return datamodule


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("torch", "lightning", "numpy", "scikit-learn")
    return {"mmgan": mmgan.__version__, "python": platform.python_version()} | {
        name: version(name) for name in packages
    }


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers: checkpoints load with weights_only=True, which knows nothing else."""
    return OmegaConf.to_container(node, resolve=True)
