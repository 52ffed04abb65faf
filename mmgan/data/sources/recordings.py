"""A folder of recordings: windows and their features, kept as the user's own pkl, with splits that no recording crosses."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock

from mmgan.data import features as recipes
from mmgan.data.dataset import Dataset
from mmgan.data.files import cache_file, file_digest, write_pickle
from mmgan.data.folds import NumberOfFolds
from mmgan.data.recordings.content import FORMAT, content_of
from mmgan.data.recordings.formats import check_file_size
from mmgan.data.recordings.listing import Item, list_items
from mmgan.data.recordings.reading import CANNOT_BE_KEPT, all_windows, tell
from mmgan.data.recordings.sensors import facts_of, joined, list_sensors, patterns_of, sensor
from mmgan.data.recordings.windows import Feature, Recipe
from mmgan.data.sources.pkl import pkl
from mmgan.data.writing import check_writable
from mmgan.errors import EachOf, MmganError, OptionsOf, Positive, PositiveInt, Range, checked

LOCK = ".lock"  # of a data set that is being made
Plans = Mapping[str, tuple[Sequence[Item], Recipe]]  # of each sensor its recordings, and how they are read


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
    modalities: Annotated[Mapping, EachOf(Annotated[Mapping, OptionsOf(sensor)])] | None = None,
    pad: bool = False,
    n_splits: NumberOfFolds = 5,
    skip_broken: bool = False,
    workers: Annotated[int, Range(1, 1024)] = 1,
    cache: str | Path | None = None,
    kept: str | Path | None = None,
) -> Dataset:
    """Return the windows of the recordings below a folder as features, a modality each, float32; groups are the recordings.

    The data set is written as dataset.pkl into a folder below `cache` (default: mmgan/recordings in the user's cache folder), once for the
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
    modalities : sensors in files of their own: the pattern `files` of each, and options of this list that are its own.
    pad : fill recordings that are shorter than a window with zeros, instead of leaving them out.
    n_splits : number of folds, at most as many as the rarest class has recordings.
    skip_broken : leave out files that cannot be read, and say which.
    workers : processes that read files.
    cache : where the data set is kept.
    kept : where it may have been kept before, and is only read.
    """
    if path is None and labels_file is None:
        raise MmganError(
            "data=recordings needs a folder with a sub-folder of recordings per class; give data.path=FOLDER."
        )
    if len(set(features)) < len(features):
        raise MmganError(f"data.features=[{','.join(features)}] names one twice; name each once.")
    folder = Path(path) if path is not None else Path(labels_file).parent
    own = {"spec": spec, "env": env, "stft": stft}
    options = {name: dict(given) for name, given in own.items() if given and (name in features or modalities)}
    recipe = Recipe(tuple(features), window, hop, rate, tuple(channels), scale, options, pad)
    if modalities:
        if labels_file is not None:
            raise MmganError("data.labels_file says nothing of data.modalities; give sub-folders, or data.label_from=.")
        patterns = patterns_of(modalities)
        listed = list_sensors(folder, patterns, label_from, skip_broken)
        plans = {name: (listed[name], sensor(recipe, **given)) for name, given in modalities.items()}
    else:
        patterns, plans = {}, {"": (list_items(folder, files, label_from, labels_file), recipe)}
    _check_classes(next(iter(plans.values()))[0], folder)
    known = _known(plans)
    asked = {"format": FORMAT, "known": known, "patterns": patterns, "n_splits": n_splits, "skip_broken": skip_broken}
    place = cache_file("recordings", f"{_digest(asked)}/dataset.pkl", cache, kept)
    if not os.path.isfile(place):  # False, too, where there can be no such place
        check_writable(place, CANNOT_BE_KEPT)
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / LOCK):
            if not place.is_file():  # which another process may have written meanwhile
                _make(place, plans, known, patterns, n_splits, str(folder), workers, skip_broken)
    tell(f"data:     {place}")
    return pkl(place)


def _make(
    place: Path, plans: Plans, known: Mapping[str, Any], patterns: Mapping[str, str], n_splits: int, source: str, workers: int,
    skip_broken: bool,
) -> None:  # fmt: skip
    """Read the recordings of all sensors, and write what they become at `place`, or nothing."""
    parts = place.parent / "parts"  # of each recording; what an interrupted start has read, the next one has
    found, left_out = {}, []
    try:
        for name, (items, recipe) in plans.items():
            files = [parts / f"{_digest([known[name][0], *each[3:]])}.part" for each in known[name][1]]
            found[name], broken = all_windows(items, files, recipe, workers, skip_broken)
            left_out += broken
        sensors = facts_of(found, patterns, {name: recipe for name, (_, recipe) in plans.items()}) if patterns else {}
        together, (_, recipe) = joined(found) if patterns else found[""], next(iter(plans.values()))
        content, lines = content_of(together, recipe, n_splits, source, sensors, left_out)
        write_pickle(place, content)
    except MmganError:
        shutil.rmtree(place.parent, ignore_errors=True)
        raise
    shutil.rmtree(parts, ignore_errors=True)
    tell(*lines)


def _known(plans: Plans) -> dict[str, Any]:
    """Return all that decides what is read: of each sensor its recipe, and of each of its items the options and the file's content."""
    digests = {item.path: "" for items, _ in plans.values() for item in items}
    for path in digests:
        check_file_size(path)  # before all of it is read for its digest
    digests = {path: file_digest(path) for path in digests}
    return {
        name: (
            vars(recipe),
            [
                (item.name, item.label, item.group, item.rate, item.start, item.stop, item.number, digests[item.path])
                for item in items
            ],
        )
        for name, (items, recipe) in plans.items()
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:24]


def _check_classes(items: Sequence[Item], folder: Path) -> None:
    labels = {item.label for item in items} - {None}
    if len(labels) < 2:
        found = f"one class, {min(labels)}" if labels else "no labelled recording"
        raise MmganError(
            f"{folder} has {found}; give recordings of two classes or more, each in a sub-folder of its own."
        )
