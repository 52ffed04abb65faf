"""The help of a command, from the declarations of its options."""

from typing import Any

from omegaconf import MISSING, OmegaConf

from mmgan.commands.arguments import CONF, command_line
from mmgan.commands.checks import own_options
from mmgan.commands.options import COMMANDS, MORE
from mmgan.errors import MOST, expected, shown_value


def help_text(command: str) -> str:
    """Return the help of a command: its options with their ranges and defaults, and the groups to choose from."""
    kind, conf = COMMANDS[command], CONF
    own, known = list(own_options(kind)), _defaults_of_groups(command)
    width = max(len(each.name) for each in own) + 1
    lines = [f"{command_line(command)} [option=value ...]", ""]
    for each in own:
        if not (conf / each.name).is_dir():
            lines.append(f"  {each.name + '=':<{width}} {each.meaning}{_allowed(each.kind, each.value)}")
    groups = [each for each in own if (conf / each.name).is_dir()]
    lines += ["", "Groups, each with keys of its own (data.batch_size=64, model.latent_dim=32):", ""] if groups else []
    for each in groups:
        names = ", ".join(sorted(path.stem for path in (conf / each.name).glob("*.yaml")))
        lines.append(f"  {each.name + '=':<{width}} {each.meaning}: {names}")
        own_keys = {name: declared for name, declared in MORE.items() if name.startswith(f"{each.name}.")}
        for name, (declared, meaning) in own_keys.items() if each.name in known else ():
            value = known[each.name].get(name.partition(".")[2])
            lines.append(f"    {name + '=':<{width + 16}} {meaning}{_allowed(declared, value)}")
    lines += ["", f"{command_line(command)} --cfg job --resolve prints the whole configuration; nothing is run."]
    return "\n".join(lines)


def _allowed(declared: Any, default: Any) -> str:
    """Return what an option may be, and its default, in brackets."""
    limits = expected(declared).replace(f" and <= {MOST}", "")
    words = [limits, "" if default in (None, "", MISSING) else f"default {shown_value(default)}"]
    return f" ({'; '.join(filter(None, words))})" if any(words) else ""


def _defaults_of_groups(command: str) -> dict[str, dict[str, Any]]:
    """Return what the command's files of groups say of keys, {group: {key: value}}: no references to other keys."""
    choices: dict[str, Any] = {}
    for entry in OmegaConf.to_container(OmegaConf.load(CONF / f"{command}.yaml")).get("defaults", ()):
        choices |= entry if isinstance(entry, dict) else {}
    found = {}
    for group, choice in choices.items():
        files = [CONF / group / f"{choice}.yaml", *([CONF / "loader" / "default.yaml"] if group == "data" else [])]
        nodes = [OmegaConf.to_container(OmegaConf.load(file)) for file in files if file.is_file()]
        found[group] = {
            key: value
            for node in nodes
            for key, value in node.items()
            if isinstance(value, int | float | str) and "${" not in str(value)
        }
    return found
