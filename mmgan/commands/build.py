"""A configuration to objects: the one place where that happens."""

import functools
import math
import platform
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

import mmgan
from mmgan.commands.arguments import as_hydra_reads, tell
from mmgan.commands.names import composed
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.files import file_digest
from mmgan.data.folds import WHOLE, make_folds, split_used
from mmgan.data.synthetic_file import samples_of_fold
from mmgan.data.trust import build, named_targets, trusted_names
from mmgan.data.unlabelled import NONE
from mmgan.errors import MmganError, require
from mmgan.report.dataset import write_dataset_page
from mmgan.schema import DataSchema
from mmgan.training.checkpoint import FORMAT, build_model, load, n_parameters
from mmgan.training.first_stage import first_stage_file, read_first_stage
from mmgan.training.fit import FitResult, FoldRun
from mmgan.training.tasks import Task

MOST_PARAMETERS = 2 * 10**8  # some 4 GB while they are trained
MOST_BATCH_VALUES = 2**24  # some 6 GB, at COPIES copies of four bytes
FEWER_VALUES = "give shorter windows, a lower rate or features (data=recordings makes them)"
COPIES = 90  # of a batch, in one form or another, while a network is trained, as measured; feature maps come on top


def compose(command: str, overrides: str | Iterable[str] = ()) -> DictConfig:
    """Return the configuration of a command, as its script composes it; `overrides` as on the command line, or one string of them."""
    words = as_hydra_reads(shlex.split(overrides) if isinstance(overrides, str) else overrides)
    return composed(command, words)


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers: checkpoints load with weights_only=True, which knows nothing else."""
    return OmegaConf.to_container(node, resolve=True)


# -- data ---------------------------------------------------------------------------------------------------------------
def load_data(cfg: DictConfig) -> Dataset:
    """Return the data set that `cfg.data.source` describes."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise MmganError(f"give {missing[0]}=... on the command line.")
    dataset = build(plain(cfg.data.source))  # unlike Hydra it looks nothing up in a path
    write_dataset_page(Path(dataset.source))
    return dataset


def data_options(cfg: DictConfig) -> dict[str, Any]:
    """Return the options of the data, each once: without those of the datamodule, which repeat them."""
    return {key: value for key, value in plain(cfg.data).items() if key != "datamodule"}


def make_datamodule(cfg: DictConfig, dataset: Dataset, fold: int, *, final: bool) -> FoldDataModule:
    """Return the fold's datamodule, set up."""
    datamodule = instantiate(cfg.data.datamodule, _convert_="all")(dataset, fold, final=final, seed=cfg.seed)
    datamodule.setup("fit")
    return datamodule


def chosen_folds(cfg: DictConfig, dataset: Dataset) -> list[int]:
    """Return the fold numbers that `cfg.fold` asks for; raises MmganError if it is no fold's number, `all` or `none`.

    Where a file's groups decide its folds without being asked to, a line says so.
    """
    if cfg.fold == "none":
        return [WHOLE]
    if split_used(dataset, cfg.data.split) == "group" != cfg.data.split:
        tell(f"splits: by the groups of {dataset.source}, which no fold parts (data.split=stratified would part them)")
    numbers = [fold.fold for fold in make_folds(dataset, cfg.data.split, cfg.data.n_splits)]
    if cfg.fold == "all":
        return numbers
    if cfg.fold not in numbers:
        raise MmganError(f"fold={cfg.fold}: give one of {', '.join(map(str, numbers))}, all, or none.")
    return [cfg.fold]


# -- names and places ---------------------------------------------------------------------------------------------------
def run_name(cfg: DictConfig) -> str:
    """Return `<data>-<model>`, as folders and studies are called."""
    return f"{cfg.data.name}-{cfg.model.name}"


def short_name(fold: int) -> str:
    """Return what the folder and the study of a fold are called."""
    return "whole" if fold == WHOLE else f"fold{fold}"


def fold_path(cfg: DictConfig, command: str, fold: int) -> Path:
    """Return the folder of one fold's run; `out_dir` is that folder, or with fold=all (and -m) the one that holds them."""
    name = short_name(fold)
    if cfg.out_dir is None:
        return Path("runs") / command / run_name(cfg) / name
    several = str(cfg.fold) == "all" or (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)
    return Path(cfg.out_dir) / name if several else Path(cfg.out_dir)


# -- a training ---------------------------------------------------------------------------------------------------------
def task_of(cfg: DictConfig) -> Task:
    """Return the task that the model's configuration names."""
    task = instantiate(cfg.model.task)
    if not hasattr(task, "offers"):
        raise MmganError("model.task: expected a class of mmgan.training.tasks, or a subclass of Task.")
    return task


def train_fold(cfg: DictConfig, dataset: Dataset, fold: int, path: Path) -> FitResult:
    """Train one fold into its folder."""
    run = fold_run(cfg, dataset, fold)
    check_run(cfg, run)
    return run.run(path)


def fold_run(cfg: DictConfig, dataset: Dataset, fold: int, best_params: Mapping[str, Any] | None = None) -> FoldRun:
    """Return the training of one fold as objects."""
    return FoldRun(
        task=task_of(cfg),
        build=_Built(cfg, dataset, fold, dict(best_params or {})),
        data=lambda final: make_datamodule(cfg, dataset, fold, final=final),
        trainer=lambda max_epochs: functools.partial(_trainer, cfg, max_epochs=max_epochs),
        callbacks=lambda: {name: instantiate(node) for name, node in cfg.callbacks.items() if node is not None},
        load=functools.partial(load, trust=trusted(cfg)),
        settings=settings_of(cfg, dataset, fold),
        max_epochs=int(cfg.trainer.max_epochs),
        final=is_final(cfg, fold),
        select_length=bool(cfg.select_length),
        resume=bool(cfg.get("resume", False)),
    )


def is_final(cfg: DictConfig, fold: int) -> bool:
    """Say whether all samples of the fold train: as `final` says, and always where fold=none asks for all that there are."""
    return "final" in cfg and (cfg.final or fold == WHOLE)  # a sweep's refit takes all samples anyway


@dataclass(frozen=True)
class Ready:
    """What a training needs, built to be checked and timed, and not used again."""

    model: Any
    data: FoldDataModule
    trainer: L.Trainer


def check_run(cfg: DictConfig, run: FoldRun) -> Ready:
    """Build everything once: whatever is refused is refused before a folder is touched."""
    if run.select_length and not run.final and "final" in cfg:
        raise MmganError("select_length=true asks for a second training on all samples; give final=true too.")
    if cfg.first_stage is None:
        check_size(plain(cfg.model), run.build.dataset.schema)
    model, datamodule = run.build(run.final and not run.select_length)
    if model.needs_training:
        check_batch(datamodule)
    needs_score = getattr(model, "monitor", None) == "val/score" and len(datamodule.inner_val_indices)
    if "score" not in run.callbacks() and needs_score:
        raise MmganError("callbacks.score=null: it computes what epochs and trials are compared by; leave it on.")
    trainer = _trainer(cfg, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    if trainer.world_size > 1 and "fork" not in str(cfg.trainer.get("strategy")):
        raise MmganError(
            f"trainer.devices={cfg.trainer.devices}: give trainer=ddp, whose devices share each batch;"
            " or train several folds at once by several calls."
        )
    return Ready(model, datamodule, trainer)


def check_runs(cfg: DictConfig, runs: Iterable[FoldRun]) -> tuple[Ready, list[FoldDataModule]]:
    """Check every run; return what the first needs, and the data of each."""
    first, *others = runs
    ready = check_run(cfg, first)
    return ready, [ready.data, *(check_run(cfg, run).data for run in others)]


def check_size(model: dict[str, Any], schema: DataSchema) -> None:
    """Raise MmganError for networks that no memory holds, with the modality that makes them so large."""
    if (count := n_parameters(model, schema)) > MOST_PARAMETERS:
        raise MmganError(
            f"model={model['name']} would have {count / 1e6:.0f} million parameters, and checkpoints of {count * 10 / 1e9:.1f} GB, for"
            f" {_largest(schema)}: {FEWER_VALUES}, or a classical model (model=smoothed_bootstrap)."
        )


def check_batch(datamodule: FoldDataModule) -> None:
    """Raise MmganError for batches that no memory holds, with the modality that makes them so large."""
    values = sum(map(math.prod, datamodule.schema.modalities.values()))
    if (size := datamodule.samples_of_a_batch) * values > MOST_BATCH_VALUES:
        raise MmganError(
            f"data.batch_size={size}: a batch would take some {4e-9 * COPIES * size * values:.0f} GB while it is learnt from, for"
            f" {_largest(datamodule.schema)}: {FEWER_VALUES}, a smaller data.batch_size=, or a classical model (model=smoothed_bootstrap)."
        )


def _largest(schema: DataSchema) -> str:
    name, shape = max(schema.modalities.items(), key=lambda each: math.prod(each[1]))
    return f"{math.prod(shape)} values a sample of '{name}'"


def settings_of(cfg: DictConfig, dataset: Dataset, fold: int) -> dict[str, Any]:
    """Return every setting of a run, and what the data were, as params.yaml keeps them."""
    known = {"fold": fold or "none", "data_fingerprint": dataset.fingerprint()}
    if is_final(cfg, fold):
        known["final"] = True
    if cfg.data.synthetic is not None:
        known["synthetic_fingerprint"] = file_digest(cfg.data.synthetic)
    if cfg.data.unlabelled != NONE:
        known["unlabelled"] = make_datamodule(cfg, dataset, fold, final=True).pool.facts() | {
            "share_dropped": cfg.data.teacher.drop
        }
    if cfg.first_stage is not None:
        known["first_stage_fingerprint"] = file_digest(first_stage_file(cfg.first_stage, fold))
    return plain(cfg) | {"data": data_options(cfg)} | known


def unlabelled_facts(cfg: DictConfig, datamodule: FoldDataModule) -> dict[str, Any]:
    """Return what a checkpoint must know of the unlabelled samples that were learnt from; nothing where there are none."""
    if (pool := datamodule.pool) is None:
        return {}
    facts = pool.facts() | {
        "teacher": cfg.data.teacher._target_,
        "share_dropped": datamodule.pseudo_labels.share_dropped,
    }
    return {"unlabelled": facts | {"indices": pool.indices.tolist()}}


def trusted(cfg: DictConfig) -> list[str]:
    """Return the packages whose classes the run's files may name: those of `trust`, and what the user's own configuration names."""
    named = [*named_targets(plain(cfg.model)), *named_targets(plain(cfg.data))]
    packages = {target.partition(".")[0] for target in named}
    return [*trusted_names(cfg.trust), *(packages - {"mmgan", "torch", "hydra"})]


def _trainer(cfg: DictConfig, folder: Path | None = None, **options: Any) -> L.Trainer:
    if folder is not None:
        options |= {"logger": instantiate(cfg.logger)(save_dir=str(folder)), "default_root_dir": str(folder)}
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect() and "plugins" not in cfg.trainer:
        # Else Lightning queues the job again by itself, and goes on from a checkpoint of its own in mid-epoch.
        try:
            options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise MmganError(
                f"Slurm's job does not fit ({said}); ask for one task, or for --ntasks-per-node."
            ) from None
    try:
        return instantiate(cfg.trainer)(**options)
    except (TypeError, ValueError, OverflowError, MisconfigurationException) as error:
        raise MmganError(f"trainer: Lightning refuses these options: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class _Built:
    """Builds the model and the datamodule of one fold anew: called with `final`, whether all samples train."""

    cfg: DictConfig
    dataset: Dataset
    fold: int
    best_params: dict[str, Any] = field(default_factory=dict)

    def __call__(self, final: bool) -> tuple[Any, FoldDataModule]:
        cfg = self.cfg
        if "wandb" in cfg.logger._target_:
            require("wandb", "logger=wandb", extra="wandb")
        torch.set_num_threads(cfg.threads)
        torch.manual_seed(cfg.seed)
        datamodule = make_datamodule(cfg, self.dataset, self.fold, final=final)
        config = plain(cfg.model)
        stage = self._first_stage(config, final)
        model = build_model(config, self.dataset.schema)
        if stage is not None:
            model.space.adopt(stage["state_dict"])
        samples, weights = datamodule.training_samples()
        model.fit_data(*samples)
        if datamodule.pool is not None and hasattr(model, "fit_unlabelled"):
            labelled = datamodule.samples(datamodule.training_indices)
            model.fit_unlabelled(*labelled, datamodule.pool.x, datamodule.pseudo_labels.probabilities)
        if weights is not None and not model.needs_training:  # whose batches would be drawn by weight
            model.weights = weights
        if cfg.data.synthetic is not None:
            self._add_synthetic(model, datamodule)
        model.seed = cfg.seed
        model.recipe = self.recipe(config, final) | unlabelled_facts(cfg, datamodule)
        return model, datamodule

    def _first_stage(self, config: dict[str, Any], final: bool) -> dict[str, Any] | None:
        """Return the first stage that the configuration asks for, whose own configuration takes its place there."""
        path, space = self.cfg.first_stage, config.get("space") or {}
        if space.get("first_stage") != path and "first_stage" in space:
            raise MmganError("model.space.first_stage: give the first stage as first_stage=.")
        if path is None:
            return None
        if "first_stage" not in space:
            raise MmganError(f"first_stage: model={self.cfg.model.name} has no first stage; leave first_stage= out.")
        options = data_options(self.cfg) | {"seed": self.cfg.seed}
        trust = trusted_names(self.cfg.trust)
        stage = read_first_stage(path, self.dataset, self.fold, options, final=final, trust=trust)
        space["first_stage"] = stage["recipe"]["model"]
        return stage

    def _add_synthetic(self, model: Any, datamodule: FoldDataModule) -> None:
        """Give a classifier the synthetic samples of its fold."""
        if not hasattr(model, "fit_synthetic"):
            raise MmganError(
                f"data.synthetic: model={self.cfg.model.name} is no classifier, and only a classifier trains on them."
            )
        split = {"seed": self.cfg.seed, "inner_val": self.cfg.data.inner_val}
        split |= {"inner_val_indices": datamodule.inner_val_indices}
        model.fit_synthetic(*samples_of_fold(self.cfg.data.synthetic, self.dataset, datamodule.fold, split))

    def recipe(self, model: dict[str, Any], final: bool) -> dict[str, Any]:
        """Return what a checkpoint must know to sample, and a reader to trust it; plain containers only."""
        return {
            "format": FORMAT,
            "model": model,
            "data": data_options(self.cfg),
            "schema": self.dataset.schema.to_dict(),
            "fingerprint": self.dataset.fingerprint(),
            "fold": self.fold,
            "seed": self.cfg.seed,
            "final": final,
            "best_params": self.best_params,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("torch", "lightning", "numpy", "scikit-learn")
    own = {"mmgan": mmgan.__version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}
