"""The file of synthetic samples: its keys, its writer and its readers.

It is a pickled dict, or an .npz of the same tree, that numpy alone reads: the keys of the user's data, `folds` with an entry
for each generator, and `meta`. A file of another tool needs the entries only, or is a single entry itself.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.data.arrays import LabelledSamples, check_samples, n_samples_of
from mmgan.data.dataset import Dataset, taken
from mmgan.data.files import read_archive, write_npz, write_pickle
from mmgan.data.folds import RANDOM_STATE, WHOLE, Fold, make_folds, split_used
from mmgan.data.pickles import as_array
from mmgan.data.trust import build_source
from mmgan.data.unlabelled import REST, Pool, samples_of
from mmgan.errors import MmganError, shown_value

FORMAT = 2  # of `meta.recipe`
FORMS = "give a file of synthesize.py, or a dict with x_synth ({name: array}) and y_synth, or with a list of such dicts as folds"
SPLIT_KEYS = ("n_splits", "random_state", "stratified")  # what a file says of its own cv_splits
REMEDY = "give data=watch, or data=pkl data.path=FILE."


def check_name(path: Path) -> None:
    """Raise MmganError unless the file's name ends as a format that can be written."""
    if path.suffix not in (".pkl", ".npz"):
        raise MmganError(f"out={path}: the name must end with .pkl or .npz.")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write `file_content` as a pickle or an .npz, by the name's ending; all of it or nothing."""
    check_name(path)
    (write_npz if path.suffix == ".npz" else write_pickle)(path, content)


def file_content(dataset: Dataset, entries: list[dict[str, Any]], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's tree: the data with their folds, an entry for each generator, and the recipe that these share."""
    options = recipe["data"]
    theirs = dataset.splits if options["split"] == "file" else None
    folds = []
    if any(entry["fold"] for entry in entries):  # without limits, for the file's next reader
        folds = make_folds(dataset, options["split"], options["n_splits"])
    splits = theirs or [{key: getattr(fold, key) for key in ("fold", "train_indices", "val_indices")} for fold in folds]
    schema = dataset.schema
    content = {"x_train": schema.as_given(dataset.x_train), "y_train": np.array(schema.decode(dataset.y_train))}
    if dataset.x_test is not None:
        content["x_test"] = schema.as_given(dataset.x_test)
    if dataset.groups is not None:
        content["groups"] = dataset.groups
    content["class_names"] = list(schema.class_names)
    if splits:
        content |= {"cv_splits": splits, "n_splits": len(splits), "random_state": RANDOM_STATE}
        content |= {"stratified": split_used(dataset, options["split"]) != "group"}
    content |= {key: value for key, value in dataset.passthrough.items() if theirs or key not in SPLIT_KEYS}
    # No time stamp: equal input gives equal bytes.
    shared = {
        key: value for key, value in recipe.items() if key not in ("fold", "versions", "best_params", "unlabelled")
    }
    return content | {"folds": entries, "meta": {"format": FORMAT, "recipe": shared, "versions": recipe["versions"]}}


def fold_entry(
    fold: Fold,
    samples: tuple[Mapping[str, np.ndarray], np.ndarray],
    recipe: Mapping[str, Any],
    *,
    scores: Mapping[str, float],
    seed: int,
    epochs: int | None = None,
    given: list[str] | None = None,
    unfinished: bool = False,
) -> dict[str, Any]:
    """Return the entry of one generator: its fold, its `samples` with the user's own labels, and how they were made.

    The fold `WHOLE` is written as None. `seed` is that of the samples, `epochs` the length of the training (None: not known). `given`
    names the modalities whose values are those of training samples; `unfinished` says that the training had not ended.
    """
    entry = {"fold": fold.fold or None, "train_indices": fold.train_indices, "val_indices": fold.val_indices}
    entry |= {key: found for key in ("extra_indices", "judge_indices") if len(found := getattr(fold, key))}
    if given is not None:
        entry["given"] = given
    if unfinished:
        entry["unfinished"] = True
    if seen := recipe.get("unlabelled"):
        entry["unlabelled_indices"] = np.array(seen["indices"], dtype=np.int64)
        entry["unlabelled"] = {key: seen[key] for key in ("source", "number", "teacher", "share_dropped")}
    return entry | {
        "x_synth": dict(samples[0]),
        "y_synth": np.asarray(samples[1]),
        "best_params": recipe.get("best_params", {}),
        "scores": dict(scores),
        "model": recipe["model"]["name"],
        "seed": seed,
        "training": {"seed": recipe["seed"]} | ({} if epochs is None else {"epochs": epochs}),
    }


def training_of(entry: Mapping[str, Any]) -> dict[str, int | bool]:
    """Return `seed` and `epochs` of the training of an entry's generator, those that the entry has, and whether it is `unfinished`."""
    said = entry.get("training")
    known = said if isinstance(said, dict) else {}
    found: dict[str, int | bool] = {k: v for k, v in known.items() if k in ("seed", "epochs") and type(v) is int}
    return found | ({"unfinished": True} if entry.get("unfinished") is True else {})


@dataclass(frozen=True)
class Content:
    """What a file of synthetic samples holds: its entries, and of a file of synthesize.py the recipe (otherwise empty)."""

    path: Path
    tree: dict[str, Any]
    entries: list[dict[str, Any]]
    recipe: dict[str, Any]

    def where(self, fold: int | None) -> str:
        """Return the words for an entry in a message."""
        return str(self.path) if fold is None else f"{self.path}, fold {fold}"

    def check_made_from(self, dataset: Dataset, remedy: str) -> None:
        """Raise MmganError if the file says that it was made from other data."""
        if self.recipe and self.recipe["fingerprint"] != dataset.fingerprint():
            raise MmganError(f"{self.path} was made from other data than {dataset.source}; {remedy}")


def read(path: str | os.PathLike) -> Content:
    """Read a file of synthetic samples, ours or another tool's; raises MmganError for a file that holds none."""
    path = Path(path)
    tree = read_archive(path)
    entries = tree.get("folds") if "folds" in tree else [tree]
    if not isinstance(entries, list | tuple) or not entries:
        raise MmganError(f"{path} holds no synthetic samples (folds is no list, or empty); {FORMS}.")
    for entry in entries:
        missing = [key for key in ("x_synth", "y_synth") if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise MmganError(f"{path} holds no synthetic samples (no key '{missing[0]}'); {FORMS}.")
        if not isinstance(entry.get("fold"), int | np.integer | None):
            raise MmganError(f"{path}: its fold is {shown_value(entry['fold'])}; give the number of a fold.")
        if not isinstance(entry["x_synth"], dict):
            raise MmganError(f"{path}: x_synth is no dict of modalities; {FORMS}.")
    meta = tree.get("meta")
    recipe = meta.get("recipe") if isinstance(meta, dict) else None
    ours = isinstance(recipe, dict) and {"data", "fingerprint", "seed"} <= recipe.keys()
    return Content(path, tree, list(entries), recipe if ours else {})


def named_data(content: "Content", trust: Sequence[str] = ()) -> tuple[Dataset, dict[str, Any]]:
    """Return the data set that a file names, and how its folds are made; `trust` names packages whose data sources it may name."""
    data = content.recipe.get("data")
    if not isinstance(data, dict) or not {"source", "split", "n_splits"} <= data.keys():
        raise MmganError(f"{content.path} does not say what data it was made from; {REMEDY}")
    if not isinstance(data.get("ordered"), list | None):
        raise MmganError(f"{content.path}: its data.ordered is no list; {REMEDY}")
    return build_source(data["source"], content.path, trust=trust), data


def entry_samples(entry: Mapping[str, Any], dataset: Dataset, where: str) -> LabelledSamples:
    """Return an entry's samples as float32, with class indices for the labels that it gives them.

    Raises MmganError, which begins with `where`, for what is no array of numbers and for labels that the data do not have.
    """
    x = {}
    for name, values in entry["x_synth"].items():
        values = as_array(values, f"{where}: x_synth['{name}']")
        if values.dtype.kind not in "fiub":
            raise MmganError(f"{where}: x_synth['{name}'] holds {values.dtype}, no numbers; give arrays of floats.")
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            x[str(name)] = values.astype(np.float32)
    ordered = [name for name in dataset.schema.modalities if name in x]
    x = {name: x[name] for name in ordered} | x  # others are refused later
    labels = as_array(entry["y_synth"], f"{where}: y_synth")
    if labels.ndim != 1 or labels.dtype.hasobject:
        raise MmganError(
            f"{where}: y_synth is {labels.dtype} of shape {labels.shape}; give one number or text as label for each sample."
        )
    try:
        return x, np.array(dataset.schema.encode(labels.tolist()), dtype=np.int64)
    except MmganError as error:
        raise MmganError(f"{where}: {error}") from None


def entry_train_indices(entry: Mapping[str, Any], fold: Fold, dataset: Dataset, where: str) -> np.ndarray:
    """Return the indices (n,) of the samples that an entry's generator saw; without the key, those of the fold."""
    train = as_array(entry.get("train_indices", fold.train_indices), f"{where}: train_indices")
    if train.dtype.kind not in "iu" or train.ndim != 1 or not np.isin(train, np.arange(len(dataset))).all():
        raise MmganError(
            f"{where}: train_indices are not samples of {dataset.source}; leave the key out, or correct it."
        )
    return train.astype(np.int64)


def entry_unlabelled(entry: Mapping[str, Any], dataset: Dataset, where: str) -> Pool | None:
    """Return the unlabelled samples that an entry's generator saw (None: it says of none); raises MmganError where they cannot be found."""
    if (said := entry.get("unlabelled")) is None:
        return None
    source = said.get("source") if isinstance(said, dict) else None
    if not isinstance(source, str) or "unlabelled_indices" not in entry:
        raise MmganError(f"{where}: its 'unlabelled' has no source, or no unlabelled_indices beside it; correct them.")
    found = samples_of(dataset, source)
    indices = as_array(entry["unlabelled_indices"], f"{where}: unlabelled_indices")
    if (
        indices.dtype.kind not in "iu"
        or indices.ndim != 1
        or not np.isin(indices, np.arange(n_samples_of(found))).all()
    ):
        raise MmganError(f"{where}: unlabelled_indices are not samples of {source}; give the data= it was made from.")
    return Pool(source, indices.astype(np.int64), taken(found, indices))


def learnt_from(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence that says from how many unlabelled samples the generators of some entries learned; none is ''."""
    numbers = [
        (entry["unlabelled"]["number"], entry["unlabelled"]["source"]) for entry in entries if "unlabelled" in entry
    ]
    counts = ", ".join(dict.fromkeys(str(number) for number, _ in numbers))
    return (
        f"learned from {counts} unlabelled samples ({', '.join(dict.fromkeys(s for _, s in numbers))})"
        if numbers
        else ""
    )


def samples_of_fold(path: Any, dataset: Dataset, fold: Fold, split: Mapping[str, Any]) -> LabelledSamples:
    """Return the synthetic samples of one fold of a file, to train on; raises MmganError where their generator saw too much.

    `split` says how the fold's samples are parted for the model that trains: its `final`, `seed` and `inner_val`, and the
    `inner_val_indices` that choose its checkpoint. A generator that was parted otherwise has seen some of those.
    """
    content = read(str(path))
    content.check_made_from(dataset, "give a file made from these.")
    made = [entry for entry in content.entries if (entry.get("fold") or WHOLE) == fold.fold]
    if len(made) != 1:
        known = ", ".join(str(entry.get("fold", "none")) for entry in content.entries)
        raise MmganError(
            f"{path} must hold samples of fold {fold.fold} once (it has: {known}); synthesize them from that fold."
        )
    where, recipe = content.where(fold.fold), content.recipe
    seen, pool = entry_train_indices(made[0], fold, dataset, where), entry_unlabelled(made[0], dataset, where)
    if pool is not None and pool.source == REST:
        seen = np.append(seen, pool.indices)
    if not np.isin(seen, fold.train_indices).all():
        raise MmganError(
            f"{where}: its generator saw samples that this fold keeps back; give the data= options of that file."
        )
    alike = recipe.get("final") is False and recipe["seed"] == split["seed"]
    alike = alike and not np.isin(seen, split["inner_val_indices"]).any() if pool is not None else alike
    if len(split["inner_val_indices"]) and not (alike and recipe["data"]["inner_val"] == split["inner_val"]):
        raise MmganError(
            f"{where}: its generator saw the samples that choose this model's checkpoint; give final=true, which chooses none."
        )
    samples = entry_samples(made[0], dataset, where)
    check_samples(dataset.samples(fold.train_indices), samples, "synthetic")
    return samples
