"""The one place where a configuration becomes objects: data, model, trainer, and a fitted run in its folder."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from omegaconf import DictConfig, OmegaConf

import mmgan
from mmgan import plots
from mmgan.callbacks import draw_like
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError
from mmgan.evaluation.score import CheapScore
from mmgan.models.checkpoint import build_model, load, write_light_checkpoint
from mmgan.run_folder import RunFolder


@dataclass(frozen=True)
class FitResult:
    """What a run leaves: where, how long, how good (`score` is NaN without an inner split)."""

    folder: Path
    epochs: int
    score: float
    metrics: dict[str, Any] = field(default_factory=dict)


def load_data(cfg: DictConfig) -> Dataset:
    """Return the data set that `cfg.data.source` describes."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise MmganError(f"give {missing[0]}=... on the command line.")
    return instantiate(cfg.data.source, _convert_="all")


def chosen_folds(cfg: DictConfig, dataset: Dataset) -> list[int]:
    """Return the fold numbers that `cfg.fold` asks for; raises MmganError if it is neither a fold's number nor `all`."""
    count = len(dataset.splits) if cfg.data.split == "file" and dataset.splits else cfg.data.n_splits
    text = str(cfg.fold)
    if text == "all":
        return list(range(1, count + 1))
    if not text.isdigit() or not 1 <= int(text) <= count:
        raise MmganError(f"fold={text}: give a fold's number from 1 to {count}, or fold=all.")
    return [int(text)]


def run_name(cfg: DictConfig) -> str:
    """Return `<data>-<model>`, as folders and studies are called."""
    return f"{cfg.data.name}-{cfg.model.name}"


def fold_path(cfg: DictConfig, script: str, fold: int) -> Path:
    """Return the folder of one fold's run; `out_dir` is that folder, or with fold=all the one that holds them."""
    if cfg.out_dir is None:
        return Path("runs") / script / run_name(cfg) / f"fold{fold}"
    return Path(cfg.out_dir) / f"fold{fold}" if str(cfg.fold) == "all" else Path(cfg.out_dir)


def fit(cfg: DictConfig, dataset: Dataset, fold: int, path: Path) -> FitResult:
    """Train one fold into its folder: best.ckpt, last.ckpt, best.pth, params.yaml, metrics.json, samples.png, events.

    With `final`, a first training with the inner split finds the length, in `selection/`, and a second one of that
    length uses all the training rows. The fold's `val_indices` are scored once, at the end.
    """
    started = time.monotonic()
    folder = RunFolder(path)
    folder.prepare(plain(cfg) | {"fold": fold}, resume=cfg.resume)
    epochs, score = int(cfg.trainer.max_epochs), float("nan")
    if cfg.final and not (already := RunFolder(path / "selection").read_metrics()):
        selection = RunFolder(path / "selection")
        selection.make()
        epochs, score = train(cfg, dataset, fold, selection, max_epochs=epochs)
        selection.write_json("metrics.json", {"epochs": epochs, "val/score": score})
    elif cfg.final:
        epochs, score = already["epochs"], already["val/score"]
    if cfg.final:
        train(cfg, dataset, fold, folder, max_epochs=epochs, final=True)
    else:
        epochs, score = train(cfg, dataset, fold, folder, max_epochs=epochs)
    write_light_checkpoint(folder.best, folder.light)
    metrics = {"epochs": epochs, "val/score": None if np.isnan(score) else score, "scores": score_fold(cfg, dataset, fold, folder)}
    folder.write_json("metrics.json", metrics | {"seconds": round(time.monotonic() - started, 1)})
    return FitResult(path, epochs, score, metrics)


def train(
    cfg: DictConfig,
    dataset: Dataset,
    fold: int,
    folder: RunFolder,
    *,
    max_epochs: int,
    final: bool = False,
    extra_callbacks: list[L.Callback] | None = None,
    keep: bool = True,
) -> tuple[int, float]:
    """Run the trainer once and return the length, in epochs, of the best checkpoint, and its score (NaN if unscored).

    `keep=False` (a sweep's trial) writes no checkpoint and shows no progress bar.
    """
    torch.set_num_threads(cfg.threads)
    datamodule = make_datamodule(cfg, dataset, fold, final=final)
    model = make_model(cfg, dataset, fold, datamodule, final=final)
    scored = len(datamodule.monitor_indices) > 0
    callbacks = [
        make() for name, make in _callbacks(cfg).items() if (scored or name != "score") and (keep or name != "pictures")
    ]
    best = ModelCheckpoint(
        folder.path, "best", monitor=model.monitor if scored else None, mode=model.mode,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    if keep:
        last = ModelCheckpoint(folder.path, "last", enable_version_counter=False, save_on_train_epoch_end=True)
        callbacks += [best, last, RichProgressBar()]
    trainer = instantiate(
        cfg.trainer,
        max_epochs=max_epochs,
        callbacks=[*callbacks, *(extra_callbacks or [])],
        logger=instantiate(cfg.logger)(save_dir=str(folder.path)) if cfg.logger else False,
        default_root_dir=str(folder.path),
        enable_checkpointing=keep,
        enable_progress_bar=keep,
        limit_val_batches=1.0 if scored else 0,
    )
    resume_from = str(folder.last) if keep and cfg.resume and folder.last.exists() else None
    trainer.fit(model, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    if not scored:
        return trainer.current_epoch, float("nan")
    if not keep:
        return trainer.current_epoch, float(trainer.callback_metrics[model.monitor])
    epoch = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["epoch"]
    return epoch + 1, float(best.best_model_score)


def _callbacks(cfg: DictConfig) -> dict[str, Callable[[], L.Callback]]:
    chosen = cfg.callbacks or {}
    return {name: (lambda node=node: instantiate(node)) for name, node in chosen.items() if node}


def make_datamodule(cfg: DictConfig, dataset: Dataset, fold: int, *, final: bool) -> FoldDataModule:
    """Return the fold's datamodule, set up."""
    options = {k: v for k, v in plain(cfg.data).items() if k in ("split", "n_splits", "inner_val", "batch_size", "steps_per_epoch")}
    datamodule = FoldDataModule(dataset, fold, final=final, seed=cfg.seed, **options)
    datamodule.setup("fit")
    return datamodule


def make_model(cfg: DictConfig, dataset: Dataset, fold: int, datamodule: FoldDataModule, *, final: bool):
    """Return a fresh model for the data, its scaler fitted on the datamodule's training rows, its recipe attached."""
    torch.manual_seed(cfg.seed)
    model = build_model(plain(cfg.model), dataset.schema)
    x, _ = datamodule.rows(datamodule.fit_indices)
    model.scaler.fit({name: torch.from_numpy(value) for name, value in x.items()})
    model.seed = cfg.seed
    model.recipe = {
        "format": 1,
        "model": plain(cfg.model),
        "data": plain(cfg.data),
        "schema": dataset.schema.to_dict(),
        "fingerprint": dataset.fingerprint(),
        "fold": fold,
        "seed": cfg.seed,
        "final": final,
        "versions": versions(),
    }
    return model


def score_fold(cfg: DictConfig, dataset: Dataset, fold: int, folder: RunFolder) -> dict[str, float]:
    """Score the saved generator once against the fold's `val_indices`, and leave a picture of its samples."""
    datamodule = make_datamodule(cfg, dataset, fold, final=True)
    x, y = datamodule.rows(datamodule.fit_indices)
    model = load(folder.best)
    synthetic = draw_like(model, y)
    figure = plots.overview(x, y, synthetic, y, dataset.schema.class_names)
    figure.savefig(folder.path / "samples.png", dpi=110)
    held_out = datamodule.rows(datamodule.fold.val_indices)
    return {name: round(float(value), 4) for name, value in CheapScore(x, y, *held_out, seed=0)(synthetic, y).items()}


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("torch", "lightning", "numpy", "scikit-learn")
    return {"mmgan": mmgan.__version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers: checkpoints load with weights_only=True, which knows nothing else."""
    return OmegaConf.to_container(node, resolve=True)
