"""What a data set looks like: the only thing that networks, files and folds agree upon."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mmgan.errors import MmganError, shown_value

Arrays = Mapping[str, np.ndarray]  # samples by the name of their modality, (n, *shape), in physical units
Batch = dict[str, "torch.Tensor"]  # noqa: F821 - the same as tensors, (B, *shape), scaled; who only reads files loads no torch


def kind_of(shape: tuple[int, ...]) -> Literal["vector", "signal", "image"]:
    """Return what a modality of this shape is: (F,) a vector, (C, L) a signal, (C, H, W) an image; raises MmganError for another."""
    kinds = {1: "vector", 2: "signal", 3: "image"}
    if len(shape) not in kinds:
        raise MmganError(f"a modality has shape (F,), (C, L) or (C, H, W), not {tuple(shape)}.")
    return kinds[len(shape)]


@dataclass(frozen=True)
class DataSchema:
    """Modality names with their shapes of one sample, and the classes, which are 0..n_classes-1 inside mmgan.

    `labels[k]` is what the user's data call class k, `class_names[k]` is how pictures name it. `columns` are names of a vector's values,
    where the data have some. `order` is that in which the data name the modalities, where it is another.
    """

    modalities: dict[str, tuple[int, ...]]
    labels: tuple[int | str, ...]
    class_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python containers, for a checkpoint's recipe and a file's meta."""
        plain = {
            "modalities": {name: list(shape) for name, shape in self.modalities.items()},
            "labels": list(self.labels),
            "class_names": list(self.class_names),
        }
        plain |= {"columns": {name: list(of) for name, of in self.columns.items()}} if self.columns else {}
        return plain | ({"order": list(self.order)} if self.order else {})

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "DataSchema":
        """Rebuild a schema from `to_dict`; raises ValueError where labels, names or the order cannot be."""
        if sorted(order := plain.get("order") or plain["modalities"]) != sorted(plain["modalities"]):
            raise ValueError(f"the order names {order}")
        labels, names = tuple(plain["labels"]), tuple(plain["class_names"])
        if not all(isinstance(each, int | str) for each in labels) or len(set(labels)) < len(labels):
            raise ValueError(f"the labels are {_few(labels)}")
        if not all(isinstance(each, str) for each in names) or len(names) != len(labels):
            raise ValueError(f"the names of classes are {_few(names)}")
        return cls(
            modalities={name: tuple(shape) for name, shape in plain["modalities"].items()},
            labels=labels,
            class_names=names,
            columns={name: tuple(of) for name, of in plain.get("columns", {}).items()},
            order=tuple(plain.get("order", ())),
        )

    def as_given(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Return samples with their modalities in the order of the user's data."""
        return {name: x[name] for name in self.order or self.modalities}

    def check_samples(self, x: Mapping[str, Any]) -> int:
        """Return the number of samples in `x`, {name: (n, *shape)}; raise MmganError if names, shapes or lengths differ."""
        if set(x) != set(self.modalities):
            raise MmganError(f"the samples have modalities {sorted(x)}, but {sorted(self.modalities)} are expected.")
        for name, shape in self.modalities.items():
            if (found := tuple(x[name].shape[1:])) != shape:
                raise MmganError(f"modality '{name}' has samples of shape {found}, expected {shape}.")
        lengths = {name: len(x[name]) for name in self.modalities}
        if len(set(lengths.values())) > 1:
            raise MmganError(
                f"the modalities differ in their number of samples: {lengths}; give the same samples to each."
            )
        return next(iter(lengths.values()))

    def check_columns(self, x: Any, what: str) -> None:
        """Raise MmganError for a DataFrame, alone or by the name of its modality, whose columns are not those of the data's in their order."""
        given = x if isinstance(x, Mapping) else dict.fromkeys(self.modalities, x)
        for name, columns in self.columns.items():
            found = tuple(map(str, getattr(given.get(name), "columns", columns)))
            if found != columns:
                raise MmganError(
                    f"{what} has the columns {_few(found)} where the data have {_few(columns)}; give the same columns in the same order."
                )

    def check_partial(self, x: Mapping[str, Any]) -> int:
        """Return the number of samples in `x`, which has some modalities and not all; raise MmganError as `check_samples` does."""
        given = {name: shape for name, shape in self.modalities.items() if name in x}
        if not given or len(given) < len(x) or len(given) == len(self.modalities):
            raise MmganError(
                f"the samples have modalities {sorted(x)}; give some of {sorted(self.modalities)}, and not all of them."
            )
        return DataSchema(given, self.labels, self.class_names).check_samples(x)

    def encode(self, labels: Iterable[int | str]) -> list[int]:
        """Return the class indices of the user's own labels, or of class names; raise MmganError for a label that the data do not have."""
        taken = {*map(str, self.labels)}  # a name that could be a label is none
        names = {name: k for k, name in enumerate(self.class_names) if self.class_names.count(name) == 1}
        index = {name: k for name, k in names.items() if name not in taken}
        index |= {label: k for k, label in enumerate(self.labels)}
        labels = np.asarray(list(labels), dtype=object)
        if labels.ndim != 1:
            raise MmganError(f"the labels have shape {labels.shape}; give one label for each sample, (samples,).")
        unknown = sorted({str(label) for label in labels if not isinstance(label, Hashable) or label not in index})
        if unknown:
            raise MmganError(f"the labels {_few(unknown)} are none of the data's labels {_few(self.labels)}.")
        return [index[label] for label in labels]

    def decode(self, indices: Iterable[int]) -> list[int | str]:
        """Return the user's own labels of class indices."""
        return [self.labels[k] for k in indices]


def _few(values: Sequence[Any], most: int = 20) -> str:
    """Return values as a list that can be read, of many or long ones the beginning."""
    shown = [repr(shown_value(each) if isinstance(each, str) else each) for each in values[:most]]
    return f"[{', '.join(shown + ['...'] * (len(values) > most))}]"
