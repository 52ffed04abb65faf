"""Smartwatch recordings of 7 shoulder exercises, as the package seglearn ships them (BSD licence)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.signal import hilbert
from sklearn.model_selection import train_test_split

from mmgan.data.dataset import Dataset
from mmgan.data.pickles import read_npy_dict
from mmgan.errors import MmganError, Seed, checked
from mmgan.schema import DataSchema

WINDOW = 96  # samples at 50 Hz
N_TRAIN, N_TEST = 860, 1140
N_HELD_OUT = 4  # subjects, of ten


@checked
def watch(
    draw: Seed = 0,
    group: Literal["subject", "recording"] = "subject",
    test: Literal["stratified", "group"] = "stratified",
) -> Dataset:
    """Return 860 training and 1140 test windows, spec (7, 48) and env (5, 32); https://doi.org/10.1088/1361-6579/aacfd9.

    Raises MmganError if seglearn is not installed.

    Parameters
    ----------
    draw : which of the 2478 windows train, and which test.
    group : what `groups` are, subjects or recordings.
    test : "group": all windows of four subjects test (828 to 1133), and 860 of the other six subjects' windows train.
    """
    recordings = read_npy_dict(_file())
    windows, origin = _windows(recordings["X"])  # (n, 6, 96), (n,)
    y = np.asarray(recordings["y"], dtype=np.int64)[origin]
    names = tuple(str(name) for name in recordings["y_labels"])
    groups = {"subject": np.asarray(recordings["subject"], dtype=np.int64)[origin], "recording": origin}
    options = {"train_size": N_TRAIN, "random_state": draw}
    if test == "group":
        is_test = np.isin(groups["subject"], held_out_subjects(np.unique(groups["subject"]), draw))
        in_test = np.random.default_rng(draw).permutation(np.flatnonzero(is_test))
        in_train, _ = train_test_split(np.flatnonzero(~is_test), stratify=y[~is_test], **options)
    else:
        in_train, in_test = train_test_split(np.arange(len(y)), stratify=y, test_size=N_TEST, **options)
    chosen = np.concatenate([in_train, in_test])
    x = {"spec": _spectrum(windows[chosen]), "env": _envelope(windows[chosen])}
    schema = DataSchema({"spec": (7, 48), "env": (5, 32)}, tuple(range(len(names))), names)
    return Dataset.divided(schema, x, y[chosen], N_TRAIN, "watch", groups[group][chosen].astype(np.int64))


def held_out_subjects(subjects: np.ndarray, draw: int) -> np.ndarray:
    """Return the four subjects that a draw holds out: draws 0 to 4 hold out each of ten twice."""
    order = np.random.default_rng(draw // 5).permutation(subjects)
    return np.take(order, N_HELD_OUT * (draw % 5) + np.arange(N_HELD_OUT), mode="wrap")


def _file() -> Path:
    """Find the recordings without importing seglearn, which would bring in pandas and more."""
    found = find_spec("seglearn")
    file = Path(found.origin).parent / "data" / "watch_dataset.npy" if found and found.origin else None
    if file is None or not file.is_file():
        raise MmganError("data=watch needs the recordings of the package seglearn: pip install seglearn.")
    return file


def _windows(recordings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cut recordings (T, 6) into adjoining windows (n, 6, 96), each with its recording's number (n,)."""
    cut = [signal[: len(signal) // WINDOW * WINDOW].reshape(-1, WINDOW, signal.shape[1]) for signal in recordings]
    origin = np.repeat(np.arange(len(cut)), [len(windows) for windows in cut])
    return np.concatenate(cut).transpose(0, 2, 1), origin


def _centred(signals: list[np.ndarray]) -> np.ndarray:
    stacked = np.concatenate(signals, axis=1)
    return stacked - stacked.mean(-1, keepdims=True)


def _norm(axes: np.ndarray) -> np.ndarray:
    return np.linalg.norm(axes, axis=1, keepdims=True)  # (n, 3, 96) -> (n, 1, 96)


def _spectrum(windows: np.ndarray) -> np.ndarray:
    """Log magnitude of bins 1..48 of the 6 axes and the acceleration norm: float32 (n, 7, 48)."""
    signals = _centred([windows, _norm(windows[:, :3])]) * np.hanning(WINDOW)
    return np.log1p(np.abs(np.fft.rfft(signals)[..., 1:49])).astype(np.float32)


def _envelope(windows: np.ndarray) -> np.ndarray:
    """Hilbert envelope of the 3 acceleration axes and both norms, averaged by threes: float32 (n, 5, 32)."""
    signals = _centred([windows[:, :3], _norm(windows[:, :3]), _norm(windows[:, 3:])])
    return np.abs(hilbert(signals)).reshape(*signals.shape[:2], 32, 3).mean(-1).astype(np.float32)
