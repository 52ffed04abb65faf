"""Classical generators behind the interface of every other: the controls of `mmgan.evaluation`, with their training rows."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from mmgan.models.base import Rows, Synthesizer
from mmgan.models.noise import BLOCK_ROWS, BlockNoise
from mmgan.schema import DataSchema

Control = Callable[[Rows, np.ndarray, np.ndarray, np.random.Generator], Rows]


class ClassicalSynthesizer(Synthesizer):
    """A function (x, y, labels, rng) -> rows together with the training rows that it works from.

    Its checkpoint holds those rows: whoever is given the file is given the data.
    """

    def __init__(self, schema: DataSchema, *, control: Control):
        self.schema = schema
        self.control = control
        self.x: Rows = {}
        self.y = np.empty(0, np.int64)

    def fit_rows(self, x: Rows, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def _sample(self, label: int, noise: BlockNoise) -> Rows:
        return self.control(self.x, self.y, np.full(BLOCK_ROWS, label), noise.rng)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the training rows as tensors, for a checkpoint."""
        return {"y": torch.from_numpy(self.y), **{f"x.{name}": torch.from_numpy(v) for name, v in self.x.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the training rows of a checkpoint."""
        self.x = {name: state[f"x.{name}"].numpy() for name in self.schema.modalities}
        self.y = state["y"].numpy()
