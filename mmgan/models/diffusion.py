"""Diffusion: a network that removes noise, and samples that are drawn by removing all of it, step by step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.diffusion.process import LAST, Process, guided, solve
from mmgan.errors import MmganError
from mmgan.models.memory import ExemplarRows
from mmgan.models.module import Batch, Phase, moving_average
from mmgan.models.neural import NeuralSynthesizer
from mmgan.models.noise import BlockNoise
from mmgan.schema import Arrays, DataSchema

ENCODED_ROWS = 64  # that become latents together
HELD_OUT_LEVELS = 8  # of noise, at which each held-out row is looked at


class Diffusion(NeuralSynthesizer):
    """Class-conditional diffusion (Ho et al. 2020, arXiv:2006.11239) over a set of modalities.

    `sampling` is where `sample` begins: `prior`, with noise; `posterior`, with training samples of the class, in turn, to which noise is added up to the time `sampler.near`
    (SDEdit, Meng et al. 2022, arXiv:2108.01073; for data augmentation: Trabucco et al. 2024, arXiv:2302.07944). A model set up for the latter holds up to 10 000 training samples.
    `denoiser` is (shapes, n_classes) -> a network of `mmgan.nets.denoiser`, `process` one of `mmgan.diffusion.process`. `sampler` are the `steps` of its
    solver and the noise `eta` that they add (0: none), the `guidance` by the class (1: none), and the time `near`, from 0 (the row) to 1 (noise), up to which noise is added to samples.
    """

    monitor = "val/denoising"
    mode = "min"
    samplings = ("prior", "posterior")

    def __init__(
        self,
        schema: DataSchema,
        *,
        denoiser: Callable[..., nn.Module],
        process: Process,
        sampler: Mapping[str, Any],
        training: Mapping[str, Any],
        sampling: str,
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
        self.use_sampling(sampling)
        if sampling == "prior":
            self.samplings = ("prior",)  # no samples are kept that samples could begin at
        self.exemplars = ExemplarRows(self.latent_shapes)
        self.denoiser = denoiser(self.latent_shapes, schema.n_classes)
        self.average = moving_average(self.denoiser, training["ema_decay"])

    # -- where the process runs -----------------------------------------------------------------------------------
    def to_latents(self, x: Batch) -> Batch:
        """Return what is made noisy of scaled samples: here the samples themselves."""
        return x

    def from_latents(self, z: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples of what the solver ends with."""
        return z

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        if self.sampling == "prior":
            return
        kept = self.exemplars.chosen(y)
        with self.evaluating():
            parts = [self.to_latents(part) for part in self.scaled(x, kept)]
        self.exemplars.fit_data(parts, torch.from_numpy(y[kept]))

    def scaled(self, x: Arrays, kept: np.ndarray) -> Iterator[Batch]:
        """Yield the samples with indices `kept`, scaled, in parts."""
        for part in np.array_split(kept, -(-len(kept) // ENCODED_ROWS)):
            yield self.scaler({name: self.tensor(value[part]) for name, value in x.items()})

    # -- training -------------------------------------------------------------------------------------------------
    def phases(self) -> list[Phase]:
        return [Phase("denoiser", (self.denoiser,), self.terms)]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the prediction, `denoising`, at random times; some samples without their class."""
        z = self.to_latents(x)
        t = self.process.times(torch.rand(len(labels), device=labels.device))
        untold = torch.rand(len(labels), device=labels.device) < self.unlabelled
        told = labels.masked_fill(untold, self.schema.n_classes)
        noise = {k: torch.randn(v.shape, device=v.device, dtype=v.dtype) for k, v in z.items()}
        return {"denoising": self._error(self.denoiser, z, noise, told, t).mean()}

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.denoiser)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Take the error of the network that samples on held-out samples, always at the same times with the same noise."""
        x, labels = self.rows(batch)
        z, errors = self.to_latents(x), []
        generator = torch.Generator(self.device).manual_seed(batch_idx)
        for level in range(HELD_OUT_LEVELS):
            t = self.process.times(torch.full((len(labels),), (level + 0.5) / HELD_OUT_LEVELS, device=self.device))
            noise = {k: torch.randn(v.shape, generator=generator, device=self.device) for k, v in z.items()}
            errors.append(self._error(self.average, z, noise, labels, t))
        self.held_out(torch.stack(errors).mean(), len(labels))

    def _error(self, network: nn.Module, z: Batch, noise: Batch, labels: Tensor, t: Tensor) -> Tensor:
        """Return the squared errors of samples (B,): means over each modality, and over the modalities."""
        predicted = network({k: self.process.at(z[k], noise[k], t) for k in z}, t, labels)
        errors = [(predicted[k] - self.process.target(z[k], noise[k], t)).square().flatten(1).mean(1) for k in z]
        return torch.stack(errors).mean(0)

    # -- sampling -------------------------------------------------------------------------------------------------
    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        if self.sampling == "posterior":
            members = self.exemplars.members(int(labels[0]))
            if len(members):
                return self._near(self.exemplars.rows(members[noise.permuted_indices(len(members))]), labels, noise)
        return self._solved(self._noise(noise), LAST, self.steps, labels, noise)

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        return self._near(self.to_latents(x), labels, noise)

    def _near(self, z: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples near z: noise is added up to the time `sampler.near`, and removed."""
        white = self._noise(noise)
        t = torch.full((len(labels),), self.near, device=self.device)
        noisy = {k: self.process.at(z[k], white[k], t) for k in z}
        return self._solved(noisy, self.near, max(1, round(self.steps * self.near)), labels, noise)

    def _solved(self, z: Batch, start: float, steps: int, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return the scaled samples that the solver makes of z at time `start`."""
        stochastic = {"eta": self.eta, "fresh": lambda: self._noise(noise)}
        predict = guided(self.average, labels, self.schema.n_classes, self.guidance)
        return self.from_latents(solve(self.process, predict, z, steps, start, **stochastic), labels, noise)

    def _noise(self, noise: BlockNoise) -> Batch:
        return {name: self.tensor(noise.normal(shape)) for name, shape in self.latent_shapes.items()}
