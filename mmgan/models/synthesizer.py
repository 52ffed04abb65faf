"""What every generator is to its users: labels in, a dict of named modality arrays out."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from mmgan.data.arrays import check_memory, flatten
from mmgan.data.pickles import as_array
from mmgan.data.writing import replacing
from mmgan.errors import MmganError, NonNegativeInt, PositiveInt, Seed, check_value
from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.schema import Arrays, Batch, DataSchema

if TYPE_CHECKING:
    import pandas

Labels = Iterable[int | str] | Mapping[int | str, int]  # one for each sample, or how many of each
Given = Arrays | np.ndarray  # samples; those of a single modality may come as they are
CANNOT = {  # what a family may have beside `generate`, and what is said where it has not
    "regenerate": "cannot draw samples near given samples; use sample.",
    "reconstruct": "has no encoder, so it cannot rebuild samples.",
    "complete": "cannot draw one modality for another; use model=vacwgan or model=vae.",
}


class Generates(Protocol):
    """What a family of generators offers to a `Synthesizer`; a family that can do more also has the methods named in `CANNOT`.

    Its samples are of one class each time, always BLOCK_SIZE of them, in a representation of its own: `from_arrays` and
    `to_arrays` lead from and to physical units.
    """

    schema: DataSchema
    samplings: tuple[str, ...]  # where samples can be drawn from
    sampling: str  # where they are, unless another is asked for
    recipe: dict[str, Any]  # what a checkpoint must know to sample: plain containers only

    def generate(self, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return samples of a class, {name: (BLOCK_SIZE, *shape)}, drawn from `noise` alone."""

    def from_arrays(self, x: Arrays) -> Batch:
        """Return samples in physical units in the family's own representation."""

    def to_arrays(self, x: Batch, *, mapped: bool = True) -> dict[str, np.ndarray]:
        """Return samples in physical units; `mapped`: with the marginals of the training samples."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Switch to evaluation mode and back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors of a checkpoint."""


class Synthesizer:
    """A generator of labelled samples in physical units.

    Labels are the data's own, or the names of their classes. Where all samples have one modality, it may be given without its name.
    Sample r of class c under a seed is always computed in the same block beside the same neighbours, so that neither the
    number nor the order of the labels changes a bit of it; the global random state is left alone.
    """

    def __init__(self, model: Generates):
        self.model = model
        self.schema = model.schema

    @property
    def recipe(self) -> dict[str, Any]:
        """What the checkpoint says of the training: plain containers."""
        return self.model.recipe

    def sample(
        self,
        labels: Labels | None = None,
        *,
        n_per_class: int | None = None,
        seed: int = 0,
        sampling: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw samples, {name: float32 (n, *shape)}, in the order of `labels_for` (labels).

        Raises MmganError for labels that the data do not have, an unknown `sampling`, and samples that are not finite.

        Parameters
        ----------
        labels
            A label for each sample, or {label: how many}.
        n_per_class
            As many of every class, instead.
        seed
            Seed of the noise.
        sampling
            Where samples come from, of a model that has several such places; None: as it was trained.
        """
        check_value("seed", seed := _plain(seed), Seed)
        sampling, labels = self._checked_sampling(sampling), self.labels_for(labels, n_per_class=n_per_class)
        return self._drawn(labels, lambda label, noise, _: self.model.generate(label, noise, sampling), seed)

    def labels_for(self, labels: Labels | None = None, *, n_per_class: int | None = None) -> np.ndarray:
        """Return a label (n,), the data's own, for each sample that `sample` draws with these arguments; numbers go class by class.

        Raises MmganError for labels that the data do not have, or where neither is given, or both are.
        """
        if (labels is None) == (n_per_class is None):
            raise MmganError("give labels, {label: how many}, or n_per_class=: one of them.")
        if labels is None:
            check_value("n_per_class", _plain(n_per_class), PositiveInt)
            labels = dict.fromkeys(self.schema.labels, n_per_class or 0)
        if isinstance(labels, Mapping):
            numbers = {label: _plain(n) for label, n in labels.items()}
            for label, n in numbers.items():
                check_value(f"number of {label}", n, NonNegativeInt)
            check_memory(sum(numbers.values()), self.schema.modalities)
            labels = [label for label, n in numbers.items() for _ in range(n)]
        own: list[Any] = self.schema.decode(self.schema.encode(_one_each(labels)))
        return np.array(own)

    def resample(self, x: Given, labels: Iterable[int | str], *, seed: int = 0) -> dict[str, np.ndarray]:
        """Draw one sample near each given one, {name: (n, *shape)}; raises MmganError where the model cannot."""
        x = self._named(x)
        return self._drawn_for(x, self.schema.check_samples(x), labels, self._able("regenerate"), seed)

    def reconstruct(self, x: Given, labels: Iterable[int | str]) -> dict[str, np.ndarray]:
        """Rebuild each given sample, {name: (n, *shape)}, from what the latents keep of it; raises MmganError where the model cannot."""
        x = self._named(x)
        n, rebuild = self.schema.check_samples(x), self._able("reconstruct")
        return self._drawn_for(x, n, labels, lambda given, label, noise: rebuild(given, label), mapped=False)

    def complete(
        self, x: Arrays, labels: Iterable[int | str], *, seed: int = 0, sampling: str | None = None
    ) -> dict[str, np.ndarray]:
        """Draw for each given sample, {name: (n, *shape)} of some modalities, the others; returns all, those given unchanged.

        Raises MmganError for samples that have no modality, an unknown one, or all, and where the model cannot.
        """
        x = self._named(x)
        n, fill, sampling = self.schema.check_partial(x), self._able("complete"), self._checked_sampling(sampling)
        drawn = self._drawn_for(x, n, labels, lambda given, label, noise: fill(given, label, noise, sampling), seed)
        return drawn | {name: np.array(value, np.float32) for name, value in x.items()}

    def to_frame(self, x: Given) -> "pandas.DataFrame":
        """Return samples, {name: (n, *shape)}, as a table with a row for each and a column for each value.

        Columns are called as those of the DataFrame that the model was trained on, otherwise by modality and place, `spec/0/12`.
        """
        import pandas

        x = self._named(x)
        known = {name: shape for name, shape in self.schema.modalities.items() if name in x}
        DataSchema(known, (), ()).check_samples(x)
        of_data = [title for name in x for title in self.schema.columns.get(name, ())]
        titles: list[str] = []
        for name, values in x.items():
            places = ["/".join(map(str, place)) for place in np.ndindex(values.shape[1:])]
            own = self.schema.columns.get(name) or places
            several = len(x) > 1 and any(of_data.count(title) > 1 for title in own)
            titles += [f"{name}/{title}" for title in own] if several or own is places else own
        return pandas.DataFrame(flatten(x), columns=titles)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model as a checkpoint, which `mmgan.load` and synthesize.py read; return its path. Raises MmganError if it cannot be written."""
        buffer = io.BytesIO()
        torch.save({"recipe": self.recipe, "state_dict": self.model.state_dict()}, buffer)
        with replacing(path) as stream:
            stream.write(buffer.getbuffer())
        return Path(path)

    def _checked_sampling(self, sampling: str | None) -> str:
        """Return where samples are drawn from, by default as the model was set up; raises MmganError for what the family does not have."""
        if sampling is None:
            return self.model.sampling
        if sampling not in self.model.samplings:
            raise MmganError(f"sampling={sampling}: this model has {', '.join(self.model.samplings)}.")
        return sampling

    def _named(self, x: Given) -> dict[str, np.ndarray]:
        """Return samples by the name of their modality, as arrays; raises MmganError for what are no numbers."""
        if not isinstance(x, Mapping):
            if len(self.schema.modalities) > 1:
                raise MmganError(
                    f"the samples have no modalities; give a dict with {', '.join(self.schema.modalities)}."
                )
            x = dict.fromkeys(self.schema.modalities, x)
        self.schema.check_columns(x, "what is given")
        x = {name: as_array(value, f"what is given of '{name}'") for name, value in x.items()}
        if other := [name for name, value in x.items() if value.dtype.kind not in "fiub"]:
            raise MmganError(f"the samples given of {other} hold {x[other[0]].dtype}; give arrays of numbers.")
        return x

    def _able(self, method: str) -> Callable[..., Batch]:
        if not hasattr(self.model, method):
            raise MmganError(f"{type(self.model).__name__} {CANNOT[method]}")
        return getattr(self.model, method)

    def _drawn_for(
        self, x: Arrays, n: int, labels: Iterable[int | str], draw: Callable[..., Batch], seed: int = 0, **options: bool
    ) -> dict[str, np.ndarray]:
        """Return what `draw` (64 of the n samples `x` in the model's own representation, label, noise) gives, block by block."""
        check_value("seed", seed := _plain(seed), Seed)
        labels = _one_each(labels)
        if broken := [name for name, value in x.items() if not np.isfinite(value).all()]:
            raise MmganError(f"the samples given of {broken} hold values that are not finite; leave such samples out.")
        if len(labels) != n:
            raise MmganError(f"{n} samples were given with {len(labels)} labels; give one label per sample.")

        def near(label: int, noise: BlockNoise, positions: np.ndarray) -> Batch:
            padded = np.resize(positions, BLOCK_SIZE)  # samples repeat until the block is full
            given = {name: np.asarray(value)[padded] for name, value in x.items()}
            return draw(self.model.from_arrays(given), label, noise)

        return self._drawn(labels, near, seed, **options)

    def _drawn(
        self, labels: Iterable[int | str], draw: Callable[..., Batch], seed: int, mapped: bool = True
    ) -> dict[str, np.ndarray]:
        """Return the samples of `draw` (label, noise, positions of at most 64 samples), one for each label."""
        indices = np.asarray(self.schema.encode(labels), dtype=np.int64)
        if not len(indices):
            raise MmganError("no labels were given; ask for at least one sample.")
        check_memory(len(indices), self.schema.modalities)
        out = {name: np.empty((len(indices), *shape), np.float32) for name, shape in self.schema.modalities.items()}
        with self.model.evaluating():
            for label, block, positions in _blocks(indices):
                drawn = self.model.to_arrays(draw(label, BlockNoise(seed, label, block), positions), mapped=mapped)
                for name, target in out.items():
                    target[positions] = drawn[name][: len(positions)]
        if broken := [name for name, value in out.items() if not np.isfinite(value).all()]:
            raise MmganError(f"the generator gives values that are not finite in {broken}; train it again.")
        return self.schema.as_given(out)


def _plain(value: Any) -> Any:
    """Return an integer of numpy's as one of Python's, and all else as it is."""
    return value.item() if isinstance(value, np.integer) else value


def _one_each(labels: Any) -> list[Any]:
    """Return labels, whatever holds them, or a single one, as a list; raises MmganError for what holds none."""
    labels = np.asarray(labels) if hasattr(labels, "__array__") else labels
    if isinstance(labels, np.ndarray):
        return [labels.item()] if labels.ndim == 0 else labels.tolist()
    if isinstance(labels, int | float | str | bytes):
        return [labels]
    if not isinstance(labels, Iterable):
        raise MmganError(
            f"a {type(labels).__name__} holds no labels; give a label for each sample, or {{label: how many}}."
        )
    return list(labels)


def _blocks(indices: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (label, block number, positions of at most 64 samples), each block of one class."""
    for label in np.unique(indices):
        positions = np.flatnonzero(indices == label)
        for block, start in enumerate(range(0, len(positions), BLOCK_SIZE)):
            yield int(label), block, positions[start : start + BLOCK_SIZE]
