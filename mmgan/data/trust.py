"""What a file may ask for: a checkpoint, or a file of synthetic samples, comes from somebody else, and names what is built from it."""

import functools
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from types import FunctionType
from typing import Any

from mmgan.errors import MmganError

# Rooms whose public classes and functions a file may name: those of which models are made, and data sources.
MODEL = re.compile(
    r"(mmgan\.baselines|mmgan\.training\.tasks|mmgan\.(?:models|nets|losses|diffusion)\.[A-Za-z]\w*)\.([A-Za-z]\w*)"
)
SOURCE = re.compile(r"(mmgan\.data\.sources\.[A-Za-z]\w*)\.([A-Za-z]\w*)")
TORCH = {
    *(f"torch.optim.{name}" for name in ("Adam", "AdamW", "SGD", "RMSprop")),
    *(f"torch.nn.{name}" for name in ("ReLU", "LeakyReLU", "SiLU", "GELU", "Tanh", "Identity")),
}
MOST_DEEP, MOST_NODES = 20, 20_000  # of a configuration; one that contains itself has no end
MEANINGFUL = ("_target_", "_partial_")
PLAIN = list | tuple | bool | int | float | str | None


def admit(config: Any, where: Any, *, trust: Sequence[str] = (), source: bool = False) -> None:
    """Raise MmganError unless all that a configuration from the file `where` names may be run; nothing of it is run.

    Admitted are mmgan's own models and their parts (with `source`, its data sources instead), some of torch's classes, and whatever
    lies in the packages `trust`. A configuration is plain containers; `_target_` and `_partial_` are the only keys with a meaning.
    """
    if not isinstance(config, dict) or "_target_" not in config:
        raise MmganError(
            f"{where}: it names nothing to build (no '_target_'); it was changed, or another tool wrote it."
        )
    trusted = trusted_names(trust)
    for count, (depth, node) in enumerate(_nodes(config)):
        if depth > MOST_DEEP or count > MOST_NODES:
            fault = "is nested without end; it was changed, or another tool wrote it."
        else:
            fault = _fault(node, source)
        if fault:
            raise MmganError(f"{where}: its configuration {fault}")
        if isinstance(node, dict) and "_target_" in node:
            _check_target(node["_target_"], where, trusted, SOURCE if source else MODEL)


def _fault(node: Any, source: bool) -> str:
    """Return what is wrong with a node of a configuration that holds more than plain values; nothing if nothing is."""
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str) or (re.fullmatch("_.*_", key, re.DOTALL) and key not in MEANINGFUL):
                return f"has the key {str(key)[:100]!r}, which files may not use; give a file of mmgan."
        if not isinstance(node.get("_partial_", False), bool):
            return "has a '_partial_' that is neither true nor false; give a file of mmgan."
    elif not isinstance(node, PLAIN):
        return f"holds a {type(node).__name__}; only plain values are read."
    elif isinstance(node, str) and "${" in node and not source:
        return f"holds {node[:100]!r}, which refers to something else; give a file of mmgan."
    return ""


def build(config: Any) -> Any:
    """Return the object of an admitted configuration; unlike Hydra's `instantiate` it knows `_target_` and `_partial_` only."""
    if isinstance(config, list | tuple):
        return [build(item) for item in config]
    if not isinstance(config, dict):
        return config
    options = {key: build(value) for key, value in config.items() if key not in MEANINGFUL}
    if "_target_" not in config:
        return options
    target = pkgutil.resolve_name(config["_target_"])
    return functools.partial(target, **options) if config.get("_partial_") else target(**options)


def build_source(config: Any, where: Any, *, trust: Sequence[str] = ()) -> Any:
    """Return the data set that the file `where` was made from; raises MmganError if its source is not admitted."""
    from mmgan.data.dataset import Dataset  # here: with it comes numpy, and --help needs this module

    admit(config, where, trust=trust, source=True)
    options = {key: value for key, value in config.items() if key != "cache"}  # no file says where to write
    if isinstance(config.get("cache"), str) and SOURCE.fullmatch(config["_target_"]):
        options["kept"] = config["cache"]  # but where to read what its training made
    try:
        dataset = build(options)
        if not isinstance(dataset, Dataset):
            raise TypeError(f"{config['_target_']} makes no data set")
        return dataset
    except MmganError:
        raise
    except (TypeError, ValueError) as error:
        raise MmganError(
            f"{where}: its data source does not take the options there ({error}); give a file of mmgan."
        ) from error


def trusted_names(trust: Any) -> list[str]:
    """Return the packages that `trust` names, one or a list; raises MmganError for what is no package's name."""
    names = [trust] if isinstance(trust, str) else trust if isinstance(trust, Iterable) else [trust]
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise MmganError(
                f"trust={name}: give the names of packages whose classes a file may use, trust=[mypackage]."
            )
    return list(names)


def named_targets(config: Any) -> list[str]:
    """Return every target that a configuration names."""
    nodes = [node for _, node in _nodes(config) if isinstance(node, Mapping)]
    return [node["_target_"] for node in nodes if isinstance(node.get("_target_"), str)]


def _nodes(config: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield (depth, node) of a configuration, from the outside in, one level deeper than may be at most."""
    yield depth, config
    if depth <= MOST_DEEP and isinstance(config, Mapping | list | tuple):
        for item in config.values() if isinstance(config, Mapping) else config:
            yield from _nodes(item, depth + 1)


def _check_target(target: Any, where: Any, trusted: Sequence[str], pattern: re.Pattern) -> None:
    if isinstance(target, str):
        if target in TORCH or _is_theirs(target, trusted, pattern):
            return
        if (parts := pattern.fullmatch(target)) and _is_defined(*parts.groups()):
            return
    raise MmganError(
        f"{where}: it asks for {str(target)[:200]!r}, which mmgan runs from no file, and nothing was run; if it is a package of"
        " yours, give trust=[PACKAGE]."
    )


def _is_theirs(target: str, packages: Sequence[str], pattern: re.Pattern) -> bool:
    """Say whether a trusted package defines that class or function, or passes on an admitted one; what else it imports is not its own."""

    def within(name: str) -> bool:
        return any(f"{name}.".startswith(f"{package}.") for package in packages)

    if not within(target):
        return False
    try:
        found = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        return False
    if not isinstance(found, type | FunctionType):
        return False
    home = f"{found.__module__}.{found.__qualname__}"
    return within(home) or pattern.fullmatch(home) is not None


def _is_defined(module: str, name: str) -> bool:
    """Say whether a module of mmgan itself defines a class or function of that name."""
    try:
        found = vars(import_module(module)).get(name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # a package that an option needs
        return False
    return isinstance(found, type | FunctionType) and (found.__module__, found.__qualname__) == (module, name)
