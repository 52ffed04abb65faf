"""A folder of recordings: windows and their features, kept as the user's own pkl, with splits that no recording crosses."""

import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from mmgan.data import features as recipes
from mmgan.data.dataset import Dataset
from mmgan.data.files import file_digest, replacing, write_pickle
from mmgan.data.folds import NumberOfFolds
from mmgan.data.recordings.content import FORMAT, content_of
from mmgan.data.recordings.listing import Item, list_items
from mmgan.data.recordings.windows import Broken, Recipe, Windows, windows_of
from mmgan.data.sources.pkl import pkl
from mmgan.errors import EachOf, MmganError, OptionsOf, Positive, PositiveInt, Range, checked

CANNOT_BE_KEPT = "{path}: the data set cannot be kept there ({reason}); give data.cache= a folder with room."
Feature = Literal["spec", "env", "raw", "stats", "stft"]


@checked
def recordings(
    path: str | Path | None = None,
    files: str = "**/*",
    label_from: str | None = None,
    labels_file: str | Path | None = None,
    channels: Annotated[Sequence[str], EachOf(str, empty=True)] = (),
    window: PositiveInt | str = "0.2s",
    hop: PositiveInt | str | None = None,
    rate: Positive | None = None,
    scale: Positive = 1.0,
    features: Annotated[Sequence[str], EachOf(Feature)] = ("spec", "env"),
    spec: Annotated[Mapping, OptionsOf(recipes.spec)] | None = None,
    env: Annotated[Mapping, OptionsOf(recipes.env)] | None = None,
    stft: Annotated[Mapping, OptionsOf(recipes.stft)] | None = None,
    n_splits: NumberOfFolds = 5,
    skip_broken: bool = False,
    workers: Annotated[int, Range(1, 1024)] = 1,
    cache: str | Path | None = None,
) -> Dataset:
    """Return the windows of the recordings below a folder as features, a modality each, float32; groups are the recordings.

    The data set is written as a .pkl into the folder `cache` (default: mmgan/recordings in the user's cache folder), once for the
    same files and options, and its path printed. Raises MmganError for files or options that cannot be used.

    Parameters
    ----------
    path : the folder; each class has a sub-folder, unless the next two say the label. What lies in `unlabelled/` has none.
    files : pattern of the files below it.
    label_from : a regular expression that finds the label in a file's name, (?P<label>...).
    labels_file : a table with the columns file and label, and optionally group, rate (Hz), start and stop (s).
    channels : names of channels, their ends, or regular expressions; empty: all of a file.
    window, hop : length of a window, and from one to the next (null: the same), in samples or as 0.2s.
    rate : in Hz, of files that do not say theirs; others are resampled to it.
    scale : factor that turns the files' values into the unit that the features are to have, such as 9.81 for g.
    features : spec, env, raw, stats, stft.
    spec, env, stft : options of these features.
    n_splits : number of folds, at most as many as the rarest class has recordings.
    skip_broken : leave out files that cannot be read, and say which.
    workers : processes that read files.
    cache : where the data set is kept.
    """
    if path is None and labels_file is None:
        raise MmganError(
            "data=recordings needs a folder with a sub-folder of recordings per class; give data.path=FOLDER."
        )
    folder = Path(path) if path is not None else Path(labels_file).parent
    items = list_items(folder, files, label_from, labels_file)
    _check_classes(items, folder)
    options = {
        name: dict(own) for name, own in (("spec", spec), ("env", env), ("stft", stft)) if own and name in features
    }
    recipe = Recipe(tuple(features), window, hop, rate, tuple(channels), scale, options)
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digests = [file_digest(item.path) for item in items]
    asked = {"format": FORMAT, "recipe": vars(recipe), "n_splits": n_splits, "skip_broken": skip_broken}
    known = [(item.name, item.label, item.group, item.rate, item.start, item.stop) for item in items]
    place = Path(cache or user_cache / "mmgan" / "recordings") / f"{_digest([asked, known, digests])}.pkl"
    if not place.is_file():
        parts = place.with_suffix(".parts")  # of each recording; what an interrupted start has read, the next one has
        names = [_digest([vars(recipe), *known[k][3:], digest]) for k, digest in enumerate(digests)]
        try:
            found = _all_windows(items, [parts / f"{name}.part" for name in names], recipe, workers, skip_broken)
            content, lines = content_of(found, recipe, n_splits, str(folder))
            write_pickle(place, content)
        except MmganError:
            shutil.rmtree(parts, ignore_errors=True)
            raise
        shutil.rmtree(parts, ignore_errors=True)
        _tell(*lines)
    _tell(f"data:     {place}")
    return pkl(place)


def _tell(*lines: str) -> None:
    """Print lines as they are: names of files may look like markup."""
    Console().print(*lines, sep="\n", highlight=False, markup=False, emoji=False, soft_wrap=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:24]


def _check_classes(items: Sequence[Item], folder: Path) -> None:
    labels = {item.label for item in items} - {None}
    if len(labels) < 2:
        found = f"one class, {min(labels)}" if labels else "no labelled recording"
        raise MmganError(
            f"{folder} has {found}; give recordings of two classes or more, each in a sub-folder of its own."
        )


# -- files to windows ---------------------------------------------------------------------------------------------------
def _all_windows(
    items: Sequence[Item], parts: Sequence[Path], recipe: Recipe, workers: int, skip_broken: bool
) -> list[tuple[Item, Windows]]:
    """Return the windows of each recording, all with the rate and the channels of the first."""
    jobs = (joblib.delayed(_kept_windows)(item, part, recipe) for item, part in zip(items, parts, strict=True))
    results = joblib.Parallel(n_jobs=min(workers, len(items)), return_as="generator")(jobs)
    shown = track(results, "reading", len(items), transient=True, disable=not Console().is_terminal)
    found: list[tuple[Item, Windows]] = []
    # All at once from processes, which complain where what they return is not taken.
    for item, result in zip(items, shown if workers == 1 else list(shown), strict=True):
        if isinstance(result, MmganError):
            if not (skip_broken and isinstance(result, Broken)):
                raise result
            _tell(f"left out: {result}")
            continue
        if found:
            _check_alike(item, result, *found[0], recipe)
        found.append((item, result))
    return found


def _kept_windows(item: Item, part: Path, recipe: Recipe) -> Windows | MmganError:
    """Return a recording's windows from the file `part`, which is written first where it is missing, or why there are none."""
    if part.is_file():
        with np.load(part, allow_pickle=False) as members:
            x = {name: members[f"x/{name}"] for name in recipe.features if f"x/{name}" in members.files}
            return Windows(x=x, start=members["start"], **json.loads(members["facts"].item()))
    try:
        windows = windows_of(item, recipe)
    except MmganError as error:
        return error
    facts = {key: value for key, value in vars(windows).items() if key not in ("x", "start")}
    arrays = {f"x/{name}": values for name, values in windows.x.items()}
    content = io.BytesIO()
    np.savez(content, start=windows.start, facts=np.array(json.dumps(facts)), **arrays)
    with replacing(part, CANNOT_BE_KEPT) as stream:
        stream.write(content.getbuffer())
    return windows


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
