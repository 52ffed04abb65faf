"""The .ts files of the UCR/UEA archive: many short recordings in one file, each with its label (https://www.timeseriesclassification.com)."""

import functools
import re
from pathlib import Path

import numpy as np

from mmgan.data.recordings.recording import Recording
from mmgan.data.recordings.text import check_text_size, decoded
from mmgan.errors import MmganError


def labels_of(path: Path) -> list[str | None] | None:
    """Return the label of each series of a file (None: it is not known), or None if the file has no labels."""
    labelled, lines = _content(path, path.stat().st_mtime_ns)
    return [_label(line) for line in lines] if labelled else None


def n_series(path: Path) -> int:
    """Return the number of series in a file."""
    return len(_content(path, path.stat().st_mtime_ns)[1])


def read_ts(path: Path, number: int | None = None) -> Recording:
    """Read one series of a .ts file, a dimension a channel; `?` becomes NaN. Lengths may differ from series to series."""
    labelled, lines = _content(path, path.stat().st_mtime_ns)
    if number is None and len(lines) != 1:
        raise MmganError(
            f"it holds {len(lines)} recordings; give data.path= their folder, which reads each with its own label."
        )
    *dimensions, last = lines[number or 0].split(":")
    dimensions = dimensions if labelled else [*dimensions, last]
    values = [np.array(each.replace("?", "nan").split(","), dtype=float) for each in dimensions]
    return Recording({f"ch{k}": value for k, value in enumerate(values)})


def _label(line: str) -> str | None:
    label = line.rpartition(":")[2].strip()
    return None if label in ("", "?") else label


@functools.lru_cache(maxsize=2)
def _content(path: Path, changed: int) -> tuple[bool, list[str]]:
    """Return whether the series have labels, and a line for each; `changed` is the time of the file's last change."""
    check_text_size(path)
    head, body = [*re.split(r"(?im)^@data\s*$", decoded(path)[0], maxsplit=1), ""][:2]
    lines = [line.strip() for line in body.split("\n") if line.strip() and not line.startswith("#")]
    if not lines:
        raise MmganError("it has no line @data with series below it; save it in the .ts format of the UCR/UEA archive.")
    if "(" in body:
        raise MmganError("its values have time stamps; save them evenly spaced, without.")
    return bool(re.search(r"(?im)^@classLabel\s+true", head)), lines
