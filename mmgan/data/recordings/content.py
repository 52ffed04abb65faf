"""The windows of recordings to the tree of the user's own file, and what is told of it."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmgan.data.recordings.listing import Item
from mmgan.data.recordings.splits import leakless_splits
from mmgan.data.recordings.windows import Recipe, Windows, options_of
from mmgan.errors import MmganError

Read = Sequence[tuple[Item, Windows]]
SHOWN = 6  # warnings that are printed
FORMAT = 2  # of the tree, and of what is cached


def content_of(
    found: Read, recipe: Recipe, n_splits: int, source: str, sensors: Mapping[str, Any], left_out: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return what the pkl holds, and lines that say it; raises MmganError for a class without a window, or too few to split."""
    used = [(item, windows) for item, windows in found if len(windows.start)]
    labelled = [pair for pair in used if pair[0].label is not None]
    unlabelled = [pair for pair in used if pair[0].label is None]
    _check_windows(found, labelled)
    x, y, groups, recording, start = _columns(labelled)
    first = labelled[0][1]
    splits = leakless_splits(y, groups, recording, start, first.window, n_splits)
    content = {"x_train": x, "y_train": y, "class_names": sorted(set(y.tolist())), "groups": splits.groups}
    content |= {"cv_splits": splits.entries, "n_splits": len(splits.entries)}
    second = 1 / (first.rate or 1.0)
    samples = {"recording": recording, "start": start * second}
    if unlabelled:
        content["x_unlabelled"], _, _, recording, start = _columns(unlabelled)
        samples |= {"recording_unlabelled": len(labelled) + recording, "start_unlabelled": start * second}
    content["meta"] = {
        "recordings_format": FORMAT,
        "source": source,
        "features": options_of(recipe),
        "rate": first.rate,  # Hz
        "window": first.window,  # samples
        "channels": first.channels,
        "scale": recipe.scale,
        "sensors": dict(sensors),  # in files of their own: of each its pattern, rate, window and channels
        "splits": splits.said,
        "judging": splits.judging,
        "recordings": [_facts(*pair) for pair in [*labelled, *unlabelled]],
        "warnings": [*(f"left out: {fault}" for fault in left_out), *_warnings([*labelled, *unlabelled])],
        "examples": _examples(labelled),  # one window of each class, as it was read
        "samples": samples,  # of each sample its recording, and where it starts in s (without a rate, in samples)
    }
    return content, _lines(found, labelled, unlabelled, content["meta"])


def _facts(item: Item, windows: Windows) -> dict[str, Any]:
    facts = {"file": item.name, "label": item.label, "group": item.group}
    return facts | {"length": windows.length, "windows": len(windows.start), "scalars": windows.scalars}


def _check_windows(found: Read, labelled: Read) -> None:
    lost = {item.label for item, _ in found} - {None} - {item.label for item, _ in labelled}
    if lost or not labelled:
        item, windows = next((pair for pair in found if pair[0].label in lost), (None, None))
        if item is None:
            raise MmganError("no file could be read; see what is said of each, above.")
        raise MmganError(
            f"{item.path}: {windows.length} samples are less than a window of {windows.window}, and class {item.label} has no"
            " longer recording; give a shorter data.window=."
        )


def _examples(labelled: Read) -> list[dict[str, Any]]:
    """Return of each class its label, a recording's file and a window {sensor: (C, window)}; without sensors it is called signal."""
    found: dict[str, dict[str, Any]] = {}
    for item, windows in labelled:
        found.setdefault(item.label, {"label": item.label, "file": item.name, "signals": windows.example})
    return list(found.values())


def _warnings(used: Read) -> list[str]:
    """Return what is doubtful: faults of channels, recordings that are there twice, classes of one recording."""
    said = [f"{item.name}: {fault}" for item, windows in used for fault in windows.faults]
    seen: dict[str, str] = {}
    for item, windows in used:
        content = b"".join(values.tobytes() for values in windows.x.values())
        first = seen.setdefault(hashlib.sha256(content).hexdigest(), item.name)
        if first != item.name:
            said.append(f"{item.name} holds the same as {first}")
    counts = Counter(item.label for item, _ in used)
    return said + [f"class {label} has one recording" for label, count in counts.items() if label and count == 1]


def _columns(pairs: Read) -> tuple[Any, ...]:
    """Return x, and of each sample label, group, number of its recording and first sample in it, (N,) each."""
    counts = [len(windows.start) for _, windows in pairs]
    x = {name: np.concatenate([windows.x[name] for _, windows in pairs]) for name in pairs[0][1].x}
    labels = np.repeat([item.label or "" for item, _ in pairs], counts)
    groups = np.repeat([item.group for item, _ in pairs], counts)
    start = np.concatenate([windows.start for _, windows in pairs])
    return x, labels, groups, np.repeat(np.arange(len(pairs)), counts), start


def _lines(
    found: Read,
    labelled: Read,
    unlabelled: Read,
    meta: Mapping[str, Any],
) -> list[str]:
    classes = Counter(item.label for item, _ in labelled)
    n_windows = sum(len(windows.start) for _, windows in labelled)
    rate, window = meta["rate"], meta["window"]
    seconds = "" if rate is None else f" ({window / rate:.3g} s at {rate:g} Hz)"
    lines = [
        f"read:     {len(labelled)} recordings of {len(classes)} classes: "
        + ", ".join(f"{label} {count}" for label, count in classes.items())
        + (f"; {len(unlabelled)} unlabelled" if unlabelled else ""),
        f"channels: {', '.join(meta['channels'])}",
        f"windows:  {n_windows} of {window} samples{seconds}; features {', '.join(labelled[0][1].x)}",
        f"splits:   {meta['splits']}",
        f"judging:  {meta['judging']}",
    ]
    short = [item.name for item, windows in found if not len(windows.start)]
    if short:
        lines.append(f"left out: shorter than a window: {', '.join(short[:5])}{', ...' if len(short) > 5 else ''}")
    notes = Counter(windows.note for _, windows in found if windows.note)
    lines += [f"note:     {note}, in {count} file(s)" for note, count in notes.items()]
    warnings = [warning for warning in meta["warnings"] if not warning.startswith("left out")]  # which is said already
    more = [f"warning:  {len(warnings) - SHOWN} more, in dataset.html"] if len(warnings) > SHOWN else []
    return lines + [f"warning:  {warning}" for warning in warnings[:SHOWN]] + more
