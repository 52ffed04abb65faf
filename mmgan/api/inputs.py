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
from mmgan.errors import MmganError, shown_value
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
    dataset = replace(dataset, schema=replace(dataset.schema, columns=_columns(x)))
    if unlabelled is not None:
        dataset.passthrough[KEY] = _more(unlabelled, "unlabelled", dataset.schema)
    return dataset


def samples_from(samples: LabelledSamples, schema: DataSchema, what: str) -> LabelledSamples:
    """Return a pair (x, y) of samples like those of `schema`: {name: float32 (n, *shape)} and class indices (n,)."""
    x, y = pair(samples, what)
    return _more(x, what, schema), np.array(schema.encode(labels(y, f"the labels of the {what} samples")), np.int64)


def _more(x: Any, what: str, schema: DataSchema) -> dict[str, np.ndarray]:
    """Return samples without their labels that are to be like those of `schema`, {name: float32 (n, *shape)}."""
    schema.check_columns(x, what)
    with _as_arguments():
        return read_unlabelled(modalities(x, what), what, schema)


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
    if is_frame(y) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    found = _array(y, what)
    if found.dtype.kind == "U" and not isinstance(y, np.ndarray):
        found = np.asarray(y, dtype=object)  # numpy makes strings of numbers among strings
    if found.dtype.kind != "O":
        return found
    for kind, dtype in ((str, str), (bool | np.bool_, bool), (int | np.integer, np.int64)):
        if all(isinstance(each, kind) and (dtype is bool or not isinstance(each, bool)) for each in found.ravel()):
            return _as_numpy(found, dtype, what)
    kinds = ", ".join(sorted({type(each).__name__ for each in found.ravel()}))
    raise MmganError(f"{what} holds values of the types {kinds}; give integers, or strings, and no missing ones.")


def _as_numpy(found: np.ndarray, dtype: Any, what: str) -> np.ndarray:
    """Return objects as an array of numpy's own; raises MmganError for labels that it would not keep as they are."""
    if dtype is np.int64 and (large := [each for each in found.ravel() if abs(int(each)) > np.iinfo(np.int64).max]):
        raise MmganError(f"{what} has labels beyond those of int64, such as {shown_value(large[0])}; give strings.")
    if dtype is str and (cut := [each for each in found.ravel() if each.endswith("\0")]):
        raise MmganError(f"{what} has a label that ends with a null character, {cut[0]!r}; give it another name.")
    return found.astype(dtype)


def _array(values: Any, what: str) -> np.ndarray:
    if is_frame(values):
        if other := [str(name) for name, kind in values.dtypes.items() if kind.kind not in "fiub"]:
            raise MmganError(f"{what}: the columns {other} hold no numbers; leave them out, or encode them as numbers.")
        values = values.to_numpy(dtype=float, na_value=np.nan)
    check_masked(values, what)
    try:
        return np.asarray(values)
    except Exception as error:  # of an object of any kind, which makes an array of itself
        reason = " ".join(str(error).split())
        raise MmganError(f"{what} is no array ({reason}); give samples of one shape, as a numpy array.") from None


def check_masked(values: Any, what: str) -> None:
    """Raise MmganError for an array of numpy's with masked values, which would count as they stand below the mask."""
    if isinstance(values, np.ma.MaskedArray) and (hidden := np.ma.count_masked(values)):
        raise MmganError(
            f"{what} has {hidden} masked value(s); leave such samples out, or fill them in with .filled()."
        )


def _columns(x: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of the columns of each modality that is a DataFrame."""
    given = x if isinstance(x, Mapping) else {ONLY: x}
    return {name: tuple(map(str, values.columns)) for name, values in given.items() if is_frame(values)}


def is_frame(values: Any) -> bool:
    """Say whether samples are a DataFrame of pandas, which need not be loaded for other samples."""
    return hasattr(values, "iloc") and hasattr(values, "columns")
