"""One fold of a data set, served to Lightning in batches of (modality, ..., label)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import lightning as L
import numpy as np
import torch
from torch import Tensor

from mmgan.data.dataset import Dataset
from mmgan.data.folds import NumberOfFolds, Ratio, SamplesPerClass, Split, inner_split, make_folds, select_fold
from mmgan.errors import MmganError, PositiveInt, Range, Seed, ShareBelowOne, checked


class EndlessBatches:
    """Sample numbers of endless shuffles: epoch e serves the same batches whenever, and from wherever, it is begun.

    The stream is permutation 0 of `indices`, permutation 1, ..., each drawn from Philox keyed by (seed, its number);
    epoch e takes its `steps` x `batch_size` places. Yields int64 tensors (batch_size,), however few the samples are;
    of `together` processes that train one model, the one of `rank` gets its equal part of each batch.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, steps: int, seed: int):
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        self.rank, self.together = 0, 1
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration serves; Lightning calls it, also when a run resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        # A generator reads `epoch` at its first batch; Lightning sets it after asking for the iterator.
        number, place = divmod(self.epoch * self.steps * self.batch_size, len(self.indices))
        ahead = self._permutation(number)[place:]
        for _ in range(self.steps):
            while len(ahead) < self.batch_size:
                number += 1
                ahead = np.concatenate([ahead, self._permutation(number)])
            yield torch.from_numpy(ahead[: self.batch_size]).chunk(self.together)[self.rank]
            ahead = ahead[self.batch_size :]

    def _permutation(self, number: int) -> np.ndarray:
        key = np.array([self.seed, number], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.indices)


class BatchLoader:
    """Index tensors in memory by whole batches of sample numbers: the tuple of `tensors`, labels last, the others as float32.

    It is no torch DataLoader, which has nothing to add to samples in memory, and whose missing workers Lightning bemoans.
    """

    def __init__(self, tensors: tuple[Tensor, ...], batches: EndlessBatches | Sequence[Tensor]):
        self.tensors = tensors
        self.sampler = batches  # Lightning calls its `set_epoch`
        self.batch_sampler = None  # and looks here first, for one that shuffles

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for indices in self.sampler:
            *values, labels = (tensor[indices] for tensor in self.tensors)
            yield *(value.float() for value in values), labels


class FoldDataModule(L.LightningDataModule):
    """Serve one fold, counted from 1: (modality (B, *shape), ..., y (B,)) in the order of the schema.

    After `setup`: `fold`, and of its training samples `training_indices` and `inner_val_indices`. The arrays are shared with
    `dataset`, never copied. Raises MmganError where the fold or an option is not possible.

    Parameters
    ----------
    split : stratified, group (no group on both sides) or file (the file's own cv_splits).
    n_splits : number of folds.
    rows_per_class : train on so many random samples of each class of a fold; None: on all.
    imbalance_ratio : of a fold's most to its least frequent class; None: as they are.
    inner_val : share of a fold's training samples that stands in for val_indices while training and tuning.
    batch_size : samples of a batch.
    steps_per_epoch : batches of an epoch, whatever the number of samples.
    final : whether all the training samples train, and none stands in.
    """

    @checked
    def __init__(
        self,
        dataset: Dataset,
        fold: int,
        *,
        split: Split = "stratified",
        n_splits: NumberOfFolds = 5,
        rows_per_class: SamplesPerClass = None,
        imbalance_ratio: Ratio = None,
        inner_val: ShareBelowOne = 0.2,
        batch_size: Annotated[int, Range(1, 65_536)] = 128,
        steps_per_epoch: PositiveInt = 200,
        final: bool = False,
        seed: Seed = 0,
    ):
        super().__init__()
        self.dataset = dataset
        self.schema = dataset.schema
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self._number, self._inner_val = fold, 0.0 if final else inner_val
        self._limits = {"rows_per_class": rows_per_class, "imbalance_ratio": imbalance_ratio}
        self._split = split, n_splits
        self._tensors: tuple[Tensor, ...] = ()

    def setup(self, stage: str | None = None) -> None:
        """Find the samples of this fold, once, however often Lightning asks."""
        if not self._tensors:
            self._find_samples()
        if self.trainer is not None and not len(self.inner_val_indices):
            self.trainer.limit_val_batches = 0  # Lightning warns of a loader without batches

    def _find_samples(self) -> None:
        self.fold = select_fold(make_folds(self.dataset, *self._split, **self._limits), self._number)
        groups, y = self.dataset.groups, self.dataset.y_train
        if groups is not None and np.intersect1d(groups[self.fold.train_indices], groups[self.fold.val_indices]).size:
            groups = None  # where the fold parts groups, so may the inner split
        options = (y, self.fold.train_indices, self._inner_val, self.seed)
        self.training_indices, self.inner_val_indices = inner_split(*options, groups)
        if groups is not None and not len(self.inner_val_indices):  # a class has one group: it cannot be spared
            self.training_indices, self.inner_val_indices = inner_split(*options)
        self._batches = EndlessBatches(self.training_indices, self.batch_size, self.steps_per_epoch, self.seed)
        columns = [*(self.dataset.x_train[name] for name in self.schema.modalities), y]
        self._tensors = tuple(map(torch.from_numpy, columns))

    def samples(self, indices: np.ndarray, most: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return copies of these samples, ({name: (n, *shape)}, (n,)); of more than `most`, a fixed random choice."""
        if most is not None and len(indices) > most:
            indices = np.random.default_rng(0).permutation(indices)[:most]
        return self.dataset.samples(indices)

    def train_dataloader(self) -> BatchLoader:
        if self.trainer is not None:
            self._batches.rank, self._batches.together = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % self._batches.together:
            raise MmganError(
                f"data.batch_size={self.batch_size} cannot be shared equally by {self._batches.together} devices; give a"
                " multiple of their number."
            )
        return BatchLoader(self._tensors, self._batches)

    def val_dataloader(self) -> BatchLoader:
        indices = torch.from_numpy(self.inner_val_indices)
        return BatchLoader(self._tensors, indices.split(self.batch_size) if len(indices) else ())
