"""Files of synthetic samples, ours or another tool's, together with the real samples that judge them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mmgan.baselines import BASELINES
from mmgan.data.arrays import LabelledSamples, check_samples
from mmgan.data.dataset import Dataset, taken
from mmgan.data.files import read_archive
from mmgan.data.folds import Fold, configured_folds, select_fold
from mmgan.data.pickles import as_array
from mmgan.data.trust import build, build_source
from mmgan.errors import MmganError
from mmgan.evaluation.table import REAL, FoldSamples

FORMS = "give a file of synthesize.py, or a dict with x_synth ({name: array}) and y_synth, or with a list of such dicts as folds"
TEST, VAL = "test samples whose labels were kept back", "each fold's own val_indices"


@dataclass(frozen=True)
class SyntheticFile:
    """The folds of a file, each with the samples that its generator saw and those that judge it."""

    path: Path
    name: str  # of the model that made it, or of the file
    dataset: Dataset
    data_name: str
    folds: list[FoldSamples]
    has_folds: bool
    heldout: str  # what the held-out samples are
    n_fold: int  # training samples of a fold, without a limit
    n_val: int  # samples that it leaves out
    grouped: bool


def read_synthetic(path: Any, data: DictConfig | None, fold: Any = None, trust: Sequence[str] = ()) -> SyntheticFile:
    """Read a file of synthetic samples and the data set that `data` configures, by default the one the file was made from.

    `fold` chooses one of the file's folds, or says which fold's training samples a file without folds was made from; without
    it, all training samples were. `trust` names packages whose data sources the file may name. Raises MmganError for a file that holds no
    synthetic samples, or was made from other data.
    """
    path = Path(str(path))
    content = read_archive(path)
    entries, recipe = _entries(content, path), _recipe(content)
    if data is None:
        options = _told(recipe, path)
        dataset = build_source(options["source"], path, trust=trust)
    else:
        options = OmegaConf.to_container(data, resolve=True)
        dataset = build(options["source"])
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
            f"{path} says no fold, and {dataset.source} has no labelled test samples; give fold=, whose val_indices judge."
        )
    draw = f", draw {options['draw']}" if "draw" in options else ""
    return SyntheticFile(
        path=path,
        name=_name(entries, path),
        dataset=dataset,
        data_name=f"{options.get('name', dataset.source)}{draw}",
        folds=[_fold_rows(number, entry, folds, dataset, path) for number, entry in chosen],
        has_folds=has_folds,
        heldout=TEST if known else VAL,
        n_fold=len(folds[0].train_indices) + len(folds[0].extra_indices),
        n_val=len(folds[0].val_indices),
        grouped=options["split"] == "group",
    )


def _entries(content: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    entries = content.get("folds") if "folds" in content else [content]
    if not isinstance(entries, list | tuple) or not entries:
        raise MmganError(f"{path} holds no synthetic samples (folds is no list, or empty); {FORMS}.")
    for entry in entries:
        missing = [key for key in ("x_synth", "y_synth") if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise MmganError(f"{path} holds no synthetic samples (no key '{missing[0]}'); {FORMS}.")
        if not isinstance(entry["x_synth"], dict):
            raise MmganError(f"{path}: x_synth is no dict of modalities; {FORMS}.")
    return list(entries)


def _recipe(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a file of synthesize.py; of another tool's, whatever its `meta`, an empty one."""
    meta = content.get("meta")
    recipe = meta.get("recipe") if isinstance(meta, dict) else None
    return recipe if isinstance(recipe, dict) and {"data", "fingerprint"} <= recipe.keys() else {}


def _told(recipe: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the data configuration that a file names."""
    if not recipe or not isinstance(recipe["data"], dict) or "source" not in recipe["data"]:
        raise MmganError(
            f"{path} does not say what data it was made from; give data=watch, or data=pkl data.path=FILE."
        )
    return recipe["data"]


def _name(entries: list[dict[str, Any]], path: Path) -> str:
    """Return the model's name, which must be none of the table's other samples."""
    name = str(entries[0].get("model", path.stem))
    return f"{name} (file)" if name in (REAL, *BASELINES) else name


def _chosen(entries: list, folds: list[Fold], fold: Any, path: Path) -> list[tuple[int | None, dict[str, Any]]]:
    """Return the entries to judge with their folds' numbers; None for samples that were made from all training samples."""
    numbers, known = [entry.get("fold") for entry in entries], [each.fold for each in folds]
    for number in numbers:
        if number is not None and (not isinstance(number, int | np.integer) or number not in known):
            listed = ", ".join(map(str, known))
            raise MmganError(f"{path}: there is no fold {number!r}; the data have the folds {listed}: correct 'fold'.")
    if len(numbers) > 1 and (None in numbers or len(set(numbers)) < len(numbers)):
        raise MmganError(f"{path}: its folds have the numbers {numbers}; give each entry its own 'fold'.")
    if fold is None:
        return list(zip(numbers, entries, strict=True))
    wanted = select_fold(folds, fold).fold
    return [(wanted, entry) for number, entry in zip(numbers, entries, strict=True) if number in (None, wanted)]


def _fold_rows(
    number: int | None, entry: Mapping[str, Any], folds: list[Fold], dataset: Dataset, path: Path
) -> FoldSamples:
    where = f"{path}, fold {number}" if number is not None else str(path)
    if number is None:
        fold = Fold(0, np.arange(len(dataset)), np.empty(0, np.int64))
        train = fold.train_indices
    else:
        fold = select_fold(folds, number)
        train = as_array(entry.get("train_indices", fold.train_indices), f"{where}: train_indices")
        if train.dtype.kind not in "iu" or train.ndim != 1 or not np.isin(train, np.arange(len(dataset))).all():
            raise MmganError(
                f"{where}: train_indices are not samples of {dataset.source}; leave the key out, or correct it."
            )
        fold = replace(fold, train_indices=train.astype(np.int64))
    heldout, unseen_groups = judging_samples(dataset, fold)
    if dataset.y_test is None and np.intersect1d(train, fold.val_indices).size:
        raise MmganError(
            f"{where}: the generator saw samples that would judge it; give the data= and data.split= it was trained with."
        )
    return FoldSamples(
        fold.fold, dataset.rows(train), heldout, _synthetic_samples(entry, dataset, where), unseen_groups
    )


def _synthetic_samples(entry: Mapping[str, Any], dataset: Dataset, where: str) -> LabelledSamples:
    """Return the samples as float32 with class indices, for the labels that the file gives them."""
    x = {}
    for name, values in entry["x_synth"].items():
        values = as_array(values, f"{where}: x_synth['{name}']")
        if values.dtype.kind not in "fiub":
            raise MmganError(f"{where}: x_synth['{name}'] holds {values.dtype}, no numbers; give arrays of floats.")
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            x[str(name)] = values.astype(np.float32)
    labels = as_array(entry["y_synth"], f"{where}: y_synth")
    if labels.ndim != 1:
        raise MmganError(f"{where}: y_synth has shape {labels.shape}; give one label for each row.")
    try:
        return x, np.array(dataset.schema.encode(labels.tolist()), dtype=np.int64)
    except MmganError as error:
        raise MmganError(f"{where}: {error}") from None


def samples_of_fold(path: Any, dataset: Dataset, fold: Fold, split: Mapping[str, Any]) -> LabelledSamples:
    """Return the synthetic samples of one fold of a file, to train on; raises MmganError where their generator saw too much.

    `split` says how the fold's samples are parted for the model that trains: its `final`, `seed` and `inner_val`, and the
    `inner_val_indices` that choose its checkpoint. A generator that was parted otherwise has seen some of those.
    """
    path = Path(str(path))
    content = read_archive(path)
    entries, recipe = _entries(content, path), _recipe(content)
    if recipe and recipe["fingerprint"] != dataset.fingerprint():
        raise MmganError(f"{path} was made from other data than {dataset.source}; give a file made from these.")
    made = [entry for entry in entries if entry.get("fold") == fold.fold]
    if len(made) != 1:
        known = ", ".join(str(entry.get("fold", "none")) for entry in entries)
        raise MmganError(
            f"{path} must hold samples of fold {fold.fold} once (it has: {known}); synthesize them from that fold."
        )
    where = f"{path}, fold {fold.fold}"
    seen = as_array(made[0].get("train_indices", fold.train_indices), f"{where}: train_indices")
    if not np.isin(seen, fold.train_indices).all():
        raise MmganError(
            f"{where}: its generator saw samples that this fold keeps back; give the data= options of that file."
        )
    alike = recipe.get("final") is False and recipe["seed"] == split["seed"]
    if len(split["inner_val_indices"]) and not (alike and recipe["data"]["inner_val"] == split["inner_val"]):
        raise MmganError(
            f"{where}: its generator saw the samples that choose this model's checkpoint; give final=true, which chooses none."
        )
    rows = _synthetic_samples(made[0], dataset, where)
    check_samples(dataset.rows(fold.train_indices), rows, "synthetic")
    return rows


def judging_samples(dataset: Dataset, fold: Fold) -> tuple[LabelledSamples, LabelledSamples | None]:
    """Return the samples that judge a fold's finished generator, and those of groups that it never saw (None: the same).

    They are the test samples where their labels are known, else `val_indices`. Where the fold keeps groups apart, the test samples
    of its training groups judge, and the others, with `val_indices`, are unseen_groups.
    """
    val = dataset.rows(fold.val_indices)
    if dataset.x_test is None or dataset.y_test is None:
        return val, None
    test = taken(dataset.x_test, slice(None)), dataset.y_test
    if dataset.groups is None or dataset.test_groups is None:
        return test, None
    own = dataset.groups[np.concatenate([fold.train_indices, fold.extra_indices])]
    if not len(val[1]) or np.isin(dataset.groups[fold.val_indices], own).any():
        return test, None
    known = np.isin(dataset.test_groups, own)
    seen, unseen = [({name: rows[part] for name, rows in test[0].items()}, test[1][part]) for part in (known, ~known)]
    new = {name: np.concatenate([rows, val[0][name]]) for name, rows in unseen[0].items()}
    return seen, (new, np.concatenate([unseen[1], val[1]]))
