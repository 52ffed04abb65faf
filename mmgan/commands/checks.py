"""What an option is given: checked against its declaration, and refused with its new name where it has one."""

import functools
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_origin

from omegaconf import OmegaConf

from mmgan.commands.arguments import CONF
from mmgan.commands.meanings import COMMON
from mmgan.commands.names import suggestion
from mmgan.commands.options import COMMANDS, MORE
from mmgan.data.trust import trusted_names
from mmgan.errors import MmganError, Part, alternatives, check_value, expected, is_checked

RENAMED = {  # what an option was called, and is called now; a name that ends with . stands for all that begin with it
    "model/adversarial": "model/gan_loss", "model/players": "model/networks",
    "model.calibration_rows": "model.n_calibration_samples", "model.sampler.near": "model.strength",
    "model.sampler.guidance": "model.guidance_scale", "model.sampler.": "model.",
    "model.training.unlabelled": "model.label_dropout", "model.training.": "model.", "model.networks.": "model.",
    "model.adversarial.": "model.gan_loss.", "model.augmentation.": "model.augment.", "model.optimizer.": "model.",
    "model.loss.": "model.", "model.first_stage": "first_stage", "model.residual": "model.space.residual", "model.control.": "model.baseline.",
    "callbacks.reconstructions.rows": "callbacks.reconstructions.samples", "data_path": "data.path",
}  # fmt: skip

GROUPS = ("data", "model", "callbacks", "trainer", "logger")  # what is made of parts
OF_HYDRA = {
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": list,
}  # of any part


@dataclass(frozen=True)
class Declared:
    """An option of a configuration by its dotted name: what it is there, what it may be, and its one line of meaning."""

    name: str
    value: Any
    kind: Any
    meaning: str = ""


def check_options(cfg: Any) -> None:
    """Raise MmganError for options that the command does not have (+fold=3), and for values that an option may not have."""
    kind = OmegaConf.get_type(cfg)
    data = _plain(OmegaConf.select(cfg, "data")) or {}
    if not isinstance(data, dict):
        raise MmganError(f"data={data}: this is a part of the configuration; choose one of conf/data/ with data=NAME.")
    for name in ("source", "datamodule"):
        if name in data:
            check_value(f"data.{name}", data[name], Part)
    if added := [*sorted(set(cfg) - set(kind.__dataclass_fields__) - {"experiment"}), *_unknown_below(cfg)]:
        command = next(name for name, each in COMMANDS.items() if each is kind)
        raise MmganError(f"there is no option '{added[0]}'{suggestion(added[0], command)}")
    for each in own_options(kind, cfg):
        check_value(each.name, each.value, each.kind)
    trusted_names(OmegaConf.select(cfg, "trust", default=()))
    for part in (path.name for path in (CONF / "model").iterdir() if path.is_dir()):
        if isinstance(value := OmegaConf.select(cfg, f"model.{part}"), str):
            raise MmganError(
                f"model.{part}={value}: this is a part of the configuration; choose one of conf/model/{part}/ with"
                f" model/{part}=NAME, or give its own keys."
            )
    for each in declared_options(cfg):
        check_value(each.name, each.value, each.kind)
    for group in GROUPS:
        _check_of_hydra(group, _plain(OmegaConf.select(cfg, group)))
    for key, value in (data.get("source") or {}).items():
        if key in data and data[key] != value:
            raise MmganError(f"data.source.{key}={value}: give data.{key}= instead.")


def check_there(cfg: Any) -> None:
    """Raise MmganError if the file to evaluate is not there; before it is read, `evaluate` imports for seconds."""
    if file := OmegaConf.select(cfg, "synthetic"):
        from mmgan.data.pickles import opened  # here: with it comes numpy, and --help needs this module

        with opened(file):
            pass


def own_options(kind: type, cfg: Any = None) -> Iterator[Declared]:
    """Yield the options that a command declares itself, with their values in `cfg` or their defaults."""
    values = _plain(OmegaConf.structured(kind) if cfg is None else cfg)
    for each in fields(kind):
        if each.name not in values:
            raise MmganError(f"~{each.name}: the command needs this option; give it a value, {each.name}=VALUE.")
        if cfg is None or not OmegaConf.is_missing(cfg, each.name):
            yield Declared(each.name, values[each.name], each.metadata["declared"], each.metadata["meaning"])


def declared_options(cfg: Any) -> Iterator[Declared]:
    """Yield the options below data, model, trainer, callbacks and search that something declares: a constructor, or `MORE`."""
    for name, (kind, meaning) in MORE.items():
        marker = object()
        if (value := OmegaConf.select(cfg, name, default=marker)) is not marker:
            yield Declared(name, _plain(value), kind, meaning)
    for group in GROUPS:
        node = _plain(OmegaConf.select(cfg, group))
        if isinstance(node, dict):
            yield from _declared_below(group, node)


def _declared_below(name: str, node: dict[str, Any]) -> Iterator[Declared]:
    if "_target_" in node:
        _check_target(name, node["_target_"])
    parameters = _parameters(str(node.get("_target_")))
    # What the datamodule and the source take are options of the data themselves, to which they refer.
    shown = "data" if name in ("data.datamodule", "data.source") else name
    for key, value in node.items():
        if f"{name}.{key}" == "model.space.first_stage":
            continue  # the option first_stage, in whose place the stage's own configuration comes
        if key in parameters:
            yield Declared(
                f"{shown}.{key}", value, _configured(parameters[key].annotation), _meaning(str(node["_target_"]), key)
            )
        elif name == "callbacks":
            yield Declared(f"callbacks.{key}", value, Part | None)
        if isinstance(value, dict):
            yield from _declared_below(f"{name}.{key}", value)


def _check_of_hydra(name: str, node: Any) -> None:
    """Raise MmganError where a part, or one below it, gives Hydra what it cannot use."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in OF_HYDRA:
            check_value(f"{name}.{key}", value, OF_HYDRA[key])
        _check_of_hydra(f"{name}.{key}", value)


def _check_target(name: str, target: Any) -> None:
    """Raise MmganError where a part's target is no class or function."""
    try:
        found = pkgutil.resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and not str(target).startswith(str(error.name)):
            return  # a package that it needs is missing, which building it will tell
        found = None
    if not callable(found):
        raise MmganError(f"{name}._target_={target}: there is no such class or function; give package.module.Name.")


def _unknown_below(cfg: Any) -> Iterator[str]:
    """Yield the dotted names of what was added to data, or to a part of the model, and that nothing there takes."""
    data = _plain(OmegaConf.select(cfg, "data")) or {}
    targets = [str((data.get(key) or {}).get("_target_")) for key in ("source", "datamodule")]
    if all(target.startswith("mmgan.") for target in targets):
        taken = {key for target in targets for key in _parameters(target)}
        yield from (f"data.{key}" for key in data if key not in taken and f"data.{key}" not in MORE)
    for group in ("model", "callbacks"):
        if isinstance(node := _plain(OmegaConf.select(cfg, group)), dict):
            yield from _unknown_of_part(group, node)


def _unknown_of_part(name: str, node: dict[str, Any]) -> Iterator[str]:
    parameters = _parameters(str(node.get("_target_")))
    closed = parameters and not any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for key, value in node.items():
        known = key in parameters or key.startswith("_") or f"{name}.{key}" in MORE or f"{name}.{key}" == "model.fusion"
        if closed and not known:
            yield f"{name}.{key}"
        elif isinstance(value, dict):
            yield from _unknown_of_part(f"{name}.{key}", value)


@functools.cache
def _meaning(target: str, key: str) -> str:
    """Return what the docstring of a class says of an argument under Parameters; otherwise what it means everywhere."""
    text = inspect.getdoc(pkgutil.resolve_name(target)) or ""
    found = re.search(rf"^{key} : (.+(?:\n {{4,}}.+)*)", text, re.MULTILINE)
    return " ".join(found[1].split()).rstrip(".") if found else COMMON.get(key, "")


def _configured(declared: Any) -> Any:
    """Return what a configuration gives for an argument: for an object, a part with a target of its own."""
    kinds = alternatives(declared)
    plain = [kind for kind in kinds if expected(kind) or kind is Any or get_origin(kind) is Annotated]
    if len(plain) == len(kinds):
        return declared
    return Part | None if plain else Part


@functools.cache
def _parameters(target: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function, mmgan's or `@checked`."""
    try:
        found = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        return {}  # which building it will tell
    declares = callable(found) and (target.startswith("mmgan.") or is_checked(found))
    return inspect.signature(found).parameters if declares else {}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def refuse_renamed(words: list[str]) -> None:
    """Raise MmganError for an option that has another name now."""
    for word in words:
        name = word.lstrip("+~").partition("=")[0]
        for old, new in RENAMED.items():
            if f"{name}." == old:
                raise MmganError(f"the options below '{name}' are called '{new}...' now; --help lists them.")
            if name == old or (old.endswith(".") and name.startswith(old)):
                now = new + name.removeprefix(old)
                of_gan = re.sub(r"model\.(generator|critic)\.", r"model.\1.network.", now)
                more = f" (with model=gan {of_gan}=...)" if of_gan != now else ""
                raise MmganError(f"the option '{name}' is called '{now}' now; give {now}=...{more}")
