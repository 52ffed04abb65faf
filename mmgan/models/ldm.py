"""Latent diffusion: the same as diffusion, in the latent space of a trained first stage."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgan.errors import MmganError
from mmgan.models.diffusion import ENCODED_ROWS, Diffusion
from mmgan.models.memory import Residuals
from mmgan.models.module import Batch
from mmgan.models.noise import BlockNoise
from mmgan.models.vqgan import VQGAN
from mmgan.nets.scaling import IdentityScaler
from mmgan.schema import Arrays, DataSchema


class LatentDiffusion(Diffusion):
    """Latent diffusion model (Rombach et al. 2022, arXiv:2112.10752) over a set of modalities.

    `first_stage` is schema -> a first stage, whose weights `adopt` takes; it is frozen, and part of the checkpoint. Latents are those before
    quantisation, with mean 0 and deviation 1 in each channel over the training samples. What the first stage drops of training samples is added to those that are
    drawn, `residual` times, as Gaussian noise with the mean and covariance that it has in their class.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        first_stage: Callable[[DataSchema], VQGAN] | None = None,
        residual: float = 1.0,
        **options: Any,
    ):
        if first_stage is None:
            raise MmganError("model=ldm needs a trained first stage; give first_stage= a run of model=vqgan.")
        stage = first_stage(schema)
        super().__init__(schema, latent_shapes=stage.latent_shapes(), scaler=IdentityScaler, **options)
        self.first_stage = stage.requires_grad_(False).eval()
        self.scaler = stage.scaler
        self.residual = float(residual)
        if not 0 <= self.residual <= 1:
            raise MmganError(f"model.residual={self.residual}: give a number from 0 to 1.")
        self.residuals = Residuals(schema.modalities)
        channels = stage.latent_channels
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def adopt(self, state_dict: dict[str, Tensor]) -> None:
        """Take the weights of a trained first stage."""
        self.first_stage.load_state_dict(state_dict)

    def train(self, mode: bool = True) -> "LatentDiffusion":
        super().train(mode)
        self.first_stage.eval()  # a codebook in training mode would go on learning
        return self

    def fit_scaler(self, x: Batch) -> None:
        """Measure the latents; the scaler of the samples is the first stage's, and stays."""
        with self.evaluating():
            parts = [
                self.first_stage.to_latents(self.scaler(dict(zip(x, values, strict=True))))["latent"]
                for values in zip(*(value.float().split(ENCODED_ROWS) for value in x.values()), strict=True)
            ]
        latents = torch.cat(parts).transpose(0, 1).flatten(1)  # (channels, values)
        self.shift.copy_(latents.mean(1))
        self.spread.copy_(latents.std(1, correction=0).clamp_min(1e-6))

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        if not self.residual:
            return
        kept = self.residuals.chosen(y)
        with self.evaluating():
            pairs = [(part, self._rebuilt(self.to_latents(part))) for part in self.scaled(x, kept)]
        parts = [{name: part[name] - rebuilt[name] for name in part} for part, rebuilt in pairs]
        self.residuals.fit_data(parts, torch.from_numpy(y[kept]))

    def to_latents(self, x: Batch) -> Batch:
        """Return the standardised latents of scaled samples."""
        with torch.no_grad():
            latents = self.first_stage.to_latents(x)
        return {name: (z - self._of(self.shift, z)) / self._of(self.spread, z) for name, z in latents.items()}

    def from_latents(self, z: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples: what the first stage makes of standardised latents, and noise like what it drops."""
        rows = self._rebuilt(z)
        if not self.residual:
            return rows
        dropped = self.residuals.draw(int(labels[0]), self.tensor(noise.normal((len(self.residuals.flat),))))
        return {name: value + self.residual * dropped[name] for name, value in rows.items()}

    def _rebuilt(self, z: Batch) -> Batch:
        return self.first_stage.from_latents(
            {name: value * self._of(self.spread, value) + self._of(self.shift, value) for name, value in z.items()}
        )

    @staticmethod
    def _of(values: Tensor, z: Tensor) -> Tensor:
        """(channels,) -> (1, channels, 1, ...), as many axes as z has."""
        return values.view(1, -1, *[1] * (z.dim() - 2))
