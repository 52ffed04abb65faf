"""Files to windows: in processes, each recording kept in a file of its own until all are read."""

import contextlib
import io
import itertools
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from mmgan.data.recordings.listing import Item
from mmgan.data.recordings.windows import Broken, Recipe, Windows, windows_of
from mmgan.data.writing import replacing
from mmgan.errors import MmganError, printable

CANNOT_BE_KEPT = "{path}: the data set cannot be kept there ({reason}); give data.cache= a folder with room."


def tell(*lines: str) -> None:
    """Print lines as they are, without what moves a cursor: names of files and classes may look like markup."""
    Console().print(*map(printable, lines), sep="\n", highlight=False, markup=False, emoji=False, soft_wrap=True)


def all_windows(
    items: Sequence[Item], parts: Sequence[Path], recipe: Recipe, workers: int, skip_broken: bool
) -> tuple[list[tuple[Item, Windows]], list[str]]:
    """Return the windows of each recording, all with the rate and the channels of the first, and what is said of files left out.

    Raises MmganError for a file that cannot be used, unless `skip_broken`, and for a class of which none can.
    """
    jobs = (joblib.delayed(_kept_windows)(item, part, recipe) for item, part in zip(items, parts, strict=True))
    results = joblib.Parallel(n_jobs=min(workers, len(items)), return_as="generator")(jobs)
    shown = track(results, "reading", len(items), transient=True, disable=not Console().is_terminal)
    found: list[tuple[Item, Windows]] = []
    left_out = []
    # All at once from processes, which complain where what they return is not taken.
    for item, result in zip(items, shown if workers == 1 else list(shown), strict=True):
        if isinstance(result, MmganError):
            if not (skip_broken and isinstance(result, Broken)):
                raise result
            left_out.append(str(result))
            tell(f"left out: {result}")
            continue
        if found:
            _check_alike(item, result, *found[0], recipe)
        found.append((item, result))
    read = {item.label for item, _ in found}
    if found and (lost := [item for item in items if item.label not in {*read, None}]):
        raise MmganError(
            f"{lost[0].path}: no file of class {lost[0].label} could be read; repair one of them, or leave the class out by data.labels_file=."
        )
    return found, left_out


def _kept_windows(item: Item, part: Path, recipe: Recipe) -> Windows | MmganError:
    """Return a recording's windows from the file `part`, which is written first where it is missing, or why there are none."""
    with contextlib.suppress(FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError):  # not there, or torn
        return _read_part(part)
    try:
        windows = windows_of(item, recipe)
    except MmganError as error:
        return error
    facts = {key: value for key, value in vars(windows).items() if key not in ("x", "start", "example")}
    arrays = {f"x/{name}": values for name, values in windows.x.items()}
    arrays |= {f"example/{name}": values for name, values in windows.example.items()}
    content = io.BytesIO()
    np.savez(content, start=windows.start, facts=np.array(json.dumps(facts)), **arrays)
    with replacing(part, CANNOT_BE_KEPT, lasting=False) as stream:
        stream.write(content.getbuffer())
    return windows


def _read_part(part: Path) -> Windows:
    kept: dict[str, dict[str, np.ndarray]] = {"x": {}, "example": {}}
    with open(part, "rb") as stream, np.load(stream, allow_pickle=False) as members:
        for name in members.files:
            kind, slash, key = name.partition("/")
            if slash:
                kept[kind][key] = members[name]
        return Windows(**kept, start=members["start"], **json.loads(members["facts"].item()))


def _check_alike(item: Item, windows: Windows, first_item: Item, first: Windows, recipe: Recipe) -> None:
    if windows.rate != first.rate:
        raise MmganError(
            f"{item.path} has a rate of {windows.rate} Hz, {first_item.name} one of {first.rate} Hz; give"
            f" data.rate={min(windows.rate or np.inf, first.rate or np.inf):g}, to which the others are resampled."
        )
    one = len(windows.channels) == len(first.channels) == 1  # a single channel may be called as it likes
    if windows.channels != first.channels and not one:
        pairs = zip(first.channels[0][::-1], windows.channels[0][::-1], strict=False)
        end = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))[::-1].lstrip("_.")
        raise MmganError(
            f"{item.path} has the channels {', '.join(windows.channels)}, {first_item.name} has {', '.join(first.channels)}; give"
            f" data.channels= what all files have, by the end of the names, such as data.channels=[{end or 'NAME'}]."
        )
