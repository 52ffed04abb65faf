"""The samples of one data set in memory, as every source returns them."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmgan.schema import Arrays, DataSchema


@dataclass
class Dataset:
    """Named modality arrays {name: float32, or uint8 of images, (N, *shape)} with labels int64 (N,) in 0..K-1.

    `y_test` is for scoring a finished result only; `splits` and `passthrough` are what the user's file says itself.
    """

    schema: DataSchema
    x_train: dict[str, np.ndarray]
    y_train: np.ndarray
    x_test: dict[str, np.ndarray] | None = None
    y_test: np.ndarray | None = None
    groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    splits: list[dict[str, Any]] | None = None
    source: str = "data"
    passthrough: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def divided(
        cls, schema: DataSchema, x: Arrays, y: np.ndarray, n_train: int, source: str, groups: np.ndarray | None = None
    ) -> "Dataset":
        """Return a data set whose first `n_train` samples train and whose others, if any, test."""
        test = {
            "x_test": {name: values[n_train:] for name, values in x.items()},
            "y_test": y[n_train:],
            "test_groups": None if groups is None else groups[n_train:],
        }
        x_train = {name: values[:n_train] for name, values in x.items()}
        groups = None if groups is None else groups[:n_train]
        return cls(schema, x_train, y[:n_train], groups=groups, source=source, **test if len(y) > n_train else {})

    def __len__(self) -> int:
        return len(self.y_train)

    def samples(self, indices: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return copies of these training samples, ({name: float32 (n, *shape)}, (n,))."""
        return taken(self.x_train, indices), self.y_train[indices]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the training samples, labels, groups and splits: names, types, shapes and bytes."""
        digest = hashlib.sha256(repr(self.schema.labels).encode())
        arrays = [*sorted(self.x_train.items()), ("y_train", self.y_train)]
        arrays += [] if self.groups is None else [("groups", self.groups)]
        for split in self.splits or []:
            kinds = [key for key in ("train_indices", "val_indices", "judge_indices") if key in split]
            arrays += [(f"{key}/{split['fold']}", split[key]) for key in kinds]
        for name, array in arrays:
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def taken(x: dict[str, np.ndarray], indices: np.ndarray | slice) -> dict[str, np.ndarray]:
    """Return these samples, {name: float32 (n, *shape)}."""
    return {name: array[indices].astype(np.float32, copy=False) for name, array in x.items()}
