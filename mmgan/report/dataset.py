"""The page of a data set of recordings: what was read, what it looks like, and what is doubtful."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mmgan.data import features as recipes
from mmgan.data.files import read_archive
from mmgan.plots import recordings as plots
from mmgan.report.content import Picture, Report, Table
from mmgan.report.page import write_report

MOST_CLASSES = 12  # that are drawn
MOST_LISTED = 200  # recordings
MOST_POINTS = 1500
ENVELOPE_HZ = 500.0  # up to which the envelope's spectrum is drawn


def write_dataset_page(path: Path) -> None:
    """Write dataset.html, .md and .json beside the file of data=recordings at `path`; nothing where the page is there, or no such file."""
    if not path.is_file() or path.name != "dataset.pkl" or path.with_suffix(".html").exists():
        return
    content = read_archive(path)
    if "recordings_format" in content.get("meta", {}):
        write_report(dataset_report(content), path.parent, "dataset")


def dataset_report(content: Mapping[str, Any]) -> Report:
    """Return the page of a data set as `data=recordings` writes it."""
    meta = content["meta"]
    kept = {key: value for key, value in meta.items() if key not in ("samples", "examples", "recordings")}
    return Report(
        title=f"Data set of {Path(meta['source']).name or meta['source']}",
        verdict=[],
        findings=meta["warnings"] or ["Nothing doubtful: no clipped or constant channel, no recording twice."],
        facts=_facts(content),
        tables=[_classes(content)],
        pictures=[*_windows(meta), *_means(content), _plane(content)],
        notes=[
            "The folds keep recordings apart, since windows of one recording are near-duplicates.",
            f"Splits: {meta['splits']}. Judging: {meta['judging']}.",
        ],
        data=kept | {"recordings": meta["recordings"]},
        appendix=[_recordings(meta)],
    )


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    meta = content["meta"]
    rate, window = meta["rate"], meta["window"]
    facts = {
        "folder": meta["source"],
        "channels": ", ".join(meta["channels"]),
        "rate": "not known" if rate is None else f"{rate:g} Hz",
        "window": f"{window} samples" + ("" if rate is None else f", {window / rate:.3g} s"),
        "modalities": ", ".join(f"{name} {values.shape[1:]}" for name, values in content["x_train"].items()),
        "factor of the values": f"{meta['scale']:g}",
    }
    for name, sensor in meta["sensors"].items():
        facts[f"sensor {name}"] = (
            f"{sensor['files']}, {sensor['rate'] or 'rate not known,'} Hz, windows of {sensor['window']} samples"
        )
    return facts


def _classes(content: Mapping[str, Any]) -> Table:
    labels = np.asarray(content["y_train"])
    recordings = content["meta"]["recordings"]
    rows = []
    for label in content["class_names"]:
        own = [each for each in recordings if each["label"] == label]
        rows.append(
            [label, str(len(own)), str(int((labels == label).sum())), *_durations(own, content["meta"]["rate"])]
        )
    if rest := [each for each in recordings if each["label"] is None]:
        rows.append(
            [
                "unlabelled",
                str(len(rest)),
                str(sum(each["windows"] for each in rest)),
                *_durations(rest, content["meta"]["rate"]),
            ]
        )
    unit = "samples" if content["meta"]["rate"] is None else "s"
    return Table("Classes", ["class", "recordings", "windows", f"length in {unit}", "shortest", "longest"], rows)


def _durations(recordings: list[Mapping[str, Any]], rate: float | None) -> list[str]:
    lengths = np.array([each["length"] for each in recordings]) / (rate or 1)
    return [f"{value:.4g}" for value in (lengths.sum(), lengths.min(), lengths.max())]


def _recordings(meta: Mapping[str, Any]) -> Table:
    second = 1 / (meta["rate"] or 1)
    rows = [
        [
            each["file"],
            each["label"] or "",
            each["group"],
            f"{each['length'] * second:.4g}",
            str(each["windows"]),
            _scalars(each),
        ]
        for each in meta["recordings"][:MOST_LISTED]
    ]
    more = len(meta["recordings"]) - MOST_LISTED
    unit = "samples" if meta["rate"] is None else "s"
    columns = ["file", "class", "group", f"length in {unit}", "windows", "single numbers beside the signals"]
    return Table("Recordings", columns, rows, note=f"{more} more are in dataset.json." if more > 0 else "")


def _scalars(recording: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in list(recording["scalars"].items())[:4])


def _windows(meta: Mapping[str, Any]) -> Iterator[Picture]:
    about = (
        "The middle window of a recording: the signal, its amplitude spectrum, and that of its envelope (modulus of the analytic signal),"
        " which shows how often impacts come."
    )
    for example in meta["examples"][:MOST_CLASSES]:
        for sensor, signals in example["signals"].items():
            facts = meta["sensors"].get(sensor, meta)
            figure = plots.window(signals, facts["rate"], facts["channels"], ENVELOPE_HZ)
            words = (example["label"], sensor if meta["sensors"] else "", f"({example['file']})")
            yield Picture("One window of each class", " ".join(filter(None, words)), figure, about)


def _means(content: Mapping[str, Any]) -> Iterator[Picture]:
    about = "The mean of each feature over the windows of a class."
    labels = np.asarray(content["y_train"])
    classes = content["class_names"][:MOST_CLASSES]
    for name, values in content["x_train"].items():
        means = {label: values[labels == label].mean(0) for label in classes}
        for caption, curves, x, axes in _curves(name, means, content["meta"]):
            yield Picture("Class means", caption, plots.class_means(curves, x, axes), about)


def _curves(name: str, means: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield (caption, {class: (n,)}, x (n,), names of the axes) of one modality: of its channels where these have an axis in s or Hz."""
    sensor = next((each for each in meta["sensors"] if name == each or name.startswith(f"{each}_")), "")
    facts = meta["sensors"][sensor] if sensor else meta
    alone = next(iter(facts["features"])) if len(facts["features"]) == 1 else ""
    feature = (alone or name.removeprefix(f"{sensor}_")) if sensor else name
    if facts["rate"] and feature in ("spec", "env", "raw"):
        for number, channel in enumerate(facts["channels"]):
            cut = {label: np.split(mean, len(facts["channels"]))[number] for label, mean in means.items()}
            caption = name if len(facts["channels"]) == 1 else f"{name}, {channel}"
            yield caption, *AXES[feature](cut, facts)
    else:
        cut = {label: mean.mean((0, 2)) if mean.ndim == 3 else mean.ravel() for label, mean in means.items()}
        axis = "frequency, from low to high" if feature == "stft" else "position"
        yield name, cut, np.arange(len(next(iter(cut.values())))), (axis, "value")


def _spec_axis(means: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> tuple[Any, ...]:
    curves = {label: mean.ravel() for label, mean in means.items()}  # (bands, points) from 0 Hz to half the rate
    n = len(next(iter(curves.values())))
    return curves, (np.arange(n) + 0.5) * facts["rate"] / 2 / n, ("frequency in Hz", "log(1 + gain power)")


def _env_axis(means: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> tuple[Any, ...]:
    bands, points = next(iter(means.values())).shape
    options = {"max_hz": inspect.signature(recipes.env).parameters["max_hz"].default} | facts["features"]["env"]
    _, lines = recipes.envelope_lines(facts["window"], facts["rate"], bands, options["max_hz"])
    x = np.linspace(1, lines, points) * facts["rate"] / facts["window"]
    curves = {label: mean.mean(0) for label, mean in means.items()}
    return curves, x, ("frequency of the envelope in Hz", f"mean of {bands} carrier bands")


def _raw_axis(means: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> tuple[Any, ...]:
    curves = {label: mean[0] for label, mean in means.items()}
    return curves, np.arange(len(next(iter(curves.values())))) / facts["rate"], ("time in s", "signal")


AXES = {"spec": _spec_axis, "env": _env_axis, "raw": _raw_axis}


def _plane(content: Mapping[str, Any]) -> Picture:
    about = "Windows in the first two principal components of all features, each scaled to deviation 1: classes that lie apart are easy to tell."
    names = list(content["class_names"])
    labels = np.asarray(content["y_train"])
    chosen = np.random.default_rng(0).permutation(len(labels))[:MOST_POINTS]
    flat = np.concatenate([values[chosen].reshape(len(chosen), -1) for values in content["x_train"].values()], axis=1)
    scaled = StandardScaler().fit_transform(flat.astype(float))
    points = PCA(min(2, *scaled.shape), random_state=0).fit_transform(scaled)
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    y = np.array([names.index(label) for label in labels[chosen]])
    return Picture("PCA", "all modalities", plots.plane(points, y, names), about)
