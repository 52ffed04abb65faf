"""The search space: dotted keys of the configuration, and what a trial chooses for them."""

from collections.abc import Mapping
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict

from mmgan.errors import MmganError


def check_space(cfg: DictConfig) -> None:
    """Raise MmganError for a search space that names keys which the configuration does not have.

    `optional` keys, those of one of several choices, are then left out of it.
    """
    if not cfg.search.space:
        raise MmganError(f"search.space is empty: there is nothing to search; see conf/search/{cfg.model.name}.yaml.")
    for key, options in list(cfg.search.space.items()):
        if OmegaConf.select(cfg, key, default=None) is None and options.get("optional"):
            with open_dict(cfg.search.space) as space:
                del space[key]
            continue
        if OmegaConf.select(cfg, key, default=None) is None:
            raise MmganError(
                f"search.space: there is no key '{key}' in the configuration; correct conf/search/{cfg.model.name}.yaml."
            )
        if options.type not in ("int", "float", "categorical"):
            raise MmganError(f"search.space: '{key}' has type {options.type}; choose int, float or categorical.")


def default_params(cfg: DictConfig) -> dict[str, Any]:
    """Return {dotted key: value} of the configuration as it stands, of the keys that are searched."""
    return {key: OmegaConf.select(cfg, key) for key in cfg.search.space}


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted key: value} as the trial's sampler chooses within the search space."""
    chosen = {}
    for key, options in space.items():
        if options.type == "categorical":
            chosen[key] = trial.suggest_categorical(key, list(options.choices))
        else:
            propose = trial.suggest_int if options.type == "int" else trial.suggest_float
            chosen[key] = propose(key, options.low, options.high, log=options.get("log", False))
    return chosen


def is_plain(value: Any) -> bool:
    """Say whether a value is a number, a truth value or a text, and none that would refer to something else."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)


def contains(options: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value lies within one key's part of the search space."""
    if options["type"] == "categorical":
        return value in list(options["choices"])
    return isinstance(value, int | float) and options["low"] <= value <= options["high"]


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
