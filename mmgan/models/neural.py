"""What every trained generator shares: sampling by a network, and the marginal map behind it."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.errors import MmganError
from mmgan.models.module import Batch, PhasedModel
from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.models.synthesizer import Synthesizer
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.schema import Arrays, DataSchema

CALIBRATION_SEED = 2**63 - 1  # of samples that no user asks for
MAX_CALIBRATION_VALUES = 2**24  # 64 MB of generated samples


class NeuralSynthesizer(PhasedModel, Synthesizer):
    """A `Synthesizer` that is trained; with `n_calibration_samples`, that many samples are drawn at the end of each epoch, and their
    marginals mapped onto those of the training samples.
    """

    monitor = "val/score"
    mode = "max"

    def __init__(
        self,
        schema: DataSchema,
        scaler: Callable[..., nn.Module],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        n_calibration_samples: int = 0,
    ):
        super().__init__(schema, scaler, weights, optimizer)
        if not isinstance(n_calibration_samples, int) or 0 < n_calibration_samples < 100 or n_calibration_samples < 0:
            raise MmganError(
                f"model.n_calibration_samples={n_calibration_samples}: give a whole number from 100 on, or 0 for no marginal map."
            )
        self.n_calibration_samples = n_calibration_samples
        marginals = QuantileMapping(schema.modalities)
        self.marginals = marginals if n_calibration_samples and marginals.names else None

    # -- what a family writes -------------------------------------------------------------------------------------
    @abstractmethod
    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples, {name: (64, *shape)}, for labels (64,)."""

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples near the scaled samples `x`."""
        raise MmganError(f"{type(self).__name__} has no encoder, so it cannot draw samples near given samples.")

    def regenerate_missing(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled samples, all modalities, that fit the scaled samples `x` of some of them."""
        raise MmganError(f"{type(self).__name__} cannot draw one modality for another; use model=vacwgan or model=vae.")

    def after_epoch(self) -> None:
        if self.marginals is not None:
            self._calibrate(self._class_counts)

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        if self.marginals is not None:
            self.marginals.real.fit({name: torch.from_numpy(value) for name, value in x.items()})

    # -- sampling -------------------------------------------------------------------------------------------------
    def _sample(self, label: int, noise: BlockNoise) -> Arrays:
        return self.rows_of(label, lambda labels: self.generate(labels, noise))

    def _resample(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        given = {name: self.tensor(value) for name, value in x.items()}
        return self.rows_of(label, lambda labels: self.regenerate(self.scaler(given), labels, noise))

    def _complete(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        given = {name: self.tensor(value) for name, value in x.items()}
        return self.rows_of(label, lambda labels: self.regenerate_missing(self.scaler(given), labels, noise))

    def rows_of(self, label: int, draw: Callable[[Tensor], Batch], *, calibrated: bool = True) -> Arrays:
        """Return in physical units the scaled samples that `draw` gives for labels (64,) of one class; in evaluation mode."""
        with self.evaluating():
            scaled = draw(torch.full((BLOCK_SIZE,), label, dtype=torch.int64, device=self.device))
            mapped = calibrated and self.marginals is not None and self.marginals.fitted
            rows = self.scaler.inverse(scaled) | (self.marginals(scaled) if mapped else {})
            return {name: value.cpu().numpy() for name, value in rows.items()}

    def calibrate(self, y: np.ndarray) -> None:
        """Fit the marginal map anew, after a change of how samples are drawn, for classes as frequent as in the indices y (n,)."""
        if self.marginals is not None:
            with self.evaluating():
                self._calibrate(np.bincount(y, minlength=self.schema.n_classes))

    def _calibrate(self, class_counts: np.ndarray) -> None:
        """Fit the marginal map on generated samples, of each class as many as its share of the training samples asks for."""
        values = sum(math.prod(shape) for shape in self.schema.modalities.values())
        most = min(self.n_calibration_samples, max(BLOCK_SIZE, MAX_CALIBRATION_VALUES // values))
        shares = class_counts / class_counts.sum()
        drawn: dict[str, list[Tensor]] = {name: [] for name in self.marginals.names}
        for label, rows in enumerate(np.ceil(shares * most).astype(int)):
            labels = torch.full((BLOCK_SIZE,), label, dtype=torch.int64, device=self.device)
            for block in range(-(-rows // BLOCK_SIZE)):
                scaled = self.generate(labels, BlockNoise(CALIBRATION_SEED, label, block))
                for name, parts in drawn.items():
                    parts.append(scaled[name][: rows - block * BLOCK_SIZE].clone())  # a view would keep the whole block
        self.marginals.fit_generated({name: torch.cat(parts) for name, parts in drawn.items()})
