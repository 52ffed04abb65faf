"""What a command says of itself: the help, of two screens, and the list of all options, from their declarations."""

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from omegaconf import MISSING, OmegaConf

import mmgan
from mmgan.commands.arguments import CONF, command_line
from mmgan.commands.checks import Declared, declared_options, own_options
from mmgan.commands.meanings import USUAL
from mmgan.commands.names import composed
from mmgan.commands.options import COMMANDS, MORE
from mmgan.errors import MOST, MmganError, expected, shown_value

DOES = {
    "train": "Train the generator of a fold, or of all of them; it writes checkpoints, scores and pictures.",
    "tune": "Search the best options of a fold with Optuna, and train with them. The same command goes on where it was.",
    "synthesize": "Draw samples from trained generators into one file.",
    "evaluate": "Judge a file of synthetic samples beside real samples and classical methods, and write a report.",
    "compare": "Train and judge several models on several folds, and write tables.",
}
EXAMPLES = {
    "train": ("data=pkl data.path=FILE fold=all final=true", "model=vae trainer.max_epochs=20 out_dir=runs/first"),
    "tune": ("data=pkl data.path=FILE fold=3 n_trials=50 workers=2",),
    "synthesize": ("ckpt=runs/train/watch-vacwgan out=augmented.pkl", "ckpt=FOLDER n_per_class=200"),
    "evaluate": ("synthetic=augmented.pkl", "synthetic=theirs.npz data=pkl data.path=FILE quick=true"),
    "compare": ("data=watch models=[real,smote,vacwgan] workers=2",),
}
PARTS = {"model": ("gan_loss", "scaler", "fusion")}  # groups within a group that people choose from
WIDTH = 96
DEPENDENCIES = ("torch", "lightning")


def versions_text() -> str:
    """Return the versions of mmgan and of what trains its models, a line each."""
    found = {"mmgan": mmgan.__version__}
    for name in DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return "\n".join(f"{name} {each}" for name, each in found.items())


def usage() -> str:
    """Return what there is to be called."""
    lines = [f"  {name:<12}{text}" for name, text in DOES.items()]
    return "\n".join(
        [
            f"{command_line('COMMAND')} [OPTION=VALUE ...]",
            "",
            *lines,
            f"  {'options':<12}List every option of a command, with its meaning, range and default.",
            "",
            "--help behind a command tells its usual options, --version the versions that are installed.",
        ]
    )


def help_text(command: str) -> str:
    """Return the help of a command: its usual options, the groups and their choices, and where the rest stands."""
    kind, defaults = COMMANDS[command], OmegaConf.to_container(OmegaConf.load(CONF / f"{command}.yaml"))
    own = {each.name: each for each in own_options(kind)}
    lines = [f"{command_line(command)} [OPTION=VALUE ...]", "", DOES[command], ""]
    lines += [f"    {command_line(command, *each.split())}" for each in EXAMPLES[command]]
    lines += ["", "Options that people use:"]
    for name in USUAL[command]:
        # What is none of the command's own is declared beside the classes that take it.
        found = own[name] if name in own else Declared(name, None, *MORE[name])
        group = (CONF / name).is_dir()
        value = _chosen(defaults, name) if group else found.value
        lines.append(f"  {name + '=':<21} {found.meaning}{_allowed(None if group else found.kind, value)}")
    if groups := [name for name in own if (CONF / name).is_dir()]:
        lines += ["", "Groups, and what there is to choose:"]
        for group in groups:
            for name in (group, *(f"{group}/{part}" for part in PARTS.get(group, ()))):
                names = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
                lines += _wrapped(f"  {name + '=':<21} ", ", ".join(names))
        lines.append(
            "  Each has keys of its own: data.batch_size=64, model.latent_dim=32, trainer.precision=bf16-mixed."
        )
    lines += ["", "All options, with meaning, range and default; and the whole configuration:"]
    chosen = ["model=vae"] if "model" in own else []
    lines.append(f"    {command_line('options', command, *chosen)}")
    lines.append(f"    {command_line(command, '--cfg', 'job', '--resolve')}")
    return "\n".join(lines)


def options_text(words: list[str]) -> str:
    """Return every option of a command, the first of `words` (default: train), with the groups that the others choose."""
    command = words[0] if words and "=" not in words[0] else "train"
    if command not in COMMANDS:
        raise MmganError(f"options {shown_value(command)}: expected one of {', '.join(COMMANDS)}.")
    cfg, kind = composed(command, words[words[:1] == [command] :]), COMMANDS[command]
    known = {each.name: each for each in own_options(kind, cfg) if not (CONF / each.name).is_dir()}
    for each in declared_options(cfg):
        if not each.name.startswith(("data.datamodule.", "data.source.")):  # which repeat those of data
            known.setdefault(each.name, each)
    lines, above = [f"{command_line(command)} [OPTION=VALUE ...], every option, with its default:"], None
    for each in sorted(known.values(), key=lambda each: ("." in each.name, each.name)):
        for found in _leaves(each):
            group = found.name.rpartition(".")[0] and found.name.partition(".")[0]
            lines += [""] if group != above else []
            above, default = group, "" if found.value in (None, MISSING) else shown_value(found.value)
            lines += _wrapped(f"  {found.name}={default}  ", f"{found.meaning}{_allowed(found.kind, None)}".strip())
    return "\n".join(lines)


def _leaves(each: Declared) -> Iterator[Declared]:
    """Yield an option, or the entries of one that is a mapping; a part is told by its class."""
    if isinstance(each.value, Mapping) and "_target_" in each.value:
        yield Declared(each.name, str(each.value["_target_"]), None, each.meaning)
    elif isinstance(each.value, Mapping) and each.value and each.name != "search.space":
        for key, value in each.value.items():
            yield from _leaves(Declared(f"{each.name}.{key}", value, None, each.meaning))
    else:
        yield each


def _chosen(defaults: Mapping[str, Any], group: str) -> str | None:
    """Return the choice of a group that a command's own file makes."""
    entries = [entry for entry in defaults.get("defaults", ()) if isinstance(entry, dict)]
    return next((entry[group] for entry in entries if group in entry), None)


def _allowed(declared: Any, default: Any) -> str:
    """Return what an option may be, and its default, in brackets."""
    limits = "" if declared is None else expected(declared).replace(f" and <= {MOST}", "")
    words = [limits, "" if default in (None, "", MISSING, []) else f"default {shown_value(default)}"]
    return f" ({'; '.join(filter(None, words))})" if any(words) else ""


def _wrapped(start: str, text: str) -> list[str]:
    """Return `start` and the words of `text` as lines; later ones begin below the text."""
    lines, indent = [start], min(len(start), 24)
    for word in text.split():
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append(" " * indent)
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]
