"""The command line: values that are paths, with any characters, and commands that are printed for the user to paste."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmgan.errors import printable

PACKAGE = Path(__file__).resolve().parents[1]
CONF = next(
    folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()
)  # of a wheel, of a checkout
# Options whose value is a path or a free text; Hydra's grammar would read blanks, commas, brackets and letters of other scripts as its own.
TEXTS = {
    "data.path", "data.files", "data.label_from", "data.labels_file", "data.channels", "data.cache", "data.synthetic", "data.unlabelled",
    "ckpt", "out", "out_dir", "first_stage", "synthetic", "curve", "warm_start", "storage",
    "study", "variants", "runs", "overrides",
}  # fmt: skip
SCRIPTS = ("train", "tune", "synthesize", "evaluate")  # that a checkout has
QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
REFERENCE = re.compile(r"(\\*)\$\{(?![\w.:]+(?:,[^{}]*)?\})")  # no ${key} or ${resolver:key}, which Hydra resolves


def as_hydra_reads(words: Iterable[str]) -> list[str]:
    """Return a command line in which the values of TEXTS are quoted for Hydra, so that they reach the program as they were typed.

    What the user quoted himself stays; so do lists, [a,b], whose parts are quoted. With -m, commas part the values of a sweep. The name of
    a file or folder that exists means that, whatever it looks like.
    """
    words = list(words)
    sweeps = bool({"-m", "--multirun"} & set(words))
    return [_quoted_option(word, sweeps) for word in words]


def _quoted_option(word: str, sweeps: bool) -> str:
    option = re.fullmatch(r"(\+{0,2})([\w.]+)=(.*)", word, re.DOTALL)
    if not option or option[2] not in TEXTS:
        return word
    value = option[3]
    if os.path.exists(value):
        value = quoted(value, literal=True)
    elif re.fullmatch(rf"\[(?:{QUOTED}|[^\[\]])*\]", value, re.DOTALL):
        value = f"[{','.join(map(quoted, _parts(value[1:-1])))}]"
    else:
        value = ",".join(map(quoted, _parts(value))) if sweeps else quoted(value)
    return f"{option[1]}{option[2]}={value}"


def _parts(text: str) -> list[str]:
    """Return what stands between commas that are in no quotes."""
    return [part.strip() for part in re.findall(rf"(?:{QUOTED}|[^,])+", text, re.DOTALL)]


def quoted(value: str, *, literal: bool = False) -> str:
    """Return a value as a text of Hydra's grammar; `null`, nothing, and what is quoted already stay as they are."""
    if not literal and re.match(r"~[/\\]", value) and not os.path.exists(value):
        value = os.path.expanduser(value)  # which not every shell does behind a =
    if literal or os.path.exists(value):
        value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # for OmegaConf, which would look it up
    elif value in ("", "null") or re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    else:
        value = REFERENCE.sub(r"\1\1\\${", value)
    value = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", value) + "'"


def command_line(command: str, *words: object) -> str:
    """Return a command of mmgan that can be pasted into a shell, in the form in which the running one was given."""
    running = Path(sys.argv[0])
    if running.suffix == ".py" and running.stem in SCRIPTS and command in SCRIPTS:
        return shell_line("python", running.with_stem(command), *words)
    if running.stem == "mmgan":  # the command that is installed
        return shell_line("mmgan", command, *words)
    return shell_line("python", "-m", "mmgan", command, *words)


def shell_line(*words: object) -> str:
    """Return words as one line for the shell, quoted where it asks for that."""
    return (subprocess.list2cmdline if os.name == "nt" else shlex.join)([*map(str, words)])


def trust_option(names: Iterable[str]) -> list[str]:
    """Return the trust= with which files that name these classes are read; nothing where all are mmgan's."""
    foreign = sorted({name.split(".")[0] for name in names} - {"mmgan", "torch"})
    return [f"trust=[{','.join(foreign)}]"] if foreign else []


def listed(value: Any) -> list[Any]:
    """Return one value, or the values of a list, as a list."""
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


def tell(*lines: str) -> None:
    """Print lines as they are: names of files may look like markup."""
    Console().print(*map(printable, lines), sep="\n", highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of numbers, none of them broken into lines."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
