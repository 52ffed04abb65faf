"""What is wrong with a command line, in one sentence: mmgan's own, or Hydra's in plain words."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from mmgan.commands.arguments import CONF, command_line
from mmgan.commands.names import suggestion
from mmgan.errors import MmganError, printable, shown_value

MOST_DIGITS = 4000  # of a number; of more, Python refuses to make one
FLAGS = {  # of Hydra; a word without = may follow one
    "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run", "-m", "--multirun",
    "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir", "-i", "--info",
}  # fmt: skip


def refuse_words(command: str, words: Sequence[str]) -> None:
    """Raise MmganError for words of a command line that are no options, as other tools write them: --epochs 3, data.pkl."""
    if {"--resolve", "--package", "-p"} & set(words) and not {"--cfg", "-c"} & set(words):
        raise MmganError("--resolve and --package say how --cfg shows the configuration; give --cfg job, too.")
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.lstrip("-").partition("=")
        if re.search(rf"\d{{{MOST_DIGITS}}}", value):
            raise MmganError(f"'{shown_value(word)}': a number of more than {MOST_DIGITS} digits; correct it.")
        if word.startswith("-") and word.partition("=")[0] not in FLAGS:
            raise MmganError(
                f"'{shown_value(word)}': options are written without dashes, as {name}={value or 'VALUE'};"
                f" {command_line(command, '--help')} lists them."
            )
        if name == "data" and (Path(value).suffix or "/" in value or "\\" in value):
            raise MmganError(f"{shown_value(word)}: for your own file give data=pkl data.path={value}.")
        if not equals and before not in FLAGS and not word.startswith(("-", "~")):
            file = Path(word).suffix or Path(word).exists()
            meant = f"data=pkl data.path={word}" if file else f"{word}=VALUE"
            raise MmganError(f"'{shown_value(word)}': an option is written NAME=VALUE, without blanks, as {meant}.")


def sentence(error: BaseException, command: str = "train", words: Sequence[str] = ()) -> str:
    """Return mmgan's own sentence, also from under Hydra's, or say what Hydra or OmegaConf found wrong with an option."""
    said = _worded(error, command, words)
    return printable(re.sub(r"(\S{299})\S{2,}", "\\1\N{HORIZONTAL ELLIPSIS}", said))  # it may quote a value


def _worded(error: BaseException, command: str, words: Sequence[str]) -> str:
    for each in (error, error.__cause__):
        if isinstance(each, MmganError):
            return str(each)
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if unknown := re.search(r"Key '[^']+' is not in struct full_key: (\S+)", text) or re.search(
        r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text
    ):
        name = unknown[1] or unknown[2]
        return f"there is no option '{name}'{suggestion(name, command, words)}"
    if there := re.search(r"Could not append to config\. An item is already at '([^']*)'", text):
        return f"there is an option '{there[1]}' already; give it without + in front."
    if wrong := re.search(r"Value '([^']*)' .*could not be converted to (\w+).*full_key: (\S+)", text):
        return f"{wrong[3]}={wrong[1]}: this option takes a value of type {wrong[2].lower()}."
    if plugin := re.search(r"Could not find 'hydra/launcher/([^']+)'", text):
        return (
            f"launcher={plugin[1].removeprefix('submitit_')} needs a plug-in of Hydra:"
            ' python -m pip install -c constraints.txt -e ".[cluster]".'
        )
    if choice := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        return _no_choice(choice[1], choice[2])
    if named := re.search(r"Could not override '([^']*)'\. No match in the defaults list", text):
        return f"there is no group of options '{named[1]}'; --help lists the groups."
    if "hydra.cc/docs/1.2/advanced/override_grammar" in text and "=" in text:
        found = text.split(" See ")[0].removeprefix("LexerNoViableAltException: ")
        return f"an option cannot be read ({found}); put a value with = or , in quotes: 'name=\"a=b\"'."
    if refers := re.search(r"Interpolation key '([^']*)' not found|(Environment variable '[^']*' not found)", text):
        return (
            f"a value refers to {refers[2] or f'the option {refers[1]!r}, which is not there'}; give the value itself."
        )
    if refused := re.search(r"Target '([^']*)' is blocklisted", text):
        return f"_target_={refused[1]}: Hydra builds nothing of this kind; give a class of mmgan's, or of your own."
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"give {missing[1]}=... on the command line."
    if inner := re.search(r"Error in call to target '[\w.]*?(\w+)': \w+\((['\"])(.*?)\2\)", text):
        return f"{inner[1]} refuses its options: {inner[3].rstrip('.')}."
    text = text.split(" full_key")[0]
    return text if text.endswith((".", "?", ")")) else f"{text}."


def _no_choice(group: str, name: str) -> str:
    """Return the sentence for a choice that a group does not have."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if not names:
        return f"{group}={name}: there is no such group; --help lists the groups."
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"; did you mean {near[0]}?" if near else "."
    return f"{group}={name}: there is no such choice; choose {', '.join(names)}{meant}"
