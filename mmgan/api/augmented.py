"""A file of synthesize.py as arrays; numpy alone reads it."""

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args, overload

import numpy as np

from mmgan.data import synthetic_file
from mmgan.errors import MmganError

Part = Literal["train", "val", "test"]
Arrays = dict[str, np.ndarray]


@overload
def load_augmented(
    file: str | os.PathLike[str], fold: int | None = None, *, part: Literal["train", "val"] = "train"
) -> tuple[Arrays, np.ndarray, np.ndarray]: ...
@overload
def load_augmented(
    file: str | os.PathLike[str], fold: int | None = None, *, part: Part
) -> tuple[Arrays, np.ndarray | None, np.ndarray]: ...
def load_augmented(
    file: str | os.PathLike[str], fold: int | None = None, *, part: Part = "train"
) -> tuple[Arrays, np.ndarray | None, np.ndarray]:
    """Return x, y, is_synthetic of a fold: x is {name: (n, *shape)}, y (n,) the file's own labels, is_synthetic (n,) bool.

    Raises MmganError if the file has no such fold, or nothing of that part.

    Parameters
    ----------
    file
        A .pkl or .npz that synthesize.py wrote.
    fold
        The fold's number; None: the file's only one.
    part
        "train", the fold's training samples, then its synthetic ones; "val", the samples that the fold holds out; or "test", the
        file's test samples, with None for y where it does not say their labels.
    """
    if part not in get_args(Part):
        raise MmganError(f"part={part}: expected one of {', '.join(get_args(Part))}.")
    content = synthetic_file.read(file)
    entry, tree = _entry(content, fold), content.tree
    if part == "test":
        return _test(tree, file)
    key = {"train": "train_indices", "val": "val_indices"}[part]
    if missing := sorted({"x_train", "y_train"} - tree.keys() | {key} - entry.keys()):
        raise MmganError(f"{file} has no {missing[0]}, which tells the real samples; give a file of synthesize.py.")
    x, y = {name: values[entry[key]] for name, values in tree["x_train"].items()}, tree["y_train"][entry[key]]
    if not len(y):
        raise MmganError(f"{file}: its generator was trained on all samples (fold=none), so that there are no others.")
    if part == "val":
        return x, y, np.zeros(len(y), bool)
    both = {name: np.concatenate([values, entry["x_synth"][name]]) for name, values in x.items()}
    return both, np.concatenate([y, entry["y_synth"]]), np.arange(len(y) + len(entry["y_synth"])) >= len(y)


def _entry(content: synthetic_file.Content, fold: int | None) -> Mapping[str, Any]:
    entries = {entry.get("fold"): entry for entry in content.entries}
    listed = ", ".join(str(number or "none") for number in entries)
    if fold is None and len(entries) == 1:
        return content.entries[0]
    if fold is None:
        raise MmganError(f"{content.path} holds several folds; give one of them, fold={listed.replace(', ', '|')}.")
    if fold not in entries:
        raise MmganError(f"{content.path} has no fold {fold}; it holds {listed}.")
    return entries[fold]


def _test(tree: Mapping[str, Any], file: object) -> tuple[Arrays, np.ndarray | None, np.ndarray]:
    if not isinstance(x := tree.get("x_test"), dict):
        raise MmganError(f"{file} has no x_test; its data have no test samples.")
    y = tree.get("y_test")
    n = len(next(iter(x.values())))
    return x, None if y is None else np.asarray(y), np.zeros(n, bool)
