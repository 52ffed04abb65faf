"""What the scripts share: type-checked options, and errors that end with one sentence and status 1."""

import difflib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING
from omegaconf.errors import OmegaConfBaseException

from mmgan.errors import MmganError


@dataclass
class TrainOptions:
    """Scalars of conf/train.yaml; Any marks what has a check of its own."""

    fold: Any = 1
    seed: int = 0
    threads: int = 1
    final: bool = False
    resume: bool = False
    out_dir: str | None = None
    data: Any = None
    model: Any = None
    trainer: Any = None
    logger: Any = None
    callbacks: Any = None


@dataclass
class TuneOptions(TrainOptions):
    """Scalars of conf/tune.yaml."""

    n_trials: int = 50
    search: Any = None


@dataclass
class SynthesizeOptions:
    """Scalars of conf/synthesize.yaml."""

    ckpt: Any = MISSING
    ratio: float = 1.0
    n_per_class: int | None = None
    balance: bool = False
    sampling: str | None = None
    seed: int = 0
    threads: int = 1
    out: str | None = None
    data_path: str | None = None


def register_options() -> None:
    """Make the options known to Hydra under the names that the primary configs list first."""
    store = ConfigStore.instance()
    for name, options in (("train", TrainOptions), ("tune", TuneOptions), ("synthesize", SynthesizeOptions)):
        store.store(name=f"{name}_options", node=options)


def run_script(main: Callable[[], None]) -> None:
    """Run a `@hydra.main` function; whatever the user can mend ends with one sentence on stderr and status 1."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and this function words the error
    register_options()
    try:
        main()
    except MmganError as error:
        sys.exit(f"error: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {_option_sentence(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command with resume=true goes on from the last finished epoch.")


def _option_sentence(error: Exception) -> str:
    """Say in one sentence what Hydra or OmegaConf found wrong with an option."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    unknown = re.search(r"Key '([^']+)' (?:is not in struct|not in)", text)
    if unknown:
        full = re.search(r"full_key: (\S+)", text)
        name = full.group(1) if full else unknown.group(1)
        return f"there is no option '{name}'{_closest(name)}; --help lists the options."
    wrong = re.search(r"Value '([^']*)'.* could not be converted to (\w+).*full_key: (\S+)", text)
    if wrong:
        return f"{wrong.group(3)}={wrong.group(1)}: give {wrong.group(2).lower()} value."
    choice = re.search(r"Could not find '([^']+)'", text) or re.search(r"In '[^']+': Could not find '([^']+)'", text)
    if choice:
        return f"there is no config '{choice.group(1)}'; the files under conf/ are the choices."
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"give {missing.group(1)}=... on the command line."
    return lines[0] if lines else repr(error)


def _closest(name: str) -> str:
    """Return a suggestion for a misspelt top-level option."""
    known = {field for options in (TuneOptions, SynthesizeOptions) for field in options.__dataclass_fields__}
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
