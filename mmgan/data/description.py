"""What was read, in one line, and what looks odd in it, a sentence each with its remedy; cheap beside any training."""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

import numpy as np

from mmgan.data.dataset import Dataset
from mmgan.data.folds import Fold
from mmgan.errors import shown_value

FEW = 10  # samples of a class
LONG = 20_000  # values of one modality
MOST_HASHED = 2**29  # bytes that are looked through for duplicates
COLOURS = (1, 3, 4)
FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!]")  # -5dB is none


def description(dataset: Dataset) -> str:
    """Return the sizes of a data set: 860 samples, 10 classes (86 each), spec 7 channels x 48, env 5 channels x 32."""
    counts = np.bincount(dataset.y_train, minlength=dataset.schema.n_classes)
    each = f"{counts.min()} each" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    classes = f"{_count(len(counts), 'class', 'classes')}" + (f" ({each})" if len(counts) > 1 else "")
    shapes = [f"{name} {_shape(shape)}" for name, shape in dataset.schema.modalities.items()]
    return ", ".join([_count(len(dataset), "sample"), classes, *shapes])


def oddities(dataset: Dataset, fold: Fold) -> list[str]:
    """Return what of a data set, or of a fold, is probably not meant."""
    found = [sentence for name, shape in dataset.schema.modalities.items() for sentence in _odd_shapes(name, shape)]
    return [
        *found,
        *_odd_values(dataset),
        *_small_classes(dataset),
        *_formulas(dataset),
        *_names_alike(dataset),
        *_duplicates(dataset),
        *_shared_groups(dataset, fold),
    ]


def _count(number: int, noun: str, several: str = "") -> str:
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def _shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return _count(shape[0], "value")
    kind = _count(shape[0], "channel")
    return f"{kind} x {' x '.join(map(str, shape[1:]))}"


def _odd_shapes(name: str, shape: tuple[int, ...]) -> Iterator[str]:
    if len(shape) > 1 and shape[-1] == 1:
        yield (
            f"{name} {shape} has one value along its last axis: if that axis means nothing, give array[..., 0], and the samples are"
            f" read as {_shape(shape[:-1])}."
        )
    elif len(shape) == 3 and shape[-1] in COLOURS and shape[0] not in COLOURS:
        yield (
            f"{name} {shape} is read as {shape[0]} channels of {shape[1]} x {shape[2]}: for images whose colours come last give"
            " array.transpose(0, 3, 1, 2)."
        )
    elif len(shape) == 2 and shape[0] > 2 * shape[1]:
        yield (
            f"{name} {shape} is read as {shape[0]} channels of {shape[1]} places: if these are {shape[1]} channels of {shape[0]}"
            " places, give array.transpose(0, 2, 1)."
        )
    if math.prod(shape) > LONG:
        yield (
            f"{name} has {math.prod(shape)} values a sample: shorter windows, a lower rate or features (data=recordings makes them) train"
            " faster and better."
        )


def _odd_values(dataset: Dataset) -> Iterator[str]:
    for name, values in dataset.x_train.items():
        if values.nbytes <= MOST_HASHED and (values == values[:1]).all():
            yield f"{name} is the same in all samples: it tells nothing."


def _small_classes(dataset: Dataset) -> Iterator[str]:
    counts = np.bincount(dataset.y_train, minlength=dataset.schema.n_classes)
    few = [f"{dataset.schema.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < FEW)]
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        yield f"few samples of class {', '.join(few[:5])}{more}: of fewer than {FEW}, little can be learnt or judged."


def _formulas(dataset: Dataset) -> Iterator[str]:
    if found := [name for name in dataset.schema.class_names if FORMULA.match(name)]:
        yield (
            f"class {shown_value(found[0])} is a formula to a spreadsheet, which may run it: predictions.csv has it as it is; open it there as"
            " text."
        )


def _names_alike(dataset: Dataset) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for name in dataset.schema.class_names:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    if found := [names for names in alike.values() if len(names) > 1]:
        yield (
            f"the classes {' and '.join(ascii(shown_value(name)) for name in found[0][:3])} look alike: if they are one, give them one name."
        )


def _duplicates(dataset: Dataset) -> Iterator[str]:
    if sum(values.nbytes for values in dataset.x_train.values()) > MOST_HASHED:
        return
    found = [_digest(dataset, number) for number in range(len(dataset))]
    labels: dict[bytes, set[int]] = {}
    for digest, label in zip(found, dataset.y_train, strict=True):
        labels.setdefault(digest, set()).add(int(label))
    if repeated := len(found) - len(labels):
        copies = Counter(found)
        torn = sum(copies[digest] for digest, several in labels.items() if len(several) > 1)
        more = f", and {torn} equal samples have different labels" if torn else ""
        yield f"{_count(repeated, 'sample')} of {len(found)} equal an earlier one{more}: copies on both sides of a fold are no test."


def _digest(dataset: Dataset, number: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for values in dataset.x_train.values():
        digest.update(np.ascontiguousarray(values[number]).data)
    return digest.digest()


def _shared_groups(dataset: Dataset, fold: Fold) -> Iterator[str]:
    if dataset.groups is None:
        return
    shared = np.intersect1d(dataset.groups[fold.train_indices], dataset.groups[fold.val_indices])
    if len(shared):
        yield (
            f"{_count(len(shared), 'group')} of {len(np.unique(dataset.groups))} lie on both sides of fold {fold.fold}: scores say nothing of"
            " new groups; data.split=group keeps them apart."
        )
