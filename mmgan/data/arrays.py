"""Samples as arrays by the name of their modality: {name: (n, *shape)}."""

import math
from collections.abc import Mapping

import numpy as np
import psutil

from mmgan.errors import MmganError
from mmgan.schema import Arrays

LabelledSamples = tuple[Arrays, np.ndarray]
LARGEST = 1e37  # of a value: sums and differences of a few are to stay within float32
LABEL = 64  # bytes of a label, as Python, numpy and files keep it


def check_memory(n: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise MmganError where n samples of modalities {name: shape} would not fit into the memory that is free."""
    needed = n * (LABEL + 4 * sum(map(math.prod, shapes.values())))
    if needed > (free := psutil.virtual_memory().available):
        raise MmganError(
            f"{n:,} samples need {needed / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are free; ask for fewer at a time."
        )


def n_samples_of(x: Arrays) -> int:
    """Return the number of samples of {name: (n, *shape)}."""
    return len(next(iter(x.values())))


def take(x: Arrays, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the samples `index` of every modality."""
    return {name: values[index] for name, values in x.items()}


def flatten(x: Arrays, names: tuple[str, ...] | None = None) -> np.ndarray:
    """Return the samples as one matrix (n, F): the modalities `names` (default: all) side by side."""
    return np.concatenate(
        [np.asarray(x[name]).reshape(len(x[name]), math.prod(np.shape(x[name])[1:])) for name in names or tuple(x)],
        axis=1,
    )


def unflatten(flat: np.ndarray, like: Arrays) -> dict[str, np.ndarray]:
    """Undo `flatten`: cut (n, F) into modalities with the names, shapes and dtypes of `like`."""
    out, start = {}, 0
    for name, values in like.items():
        width = int(np.prod(values.shape[1:]))
        part = flat[:, start : start + width]  # (n, width)
        out[name] = part.reshape(len(flat), *values.shape[1:]).astype(values.dtype)
        start += width
    return out


def all_finite(x: Arrays) -> bool:
    """Say whether no modality holds a NaN or an infinite value."""
    return all(bool(np.isfinite(values).all()) for values in x.values())


def check_samples(train: LabelledSamples, samples: LabelledSamples, kind: str) -> None:
    """Raise MmganError unless `samples` are finite, with the modalities, shapes and classes of `train`."""
    if fault := _fault(train, *samples, kind):
        raise MmganError(fault)


def _fault(train: LabelledSamples, x: Arrays, y: np.ndarray, kind: str) -> str:
    if not len(y):
        return f"there are no {kind} samples; give some."
    if set(x) != set(train[0]):
        return f"the {kind} samples have modalities {sorted(x)}, expected {sorted(train[0])}."
    for name, shape in ((name, np.shape(values)[1:]) for name, values in train[0].items()):
        if np.shape(x[name])[1:] != shape:
            return f"the {kind} samples of '{name}' have shape {np.shape(x[name])[1:]}, expected {shape}."
        if len(x[name]) != len(y):
            return f"the {kind} samples have {len(x[name])} of '{name}' but {len(y)} labels; give one each."
        if broken := (~np.isfinite(x[name]).reshape(len(y), -1).all(1)).sum():
            return f"{broken} {kind} samples of '{name}' hold NaN or infinite values; leave those samples out."
    if len(unknown := np.setdiff1d(y, train[1])):
        return f"the {kind} samples have class {unknown[0]}, which the training samples lack; leave it out."
    return ""
