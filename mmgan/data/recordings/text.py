"""Tables of numbers as text: encoding, separator, names and decimal sign are found out."""

import codecs
import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mmgan.data.recordings.recording import Recording
from mmgan.errors import MmganError

NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
TIME = re.compile(
    r"(?:t|time|zeit|temps|tiempo|时间)(?:[ _]?[\[(]?s(?:ec(?:onds?)?)?[\])]?|[ _]?[\[(]?(?P<unit>ms|us|µs|μs|ns)[\])]?)?",
    re.IGNORECASE,
)
UNITS = {"ms": 1e-3, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6, "ns": 1e-9}
UNIT = re.compile(r"[\[(].*[\])]|")  # of a line of units below the names
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MOST_TEXT = 2**30  # bytes, which become some five times as many while they are read
SHORTEST = 1e-12  # between two samples
LOOKED_AT = 200  # lines in which the table has to begin


def read_text(path: Path) -> Recording:
    """Read a .csv, .txt or .tsv file, a column a channel; a column of evenly spaced times is no channel, but tells the rate."""
    check_text_size(path)
    text, encoding = decoded(path)
    lines = [line.strip(" \r") for line in text[: 2**20].split("\n", LOOKED_AT)[:LOOKED_AT]]
    separator = _separator(lines)
    first = next((k for k, line in enumerate(lines) if line and _is_data(_fields(line, separator))), None)
    if first is None:
        raise MmganError("it has no line of numbers; give tables of numbers with one column a channel.")
    fields = _fields(lines[first], separator)
    names = names_of([_fields(line, separator) for line in lines[:first]], len(fields))
    decimal = "," if separator != "," and any("," in line for line in lines[first:]) else "."
    numbers = text.split("\n", first)[first]  # not skiprows=, which takes a name with a line break for one line
    table = pd.read_csv(
        io.StringIO(numbers), sep=separator, decimal=decimal, header=None, skipinitialspace=True, low_memory=False,
    )  # fmt: skip
    names = names if len(names) == table.shape[1] else names_of([], table.shape[1])
    note = "" if encoding in ("utf-8", "utf-8-sig") else f"encoding {encoding}"
    return recording_of_table(table.set_axis(names, axis=1), first + 1, note)


def check_text_size(path: Path) -> None:
    """Raise MmganError for more text than fits into memory, before it is read."""
    if (size := path.stat().st_size) > MOST_TEXT:
        raise MmganError(f"it has {size:.3g} bytes of text, which cannot be read in parts; save it as .npy or .wav.")


def decoded(path: Path) -> tuple[str, str]:
    """Return a file's text and its encoding: by its byte order mark, otherwise UTF-8, UTF-16 where bytes are 0, or GB18030."""
    content = path.read_bytes()
    encodings = [name for mark, name in BOMS.items() if content.startswith(mark)]
    if b"\0" in content[:1000]:
        encodings.append("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    for encoding in [*encodings, "utf-8", "gb18030"]:
        try:
            return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n"), encoding
        except UnicodeDecodeError:
            continue
    raise MmganError("it is neither UTF-8, UTF-16 nor GB18030; save it as UTF-8.")


def _separator(lines: list[str]) -> str:
    """Return what separates the columns; raise MmganError where a comma could as well be the decimal sign."""
    for separator in ("\t", ";", ",", r"\s+"):
        if separator != r"\s+" and not any(separator in line for line in lines):
            continue
        rows = [_fields(line, separator) for line in lines if line]
        data = [row for row in rows if len(row) > 1 and _is_data(row)]
        if not data:
            continue
        if separator == "," and _could_be_decimal(data) and data == [row for row in rows if len(row) == 2]:
            raise MmganError(
                "its commas could be decimal signs or part two columns; write decimal points, or separate columns by ; or name"
                " the columns in the first line."
            )
        return separator
    return ";"  # of a single column


def _could_be_decimal(rows: list[list[str]]) -> bool:
    """Say whether every row could be one number with a decimal comma: an integer, and digits without sign or point."""
    return all(re.fullmatch(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", ",".join(row)) for row in rows)


def _fields(line: str, separator: str) -> list[str]:
    if '"' in line and separator != r"\s+" and len(line) < csv.field_size_limit():
        parts = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    else:
        parts = line.split() if separator == r"\s+" else line.split(separator)
    return [part.strip(' "') for part in parts]


def _is_data(fields: list[str]) -> bool:
    filled = [field for field in fields if field]
    return bool(filled) and all(NUMBER.fullmatch(field) for field in filled)


def names_of(above: list[list[str]], n_columns: int) -> list[str]:
    """Return the names of columns: of the last line above the numbers that has as many, with the units where a line of its own has them.

    A column without a name is called ch and its number, or nothing where it is the first.
    """
    lines = [fields for fields in above if len(fields) == n_columns and any(fields)]
    if not lines:
        return [f"ch{number}" for number in range(n_columns)]
    *before, names = lines
    if before and all(map(UNIT.fullmatch, names)):
        names = [f"{name} {unit}".strip() for name, unit in zip(before[-1], names, strict=True)]
    return [name or (f"ch{number}" if number else "") for number, name in enumerate(names)]


def recording_of_table(table: pd.DataFrame, line: int, note: str = "") -> Recording:
    """Return a table's columns as channels; raise MmganError for text among the numbers. `line` is that of its first row."""
    empty = [name for name in table.columns[table.isna().all()] if not re.fullmatch(r"(ch\d+)?", str(name))]
    note = ", ".join(filter(None, [note, f"without {', '.join(empty)}, where all cells are empty" if empty else ""]))
    table = table.dropna(axis=1, how="all")  # what a separator at the end of each line makes
    if table.shape[1] > 1 and table.columns[0] == "":
        if np.array_equal(table.iloc[:, 0], np.arange(len(table))):  # the index of a DataFrame
            table = table.iloc[:, 1:]
        else:
            table = table.set_axis(["ch0", *table.columns[1:]], axis=1)
    if not table.columns.is_unique:
        raise MmganError("two of its columns have one name; name each once.")
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            text = pd.to_numeric(table[name], errors="coerce").isna() & table[name].notna()
            row = int(np.argmax(text))
            raise MmganError(
                f"column {name!r} holds text ({str(table[name].iloc[row])[:30]!r} in line {line + row}); remove it, or choose"
                " other files with data.files=."
            )
    arrays = {str(name): table[name].to_numpy() for name in table}
    rate = None
    for name, values in list(arrays.items()):
        if len(arrays) > 1 and (time := TIME.fullmatch(name)):
            if not _is_even(values):
                note = ", ".join(
                    filter(None, [note, f"times in {name} that are not evenly spaced, so it is a channel"])
                )
                continue
            rate = float(1 / (np.mean(np.diff(values)) * UNITS.get((time["unit"] or "").lower(), 1.0)))
            del arrays[name]
    recording = Recording.of_arrays(arrays, note)
    recording.rate = recording.rate or (None if rate is None else float(f"{rate:.6g}"))
    return recording


def _is_even(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return len(steps) > 1 and steps.min() > SHORTEST and bool(np.allclose(steps, steps.mean(), rtol=0.05))
