"""Which samples train and which judge: folds, and the inner split that stands in for the judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mmgan.data.dataset import Dataset
from mmgan.data.pickles import as_array
from mmgan.errors import MmganError, PositiveInt, Range, Seed, ShareBelowOne, checked

RANDOM_STATE = 1024  # of the folds, for every seed of a training
FEWEST_INNER_VAL = 10  # samples of an inner split
WHOLE = 0  # the number that stands for fold=none: all samples train, and none judges
FEWEST_TRAINING = 60  # with fewer training samples, an inner split takes more than it tells

Split = Literal["stratified", "group", "file"]
ENTRY = ("fold", "train_indices", "val_indices", "judge_indices")  # of cv_splits; the last may be absent
NumberOfFolds = Annotated[int, Range(2, 1000)]
SamplesPerClass = PositiveInt | None
Ratio = Annotated[float, Range(1)] | None


@dataclass(frozen=True)
class Fold:
    """One fold, counted from 1; the indices are int64 samples of x_train, `extra_indices` those that `limit_samples` left out.

    `judge_indices` are unseen samples of the training groups, which judge fidelity and novelty where `val_indices` are of other groups.
    """

    fold: int
    train_indices: np.ndarray
    val_indices: np.ndarray
    extra_indices: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    judge_indices: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@checked
def make_folds(
    dataset: Dataset,
    split: Split,
    n_splits: NumberOfFolds = 5,
    *,
    rows_per_class: SamplesPerClass = None,
    imbalance_ratio: Ratio = None,
) -> list[Fold]:
    """Return the folds of `split`: "stratified", "group" (no group on both sides), or "file".

    "file" takes the file's own cv_splits; where the file has none, it is "group" of as many folds as the rarest class has groups,
    at most `n_splits`, or "stratified" without groups. The last two options limit the training samples as `limit_samples` does.
    Raises MmganError for missing groups, a class with fewer samples than folds, or one without a training sample in a fold.
    """
    used = split_used(dataset, split)
    if used == "file":
        folds = [Fold(**{key: entry[key] for key in ENTRY if key in entry}) for entry in dataset.splits]
    else:
        if used != split and used == "group":
            n_splits = max(2, min(n_splits, _fewest_groups(dataset)))
        split = used
        _check_counts(dataset, split, n_splits)
        kind = StratifiedGroupKFold if split == "group" else StratifiedKFold
        folder = kind(n_splits, shuffle=True, random_state=RANDOM_STATE)
        pairs = folder.split(dataset.y_train, dataset.y_train, dataset.groups if split == "group" else None)
        folds = [Fold(number, *sides) for number, sides in enumerate(pairs, start=1)]
    for fold in folds:
        absent = np.setdiff1d(np.arange(dataset.schema.n_classes), dataset.y_train[fold.train_indices])
        if len(absent):
            raise MmganError(
                f"{dataset.source}: fold {fold.fold} has no training sample of class "
                f"{dataset.schema.labels[absent[0]]!r}; use other cv_splits, or data.split=stratified."
            )
    return [limit_samples(dataset.y_train, fold, rows_per_class, imbalance_ratio) for fold in folds]


def split_used(dataset: Dataset, split: Split) -> Split:
    """Return how the folds are made: what "file" stands for, where a file has no cv_splits."""
    if split != "file" or dataset.splits is not None:
        return split
    return "stratified" if dataset.groups is None else "group"


def _fewest_groups(dataset: Dataset) -> int:
    pairs = np.unique(np.stack([dataset.y_train, dataset.groups]), axis=1)
    return int(np.bincount(pairs[0]).min())


def configured_folds(dataset: Dataset, options: Mapping[str, Any]) -> list[Fold]:
    """Return the folds that a data configuration describes, with the limits of its training samples; see `make_folds`."""
    limits = {key: options.get(key) for key in ("rows_per_class", "imbalance_ratio")}  # older recipes have none
    return make_folds(dataset, options["split"], options["n_splits"], **limits)


def configured_fold(dataset: Dataset, options: Mapping[str, Any], number: int) -> Fold:
    """Return the fold of that number of a data configuration; see `configured_folds` and `whole_fold`."""
    if number == WHOLE:
        return whole_fold(dataset, options.get("rows_per_class"), options.get("imbalance_ratio"))
    return select_fold(configured_folds(dataset, options), number)


def fold_name(number: int) -> str:
    """Return how a fold is called where it stands for itself: 'fold 3', or of `WHOLE` 'all samples'."""
    return "all samples" if number == WHOLE else f"fold {number}"


def whole_fold(dataset: Dataset, rows_per_class: SamplesPerClass = None, imbalance_ratio: Ratio = None) -> Fold:
    """Return the fold `WHOLE`: all samples train, limited as `limit_samples` does it, and none judges."""
    fold = Fold(WHOLE, np.arange(len(dataset)), np.empty(0, np.int64))
    return limit_samples(dataset.y_train, fold, rows_per_class, imbalance_ratio)


def limit_samples(y: np.ndarray, fold: Fold, rows_per_class: SamplesPerClass, imbalance_ratio: Ratio) -> Fold:
    """Keep random training samples of each class, as the limits ask (None: no limit); the others become `extra_indices`.

    `y` is (N,) over all samples. `rows_per_class` samples are kept of each class, or all where it has fewer. Then
    `imbalance_ratio` r keeps round(n r^(-i / (K - 1))), at least one, of the class of random rank i = 0 ... K - 1, where
    n is the largest class's number of samples: long-tailed sizes, https://arxiv.org/abs/1901.05555. The samples of a
    stricter limit are among those of a laxer one.
    """
    if rows_per_class is None and imbalance_ratio is None:
        return fold
    labels = y[fold.train_indices]
    classes, sizes = np.unique(labels, return_counts=True)
    sizes = np.minimum(sizes, rows_per_class or len(y))
    if imbalance_ratio is not None and len(classes) > 1:
        rank = np.random.default_rng([RANDOM_STATE, fold.fold]).permutation(len(classes))
        long_tail = np.rint(sizes.max() * float(imbalance_ratio) ** (-rank / (len(classes) - 1)))
        sizes = np.minimum(sizes, np.maximum(long_tail, 1).astype(int))
    kept = np.zeros(len(labels), bool)
    for label, size in zip(classes, sizes, strict=True):
        rng = np.random.default_rng([RANDOM_STATE, fold.fold, 1 + label])  # a 0 at the end would change nothing
        kept[rng.permutation(np.flatnonzero(labels == label))[:size]] = True
    return replace(fold, train_indices=fold.train_indices[kept], extra_indices=fold.train_indices[~kept])


def _check_counts(dataset: Dataset, split: str, n_splits: int) -> None:
    counts = np.bincount(dataset.y_train, minlength=dataset.schema.n_classes)
    if (fewest := counts.min()) < n_splits:
        name = dataset.schema.labels[counts.argmin()]
        remedy = f"give data.n_splits={fewest}" if fewest > 1 else "add samples or remove the class"
        raise MmganError(
            f"{dataset.source}: class {name!r} has {fewest} sample(s), fewer than the {n_splits} folds; {remedy}."
        )
    if split != "group":
        return
    if dataset.groups is None:
        raise MmganError(f"{dataset.source} has no groups, which data.split=group needs; use data.split=stratified.")
    if (n_groups := len(np.unique(dataset.groups))) < n_splits:
        remedy = f"data.n_splits={n_groups} or data.split=stratified" if n_groups > 1 else "data.split=stratified"
        raise MmganError(f"{dataset.source} has {n_groups} group(s), fewer than the {n_splits} folds; give {remedy}.")


def select_fold(folds: Sequence[Fold], fold: int) -> Fold:
    """Return the fold of that number; raise MmganError naming the valid ones."""
    by_number = {entry.fold: entry for entry in folds}
    if isinstance(fold, bool) or fold not in by_number:
        raise MmganError(f"there is no fold={fold}; this data has the folds {', '.join(map(str, sorted(by_number)))}.")
    return by_number[fold]


def read_splits(splits: Any, n_samples: int) -> list[dict[str, Any]]:
    """Return a file's cv_splits with int64 indices, by number; raise MmganError where they cannot be used."""
    wanted = "give a list of {'train_indices', 'val_indices', 'fold'}, with fold counted from 1"
    if not isinstance(splits, list | tuple) or not splits or not all(isinstance(entry, dict) for entry in splits):
        raise MmganError(f"cv_splits is not a list of folds; {wanted}, or remove the key.")
    read = []
    for position, entry in enumerate(splits, start=1):
        where = f"entry {position} of cv_splits"
        for key in ("train_indices", "val_indices", "fold"):
            if key not in entry:
                raise MmganError(f"{where} has no {key}; {wanted}.")
        number = entry["fold"]
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise MmganError(f"{where} has the number {number!r}; {wanted}.")
        train, val = (
            _read_indices(entry[key], n_samples, f"{where}: {key}") for key in ("train_indices", "val_indices")
        )
        if len(shared := np.intersect1d(train, val)):
            raise MmganError(
                f"{where}: train_indices and val_indices overlap in {len(shared)} sample(s), such as {shared[0]}; "
                "keep each sample on one side."
            )
        read.append({"train_indices": train, "val_indices": val, "fold": int(number)})
        if entry.get("judge_indices") is not None:
            judge = _read_indices(entry["judge_indices"], n_samples, f"{where}: judge_indices")
            if len(shared := np.intersect1d(judge, np.concatenate([train, val]))):
                raise MmganError(
                    f"{where}: judge_indices hold {len(shared)} sample(s) of train_indices or val_indices, such as {shared[0]};"
                    " keep each sample in one of them."
                )
            read[-1]["judge_indices"] = judge
    numbers = [entry["fold"] for entry in read]
    if len(set(numbers)) < len(numbers):
        raise MmganError(f"cv_splits has the fold numbers {numbers}; number each fold once, from 1.")
    return sorted(read, key=lambda entry: entry["fold"])


def _read_indices(indices: Any, n_samples: int, where: str) -> np.ndarray:
    indices = as_array(indices, where)
    remedy = f"give integers from 0 to {n_samples - 1}."
    if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
        raise MmganError(f"{where} is not a non-empty list of sample numbers; {remedy}")
    if len(outside := indices[(indices < 0) | (indices >= n_samples)]):
        raise MmganError(
            f"{where} points outside the data with {len(outside)} sample number(s), such as {outside[0]}; {remedy}"
        )
    if len(np.unique(indices)) < len(indices):
        raise MmganError(f"{where} names a sample twice; name each sample once.")
    return indices.astype(np.int64)


@checked
def inner_split(
    y: np.ndarray, train_indices: np.ndarray, inner_val: ShareBelowOne, seed: Seed, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split a fold's training samples into (training_indices, inner_val_indices), stratified, deterministic in `seed`.

    `y` and `groups` are (N,) over all samples; with groups, none is on both sides. Every class keeps a sample to train on.
    `inner_val_indices` are empty below 60 training samples. Raises MmganError for a share that leaves too few.
    """
    if len(train_indices) < FEWEST_TRAINING or inner_val == 0:
        return train_indices, train_indices[:0]
    if inner_val * len(train_indices) < FEWEST_INNER_VAL:
        least = FEWEST_INNER_VAL / len(train_indices)
        raise MmganError(
            f"data.inner_val={inner_val} leaves too few samples to score; give {least:.2f} or more, or 0 for none."
        )
    rng = np.random.default_rng(seed)
    labels = y[train_indices]
    if groups is None:
        chosen = _share_of_classes(labels, inner_val, rng)
    else:
        chosen = _whole_groups(labels, groups[train_indices], inner_val, rng)
    return train_indices[~chosen], train_indices[chosen]


def _share_of_classes(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return chosen


def _whole_groups(labels: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Take random groups while they bring the classes nearer to their share and leave each a sample to train on."""
    _, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((members.max() + 1, labels.max() + 1), int)  # (groups, classes)
    np.add.at(counts, (members, labels), 1)
    total = counts.sum(0)

    def distance(taken: np.ndarray) -> float:
        return np.abs(taken - share * total).sum() if (taken < np.maximum(total, 1)).all() else np.inf

    order = rng.permutation(len(counts))
    first = min(order, key=lambda group: distance(counts[group]))  # at least one, however large
    if distance(counts[first]) == np.inf:
        return np.zeros(len(labels), bool)
    picked, taken = [first], counts[first]
    for group in order[order != first]:
        if distance(taken + counts[group]) < distance(taken):
            picked.append(group)
            taken = taken + counts[group]
    return np.isin(members, picked)
