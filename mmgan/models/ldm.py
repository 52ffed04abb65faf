"""Latent diffusion: where `Diffusion` runs for `model=ldm`, the latent space of a trained first stage."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.errors import MmganError, Share, checked
from mmgan.models.diffusion import ENCODED_SAMPLES
from mmgan.models.memory import Residuals
from mmgan.models.noise import BlockNoise
from mmgan.models.vqgan import VQGAN
from mmgan.schema import Batch, DataSchema


class LatentSpace(nn.Module):
    """The latents of a first stage (Rombach et al. 2022, arXiv:2112.10752): those before quantisation, standardised by channel.

    The first stage is frozen, and part of the checkpoint. What it drops of training samples is added to those that are drawn, as
    Gaussian noise with the mean and covariance that it has in their class.

    Parameters
    ----------
    first_stage : schema -> a first stage, whose weights `adopt` takes.
    residual : how much of what the first stage drops is added: 1 all, 0 none.
    """

    @checked
    def __init__(
        self, schema: DataSchema, *, first_stage: Callable[[DataSchema], VQGAN] | None = None, residual: Share = 1.0
    ):
        super().__init__()
        if first_stage is None:
            raise MmganError("model=ldm needs a trained first stage; give first_stage= a run of model=vqgan.")
        self.first_stage = first_stage(schema).requires_grad_(False).eval()
        self.shapes = self.first_stage.latent_shapes()
        self.residual = float(residual)
        self.residuals = Residuals(schema.modalities)
        self.register_buffer("shift", torch.zeros(self.first_stage.latent_channels))
        self.register_buffer("spread", torch.ones(self.first_stage.latent_channels))

    @property
    def scaler(self) -> nn.Module:
        """The scaling of the samples that the first stage sees."""
        return self.first_stage.scaler

    def adopt(self, state_dict: dict[str, Tensor]) -> None:
        """Take the weights of a trained first stage."""
        self.first_stage.load_state_dict(state_dict)

    def train(self, mode: bool = True) -> "LatentSpace":
        super().train(mode)
        self.first_stage.eval()  # a codebook in training mode would go on learning
        return self

    def fit(self, parts: Callable[[np.ndarray], Sequence[Batch]], labels: np.ndarray) -> None:
        """Measure the latents of the scaled training samples, `parts` (indices), and what the first stage drops of them."""
        everything = np.split(np.arange(len(labels)), range(ENCODED_SAMPLES, len(labels), ENCODED_SAMPLES))
        encoded = [self.first_stage.to_latents(x)["latent"] for part in everything for x in parts(part)]
        flat = torch.cat(encoded).transpose(0, 1).flatten(1)  # (channels, values)
        self.shift.copy_(flat.mean(1))
        self.spread.copy_(flat.std(1, correction=0).clamp_min(1e-6))
        if self.residual:
            kept = self.residuals.indices_of(labels)
            pairs = [(x, self._rebuilt(self.encode(x))) for x in parts(kept)]
            dropped = [{name: x[name] - rebuilt[name] for name in x} for x, rebuilt in pairs]
            self.residuals.fit_data(dropped, torch.from_numpy(labels[kept]))

    def encode(self, x: Batch) -> Batch:
        """Return the standardised latents of scaled samples."""
        with torch.no_grad():
            latents = self.first_stage.to_latents(x)
        return {name: (z - self._of(self.shift, z)) / self._of(self.spread, z) for name, z in latents.items()}

    def decode(self, z: Batch, label: int, noise: BlockNoise) -> Batch:
        """Return scaled samples: what the first stage makes of standardised latents, and noise like what it drops."""
        samples = self._rebuilt(z)
        if not self.residual:
            return samples
        white = torch.from_numpy(noise.normal((len(self.residuals.flat),))).to(self.shift.device)
        dropped = self.residuals.sample(label, white)
        return {name: value + self.residual * dropped[name] for name, value in samples.items()}

    def _rebuilt(self, z: Batch) -> Batch:
        return self.first_stage.from_latents(
            {name: value * self._of(self.spread, value) + self._of(self.shift, value) for name, value in z.items()}
        )

    @staticmethod
    def _of(values: Tensor, z: Tensor) -> Tensor:
        """(channels,) -> (1, channels, 1, ...), as many axes as z has."""
        return values.view(1, -1, *[1] * (z.dim() - 2))
