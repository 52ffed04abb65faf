"""Diffusion: a network that removes noise, and rows that are drawn by removing all of it, step by step."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmgan.batch_noise import normal_like, uniform
from mmgan.errors import MmganError
from mmgan.losses.diffusion import LAST, Process, solve
from mmgan.models.neural import NeuralSynthesizer
from mmgan.models.noise import BlockNoise
from mmgan.models.phased import Batch, Phase, moving_average
from mmgan.schema import DataSchema

HELD_OUT_LEVELS = 8  # of noise, at which each held-out row is looked at


class Diffusion(NeuralSynthesizer):
    """Class-conditional diffusion (Ho et al. 2020, arXiv:2006.11239) over a set of modalities.

    `denoiser` is (shapes, n_classes) -> a network of `mmgan.nets.denoiser`, `process` one of `mmgan.losses.diffusion`. `sampler` are the `steps` of its
    solver and the noise `eta` that they add (0: none), the `guidance` by the class (Ho & Salimans 2022, arXiv:2207.12598; 1: none), and the share `near` of noise that `resample` starts from.
    """

    monitor = "val/denoising"
    mode = "min"

    def __init__(
        self,
        schema: DataSchema,
        *,
        denoiser: Callable[..., nn.Module],
        process: Process,
        sampler: Mapping[str, Any],
        training: Mapping[str, Any],
        latent_shapes: Mapping[str, tuple[int, ...]] | None = None,
        **shared: Any,
    ):
        super().__init__(schema, **shared)
        self.latent_shapes = dict(latent_shapes or schema.modalities)  # of what is made noisy
        self.process = process
        self.steps = sampler["steps"]
        self.eta = float(sampler["eta"])
        self.guidance = float(sampler["guidance"])
        self.near = float(sampler["near"])
        self.unlabelled = float(training["unlabelled"])
        if not isinstance(self.steps, int) or self.steps < 1:
            raise MmganError(f"model.sampler.steps={self.steps}: give a whole number from 1 on.")
        if not 0 <= self.eta <= 1:
            raise MmganError(f"model.sampler.eta={self.eta}: give a number from 0 to 1.")
        if not 0.01 <= self.near <= 0.99:
            raise MmganError(f"model.sampler.near={self.near}: give a number from 0.01 to 0.99.")
        if not 0 <= self.unlabelled < 1:
            raise MmganError(f"model.training.unlabelled={self.unlabelled}: give a share from 0 to below 1.")
        if self.guidance != 1 and not self.unlabelled:
            raise MmganError(
                f"model.sampler.guidance={self.guidance} compares with a network that is not told the class; give"
                " model.training.unlabelled above 0 too."
            )
        self.denoiser = denoiser(self.latent_shapes, schema.n_classes)
        self.average = moving_average(self.denoiser, training["ema_decay"])

    # -- where the process runs -----------------------------------------------------------------------------------
    def to_latents(self, x: Batch) -> Batch:
        """Return what is made noisy of scaled rows: here the rows themselves."""
        return x

    def from_latents(self, z: Batch) -> Batch:
        """Return scaled rows of what the solver ends with."""
        return z

    # -- training -------------------------------------------------------------------------------------------------
    def phases(self) -> list[Phase]:
        return [Phase("denoiser", (self.denoiser,), self.terms)]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the prediction, `denoising`, at random times; some rows without their class."""
        z = self.to_latents(x)
        t = self.process.times(uniform((len(labels),), labels))
        untold = uniform((len(labels),), labels) < self.unlabelled
        told = labels.masked_fill(untold, self.schema.n_classes)
        return {"denoising": self._error(self.denoiser, z, told, t).mean()}

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.denoiser)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Take the error of the network that samples on held-out rows, always at the same times with the same noise."""
        x, labels = self.rows(batch)
        z = self.to_latents(x)
        generator = torch.Generator(self.device).manual_seed(batch_idx)
        errors = []
        for level in range(HELD_OUT_LEVELS):
            t = self.process.times(torch.full((len(labels),), (level + 0.5) / HELD_OUT_LEVELS, device=self.device))
            errors.append(self._error(self.average, z, labels, t, generator))
        self.held_out(torch.stack(errors).mean(), len(labels))

    def _error(
        self, network: nn.Module, z: Batch, labels: Tensor, t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the squared errors of rows (B,): means over each modality, and over the modalities."""
        noise = {k: normal_like(v) if generator is None else _fixed(v, generator) for k, v in z.items()}
        predicted = network({k: self.process.at(z[k], noise[k], t) for k in z}, t, labels)
        errors = [(predicted[k] - self.process.target(z[k], noise[k], t)).square().flatten(1).mean(1) for k in z]
        return torch.stack(errors).mean(0)

    # -- sampling -------------------------------------------------------------------------------------------------
    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        return self._solved(self._noise(noise), LAST, self.steps, labels, noise)

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return rows near the scaled rows x: noise is added up to the time `sampler.near`, and removed (SDEdit, Meng et al. 2022, arXiv:2108.01073)."""
        z, white = self.to_latents(x), self._noise(noise)
        t = torch.full((len(labels),), self.near, device=self.device)
        noisy = {k: self.process.at(z[k], white[k], t) for k in z}
        return self._solved(noisy, self.near, max(1, round(self.steps * self.near)), labels, noise)

    def _solved(self, z: Batch, start: float, steps: int, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return the scaled rows that the solver makes of z at time `start`."""
        stochastic = {"eta": self.eta, "fresh": lambda: self._noise(noise)}
        return self.from_latents(solve(self.process, self._predictor(labels), z, steps, start, **stochastic))

    def _noise(self, noise: BlockNoise) -> Batch:
        return {name: self.tensor(noise.normal(shape)) for name, shape in self.latent_shapes.items()}

    def _predictor(self, labels: Tensor) -> Callable[[Batch, Tensor], Batch]:
        if self.guidance == 1:
            return lambda x, t: self.average(x, t, labels)
        nothing = torch.full_like(labels, self.schema.n_classes)

        def guided(x: Batch, t: Tensor) -> Batch:
            both = {k: torch.cat([v, v]) for k, v in x.items()}
            predicted = self.average(both, torch.cat([t, t]), torch.cat([labels, nothing]))
            told, untold = ({k: v.chunk(2)[side] for k, v in predicted.items()} for side in (0, 1))
            return {k: torch.lerp(untold[k], told[k], self.guidance) for k in x}

        return guided


def _fixed(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
