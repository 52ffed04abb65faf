"""What users have at hand, as the data set of a file with the same content: arrays, dicts of arrays, tensors, lists, DataFrames."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mmgan.data.arrays import LabelledSamples
from mmgan.data.dataset import Dataset
from mmgan.data.sources.pkl import dataset_of, read_unlabelled
from mmgan.data.unlabelled import KEY
from mmgan.errors import MmganError
from mmgan.schema import DataSchema

ONLY = "x"  # the modality of samples that come without the name of one


def dataset_from(
    x: Any,
    y: Any,
    *,
    unlabelled: Any = None,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    source: str = "the samples given",
) -> Dataset:
    """Return labelled samples, as the user has them, as a data set; raises MmganError for samples or labels that cannot be used."""
    content = {"x_train": modalities(x, "x"), "y_train": labels(y, "y")}
    content["groups"] = None if groups is None else labels(groups, "groups")
    content["class_names"] = class_names
    with _as_arguments():
        dataset = dataset_of(content, source)
    counts = np.bincount(dataset.y_train)
    if len(counts) == 1:
        raise MmganError(f"y holds one class, {dataset.schema.class_names[0]}; give samples of two classes or more.")
    if counts.min() == 1:
        name = dataset.schema.class_names[counts.argmin()]
        raise MmganError(f"class {name} has one sample; give two or more of each class, or leave the class out.")
    if unlabelled is not None:
        with _as_arguments():
            dataset.passthrough[KEY] = read_unlabelled(
                modalities(unlabelled, "unlabelled"), "unlabelled", dataset.schema
            )
    return replace(dataset, schema=replace(dataset.schema, columns=_columns(x)))


def samples_from(samples: LabelledSamples, schema: DataSchema, what: str) -> LabelledSamples:
    """Return a pair (x, y) of samples like those of `schema`: {name: float32 (n, *shape)} and class indices (n,)."""
    x, y = pair(samples, what)
    with _as_arguments():
        arrays = read_unlabelled(modalities(x, what), what, schema)
    return arrays, np.array(schema.encode(labels(y, f"the labels of the {what} samples")), np.int64)


@contextmanager
def _as_arguments() -> Iterator[None]:
    """Let messages of a file's keys name the arguments that stand for them."""
    try:
        yield
    except MmganError as error:
        raise MmganError(str(error).replace("x_train", "x").replace("y_train", "y")) from None


def pair(samples: Any, what: str) -> tuple[Any, Any]:
    """Return the pair (x, y) that `samples` is; raises MmganError if it is none."""
    if not isinstance(samples, tuple) or len(samples) != 2:
        raise MmganError(f"the {what} samples are no pair; give (x, y).")
    return samples


def modalities(x: Any, what: str) -> dict[str, np.ndarray]:
    """Return samples as arrays by the name of their modality; those that come without a name are called `ONLY`."""
    if isinstance(x, Mapping):
        return {name: _array(values, f"{what}[{name!r}]") for name, values in x.items()}
    return {ONLY: _array(x, what)}


def labels(y: Any, what: str) -> np.ndarray:
    """Return labels (n,) as an array of integers or of strings, whatever objects they are; raises MmganError for a mixture."""
    found = _array(y, what)
    if found.dtype.kind == "U" and not isinstance(y, np.ndarray):
        found = np.asarray(y, dtype=object)  # numpy makes strings of numbers among strings
    if found.dtype.kind != "O":
        return found
    for kind, dtype in ((str, str), (int | np.integer, np.int64)):
        if all(isinstance(each, kind) and not isinstance(each, bool) for each in found.ravel()):
            return found.astype(dtype)
    kinds = ", ".join(sorted({type(each).__name__ for each in found.ravel()}))
    raise MmganError(f"{what} holds values of the types {kinds}; give integers, or strings, and no missing ones.")


def _array(values: Any, what: str) -> np.ndarray:
    if _is_frame(values):
        if other := [str(name) for name, kind in values.dtypes.items() if kind.kind not in "fiub"]:
            raise MmganError(f"{what}: the columns {other} hold no numbers; leave them out, or encode them as numbers.")
        values = values.to_numpy(dtype=float, na_value=np.nan)
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise MmganError(f"{what} is no array ({reason}); give samples of one shape, as a numpy array.") from None


def _columns(x: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of the columns of each modality that is a DataFrame."""
    given = x if isinstance(x, Mapping) else {ONLY: x}
    return {name: tuple(map(str, values.columns)) for name, values in given.items() if _is_frame(values)}


def _is_frame(values: Any) -> bool:
    return hasattr(values, "iloc") and hasattr(
        values, "columns"
    )  # of pandas, which need not be loaded for other samples
