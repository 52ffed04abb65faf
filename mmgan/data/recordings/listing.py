"""Which files are recordings, and what each is of: by its folder, by its name, or by a table."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmgan.data.recordings.formats import READERS
from mmgan.data.recordings.series import labels_of, n_series
from mmgan.data.recordings.text import decoded
from mmgan.errors import MmganError

UNLABELLED = "unlabelled"
LABEL_REMEDY = "give each class a sub-folder, or data.label_from=, or data.labels_file=."


@dataclass(frozen=True)
class Item:
    """A file, or the part of it from `start` to `stop` s: its name below the folder, label (None: unlabelled), group and rate in Hz."""

    path: Path
    name: str
    label: str | None
    group: str
    rate: float | None = None
    start: float | None = None
    stop: float | None = None
    number: int | None = None  # of a series in a .ts file


def list_items(folder: Path, pattern: str, label_from: str | None, labels_file: str | None) -> list[Item]:
    """Return the recordings below `folder` in the order of their names; raise MmganError where there are none, or a label lacks."""
    if not folder.is_dir():
        raise MmganError(f"{folder}: there is no such folder; give data.path= the folder of the recordings.")
    if labels_file is not None:
        return list(_listed(folder, Path(labels_file)))
    files = files_of(folder, pattern)
    return labelled_items(files, [file.relative_to(folder).as_posix() for file in files], label_from)


def labelled_items(files: Sequence[Path], names: Sequence[str], label_from: str | None) -> list[Item]:
    """Return recordings by their files and names, which say the labels; raise MmganError for a name that does not."""
    expression = None if label_from is None else _expression(label_from)
    return [item for file, name in zip(files, names, strict=True) for item in _items(file, name, expression)]


def _items(file: Path, name: str, expression: re.Pattern | None) -> Iterator[Item]:
    if file.suffix.lower() != ".ts":
        yield Item(file, name, _label(name, expression), name)
        return
    try:
        own = labels_of(file)
        own = [_label(name, expression)] * n_series(file) if own is None else own
    except MmganError as error:
        raise MmganError(f"{file}: {error}") from None
    folder_is_unlabelled = UNLABELLED in name.split("/")[:-1]
    for number, label in enumerate(own):
        series = f"{name}#{number + 1}"
        yield Item(file, series, None if folder_is_unlabelled else label, series, number=number)


def files_of(folder: Path, pattern: str, option: str = "data.files") -> list[Path]:
    """Return the files below `folder` that match and can be read, in the order of their names; raise MmganError where there are none."""
    try:
        found = list(folder.glob(pattern))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise MmganError(f"{option}={pattern}: {error}; give a pattern below data.path, such as **/*.mat.") from None
    files = sorted(
        file
        for file in found
        if file.suffix.lower() in READERS
        and file.is_relative_to(folder)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    for file in files:
        if not str(file).isprintable():
            raise MmganError(
                f"{str(file)!a}: its name holds what cannot be printed; rename it, or leave it out with data.files=."
            )
    if not files:
        raise MmganError(
            f"{folder}: no file that matches {option}={pattern} ends with {', '.join(READERS)}; put recordings there, or give"
            f" another {option}=."
        )
    return files


def _expression(label_from: str) -> re.Pattern:
    try:
        expression = re.compile(label_from)
    except re.error as error:
        raise MmganError(f"data.label_from={label_from} is no regular expression ({error}); correct it.") from None
    if expression.groups != 1 and "label" not in expression.groupindex:
        raise MmganError(f"data.label_from={label_from}: mark the label, as in (?P<label>[A-Z]+).")
    return expression


def _label(name: str, expression: re.Pattern | None) -> str | None:
    """Return the label of a file, by the folder it lies in or by its name; None below a folder `unlabelled`."""
    *folders, file = name.split("/")
    if UNLABELLED in folders:
        return None
    if expression is None:
        if not folders:
            raise MmganError(f"{name} lies in no sub-folder, and has no label; {LABEL_REMEDY}")
        return folders[0]
    found = expression.search(file)
    label = found and found["label" if "label" in expression.groupindex else 1]
    if not label:
        raise MmganError(
            f"data.label_from={expression.pattern} finds no label in {name}; correct it, or narrow data.files=."
        )
    return label


def _listed(folder: Path, table: Path) -> Iterator[Item]:
    """Yield what a table of the columns file, label, and optionally group, rate, start and stop lists."""
    if not table.is_file():
        raise MmganError(f"there is no file {table}; give data.labels_file= a .csv with the columns file and label.")
    rows = _table(table)
    if missing := {"file", "label"} - set(rows):
        raise MmganError(f"{table} has no column '{min(missing)}' (it has {', '.join(rows)}); name file and label.")
    if len(twice := rows.columns[rows.columns.duplicated()]):
        raise MmganError(f"{table} has two columns called '{twice[0]}'; name each once.")
    seen: dict[tuple[Any, ...], int] = {}
    for line, row in enumerate(rows.to_dict("records"), start=2):
        where = f"{table}, line {line}"
        path = next((place / row["file"] for place in (folder, table.parent) if (place / row["file"]).is_file()), None)
        if path is None or path.suffix.lower() not in READERS:
            fault = "is not there" if path is None else f"does not end with {', '.join(READERS)}"
            raise MmganError(f"{where}: {row['file']} {fault}; correct the line, or remove it.")
        numbers = {key: _number(row.get(key), f"{where}: {key}") for key in ("rate", "start", "stop")}
        start, stop = numbers["start"], numbers["stop"]
        if stop is not None and stop <= (start or 0.0):
            raise MmganError(f"{where}: stop is {stop:g}, and start {start or 0:g}; give a stop after the start.")
        if (first := seen.setdefault((path, start, stop), line)) != line:
            raise MmganError(f"{where}: {row['file']} stands in line {first} already; remove one of the two.")
        yield Item(path, row["file"], row["label"] or None, row.get("group") or row["file"], **numbers)


def _table(path: Path) -> pd.DataFrame:
    try:
        text, _ = decoded(path)
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        rows = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False).fillna("")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise MmganError(f"{path} is no table ({' '.join(str(error).split())}); save it as .csv.") from None
    return rows.rename(columns=lambda name: str(name).strip().lower()).map(str.strip)


def _number(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e12:
        raise MmganError(f"{where} is {text!r}; give a number >= 0.")
    return number
