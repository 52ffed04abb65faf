"""The user's own file: a .pkl or .npz with x_train and y_train, of any modalities, shapes and labels."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.data.arrays import LARGEST, n_samples_of
from mmgan.data.dataset import Dataset
from mmgan.data.files import read_archive
from mmgan.data.folds import read_splits
from mmgan.data.pickles import as_array
from mmgan.errors import MmganError, checked, shown_value
from mmgan.schema import DataSchema

# Keys with a meaning here; the others are passed on as they are. `folds` and `meta` are of an earlier export.
_READ = ("x_train", "y_train", "x_test", "cv_splits", "class_names", "folds", "meta")

MOST_LABEL = 2**53  # of labels that come as floating numbers, which keep no larger integers
MIN_STEPS = 1000  # of float32, between the smallest and the largest value of a modality


@checked
def pkl(path: str | Path | None = None, labelled: bool = True) -> Dataset:
    """Return the data of a file with x_train ({name: (N, *shape)} or one array) and y_train (N,).

    Without `labelled` no y_train is needed, nor looked at: all samples are of one class, 0. Optional keys are x_test,
    cv_splits, groups and class_names; a file that synthesize.py wrote is read too. Labels of any integers from 0 on, or
    strings, are mapped to 0..K-1; the schema's labels map them back. Raises MmganError with the file, the key and the
    remedy for whatever cannot be used.
    """
    if path is None:
        raise MmganError("data=pkl needs a file; give data.path=FILE.")
    try:
        data = read_archive(path)
    except MmganError:
        from mmgan.data.recordings.formats import READERS  # here: with it comes pandas, which no pickle needs

        is_folder = os.path.isdir(path)
        if is_folder or (os.path.isfile(path) and Path(path).suffix.lower() in READERS.keys() - {".npz"}):
            raise MmganError(
                f"{path} is {'a folder' if is_folder else f'a {Path(path).suffix.lower()} file'}, no data set; for a folder of recordings"
                f" ({', '.join(READERS)}) give data=recordings data.path=FOLDER, for one of images data=images data.path=FOLDER."
            ) from None
        raise
    data = {key if (known := _known_key(key)) in data else known: value for key, value in data.items()}
    needed = ("x_train", "y_train") if labelled else ("x_train",)
    for key in needed:
        if data.get(key) is None:
            has = shown_value(", ".join(sorted(map(str, data))) or "nothing")
            raise MmganError(
                f"{path} has no key '{key}'; it needs {' and '.join(needed)}, and has {has}."
                + (" For samples without labels give data.labelled=false." if key == "y_train" else "")
            )
    try:
        return dataset_of(data, str(path), labelled=labelled)
    except MmganError as error:
        raise MmganError(f"{path}: {error}") from None


def _known_key(key: Any) -> Any:
    """Return a key as it is spelt here: X_train and Y_TRAIN are read too."""
    return key.lower() if isinstance(key, str) and key.lower() in _READ else key


def dataset_of(data: dict[str, Any], source: str, *, labelled: bool = True) -> Dataset:
    """Return the data set of a file's keys, as `pkl` says; `source` is what messages call it, and they name the keys."""
    x_train = _read_modalities(data["x_train"], "x_train")
    if not labelled:
        data = data | {"y_train": np.zeros(n_samples_of(x_train), np.int64), "class_names": None}
    y_train, labels = _read_labels(data["y_train"])
    _check_lengths({**x_train, "y_train": y_train}, "x_train and y_train")
    # The order in a file decides nothing: networks and random numbers follow one of their own, by size and name.
    given = tuple(x_train)
    x_train = dict(sorted(x_train.items(), key=lambda each: (-math.prod(each[1].shape[1:]), each[0])))

    def read(key: str, function: Callable[..., Any], *known: Any) -> Any:
        return None if data.get(key) is None else function(data[key], *known)

    names = read("class_names", _read_names, len(labels)) or tuple(map(str, labels))
    shapes = {name: values.shape[1:] for name, values in x_train.items()}
    schema = DataSchema(shapes, labels, names, order=given if given != tuple(x_train) else ())
    return Dataset(
        schema=schema,
        x_train=x_train,
        y_train=y_train,
        x_test=read("x_test", read_unlabelled, "x_test", schema),
        groups=read("groups", _read_groups, len(y_train)),
        splits=read("cv_splits", read_splits, len(y_train)),
        source=source,
        passthrough=_passed_on(data),
    )


def _passed_on(data: dict[str, Any]) -> dict[str, Any]:
    """Return what has no meaning here; of a file of data=recordings, what it says of these is `recordings`."""
    passed = {key: value for key, value in data.items() if key not in _READ and value is not None}
    meta = data.get("meta")
    return passed | ({"recordings": meta} if isinstance(meta, dict) and "recordings_format" in meta else {})


def _read_modalities(value: Any, key: str) -> dict[str, np.ndarray]:
    if isinstance(value, np.ndarray):
        value = {"x": value}
    if not isinstance(value, dict) or not value:
        raise MmganError(f"{key} is no dict of arrays; give {{name: array of shape (samples, ...)}}.")
    for name in value:
        if not isinstance(name, str) or not name or set("./:") & set(name) or name == "joint":
            raise MmganError(
                f"{key} has a modality called {name!r}; use a word without '.', '/' and ':', other than joint."
            )
    return {name: _read_samples(samples, f"{key} modality '{name}'") for name, samples in value.items()}


def _read_samples(samples: Any, where: str) -> np.ndarray:
    """Return finite float32 (n, *shape), n and shape not empty."""
    samples = as_array(samples, where)
    if samples.dtype.kind not in "fiub":
        raise MmganError(f"{where} holds {samples.dtype} values; give real numbers.")
    if not 2 <= samples.ndim <= 4:
        raise MmganError(
            f"{where} has shape {samples.shape}; "
            "give (samples, F), (samples, C, L) or (samples, C, H, W), such as by array[:, None]."
        )
    if 0 in samples.shape:
        raise MmganError(
            f"{where} is empty, of shape {samples.shape}; give at least one sample and one value a sample."
        )
    if lost := _lost_digits(samples):
        raise MmganError(f"{where} {lost}")
    with np.errstate(over="ignore"):  # what overflows is counted below
        converted = np.require(samples, np.float32, ["C", "W"])
    for good, fault, remedy in (
        (np.isfinite(samples), "NaN or infinite values", "remove or repair them"),
        (np.abs(converted) <= LARGEST, "values beyond the range of float32", "rescale them"),
    ):
        bad = ~good.reshape(len(good), -1).all(1)
        if bad.any():
            raise MmganError(
                f"{where} has {fault} in {bad.sum()} of {len(bad)} samples, the first in sample {bad.argmax()}; {remedy}."
            )
    return converted


def _lost_digits(samples: np.ndarray) -> str:
    """Return what is wrong where float32, which networks compute in, would not keep the differences between samples."""
    if (samples.dtype.itemsize <= 4 and samples.dtype.kind == "f") or samples.dtype.kind == "b":
        return ""
    least, most = samples.min(0), samples.max(0)
    low, high = least.astype(np.float64), most.astype(np.float64)
    reach = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(all="ignore"):  # of what is not finite, which is told elsewhere
        steps = (high - low) / np.spacing(reach.astype(np.float32))
    coarse = (
        np.isfinite(steps) & (most > least) & (steps < MIN_STEPS) & ((reach >= 2**24) | (samples.dtype.kind == "f"))
    )
    if not coarse.any():
        return ""
    worst = np.unravel_index(np.argmin(np.where(coarse, steps, np.inf)), steps.shape)
    if reach[worst] < np.finfo(np.float32).tiny:
        return f"has {coarse.sum()} of {coarse.size} values that are too small for float32, as from {low[worst]:g} to {high[worst]:g}; rescale them."
    return (
        f"has {coarse.sum()} of {coarse.size} values that vary little around a large number, as from {low[worst]:.12g} to {high[worst]:.12g}, of"
        f" which float32 keeps {steps[worst]:.0f} steps: subtract a constant first, in float64, such as {np.rint(low[worst]):.12g}."
    )


def _check_lengths(columns: dict[str, np.ndarray], what: str) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        listed = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise MmganError(f"{what} differ in their number of samples ({listed}); give each sample once in all of them.")


def _read_labels(value: Any) -> tuple[np.ndarray, tuple[int | str, ...]]:
    """Return the classes int64 (n,) in 0..K-1 and the label that the file has for each of them."""
    labels = as_array(value, "y_train")
    if isinstance(value, list | tuple) and labels.dtype.kind == "U" and labels.tolist() != list(value):
        changed = next(before for before, after in zip(value, labels.tolist(), strict=True) if before != after)
        raise MmganError(
            f"y_train has the label {changed!r} among texts, which numpy would change; give texts alone, or integers."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column of labels
        labels = labels[:, 0]
    numbers = labels.astype(np.float64) if labels.dtype.kind == "f" else np.empty(0)
    if numbers.size and (np.abs(numbers) <= MOST_LABEL).all() and (numbers == np.rint(numbers)).all():
        labels = labels.astype(np.int64)  # whole numbers, as MATLAB writes them
    if fault := _labels_fault(labels):
        raise MmganError(f"y_train {fault}")
    names, classes = np.unique(labels if labels.dtype.kind == "U" else labels.astype(np.int64), return_inverse=True)
    return classes.astype(np.int64), tuple(names.tolist())


def _labels_fault(labels: np.ndarray) -> str:
    kind = labels.dtype.kind
    if labels.ndim == 2 and kind in "iubf" and labels.size and np.isin(labels, (0, 1)).all():
        if (labels.sum(1) == 1).all():
            return f"has shape {labels.shape}, one column for each class; give one label a sample, (samples,), as y.argmax(1)."
        return (
            f"has shape {labels.shape} and samples of several labels, or of none: mmgan takes one label a sample; give each"
            " combination a label of its own, or leave samples out."
        )
    if labels.ndim != 1 or labels.size == 0:
        return f"has shape {labels.shape}; give one label a sample, (samples,)."
    if kind == "f" and not (finite := np.isfinite(labels)).all():
        return (
            f"holds {(~finite).sum()} missing or infinite label(s), the first in sample {finite.argmin()}; leave these samples out, or give"
            " them as unlabelled ones."
        )
    if kind == "f" and (labels == np.rint(labels)).all():
        return (
            f"holds numbers up to {np.abs(labels).max():g}, which are no labels; give integers from 0 on, or strings."
        )
    if kind == "f":
        return (
            f"holds numbers that are not whole, such as {labels[labels != np.rint(labels)][0]:g}: mmgan takes classes, not targets to be"
            " predicted; give integers or strings, such as the bins of the targets, or data.labelled=false."
        )
    if kind not in "iubU":
        return f"holds {labels.dtype} values; give integers, or strings with .astype(str)."
    if kind == "i" and (labels < 0).any():
        found = f"{(labels < 0).sum()} negative label(s), such as {labels.min()}"
        return f"has {found}; give labels from 0 on, and leave unlabelled samples to x_test."
    if kind == "u" and labels.max() > np.iinfo(np.int64).max:
        return f"has labels beyond those of int64, such as {labels.max()}; give strings with .astype(str)."
    return ""


def _read_names(value: Any, n_classes: int) -> tuple[str, ...]:
    """Return the readable names of the classes, in the order of their labels."""
    names = tuple(map(str, as_array(value, "class_names").ravel()))
    if len(names) != n_classes:
        raise MmganError(
            f"class_names has {len(names)} name(s), but y_train has {n_classes} different labels; "
            "give one name a label, in their order, or remove the key."
        )
    return names


def _read_groups(value: Any, n_samples: int) -> np.ndarray:
    groups = as_array(value, "groups")
    if groups.shape != (n_samples,) or groups.dtype.kind not in "iubU":
        raise MmganError(
            f"groups is {groups.dtype} of shape {groups.shape}; give one integer or string a sample, ({n_samples},)."
        )
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def read_unlabelled(value: Any, key: str, schema: DataSchema) -> dict[str, np.ndarray]:
    """Return samples without labels, {name: float32 (n, *shape)}, as `schema` says; raises MmganError, which names `key`."""
    found = _read_modalities(value, key)
    _check_lengths(found, f"the modalities of {key}")
    shapes = {name: values.shape[1:] for name, values in found.items()}
    if shapes != schema.modalities:
        raise MmganError(f"{key} has {shapes} where x_train has {schema.modalities}; give the same to both.")
    return {name: found[name] for name in schema.modalities}
