"""What the scripts share: type-checked options, and errors that end with one sentence and status 1."""

import difflib
import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmgan.errors import MmganError


@dataclass
class TrainOptions:
    """Scalars of conf/train.yaml; Any marks what has a check of its own."""

    fold: Any = 1
    seed: int = 0
    threads: int = 1
    final: bool = False
    select_length: bool = False
    resume: bool = False
    out_dir: str | None = None
    first_stage: str | None = None
    data: Any = None
    model: Any = None
    trainer: Any = None
    logger: Any = None
    callbacks: Any = None


@dataclass
class TuneOptions(TrainOptions):
    """Scalars of conf/tune.yaml."""

    n_trials: int = 50
    max_epochs: int | None = None
    timeout: float | None = None
    workers: int = 1
    storage: str | None = None
    study: str | None = None
    warm_start: str | None = None
    report: bool = False
    search: Any = None
    pruner: Any = None


@dataclass
class SynthesizeOptions:
    """Scalars of conf/synthesize.yaml."""

    ckpt: Any = MISSING
    ratio: float = 1.0
    n_per_class: int | None = None
    balance: bool = False
    sampling: str | None = None
    given: Any = None
    seed: int = 0
    threads: int = 1
    out: str | None = None
    data_path: str | None = None


@dataclass
class EvaluateOptions:
    """Scalars of conf/evaluate.yaml."""

    synthetic: Any = MISSING
    fold: Any = None
    quick: bool = False
    draws: int = 5
    workers: int | None = None
    curve: str | None = None
    seed: int = 0
    threads: int = 1
    out_dir: str | None = None
    data: Any = None


@dataclass
class CompareOptions:
    """Scalars of conf/compare.yaml."""

    measure: str = "quality"
    data: Any = None
    models: Any = None
    variants: str | None = None
    folds: list[int] = field(default_factory=list)
    seeds: int = 1
    rows: Any = None
    draws: int = 5
    overrides: str = ""
    workers: int = 1
    threads: int = 1
    out: str | None = None
    runs: str = "runs/compare"
    report: bool = False


SCRIPTS = {
    "train": TrainOptions,
    "tune": TuneOptions,
    "synthesize": SynthesizeOptions,
    "evaluate": EvaluateOptions,
    "compare": CompareOptions,
}

PARTS = (
    "scaler", "adversarial", "augmentation", "fusion", "likelihood", "players", "process", "denoiser", "quantizer",
)  # fmt: skip

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

# Numbers that Hydra does not check, or not against their smallest value.
NUMBERS = {
    "seed": ("whole number", 0),
    "seeds": ("whole number", 1),
    "data.draw": ("whole number", 0),
    "threads": ("whole number", 1),
    "draws": ("whole number", 1),
    "workers": ("whole number", 1),
    "n_trials": ("whole number", 1),
    "max_epochs": ("whole number", 1),
    "timeout": ("number", 0),
    "n_per_class": ("whole number", 1),
    "ratio": ("number", 0),
    "trainer.max_epochs": ("whole number", 1),
    "data.batch_size": ("whole number", 1),
    "data.steps_per_epoch": ("whole number", 1),
    "data.n_splits": ("whole number", 2),
    "data.rows_per_class": ("whole number", 1),
    "data.imbalance_ratio": ("number", 1),
    "data.inner_val": ("number", 0),
    "data.image_size": ("whole number", 8),
    "search.epochs": ("whole number", 1),
    "callbacks.score.window": ("whole number", 1),
    "callbacks.pictures.every_n_epochs": ("whole number", 1),
    "callbacks.traversals.every_n_epochs": ("whole number", 1),
    "callbacks.traversals.classes": ("whole number", 0),
    "callbacks.traversals.dimensions": ("whole number", 1),
    "callbacks.reconstructions.every_n_epochs": ("whole number", 1),
    "callbacks.reconstructions.classes": ("whole number", 0),
    "callbacks.reconstructions.rows": ("whole number", 1),
    "model.latent_channels": ("whole number", 1),
    "model.quantizer.size": ("whole number", 2),
    "model.networks.coder.signal.patch": ("whole number", 1),
    "model.denoiser.patch": ("whole number", 1),
    "model.sampler.steps": ("whole number", 1),
    "model.sampler.eta": ("number", 0),
    "model.sampler.guidance": ("number", 0),
    "model.sampler.near": ("number", 0.01),
    "model.training.unlabelled": ("number", 0),
    "model.training.adversarial_start": ("whole number", 0),
    "callbacks.film.points": ("whole number", 2),
    "callbacks.film.milliseconds": ("whole number", 10),
}


def register_options() -> None:
    """Make the options known to Hydra under the names that the primary configs list first."""
    store = ConfigStore.instance()
    # Hydra's --help copies the repository, and with it this store, once per group; nothing changes the copies.
    ConfigStore.__deepcopy__ = lambda self, memo: self
    for name, options in SCRIPTS.items():
        store.store(name=f"{name}_options", node=options)


def script(job: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap the function under `@hydra.main`: what the user can mend ends with one sentence on stderr and status 1."""

    @functools.wraps(job)
    def wrapped(cfg: Any) -> None:
        # Before the job imports torch and numpy, whose pools of threads are sized once.
        for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(pool, str(cfg.threads))
        # Inside the job: what leaves it, but for SystemExit, Hydra announces in words of its own.
        try:
            check_options(cfg)
            job(cfg)
        except (MmganError, HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {sentence(error)}")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            where = error.filename2 or error.filename or "a file"
            sys.exit(
                f"error: {where} cannot be written ({error.strerror}); make room, and give the same command again."
            )
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into the latter
            sys.exit("interrupted: a training goes on with resume=true, a sweep by the same command.")

    return wrapped


def check_options(cfg: Any) -> None:
    """Raise MmganError for options that Hydra lets through: added ones (+fold=3), and numbers that mean nothing."""
    known = set(OmegaConf.get_type(cfg).__dataclass_fields__) | {"experiment"}
    if added := sorted(set(cfg) - known):
        raise MmganError(f"there is no option '{added[0]}'{_closest(added[0])}; --help lists the options.")
    for part in PARTS:
        value = OmegaConf.select(cfg, f"model.{part}")
        if isinstance(value, str):
            raise MmganError(
                f"model.{part}={value}: this is a part of the configuration; choose one of conf/model/{part}/ with"
                f" model/{part}=NAME, or give its own keys."
            )
    for name, (kind, least) in NUMBERS.items():
        value = OmegaConf.select(cfg, name)
        fits = isinstance(value, int if kind == "whole number" else int | float) and not isinstance(value, bool)
        if value is not None and not (fits and value >= least):  # not >=: NaN too
            raise MmganError(f"{name}={value}: give a {kind} from {least} on.")


def run(main: Callable[[], None]) -> None:
    """Run a `@hydra.main` function; an option that Hydra cannot use ends with one sentence and status 1."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and `sentence` words the error
    register_options()
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # here: as Python ends, a reader that has gone would be an error
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {sentence(error)}")
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
        sys.exit(1)


def sentence(error: BaseException) -> str:
    """Return mmgan's own sentence, also from under Hydra's, or say what Hydra or OmegaConf found wrong with an option."""
    if isinstance(error, MmganError):
        return str(error)
    if isinstance(error.__cause__, MmganError):
        return str(error.__cause__)
    told = [str(error)] + ([str(error.__cause__)] if error.__cause__ else [])
    text = " ".join(" ".join(told).split())
    if unknown := re.search(r"Could not override '([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    ):
        return f"there is no option '{unknown[1]}'{_closest(unknown[1])}; --help lists the options."
    if wrong := re.search(r"Value '([^']*)' .*could not be converted to (\w+).*full_key: (\S+)", text):
        return f"{wrong[3]}={wrong[1]}: this option takes a value of type {wrong[2].lower()}."
    if plugin := re.search(r"Could not find 'hydra/launcher/([^']+)'", text):
        return (
            f"launcher={plugin[1].removeprefix('submitit_')} needs a plug-in of Hydra:"
            ' python -m pip install -c constraints.txt -e ".[cluster]".'
        )
    if choice := re.search(r"Could not find '([^']+)/([^']+)'", text):
        return f"{choice[1]}={choice[2]}: there is no such choice{_choices(text)}."
    if "mismatched input" in text and "=" in text:
        return (
            f"an option cannot be read ({text.split(' See ')[0]}); put a value with = or , in quotes: 'name=\"a=b\"'."
        )
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"give {missing[1]}=... on the command line."
    if inner := re.search(r"Error in call to target '[\w.]*?(\w+)': \w+\((['\"])(.*?)\2\)", text):
        return f"{inner[1]} refuses its options: {inner[3]}"
    return text.split(" full_key")[0]


def _choices(text: str) -> str:
    """Return the choices that Hydra's message lists."""
    listed = re.search(r"Available options in '[^']+': (.*?)(?: Config search path|$)", text)
    return "; choose " + ", ".join(listed[1].split()) if listed else ""


def _closest(name: str) -> str:
    """Return a suggestion for a misspelt top-level option of the script that runs."""
    running = SCRIPTS.get(Path(sys.argv[0]).stem)
    scripts = [running] if running else SCRIPTS.values()
    known = {field for options in scripts for field in options.__dataclass_fields__}
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
