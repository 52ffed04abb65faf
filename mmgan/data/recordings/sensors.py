"""Sensors in files of their own: recordings that the stars of the files' patterns join, a modality for each sensor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from mmgan.data import features as recipes
from mmgan.data.recordings.listing import Item, files_of, labelled_items
from mmgan.data.recordings.reading import tell
from mmgan.data.recordings.windows import Feature, Recipe, Windows, options_of
from mmgan.errors import EachOf, MmganError, OptionsOf, Positive

Read = list[tuple[Item, Windows]]
WILD = {"**/": "(?:(.*)/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}


def sensor(
    recipe: Recipe,
    /,
    *,
    files: str,
    channels: Annotated[Sequence[str], EachOf(str, empty=True)] = (),
    rate: Positive | None = None,
    scale: Positive | None = None,
    features: Annotated[Sequence[str], EachOf(Feature, empty=True)] = (),
    spec: Annotated[Mapping, OptionsOf(recipes.spec)] | None = None,
    env: Annotated[Mapping, OptionsOf(recipes.env)] | None = None,
    stft: Annotated[Mapping, OptionsOf(recipes.stft)] | None = None,
) -> Recipe:
    """Return the recipe of one sensor: its own options, and those of `recipe` where it has none; `files` is the pattern of its files."""
    options = dict(recipe.options)
    for name, own in (("spec", spec), ("env", env), ("stft", stft)):
        options[name] = {**options.get(name, {}), **(own or {})}
    return replace(
        recipe,
        features=tuple(features) or recipe.features,
        rate=rate or recipe.rate,
        channels=tuple(channels) or recipe.channels,
        scale=scale or recipe.scale,
        options=options,
    )


def patterns_of(modalities: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the pattern of each sensor's files; raise MmganError for a sensor without one, or of a name that no modality can have."""
    for name, given in modalities.items():
        if not str(name).isidentifier() or name == "joint" or "files" not in given:
            raise MmganError(
                f"data.modalities.{name}: give a word, and its files=, as in data.modalities={{vib: {{files: '**/*_vib.csv'}}}}."
            )
    return {name: given["files"] for name, given in modalities.items()}


def list_sensors(
    folder: Path, patterns: Mapping[str, str], label_from: str | None, skip_broken: bool
) -> dict[str, list[Item]]:
    """Return each sensor's files below `folder`, all in the order of the names that join them.

    What the stars of a pattern stand for is the name: vib/good/run1.csv and good/run1_mic.wav are good/run1 of vib/**/*.csv and
    **/*_mic.wav. Raises MmganError where a sensor lacks a file, unless `skip_broken`.
    """
    found = {sensor: _by_name(folder, pattern, sensor) for sensor, pattern in patterns.items()}
    everywhere = set.intersection(*map(set, found.values()))
    lacking = sorted(set().union(*found.values()) - everywhere)
    if lacking and not (skip_broken and everywhere):
        absent = next(sensor for sensor in found if lacking[0] not in found[sensor])
        raise MmganError(
            f"{folder}: recording {lacking[0]} has no file of data.modalities.{absent} ({patterns[absent]}, whose stars stand for"
            f" {min(found[absent])}, ...); add it, correct the pattern, or leave out what is not complete with data.skip_broken=true."
        )
    names = sorted(everywhere)
    if lacking:
        tell(f"left out: not of all sensors: {', '.join(lacking[:5])}{', ...' if len(lacking) > 5 else ''}")
    return {
        sensor: labelled_items([by_name[name] for name in names], names, label_from)
        for sensor, by_name in found.items()
    }


def _by_name(folder: Path, pattern: str, sensor: str) -> dict[str, Path]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    expression = re.compile("".join(WILD.get(part, re.escape(part)) for part in parts), re.IGNORECASE)
    found: dict[str, Path] = {}
    for file in files_of(folder, pattern, f"data.modalities.{sensor}.files"):
        stars = expression.fullmatch(file.relative_to(folder).as_posix())
        name = "/".join(filter(None, stars.groups())) if stars else ""
        if not name or name in found:
            raise MmganError(
                f"data.modalities.{sensor}.files={pattern}: "
                + (f"{found[name].name} and {file.name} are both {name}" if name else f"no star stands for {file.name}")
                + "; give a pattern whose stars name each recording once, such as **/*_vib.csv."
            )
        found[name] = file
    return found


def joined(found: Mapping[str, Read]) -> Read:
    """Return recordings that all sensors have, with each sensor's windows of the same times: a modality per sensor and feature.

    A sensor of one feature is a modality of its name, of several sensor_feature. Raises MmganError where windows differ in length.
    """
    by_name = {sensor: {item.name: (item, windows) for item, windows in pairs} for sensor, pairs in found.items()}
    names = [name for name in next(iter(by_name.values())) if all(name in others for others in by_name.values())]
    recordings = []
    for name in names:
        own = {sensor: by_name[sensor][name][1] for sensor in found}
        _check_times(own, name)
        item, first = next(iter(by_name.values()))[name]
        n = min(len(windows.start) for windows in own.values())
        x = {}
        for sensor, windows in own.items():
            alone = len(windows.x) == 1
            x |= {sensor if alone else f"{sensor}_{key}": values[:n] for key, values in windows.x.items()}
        channels = [f"{sensor}.{channel}" for sensor, windows in own.items() for channel in windows.channels]
        scalars = {
            f"{sensor}.{key}": value for sensor, windows in own.items() for key, value in windows.scalars.items()
        }
        note = ", ".join(filter(None, (windows.note for windows in own.values())))
        faults = [f"{sensor}: {fault}" for sensor, windows in own.items() for fault in windows.faults]
        together = {"x": x, "start": first.start[:n], "channels": channels, "scalars": scalars}
        together["example"] = {sensor: windows.example["signal"] for sensor, windows in own.items() if windows.example}
        recordings.append((item, replace(first, **together, note=note, faults=faults)))
    return recordings


def _check_times(own: Mapping[str, Windows], name: str) -> None:
    first, *others = own
    for other in others:
        one, two = ((own[key].window / (own[key].rate or 1), own[key].rate) for key in (first, other))
        if abs(one[0] - two[0]) > 0.5 / (two[1] or 1) + 0.5 / (one[1] or 1):
            raise MmganError(
                f"data.window: {name} has windows of {one[0]:.3g} s of {first} and of {two[0]:.3g} s of {other}; give data.window= in"
                " seconds, such as 0.2s, and the rate of each sensor."
            )


def facts_of(found: Mapping[str, Read], patterns: Mapping[str, str], recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """Return of each sensor its files' pattern, features with their options, rate in Hz, window in samples and channels."""
    facts = {}
    for sensor, pairs in found.items():
        windows = pairs[0][1]
        facts[sensor] = {
            "files": patterns[sensor],
            "features": options_of(recipes[sensor]),
            "rate": windows.rate,
            "scale": recipes[sensor].scale,
            "window": windows.window,
            "channels": windows.channels,
        }
    return facts
