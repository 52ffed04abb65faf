"""Diffusion: a network that removes noise, and samples that are drawn by removing all of it, step by step."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.data.arrays import n_samples_of, take
from mmgan.diffusion.guidance import guided
from mmgan.diffusion.process import LAST, Process
from mmgan.diffusion.solver import solve
from mmgan.errors import (
    Betas,
    CalibrationSamples,
    Clip,
    MmganError,
    NonNegative,
    PositiveInt,
    Range,
    Rates,
    Share,
    ShareBelowOne,
    Weights,
    checked,
)
from mmgan.models.average import MovingAverage
from mmgan.models.latent import IN_TRAINING, fit_in_full, fit_quantile_mapping
from mmgan.models.memory import SampleMemory
from mmgan.models.module import Phase, PhasedModel
from mmgan.models.noise import BlockNoise
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.schema import Arrays, Batch, DataSchema

ENCODED_SAMPLES = 64  # that become latents together
HELD_OUT_LEVELS = 8  # of noise, at which each held-out sample is looked at


class DataSpace(nn.Module):
    """Where diffusion runs on the scaled samples themselves; `mmgan.models.ldm.LatentSpace` is another place."""

    scaler = None  # the model's own

    def __init__(self, schema: DataSchema):
        super().__init__()
        self.shapes = dict(schema.modalities)

    def fit(self, parts: Callable[[], Any], labels: np.ndarray) -> None:
        """Take in the scaled training samples, in parts."""

    def encode(self, x: Batch) -> Batch:
        """Return what is made noisy of scaled samples."""
        return x

    def decode(self, z: Batch, label: int, noise: BlockNoise) -> Batch:
        """Return scaled samples of what the solver ends with."""
        return z


class Diffusion(PhasedModel):
    """Class-conditional diffusion (Ho et al. 2020, arXiv:2006.11239) over a set of modalities.

    Parameters
    ----------
    denoiser : (shapes, n_classes) -> a network of `mmgan.nets.denoiser`.
    process : one of `mmgan.diffusion.process`.
    space : schema -> where diffusion runs: the scaled samples, or the latents of a first stage.
    sampling : where `sample` begins: at training samples of the class with noise added up to `strength` (posterior; a checkpoint then holds up to 10 000 training samples), or at noise (prior).
    strength : time from 0 (the sample) to 1 (noise) up to which noise is added to samples (SDEdit, Meng et al. 2022, arXiv:2108.01073; for augmentation: Trabucco et al. 2024, arXiv:2302.07944).
    steps : of the solver.
    eta : noise that each step adds, of what the stochastic equation asks for; 0: the deterministic one.
    guidance_scale : of classifier-free guidance; 1: none.
    label_dropout : share of the training samples on whose class the network is not conditioned.
    ema_decay : of the moving average of the network, which samples.
    n_calibration_samples : generated samples that the quantile mapping is fitted on, after each epoch on at most 1024 of them; 0: no mapping.
    """

    monitor, mode = "val/denoising", "min"

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        denoiser: Callable[..., nn.Module],
        process: Process,
        space: Callable[[DataSchema], nn.Module] = DataSpace,
        sampling: Literal["posterior", "prior"],
        strength: Annotated[float, Range(0.01, 0.99)],
        steps: PositiveInt,
        eta: Share,
        guidance_scale: NonNegative,
        label_dropout: ShareBelowOne,
        ema_decay: ShareBelowOne,
        n_calibration_samples: CalibrationSamples,
        scaler: Callable[..., nn.Module] | None,
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        if guidance_scale != 1 and not label_dropout:
            raise MmganError(
                f"model.guidance_scale={guidance_scale} needs a network that is also trained without conditioning on the class;"
                " give model.label_dropout above 0 too."
            )
        self.space = space(schema)
        if (self.space.scaler is None) == (scaler is None):
            raise MmganError("model.scaler: give one for diffusion on samples (model/scaler=NAME), none for latents.")
        if self.space.scaler is not None:
            self.scaler = self.space.scaler
        self.process, self.steps, self.eta, self.strength = process, steps, float(eta), float(strength)
        self.guidance_scale, self.label_dropout = float(guidance_scale), float(label_dropout)
        self.mapping = QuantileMapping.of(schema, n_calibration_samples)
        self.sampling = sampling
        # Set up for the prior, it keeps no samples that it could begin at.
        self.samplings = ("prior",) if sampling == "prior" else ("prior", "posterior")
        self.memory = SampleMemory(self.space.shapes)
        self.denoiser = denoiser(self.space.shapes, schema.n_classes)
        self.average = MovingAverage(self.denoiser, ema_decay)
        self.phases = [Phase("denoiser", (self.denoiser,), self.terms)]

    # -- training -------------------------------------------------------------------------------------------------
    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        with self.evaluating():
            self.space.fit(lambda kept: self._parts(x, kept), y)
            if self.sampling == "posterior":
                kept = self.memory.indices_of(y)
                self.memory.fit_data([self.space.encode(z) for z in self._parts(x, kept)], torch.from_numpy(y[kept]))

    def fit_scaler(self, x: Batch) -> None:
        if self.space.scaler is None:  # that of a first stage is fitted, and stays
            super().fit_scaler(x)

    def _parts(self, x: Arrays, kept: np.ndarray) -> list[Batch]:
        """Return the samples with indices `kept`, scaled, in parts."""
        parts = np.array_split(kept, -(-len(kept) // ENCODED_SAMPLES))
        return [self.from_arrays(take(x, part)) for part in parts]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the prediction, `denoising`, at random times; some samples without their class."""
        z = self.space.encode(x)
        t = self.process.times(torch.rand(len(labels), device=labels.device))
        uncond = torch.rand(len(labels), device=labels.device) < self.label_dropout
        cond = labels.masked_fill(uncond, self.schema.n_classes)
        noise = {k: torch.randn(v.shape, device=v.device, dtype=v.dtype) for k, v in z.items()}
        return {"denoising": self._error(self.denoiser, z, noise, cond, t).mean()}

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.denoiser)

    def after_epoch(self) -> None:
        fit_quantile_mapping(self, self.class_counts, IN_TRAINING)

    def calibrate(self) -> bool:
        return fit_in_full(self, self.class_counts)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Take the error of the network that samples on held-out samples, always at the same times with the same noise."""
        x, labels = self.scaled(batch)
        z, errors = self.space.encode(x), []
        generator = torch.Generator(self.device).manual_seed(batch_idx)
        for level in range(HELD_OUT_LEVELS):
            t = self.process.times(torch.full((len(labels),), (level + 0.5) / HELD_OUT_LEVELS, device=self.device))
            noise = {k: torch.randn(v.shape, generator=generator, device=self.device) for k, v in z.items()}
            errors.append(self._error(self.average, z, noise, labels, t))
        self.held_out.update(torch.stack(errors).mean(), len(labels))

    def _error(self, network: nn.Module, z: Batch, noise: Batch, labels: Tensor, t: Tensor) -> Tensor:
        """Return the squared errors of samples (B,): means over each modality, and over the modalities."""
        predicted = network({k: self.process.at(z[k], noise[k], t) for k in z}, t, labels)
        errors = [(predicted[k] - self.process.target(z[k], noise[k], t)).square().flatten(1).mean(1) for k in z]
        return torch.stack(errors).mean(0)

    # -- sampling -------------------------------------------------------------------------------------------------
    def generate(self, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return scaled samples of a class, {name: (64, *shape)}."""
        members = self.memory.members(label)
        if sampling == "posterior" and len(members):
            return self._near(self.memory.samples(members[noise.permuted_indices(len(members))]), label, noise)
        return self._solved(self._noise(noise), LAST, self.steps, label, noise)

    def regenerate(self, x: Batch, label: int, noise: BlockNoise) -> Batch:
        """Return scaled samples near the scaled samples x."""
        return self._near(self.space.encode(x), label, noise)

    def _near(self, z: Batch, label: int, noise: BlockNoise) -> Batch:
        """Return scaled samples near z: noise is added up to the time `strength`, and removed."""
        white = self._noise(noise)
        t = torch.full((n_samples_of(z),), self.strength, device=self.device)
        noisy = {k: self.process.at(z[k], white[k], t) for k in z}
        return self._solved(noisy, self.strength, max(1, round(self.steps * self.strength)), label, noise)

    def _solved(self, z: Batch, start: float, steps: int, label: int, noise: BlockNoise) -> Batch:
        """Return the scaled samples that the solver makes of z at time `start`."""
        labels = torch.full((n_samples_of(z),), label, dtype=torch.int64, device=self.device)
        predict = guided(self.average, labels, self.schema.n_classes, self.guidance_scale)
        stochastic = {"eta": self.eta, "fresh": lambda: self._noise(noise)}
        return self.space.decode(solve(self.process, predict, z, steps, start, **stochastic), label, noise)

    def _noise(self, noise: BlockNoise) -> Batch:
        return {name: self.tensor(noise.normal(shape)) for name, shape in self.space.shapes.items()}
