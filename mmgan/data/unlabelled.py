"""Unlabelled samples that a generator may learn from beside the labelled ones: where they lie, and which of them it may see."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgan.data.arrays import n_samples_of
from mmgan.data.dataset import Dataset, taken
from mmgan.data.files import read_archive
from mmgan.data.folds import Fold
from mmgan.data.sources.pkl import read_unlabelled
from mmgan.errors import MmganError
from mmgan.schema import Arrays

NONE, TEST, REST, KEY = "none", "x_test", "rest", "x_unlabelled"
SUFFIXES = (".pkl", ".npz")


@dataclass(frozen=True)
class Pool:
    """Unlabelled samples {name: float32 (n, *shape)}: those of `source` that `indices` (n,) name."""

    source: str
    indices: np.ndarray
    x: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.indices)

    def facts(self) -> dict[str, Any]:
        """Return source, number and digest, as params.yaml keeps them."""
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(values).tobytes() for values in self.x.values()))
        return {"source": self.source, "number": len(self), "digest": digest.hexdigest()}


def samples_of(dataset: Dataset, source: str) -> Arrays:
    """Return all samples of a source: `x_test`, `rest` (x_train), a file, or another key of the data's file.

    Raises MmganError where there are none, or of other modalities or shapes.
    """
    if source == REST:
        return dataset.x_train
    if source == TEST:
        found = dataset.x_test
    elif source.endswith(SUFFIXES):
        content = read_archive(source)
        found = content if set(dataset.schema.modalities) <= content.keys() else content.get(KEY)
        if found is None:
            names = ", ".join(dataset.schema.modalities)
            raise MmganError(f"{source} has neither the modalities {names} nor '{KEY}'; give one of them.")
        found = {name: found[name] for name in dataset.schema.modalities} if found is content else found
    else:
        found = dataset.passthrough.get(source)
    if found is None:
        raise MmganError(
            f"data.unlabelled={source}: {dataset.source} has no such samples; give x_test, rest, a key of the data's file, or a"
            " .pkl or .npz file."
        )
    return read_unlabelled(found, source, dataset.schema)


def unlabelled_pool(dataset: Dataset, fold: Fold, source: str) -> Pool | None:
    """Return the unlabelled samples that a fold's generator may see (None: none are asked for).

    `rest` are the training samples that a limit left out. Of another source those are left out that equal a sample of
    x_train: it is known already, or judges. Raises MmganError where nothing is left.
    """
    if source == NONE:
        return None
    found = samples_of(dataset, source)
    if source == REST:
        indices = fold.extra_indices
        remedy = "data.rows_per_class or data.imbalance_ratio would leave some out; give one of them, or x_test"
    else:
        known = set(_digests(dataset.x_train, dataset))
        indices = np.array([i for i, digest in enumerate(_digests(found, dataset)) if digest not in known], np.int64)
        remedy = "all its samples are samples of x_train; give others"
    if not len(indices):
        raise MmganError(f"data.unlabelled={source}: there are no unlabelled samples ({remedy}).")
    return Pool(source, indices, taken({name: found[name] for name in dataset.schema.modalities}, indices))


def _digests(x: Arrays, dataset: Dataset) -> list[bytes]:
    """Return the bytes that tell each sample, as float32."""
    parts = [np.asarray(x[name], np.float32).reshape(n_samples_of(x), -1) for name in dataset.schema.modalities]
    return [hashlib.sha256(sample.tobytes()).digest() for sample in np.concatenate(parts, axis=1)]
