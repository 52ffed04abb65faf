"""Folds of windows without leaks: by recording, or by time where a class has one recording."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmgan.data.folds import RANDOM_STATE
from mmgan.errors import MmganError

JUDGING = 0.2  # share of a training recording that does not train, and judges fidelity and novelty


@dataclass(frozen=True)
class Splits:
    """cv_splits, the groups (N,) that no fold parts, and both in words."""

    entries: list[dict[str, Any]]
    groups: np.ndarray
    said: str
    judging: str  # who judges fidelity and novelty, in words


def leakless_splits(
    y: np.ndarray, groups: np.ndarray, recording: np.ndarray, start: np.ndarray, window: int, n_splits: int
) -> Splits:
    """Return the folds of samples with labels, groups, recordings, and first samples in these, (N,) each.

    Groups stay on one side: there are as many folds as the rarest class has groups, at most `n_splits`. Of a class with one group
    each fold's part is a block of time, and a group of its own; what begins less than two windows before or after the block, a gap
    of one window, does not train. Of each training recording the last 20 % are `judge_indices`, after such a gap, unless less than half
    of it would be left to train on; where that leaves a class without any, there are none. Raises MmganError for a class with too few
    windows for blocks.
    """
    n_groups = {label: len(np.unique(groups[y == label])) for label in np.unique(y)}
    single = [label for label, count in n_groups.items() if count == 1]
    n = min([n_splits, *(count for count in n_groups.values() if count > 1)])
    side = np.full(len(y), -1)  # the fold that each sample judges
    gap = np.zeros((n, len(y)), bool)  # of each fold
    whole = np.flatnonzero(~np.isin(y, single))
    if len(whole):
        folder = StratifiedGroupKFold(n, shuffle=True, random_state=RANDOM_STATE)
        for fold, (_, held) in enumerate(folder.split(whole, y[whole], groups[whole])):
            side[whole[held]] = fold
    for label in single:
        members = np.flatnonzero(y == label)
        members = members[np.lexsort((start[members], recording[members]))]
        for fold, block in enumerate(np.array_split(members, n)):
            side[block] = fold
            gap[fold, members] = _near(recording, start, members, block, 2 * window)
        if (
            any((side[members] == k).all() or not _trains(side, gap, k)[members].any() for k in range(n))
            or len(members) < n
        ):
            raise MmganError(
                f"class '{label}' has one recording of {len(members)} window(s), too few for {n} blocks of time with gaps; add"
                " recordings, or give a smaller data.n_splits=, data.hop= or data.window=."
            )
    trains = [np.flatnonzero(_trains(side, gap, fold)) for fold in range(n)]
    parted = [_parted(train, recording, start, 2 * window) for train in trains]
    judged = all(np.isin(y[train], y[judge]).all() for train, (_, judge) in zip(trains, parted, strict=True))
    entries = []
    for fold in range(n):
        entries.append({"train_indices": trains[fold], "val_indices": np.flatnonzero(side == fold), "fold": fold + 1})
        if judged:
            entries[-1] |= dict(zip(("train_indices", "judge_indices"), parted[fold], strict=True))
    blocks = [f"{group}, block {fold + 1}" for group, fold in zip(groups, side, strict=True)]
    said = _said(n, single, len(n_groups))
    judging = (
        f"the last {100 * JUDGING:.0f} % of each training recording, which do not train" if judged else "val_indices"
    )
    return Splits(entries, np.where(np.isin(y, single), blocks, groups), said, f"fidelity and novelty: {judging}")


def _near(recording: np.ndarray, start: np.ndarray, members: np.ndarray, block: np.ndarray, gap: int) -> np.ndarray:
    """Say which members begin within `gap` samples of the block, (n,)."""
    near = np.zeros(len(members), bool)
    for each in np.unique(recording[block]):
        times = start[block[recording[block] == each]]
        between = (start[members] > times.min() - gap) & (start[members] < times.max() + gap)
        near |= (recording[members] == each) & between
    return near


def _parted(train: np.ndarray, recording: np.ndarray, start: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the training samples that train, and the last of each recording, which judge."""
    kept, judge = [], []
    for each in np.unique(recording[train]):
        own = train[recording[train] == each]
        own = own[np.argsort(start[own], kind="stable")]
        cut = len(own) - round(JUDGING * len(own))
        last = own[cut:]
        before = own[:cut] if not len(last) else own[start[own] <= start[last[0]] - gap]
        enough = 2 * len(before) >= len(own)
        kept.append(before if enough else own)
        judge.append(last if enough else last[:0])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(judge))


def _trains(side: np.ndarray, gap: np.ndarray, fold: int) -> np.ndarray:
    return (side != fold) & ~gap[fold]


def _said(n: int, single: list[str], n_classes: int) -> str:
    if len(single) == n_classes:
        return f"{n} folds by blocks of time with a gap of a window, since each class has one recording"
    by_recording = f"{n} folds, no recording on both sides"
    if not single:
        return by_recording
    return f"{by_recording}, but of {', '.join(single)} (one recording), parted by time with a gap of a window"
