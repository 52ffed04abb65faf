"""A file of synthetic samples together with the real samples that judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.baselines import BASELINES
from mmgan.data.arrays import LabelledSamples, take
from mmgan.data.dataset import Dataset, taken
from mmgan.data.folds import Fold, configured_folds, select_fold, split_used, whole_fold
from mmgan.data.synthetic_file import (
    Content,
    entry_samples,
    entry_train_indices,
    entry_unlabelled,
    learnt_from,
    training_of,
)
from mmgan.data.unlabelled import REST
from mmgan.data.unlabelled import TEST as X_TEST
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import FoldSamples, distinct, n_compared
from mmgan.evaluation.table import REAL

POOLED = 240  # held-out samples of a fold: with fewer, the folds are judged together
TEST, VAL = "test samples whose labels were kept back", "each fold's own val_indices"
JUDGE = "each fold's own judge_indices, later samples of its training groups"


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
    ordered: list[str]  # vectors whose values have an order
    training: list[Mapping[str, Any]]  # of each fold's generator `epochs` and `seed`, where the file says them
    learnt: str = ""  # from how many unlabelled samples its generators learned, as a sentence

    def check(self) -> None:
        """Raise MmganError, naming the file, for samples that cannot be judged, or too few."""
        for fold in self.folds:
            fold.check(self.path)
        for folds in self.judged_together:
            try:
                n_compared(sum(len(distinct(f)[0][1]) for f in folds), sum(len(f.synthetic[1]) for f in folds))
            except MmganError as error:
                where = f", fold {folds[0].fold}" if folds[0].fold and len(folds) == 1 else ""
                raise MmganError(f"{self.path}{where}: {error}") from None

    @property
    def judged_together(self) -> list[list[FoldSamples]]:
        """The folds, those that are judged together in one list: all, where each has few held-out samples."""
        few = self.heldout != TEST and min(len(fold.heldout[1]) for fold in self.folds) < POOLED
        return [self.folds] if few else [[fold] for fold in self.folds]


def judged_file(content: Content, dataset: Dataset, options: Mapping[str, Any], fold: Any = None) -> SyntheticFile:
    """Return a file's folds with the real samples of the data set that it was made from; `options` describe its folds.

    `fold` chooses one of the file's folds, or says which fold's training samples a file without folds was made from; without
    it, all training samples were. Raises MmganError for a file that was made from other data.
    """
    path = content.path
    content.check_made_from(dataset, "give the data= it was made from.")
    dataset = without_seen_test(
        dataset,
        [str(pool.source) for entry in content.entries if (pool := entry_unlabelled(entry, dataset, str(path)))],
    )
    folds = configured_folds(dataset, options)
    chosen = _chosen(content, folds, fold)
    if not chosen:
        numbers = ", ".join(str(entry["fold"]) for entry in content.entries)
        raise MmganError(f"{path} has no fold={fold}; it holds {numbers}.")
    has_folds = all(number is not None for number, _ in chosen)
    by_test = judged_by_test(dataset)
    if not has_folds and not by_test:
        lack = "no labelled test samples" if dataset.y_test is None else "test samples of new groups only"
        if content.entries[0].get("fold", 0) is None:
            raise MmganError(
                f"{path}: its generator saw all samples (fold=none), and {dataset.source} has {lack}, so that none is left to judge it;"
                " judge a file of generators of folds (fold=all)."
            )
        raise MmganError(f"{path} says no fold, and {dataset.source} has {lack}; give fold=, whose val_indices judge.")
    ordered = list(options.get("ordered") or [])
    if unknown := sorted(set(ordered) - set(dataset.schema.modalities)):
        raise MmganError(
            f"data.ordered: {dataset.source} has no modality {unknown[0]}; give some of {', '.join(dataset.schema.modalities)}."
        )
    draw = f", draw {options['draw']}" if "draw" in options else ""
    name = str(content.entries[0].get("model", path.stem))
    return SyntheticFile(
        path=path,
        name=f"{name} (file)" if name in (REAL, *BASELINES) else name,  # no other row of the table has it
        dataset=dataset,
        data_name=f"{options.get('name', dataset.source)}{draw}",
        folds=[_fold_samples(number, entry, folds, dataset, content.where(number)) for number, entry in chosen],
        has_folds=has_folds,
        heldout=TEST if by_test else JUDGE if len(folds[0].judge_indices) else VAL,
        n_fold=len(folds[0].train_indices) + len(folds[0].extra_indices),
        n_val=len(folds[0].val_indices),
        grouped=split_used(dataset, options["split"]) == "group",
        ordered=ordered,
        training=[training_of(entry) for _, entry in chosen],
        learnt=learnt_from([entry for _, entry in chosen]),
    )


def _chosen(content: Content, folds: list[Fold], fold: Any) -> list[tuple[int | None, dict[str, Any]]]:
    """Return the entries to judge with their folds' numbers; None for samples that were made from all training samples."""
    path, entries = content.path, content.entries
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


def _fold_samples(
    number: int | None, entry: Mapping[str, Any], folds: list[Fold], dataset: Dataset, where: str
) -> FoldSamples:
    fold = whole_fold(dataset)
    if number is not None:
        fold = select_fold(folds, number)
    fold = replace(fold, train_indices=entry_train_indices(entry, fold, dataset, where))
    judging = np.concatenate([fold.val_indices, fold.judge_indices])
    if not judged_by_test(dataset) and np.isin(fold.train_indices, judging).any():
        raise MmganError(
            f"{where}: the generator saw samples that would judge it; give the data= and data.split= it was trained with."
        )
    heldout, unseen_groups = judging_samples(dataset, fold)
    heldout_is_val = not judged_by_test(dataset)
    synthetic = entry_samples(entry, dataset, where)
    pool = entry_unlabelled(entry, dataset, where)
    seen = fold.train_indices
    if pool is not None and pool.source == REST:
        if np.isin(pool.indices, judging).any():
            raise MmganError(
                f"{where}: its unlabelled_indices are samples that would judge it; give the data= it was trained with."
            )
        seen = np.append(seen, pool.indices)
    others = np.setdiff1d(np.arange(len(dataset)), seen)
    if heldout_is_val:
        others = np.setdiff1d(others, judging)
    train, others = dataset.samples(fold.train_indices), dataset.samples(others)
    return FoldSamples(fold.fold, train, heldout, synthetic, unseen_groups, others, None if pool is None else pool.x)


def without_seen_test(dataset: Dataset, sources: Sequence[str]) -> Dataset:
    """Return the data without labels of test samples where generators learned from these: what was seen cannot judge."""
    return replace(dataset, y_test=None) if X_TEST in sources else dataset


def judged_by_test(dataset: Dataset) -> bool:
    """Say whether the test samples judge finished generators: their labels are known, and not all are of groups that training lacks."""
    groups = dataset.test_groups
    return dataset.y_test is not None and (groups is None or np.isin(groups, dataset.groups).any())


def judging_samples(dataset: Dataset, fold: Fold) -> tuple[LabelledSamples, LabelledSamples | None]:
    """Return the samples that judge a fold's finished generator, and those of groups that it never saw (None: the same).

    They are the test samples where their labels are known, else `val_indices`; with `judge_indices`, these judge, and `val_indices` are
    unseen_groups. Where the fold keeps groups apart, the test samples
    of its training groups judge, and the others, with `val_indices`, are unseen_groups. Where all test samples are of groups that no
    training sample has, `val_indices` judge, and the test samples are unseen_groups.
    """
    val = dataset.samples(fold.val_indices)
    if dataset.y_test is None:
        return (dataset.samples(fold.judge_indices), val) if len(fold.judge_indices) else (val, None)
    x, y = taken(dataset.x_test, slice(None)), dataset.y_test
    if dataset.groups is None or dataset.test_groups is None:
        return (x, y), None
    if not judged_by_test(dataset):
        return val, (x, y)
    own = dataset.groups[np.concatenate([fold.train_indices, fold.extra_indices])]
    if not len(val[1]) or np.isin(dataset.groups[fold.val_indices], own).any():
        return (x, y), None
    known = np.isin(dataset.test_groups, own)
    unseen = {name: np.concatenate([values[~known], val[0][name]]) for name, values in x.items()}
    return (take(x, known), y[known]), (unseen, np.concatenate([y[~known], val[1]]))
