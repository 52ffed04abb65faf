"""The options of the commands: what each may be, declared once, from which the check, its sentence and the help come."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from mmgan.errors import EachOf, NonNegative, NonNegativeInt, Part, Positive, PositiveInt, Range, Seed

Processes = Annotated[int, Range(1, 1024)]  # or threads
Fold = PositiveInt | Literal["all", "none"]
Text = str | None
Devices = Annotated[int, Range(-1, 1024)] | list | Literal["auto"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", 16, 32, 64]
Group = Any  # a part of the configuration, whose own keys are declared where they act


def option(declared: Any, meaning: str, default: Any = None) -> Any:
    """Declare an option of a command: what it may be, one line of meaning, and its default."""
    given = {"default_factory": list} if default == [] else {"default": default}
    return field(**given, metadata={"declared": declared, "meaning": meaning})


@dataclass
class Options:
    """What every command takes."""

    seed: Any = option(Seed, "of all random numbers", 0)
    threads: Any = option(Processes, "of torch; two beside any busy neighbour are tens of times slower", 1)
    trust: Any = option(Any, "packages whose classes the files that are read may use: [mypackage]", [])


@dataclass
class FitOptions(Options):
    """What the commands take that train."""

    fold: Any = option(Fold, "a fold's number, from 1 on; all; none: all samples train", 1)
    select_length: Any = option(bool, "find the best length on the inner split first, in a training of its own", False)
    first_stage: Any = option(Text, "of model=ldm: a run of model=vqgan, or the folder that holds the folds'")
    out_dir: Any = option(Text, "folder of the run; with fold=all, the one that holds the folds'")
    data: Group = option(Mapping, "which data set, how it is split, and its batches")
    model: Group = option(Part, "which model, its networks, weights and learning rates")
    trainer: Group = option(Part, "options of lightning.Trainer")
    logger: Group = option(Part, "tensorboard, csv or wandb")
    callbacks: Group = option(Mapping, "scores and pictures while a model trains")


@dataclass
class TrainOptions(FitOptions):
    """Options of train.py."""

    final: Any = option(bool, "train on all the fold's training samples, without an inner split", False)
    resume: Any = option(bool, "go on from last.ckpt", False)


@dataclass
class TuneOptions(FitOptions):
    """Options of tune.py."""

    n_trials: Any = option(Annotated[int, Range(1, 10**6)], "finished trials of each fold, earlier calls included", 50)
    max_epochs: Any = option(PositiveInt | None, "no trial begins once a fold's trials have trained so many epochs")
    timeout: Any = option(NonNegative | None, "no trial begins so many seconds after the start")
    workers: Any = option(Processes, "processes; with one, the same seed gives the same trials", 1)
    storage: Any = option(Text, "postgresql+psycopg://USER@HOST/DATABASE, for many machines")
    study: Any = option(Text, "name of the studies in it")
    warm_start: Any = option(Text, "folder of another fold's finished sweep, whose best parameters are tried second")
    report: Any = option(bool, "only write the summary of the sweep as it stands", False)
    search: Group = option(Mapping, "length of trials, and the search space")
    pruner: Group = option(Part, "median, hyperband, halving or none")


@dataclass
class SynthesizeOptions(Options):
    """Options of synthesize.py."""

    ckpt: Any = option(Any, "best.ckpt or best.pth, a run's folder, a folder of folds, or a list of these", MISSING)
    ratio: Any = option(
        Annotated[float, Range(0, 10_000)] | None,
        "synthetic samples per training sample; null: 1 or, of a pool, more",
    )
    n_per_class: Any = option(Annotated[int, Range(1, 10**7)] | None, "the same number for every class instead")
    balance: Any = option(bool, "fill every class up to the largest instead", False)
    sampling: Any = option(Literal["posterior", "density", "prior"] | None, "where samples come from")
    unfinished: Any = option(bool, "take checkpoints of trainings that have not ended, too", False)
    copies: Any = option(bool, "write the samples of a trained generator also where they are near-copies", False)
    given: Any = option(Any, "a modality, or a list: keep it of training samples, and draw the others for it")
    out: Any = option(Text, "the file: NAME.pkl or NAME.npz")
    format: Any = option(
        Literal["wav", "csv"] | None, "beside the file, a folder with each waveform as a file (data.features=[raw])"
    )
    data: Group = option(Mapping, "data.path: the data file, if it has moved since the training")


@dataclass
class EvaluateOptions(Options):
    """Options of evaluate.py."""

    synthetic: Any = option(Any, ".pkl or .npz of synthesize.py, or of another tool (x_synth, y_synth)", MISSING)
    fold: Any = option(PositiveInt | None, "judge this fold alone")
    quick: Any = option(bool, "beside the file only the real row and SMOTE, one draw, no gain", False)
    draws: Any = option(Annotated[int, Range(1, 1000)], "random choices of the samples that are compared", 5)
    workers: Any = option(Processes | None, "processes of one thread each; null: one per core")
    curve: Any = option(Text, "a .jsonl of compare: adds the gain over training samples per class")
    out_dir: Any = option(Text, "folder of the report")
    data: Group = option(Mapping | None, "as for train.py; by default what the file says that it was made from")


@dataclass
class CompareOptions:
    """Options of compare."""

    threads: Any = option(Processes, "threads of each process", 1)
    measure: Any = option(str, "what is measured of each model", "quality")
    data: Group = option(Mapping, "which data set")
    models: Any = option(Any, "real, baselines, or files of conf/model/, as a list; null: as the measure has them")
    variants: Any = option(Text, "a YAML file of named options of train.py")
    folds: Any = option(Annotated[Sequence[int], EachOf(PositiveInt, empty=True)], "folds of the data set", [])
    seeds: Any = option(Annotated[int, Range(1, 10_000)], "trainings of each model on each fold", 1)
    rows: Any = option(Any, "training samples of a fold, as a list: full, 10 (of each class), imbalance10 (10:1)")
    draws: Any = option(Annotated[int, Range(1, 1000)], "random choices of the samples that are compared", 5)
    overrides: Any = option(str, "options of train.py for all that is trained, separated by blanks", "")
    workers: Any = option(Processes, "processes", 1)
    out: Any = option(Text, "the .jsonl of result lines, with which the same command goes on")
    runs: Any = option(str, "folder of the trained models", "runs/compare")
    report: Any = option(bool, "only write the tables of the lines that are there", False)


COMMANDS = {
    "train": TrainOptions,
    "tune": TuneOptions,
    "synthesize": SynthesizeOptions,
    "evaluate": EvaluateOptions,
    "compare": CompareOptions,
}

# Options of other packages' classes, and of nodes that are read key by key: (declared, meaning).
MORE = {
    "data.name": (str, "of folders and studies; of your own file its name"),
    "data.source": (Part, "where samples come from"),
    "data.datamodule": (Part, "what makes batches of them"),
    "data.draw": (Seed, "which samples are drawn; published tables use 0, so choose settings on others"),
    "data.path": (Text, "your own file or folder, with data=pkl, recordings or images"),
    "data.ordered": (
        Annotated[Sequence[str], EachOf(str, empty=True)],
        "vectors whose values have an order, as signals and images always have: [name, ...]",
    ),
    "data.teacher": (Part, "what labels the unlabelled samples of data.unlabelled"),
    "data.synthetic": (Text, "a file of synthesize.py, whose samples a classifier trains on beside the real ones"),
    "model.name": (str, "of folders and studies"),
    "model.task": (Part, "what the model is for: how a finished fold is scored, and what comes next"),
    "model.epochs": (PositiveInt, "trainer.max_epochs, unless that is given"),
    "model.batch_size": (PositiveInt, "data.batch_size, unless that is given"),
    "model.views_per_epoch": (Positive, "data.views_per_epoch, unless that is given"),
    "trainer.max_epochs": (PositiveInt, "length of a training; an epoch is data.steps_per_epoch batches"),
    "trainer.accelerator": (
        Literal["auto", "cpu", "cuda", "gpu", "mps", "tpu"],
        "what trains; auto: a GPU if there is one",
    ),
    "trainer.devices": (Devices, "how many, or a list of their numbers; several with trainer=ddp"),
    "trainer.strategy": (str, "of several devices"),
    "trainer.precision": (Precision, "of the arithmetic"),
    "trainer.log_every_n_steps": (PositiveInt, "of lightning.Trainer"),
    "trainer.num_sanity_val_steps": (NonNegativeInt, "of lightning.Trainer"),
    "trainer.enable_model_summary": (bool, "of lightning.Trainer"),
    "logger.name": (Text, "of the run"),
    "logger.version": (Text, "of the run; empty: events lie in the run's folder"),
    "logger.default_hp_metric": (bool, "of TensorBoardLogger"),
    "logger.project": (str, "of wandb"),
    "logger.offline": (bool, "false: wandb sends the run to your account"),
    "search.epochs": (PositiveInt, "of a trial; the refit of the best runs trainer.max_epochs"),
    "search.n_startup": (NonNegativeInt, "random trials before the sampler learns from them"),
    "search.warmup": (NonNegativeInt, "first epochs of a trial that are never pruned"),
    "search.space": (Mapping, "keys of the configuration, and what a trial may choose for them"),
    "pruner.n_startup_trials": (NonNegativeInt, "trials before any is pruned"),
    "pruner.n_warmup_steps": (NonNegativeInt, "first epochs of a trial that are never pruned"),
    "pruner.min_resource": (PositiveInt, "epochs that every trial has"),
    "pruner.max_resource": (PositiveInt, "epochs of a trial"),
    "pruner.reduction_factor": (Annotated[int, Range(2, 1000)], "one of so many trials goes on"),
}


def name_of(path: str | None, otherwise: str) -> str:
    """Return the name of a file without its ending, or of a folder, as runs of it are called."""
    if path is None:
        return otherwise
    real = os.path.realpath(
        str(path)
    )  # which, unlike Path.resolve, raises nothing for a loop of links or a name too long
    name = Path(real).name if os.path.isdir(real) else Path(real).stem
    return ("".join(filter(str.isprintable, name)) or otherwise)[:80]


# Here, so that a worker process, which only unpickles a configuration, knows it too.
OmegaConf.register_new_resolver("name_of", name_of, replace=True)


def register_options() -> None:
    """Make the options known to Hydra under the names that the primary configs list first."""
    store = ConfigStore.instance()
    # Hydra's --help copies the repository, and with it this store, once per group; nothing changes the copies.
    ConfigStore.__deepcopy__ = lambda self, memo: self
    for name, options in COMMANDS.items():
        store.store(name=f"{name}_options", node=options)
