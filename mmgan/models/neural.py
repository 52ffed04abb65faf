"""What every trained generator shares: sampling by a network, and the marginal map behind it."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.errors import MmganError
from mmgan.models.base import Rows, Synthesizer
from mmgan.models.noise import BLOCK_ROWS, BlockNoise
from mmgan.models.phased import Batch, PhasedModel
from mmgan.nets.calibration import MarginalMap
from mmgan.schema import DataSchema

CALIBRATION_SEED = 2**63 - 1  # of rows that no user asks for
MAX_CALIBRATION_VALUES = 2**24  # 64 MB of generated rows


class NeuralSynthesizer(PhasedModel, Synthesizer):
    """A `Synthesizer` that is trained; with `calibration_rows`, that many rows are drawn at the end of each epoch, and their
    marginals mapped onto those of the training rows.
    """

    monitor = "val/score"
    mode = "max"

    def __init__(
        self,
        schema: DataSchema,
        scaler: Callable[..., nn.Module],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        calibration_rows: int = 0,
    ):
        super().__init__(schema, scaler, weights, optimizer)
        if not isinstance(calibration_rows, int) or 0 < calibration_rows < 100 or calibration_rows < 0:
            raise MmganError(
                f"model.calibration_rows={calibration_rows}: give a whole number from 100 on, or 0 for no marginal map."
            )
        self.calibration_rows = calibration_rows
        marginals = MarginalMap(schema.modalities)
        self.marginals = marginals if calibration_rows and marginals.names else None

    # -- what a family writes -------------------------------------------------------------------------------------
    @abstractmethod
    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled rows, {name: (64, *shape)}, for labels (64,)."""

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled rows near the scaled rows `x`."""
        raise MmganError(f"{type(self).__name__} has no encoder, so it cannot draw rows near given rows.")

    def regenerate_missing(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Return scaled rows, all modalities, that fit the scaled rows `x` of some of them."""
        raise MmganError(f"{type(self).__name__} cannot draw one modality for another; use model=vacwgan or model=vae.")

    def after_epoch(self) -> None:
        if self.marginals is not None:
            self._calibrate(self._class_counts)

    def fit_rows(self, x: Rows, y: np.ndarray) -> None:
        super().fit_rows(x, y)
        if self.marginals is not None:
            self.marginals.real.fit({name: torch.from_numpy(value) for name, value in x.items()})

    # -- sampling -------------------------------------------------------------------------------------------------
    def _sample(self, label: int, noise: BlockNoise) -> Rows:
        return self.rows_of(label, lambda labels: self.generate(labels, noise))

    def _resample(self, x: Rows, label: int, noise: BlockNoise) -> Rows:
        given = {name: self.tensor(value) for name, value in x.items()}
        return self.rows_of(label, lambda labels: self.regenerate(self.scaler(given), labels, noise))

    def _complete(self, x: Rows, label: int, noise: BlockNoise) -> Rows:
        given = {name: self.tensor(value) for name, value in x.items()}
        return self.rows_of(label, lambda labels: self.regenerate_missing(self.scaler(given), labels, noise))

    def rows_of(self, label: int, draw: Callable[[Tensor], Batch], *, calibrated: bool = True) -> Rows:
        """Return in physical units the scaled rows that `draw` gives for labels (64,) of one class; in evaluation mode."""
        with self.evaluating():
            scaled = draw(torch.full((BLOCK_ROWS,), label, dtype=torch.int64, device=self.device))
            mapped = calibrated and self.marginals is not None and self.marginals.fitted
            rows = self.scaler.inverse(scaled) | (self.marginals(scaled) if mapped else {})
            return {name: value.cpu().numpy() for name, value in rows.items()}

    def calibrate(self, y: np.ndarray) -> None:
        """Fit the marginal map anew, after a change of how rows are drawn, for classes as frequent as in the indices y (n,)."""
        if self.marginals is not None:
            with self.evaluating():
                self._calibrate(np.bincount(y, minlength=self.schema.n_classes))

    def _calibrate(self, class_counts: np.ndarray) -> None:
        """Fit the marginal map on generated rows, of each class as many as its share of the training rows asks for."""
        values = sum(math.prod(shape) for shape in self.schema.modalities.values())
        most = min(self.calibration_rows, max(BLOCK_ROWS, MAX_CALIBRATION_VALUES // values))
        shares = class_counts / class_counts.sum()
        drawn: dict[str, list[Tensor]] = {name: [] for name in self.marginals.names}
        for label, rows in enumerate(np.ceil(shares * most).astype(int)):
            labels = torch.full((BLOCK_ROWS,), label, dtype=torch.int64, device=self.device)
            for block in range(-(-rows // BLOCK_ROWS)):
                scaled = self.generate(labels, BlockNoise(CALIBRATION_SEED, label, block))
                for name, parts in drawn.items():
                    parts.append(scaled[name][: rows - block * BLOCK_ROWS].clone())  # a view would keep the whole block
        self.marginals.fit_generated({name: torch.cat(parts) for name, parts in drawn.items()})
