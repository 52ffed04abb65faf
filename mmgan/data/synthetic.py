"""Files of synthetic rows, ours or another tool's, together with the real rows that judge them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mmgan.data.archive import read_archive
from mmgan.data.dataset import Dataset
from mmgan.data.folds import Fold, configured_folds, select_fold
from mmgan.errors import MmganError
from mmgan.evaluation.controls import CONTROLS
from mmgan.evaluation.features import LabelledRows
from mmgan.evaluation.table import REAL, FoldRows

FORMS = "give a file of synthesize.py, or a dict with x_synth ({name: array}) and y_synth, or with a list of such dicts as folds"


@dataclass(frozen=True)
class SyntheticFile:
    """The folds of a file, each with the rows that its generator saw and those that judge it."""

    path: Path
    name: str  # of the model that made it, or of the file
    dataset: Dataset
    data_name: str
    folds: list[FoldRows]
    has_folds: bool
    heldout: str  # what the held-out rows are
    n_val: int  # rows that a fold leaves out
    grouped: bool


def read_synthetic(path: Any, data: DictConfig | None, fold: Any = None) -> SyntheticFile:
    """Read a file of synthetic rows and the data set that `data` configures, by default the one the file was made from.

    `fold` chooses one of the file's folds, or says which fold's training rows a file without folds was made from; without
    it, all training rows were. Raises MmganError for a file that holds no synthetic rows, or was made from other data.
    """
    content = read_archive(path)
    path = Path(path)
    entries, recipe = _entries(content, path), (content.get("meta") or {}).get("recipe") or {}
    options = recipe.get("data") if data is None else OmegaConf.to_container(data, resolve=True)
    if options is None:
        raise MmganError(
            f"{path} does not say what data it was made from; give data=watch, or data=pkl data.path=FILE."
        )
    dataset = instantiate(options["source"], _convert_="all")
    if recipe and recipe["fingerprint"] != dataset.fingerprint():
        raise MmganError(f"{path} was made from other data than {dataset.source}; give the data= it was made from.")
    folds = configured_folds(dataset, options)
    chosen = _chosen(entries, folds, fold, path)
    if not chosen:
        raise MmganError(f"{path} has no fold={fold}; it holds {', '.join(str(entry['fold']) for entry in entries)}.")
    has_folds = all(number is not None for number, _ in chosen)
    known = dataset.y_test is not None
    if not has_folds and not known:
        raise MmganError(
            f"{path} says no fold, and {dataset.source} has no labelled test rows; give fold=, whose val_indices judge."
        )
    draw = f", draw {options['draw']}" if "draw" in options else ""
    return SyntheticFile(
        path=path,
        name=_name(entries, path),
        dataset=dataset,
        data_name=f"{options.get('name', dataset.source)}{draw}",
        folds=[_fold_rows(number, entry, folds, dataset, path) for number, entry in chosen],
        has_folds=has_folds,
        heldout="test rows whose labels were kept back" if known else "each fold's own val_indices",
        n_val=len(folds[0].val_indices),
        grouped=options["split"] == "group",
    )


def _entries(content: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    entries = content.get("folds") if "folds" in content else [content]
    for entry in entries if isinstance(entries, list) else []:
        missing = [key for key in ("x_synth", "y_synth") if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise MmganError(f"{path} holds no synthetic rows (no key '{missing[0]}'); {FORMS}.")
        if not isinstance(entry["x_synth"], dict):
            raise MmganError(f"{path}: x_synth is no dict of modalities; {FORMS}.")
    if not entries or not isinstance(entries, list):
        raise MmganError(f"{path} holds no synthetic rows (folds is empty); {FORMS}.")
    return entries


def _name(entries: list[dict[str, Any]], path: Path) -> str:
    """Return the model's name, which must be none of the table's other rows."""
    name = str(entries[0].get("model", path.stem))
    return f"{name} (file)" if name in (REAL, *CONTROLS) else name


def _chosen(entries: list, folds: list[Fold], fold: Any, path: Path) -> list[tuple[int | None, dict[str, Any]]]:
    """Return the entries to judge with their folds' numbers; None for rows that were made from all training rows."""
    if fold is not None:
        wanted = select_fold(folds, fold).fold
        if len(entries) == 1 and "fold" not in entries[0]:
            return [(wanted, entries[0])]
        return [(wanted, entry) for entry in entries if entry.get("fold") == wanted]
    numbers = [entry.get("fold") for entry in entries]
    if len(set(numbers)) < len(numbers):
        raise MmganError(f"{path}: its folds have the numbers {numbers}; give each entry its own 'fold'.")
    return list(zip(numbers, entries, strict=True))


def _fold_rows(
    number: int | None, entry: Mapping[str, Any], folds: list[Fold], dataset: Dataset, path: Path
) -> FoldRows:
    where = f"{path}, fold {number}" if number is not None else str(path)
    if number is None:
        train, val = np.arange(len(dataset)), np.empty(0, np.int64)
    else:
        fold = select_fold(folds, number)
        train, val = np.asarray(entry.get("train_indices", fold.train_indices)), fold.val_indices
        if train.dtype.kind not in "iu" or train.ndim != 1 or not np.isin(train, np.arange(len(dataset))).all():
            raise MmganError(
                f"{where}: train_indices are not rows of {dataset.source}; leave the key out, or correct it."
            )
        if dataset.y_test is None and np.intersect1d(train, val).size:
            raise MmganError(
                f"{where}: the generator saw rows that would judge it; give the data= and data.split= it was trained with."
            )
    return FoldRows(number or 0, dataset.rows(train), dataset.heldout(val), _synthetic_rows(entry, dataset, where))


def _synthetic_rows(entry: Mapping[str, Any], dataset: Dataset, where: str) -> LabelledRows:
    """Return the rows as float32 with class indices, for the labels that the file gives them."""
    x = {}
    for name, values in entry["x_synth"].items():
        values = np.asarray(values)
        if values.dtype.kind not in "fiub":
            raise MmganError(f"{where}: x_synth['{name}'] holds {values.dtype}, no numbers; give arrays of floats.")
        x[name] = values.astype(np.float32)
    labels = np.asarray(entry["y_synth"])
    if labels.ndim != 1:
        raise MmganError(f"{where}: y_synth has shape {labels.shape}; give one label for each row.")
    try:
        return x, np.array(dataset.schema.encode(labels.tolist()), dtype=np.int64)
    except MmganError as error:
        raise MmganError(f"{where}: {error}") from None
