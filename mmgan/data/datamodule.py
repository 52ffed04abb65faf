"""One fold of a data set, served to Lightning in batches of (modality, ..., label)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from mmgan.data.arrays import LabelledSamples, take
from mmgan.data.dataset import Dataset
from mmgan.data.folds import (
    WHOLE,
    NumberOfFolds,
    Ratio,
    SamplesPerClass,
    Split,
    inner_split,
    make_folds,
    select_fold,
    whole_fold,
)
from mmgan.data.unlabelled import NONE, Pool, unlabelled_pool
from mmgan.errors import MmganError, Positive, PositiveInt, Range, Seed, ShareBelowOne, checked
from mmgan.schema import Arrays

FEWEST_IN_BATCH = 16
BATCHES_PER_VIEW = 8  # of few samples, at least
MAX_PREPARED_VALUES = 2**26  # that are prepared at once: 256 MB


class EndlessBatches:
    """Sample numbers of endless shuffles: epoch e serves the same batches whenever, and from wherever, it is begun.

    The stream is permutation 0 of `indices`, permutation 1, ..., each drawn from Philox keyed by (seed, its number);
    epoch e takes its `steps` x `batch_size` places. Yields int64 tensors (batch_size,), however few the samples are;
    of `together` processes that train one model, the one of `rank` gets its equal part of each batch. With `weights` (n,) a permutation
    is as many draws with replacement, by weight.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, steps: int, seed: int, weights: np.ndarray | None = None):
        self.indices = np.asarray(indices, dtype=np.int64)
        self.shares = None if weights is None else weights / weights.sum()
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
        rng = np.random.Generator(np.random.Philox(key=key))
        if self.shares is None:
            return rng.permutation(self.indices)
        return rng.choice(self.indices, size=len(self.indices), p=self.shares)


class BatchLoader:
    """Index tensors in memory by whole batches of sample numbers: the tuple of `tensors`, labels last, the others as float32.

    It is no torch DataLoader, which has nothing to add to samples in memory, and whose missing workers Lightning bemoans.
    """

    def __init__(self, tensors: tuple[Tensor, ...], batches: EndlessBatches | Sequence[Tensor]):
        self.tensors = self.served = tensors
        self.sampler = batches  # Lightning calls its `set_epoch`
        self.batch_sampler = None  # and looks here first, for one that shuffles

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for indices in self.sampler:
            *values, labels = (tensor[indices] for tensor in self.served)
            yield *(value.float() for value in values), labels

    def prepare(self, prepared: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]) -> bool:
        """Serve samples as `prepared` makes them of all that there are; return False where these are many values, or more than an epoch's."""
        *values, labels = self.tensors
        too_many = len(labels) > len(self.sampler) * self.sampler.batch_size
        if too_many or sum(value.numel() for value in values) > MAX_PREPARED_VALUES:
            return False
        self.served = *prepared(tuple(value.float() for value in values)), labels
        return True


class FoldDataModule(L.LightningDataModule):
    """Serve one fold, counted from 1, or `WHOLE`: (modality (B, *shape), ..., y (B,)) in the order of the schema.

    After `setup`: `fold`, and of its training samples `training_indices` and `inner_val_indices`; `pool`, the unlabelled samples, if any.
    Without these, the arrays are shared with `dataset`, never copied. Raises MmganError where the fold or an option is not possible.

    Parameters
    ----------
    split : stratified, group (no group on both sides) or file (the file's own cv_splits).
    n_splits : number of folds.
    rows_per_class : train on so many random samples of each class of a fold; None: on all.
    imbalance_ratio : of a fold's most to its least frequent class; None: as they are.
    inner_val : share of a fold's training samples that stands in for val_indices while training and tuning.
    unlabelled : what a model learns from beside labelled samples: none, x_test, rest (the training samples that a limit left out), a key
        of the data's file, or a .pkl or .npz file.
    teacher : () -> what labels them by the training samples: `mmgan.labelling.teacher.Teacher`.
    batch_size : samples of a batch.
    steps_per_epoch : batches of an epoch, at most.
    views_per_epoch : how often an epoch shows each sample, at most: few samples have fewer and smaller batches, so that no network
        learns them by heart; None: an epoch of few samples is as long as one of many.
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
        unlabelled: str = NONE,
        teacher: Callable[[], Any] | None = None,
        batch_size: Annotated[int, Range(1, 65_536)] = 128,
        steps_per_epoch: PositiveInt = 200,
        views_per_epoch: Positive | None = None,
        final: bool = False,
        seed: Seed = 0,
    ):
        super().__init__()
        self.dataset = dataset
        self.schema = dataset.schema
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.views_per_epoch = views_per_epoch
        self.seed = seed
        self._number, self._inner_val = fold, 0.0 if final else inner_val
        self._limits = {"rows_per_class": rows_per_class, "imbalance_ratio": imbalance_ratio}
        self._split = split, n_splits
        self._unlabelled, self._teacher = unlabelled, teacher

    def setup(self, stage: str | None = None) -> None:
        """Find the samples of this fold, once, however often Lightning asks."""
        if not hasattr(self, "fold"):
            self._find_samples()
        if self.trainer is not None and not len(self.inner_val_indices):
            self.trainer.limit_val_batches = 0  # Lightning warns of a loader without batches

    def _find_samples(self) -> None:
        if self._number == WHOLE:
            self.fold = whole_fold(self.dataset, **self._limits)
        else:
            self.fold = select_fold(make_folds(self.dataset, *self._split, **self._limits), self._number)
        groups, y = self.dataset.groups, self.dataset.y_train
        if groups is not None and np.intersect1d(groups[self.fold.train_indices], groups[self.fold.val_indices]).size:
            groups = None  # where the fold parts groups, so may the inner split
        options = (y, self.fold.train_indices, self._inner_val, self.seed)
        self.training_indices, self.inner_val_indices = inner_split(*options, groups)
        if groups is not None and not len(self.inner_val_indices):  # a class has one group: it cannot be spared
            self.training_indices, self.inner_val_indices = inner_split(*options)
        self.pool: Pool | None = unlabelled_pool(self.dataset, self.fold, self._unlabelled)

    @cached_property
    def pseudo_labels(self) -> Any:
        """What the teacher says of the pool; it sees the samples that train, and no others (None: there is no pool)."""
        if self.pool is None:
            return None
        if self._teacher is None:
            raise MmganError(
                "data.teacher=null: expected what labels the unlabelled samples, such as mmgan.labelling.teacher.Teacher."
            )
        return self._teacher().label(*self.samples(self.training_indices), self.pool.x)

    def training_samples(self) -> tuple[LabelledSamples, np.ndarray | None]:
        """Return copies of all samples that train, pseudo-labelled ones last, and their weights (None: all alike)."""
        x, y = self.samples(self.training_indices)
        if self.pool is None:
            return (x, y), None
        more, labels = self._learnt
        return (_joined(x, more), np.append(y, labels)), self._weights

    @property
    def _learnt(self) -> LabelledSamples:
        kept = self.pseudo_labels.kept
        return take(self.pool.x, kept), self.pseudo_labels.labels[kept]

    @property
    def _weights(self) -> np.ndarray:
        own = np.full(len(self.training_indices), self.pseudo_labels.labelled_weight)
        return np.append(own, self.pseudo_labels.confidence[self.pseudo_labels.kept])

    @cached_property
    def _tensors(self) -> tuple[Tensor, ...]:
        x, y = self.dataset.x_train, self.dataset.y_train
        if self.pool is not None:
            more, labels = self._learnt
            x, y = _joined(x, more), np.append(y, labels)
        return tuple(torch.from_numpy(column) for column in (*(x[name] for name in self.schema.modalities), y))

    @cached_property
    def _batches(self) -> EndlessBatches:
        indices, weights = self.training_indices, None
        if self.pool is not None:
            indices, weights = np.append(indices, np.arange(len(self.dataset), len(self._tensors[-1]))), self._weights
        return EndlessBatches(indices, *self._sizes(len(indices)), self.seed, weights)

    @property
    def samples_of_a_batch(self) -> int:
        """How many samples a batch of the training has."""
        return self._batches.batch_size

    def _sizes(self, n: int) -> tuple[int, int]:
        """Return the size and number of an epoch's batches, of n training samples."""
        if self.views_per_epoch is None or self.views_per_epoch * n >= self.batch_size * self.steps_per_epoch:
            return self.batch_size, self.steps_per_epoch
        size = min(self.batch_size, max(FEWEST_IN_BATCH, n // BATCHES_PER_VIEW))
        return size, min(self.steps_per_epoch, math.ceil(self.views_per_epoch * n / size))

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


def _joined(x: Arrays, more: Arrays) -> dict[str, np.ndarray]:
    return {name: np.concatenate([values, more[name]]) for name, values in x.items()}
