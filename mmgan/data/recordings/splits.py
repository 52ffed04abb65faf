"""Folds of windows without leaks: by recording, or by time where a class has one recording."""

from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmgan.data.folds import RANDOM_STATE
from mmgan.errors import MmganError


def leakless_splits(
    y: np.ndarray, groups: np.ndarray, recording: np.ndarray, start: np.ndarray, window: int, n_splits: int
) -> tuple[list[dict[str, Any]], str]:
    """Return cv_splits of samples with labels y, groups, recordings and first samples `start`, all (N,), and what was done, in words.

    Groups stay on one side: there are as many folds as the rarest class has groups, at most `n_splits`. Of a class with one group
    each fold's part is a block of time; what begins less than two windows before or after it, a gap of one window, does not train.
    Raises MmganError for a class with too few windows for that.
    """
    n_groups = {label: len(np.unique(groups[y == label])) for label in np.unique(y)}
    single = [label for label, count in n_groups.items() if count == 1]
    several = [count for count in n_groups.values() if count > 1]
    n = min([n_splits, *several])
    side = np.full(len(y), -1)  # the fold that each sample judges
    left_out = np.zeros((n, len(y)), bool)
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
            for each in np.unique(recording[block]):
                times = start[block[recording[block] == each]]
                near = (start > times.min() - 2 * window) & (start < times.max() + 2 * window)
                left_out[fold] |= (recording == each) & near & (y == label)
        if any(
            not ((side == fold) & (y == label)).any() or not _trains(side, left_out, fold)[y == label].any()
            for fold in range(n)
        ):
            raise MmganError(
                f"class {label!r} has one recording with {len(members)} window(s), too few for {n} blocks of time with gaps; add"
                " recordings, or give a smaller data.n_splits=, data.hop= or data.window=."
            )
    entries = [
        {
            "train_indices": np.flatnonzero(_trains(side, left_out, fold)),
            "val_indices": np.flatnonzero(side == fold),
            "fold": fold + 1,
        }
        for fold in range(n)
    ]
    return entries, _said(n, single, len(n_groups))


def _trains(side: np.ndarray, left_out: np.ndarray, fold: int) -> np.ndarray:
    return (side != fold) & ~left_out[fold]


def _said(n: int, single: list[str], n_classes: int) -> str:
    if len(single) == n_classes:
        return f"{n} folds by blocks of time with a gap of a window, since each class has one recording"
    but = (
        f", but of {', '.join(single)}, whose one recording is parted by time with a gap of a window" if single else ""
    )
    return f"{n} folds, no recording on both sides{but}"
