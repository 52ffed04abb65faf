"""Classical generators behind the interface of every other: the baselines of `mmgan.evaluation`, with their training samples."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.models.synthesizer import Synthesizer
from mmgan.schema import Arrays, DataSchema

Baseline = Callable[[Arrays, np.ndarray, np.ndarray, np.random.Generator], Arrays]


class ClassicalSynthesizer(Synthesizer):
    """A function (x, y, labels, rng) -> samples together with the training samples that it works from.

    Its checkpoint holds those samples: whoever is given the file is given the data.
    """

    def __init__(self, schema: DataSchema, *, baseline: Baseline):
        self.schema = schema
        self.baseline = baseline
        self.x: Arrays = {}
        self.y = np.empty(0, np.int64)

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def _sample(self, label: int, noise: BlockNoise) -> Arrays:
        return self.baseline(self.x, self.y, np.full(BLOCK_SIZE, label), noise.rng)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the training samples as tensors, for a checkpoint."""
        return {"y": torch.from_numpy(self.y), **{f"x.{name}": torch.from_numpy(v) for name, v in self.x.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the training samples of a checkpoint."""
        self.x = {name: state[f"x.{name}"].numpy() for name in self.schema.modalities}
        self.y = state["y"].numpy()
