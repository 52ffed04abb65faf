"""A file of synthesize.py as a data set of PyTorch."""

import os

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmgan.api.augmented import Part, load_augmented
from mmgan.data import synthetic_file
from mmgan.errors import MmganError


class AugmentedDataset(Dataset[tuple[dict[str, Tensor], int, bool]]):
    """One fold of a file: item i is ({name: float32 tensor (*shape)}, class, whether it is synthetic).

    Classes are 0 ... K-1; `labels[k]` is the file's own label of class k. Raises MmganError as `load_augmented` does, and for test samples
    without labels.

    Parameters
    ----------
    file
        A .pkl or .npz that synthesize.py wrote.
    fold
        The fold's number; None: the file's only one.
    part
        "train", with synthetic samples behind the real ones; "val", or "test".
    """

    def __init__(self, file: str | os.PathLike[str], fold: int | None = None, *, part: Part = "train"):
        x, y, is_synthetic = load_augmented(file, fold, part=part)
        if y is None:
            raise MmganError(
                f"{file} does not say the labels of its test samples; give part=val, or use load_augmented."
            )
        self.labels: list[int | str] = np.unique(synthetic_file.read(file).tree["y_train"]).tolist()
        self.x = {name: torch.from_numpy(np.asarray(values, dtype=np.float32)) for name, values in x.items()}
        self.y = torch.from_numpy(np.searchsorted(self.labels, y))
        self.is_synthetic = torch.from_numpy(is_synthetic)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int, bool]:
        x = {name: values[index] for name, values in self.x.items()}
        return x, int(self.y[index]), bool(self.is_synthetic[index])
