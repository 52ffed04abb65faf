"""Classical generators behind the interface of every other: a function of `mmgan.baselines` with its training samples."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgan.baselines import Baseline
from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.schema import Arrays, DataSchema


class ClassicalGenerator:
    """A function (x, y, labels, rng) -> samples together with the training samples that it works from, all in physical units.

    Its checkpoint holds those samples: whoever is given the file is given the data.
    """

    samplings, sampling = ("prior",), "prior"
    needs_training = False

    def __init__(self, schema: DataSchema, *, baseline: Baseline):
        self.schema = schema
        self.baseline = baseline
        self.recipe: dict[str, Any] = {}
        self.seed = 0
        self.x: dict[str, np.ndarray] = {}
        self.y = np.empty(0, np.int64)
        self.weights: np.ndarray | None = None  # (n,), by which samples are drawn to start from; None: all alike

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        """Take in the training samples, {name: (n, *shape)}, with class indices (n,)."""
        self.x, self.y = dict(x), y

    def generate(self, label: int, noise: BlockNoise, sampling: str) -> dict[str, np.ndarray]:
        """Return samples of a class, {name: (64, *shape)}."""
        weights = {} if self.weights is None else {"weights": self.weights}
        return self.baseline(self.x, self.y, np.full(BLOCK_SIZE, label), noise.rng, **weights)

    def from_arrays(self, x: Arrays) -> Arrays:
        """Return the samples as they are."""
        return x

    def to_arrays(self, x: Arrays, *, mapped: bool = True) -> Arrays:
        """Return the samples as they are."""
        return x

    def evaluating(self) -> AbstractContextManager[None]:
        """Do nothing: there is no other mode."""
        return nullcontext()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the training samples as tensors, for a checkpoint."""
        weights = {} if self.weights is None else {"weights": torch.from_numpy(self.weights)}
        x = {f"x.{name}": torch.from_numpy(values) for name, values in self.x.items()}
        return {"y": torch.from_numpy(self.y), **x, **weights}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the training samples of a checkpoint."""
        self.x = {name: state[f"x.{name}"].numpy() for name in self.schema.modalities}
        self.y = state["y"].numpy()
        self.weights = state["weights"].numpy() if "weights" in state else None
