"""A configuration to objects: the one place where that happens."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from mmgan.commands.options import register_options
from mmgan.training.run import (
    FitResult,
    Run,
    chosen_folds,
    fit,
    fold_path,
    generates,
    load_data,
    make_datamodule,
    run_name,
)

__all__ = [
    "CONF", "FitResult", "Run", "chosen_folds", "compose", "fit", "fold_path", "generates", "load_data", "make_datamodule", "run_name",
]  # fmt: skip

CONF = Path(__file__).resolve().parents[2] / "conf"


def compose(command: str, overrides: str | Iterable[str] = ()) -> DictConfig:
    """Return the configuration of a command, as its script composes it; `overrides` as on the command line, or one string of them."""
    words = shlex.split(overrides) if isinstance(overrides, str) else list(overrides)
    register_options()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(command, words)
