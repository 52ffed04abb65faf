"""The search space: dotted keys of the configuration, and what a trial chooses for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml

from mmgan.errors import MmganError

Space = Mapping[str, Mapping[str, Any]]  # {dotted key: {type, low, high, log, choices}}


def usable_space(space: Space, default: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return a search space without its `optional` keys that the configuration does not have.

    `default` are the configuration's values of the keys that it has, `where` is the file to correct. Raises MmganError for
    an empty space, other keys that the configuration lacks, and what cannot be searched.
    """
    if not space:
        raise MmganError(f"search.space is empty: there is nothing to search; see {where}.")
    for key, options in space.items():
        if default.get(key) is None and not options.get("optional"):
            raise MmganError(f"search.space: there is no key '{key}' in the configuration; correct {where}.")
        _check_options(key, options)
    return {key: dict(options) for key, options in space.items() if default.get(key) is not None}


def _check_options(key: str, options: Mapping[str, Any]) -> None:
    kind = options.get("type")
    if kind not in ("int", "float", "categorical"):
        raise MmganError(f"search.space: '{key}' has type {kind}; expected one of int, float, categorical.")
    if kind == "categorical":
        choices = options.get("choices")
        if not isinstance(choices, list) or not choices or not all(map(is_plain, choices)):
            raise MmganError(f"search.space: '{key}' has the choices {choices}; expected a list of numbers or words.")
        return
    low, high = options.get("low"), options.get("high")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high))
    if not numbers or not low <= high or (options.get("log") and not low > 0):
        raise MmganError(
            f"search.space: '{key}' reaches from {low!r} to {high!r}; expected low <= high, and low > 0 with log."
        )


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted key: value} as the trial's sampler chooses within the search space."""
    chosen = {}
    for key, options in space.items():
        if options["type"] == "categorical":
            chosen[key] = trial.suggest_categorical(key, list(options["choices"]))
        else:
            propose = trial.suggest_int if options["type"] == "int" else trial.suggest_float
            chosen[key] = propose(key, options["low"], options["high"], log=options.get("log", False))
    return chosen


def is_plain(value: Any) -> bool:
    """Say whether a value is a number, a truth value or a text, and none that would refer to something else."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)


def contains(options: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value lies within one key's part of the search space."""
    if options["type"] == "categorical":
        return value in list(options["choices"])
    return isinstance(value, int | float) and options["low"] <= value <= options["high"]


def warm_params(path: str, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best parameters of another fold's sweep, those that this space has; raises MmganError if it has none."""
    file = Path(path) / "best_params.yaml"
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    shared = {key: value for key, value in found.items() if key in space} if isinstance(found, dict) else {}
    if not shared:
        raise MmganError(
            f"warm_start={path}: no best parameters of this search there; give the folder of a fold that tune.py finished."
        )
    if odd := [key for key, value in shared.items() if not is_plain(value)]:
        raise MmganError(
            f"warm_start={path}: {odd[0]} is neither a number nor a word there; give a folder as tune.py left it."
        )
    return shared
