"""What every trained classifier of samples shares: answers for samples of which modalities may be missing, and how good they are."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgan.errors import MmganError
from mmgan.evaluation.prediction import scores
from mmgan.models.module import Batch, PhasedModel
from mmgan.schema import Arrays

PREDICTED_ROWS = 512  # that go through the network together


class RowClassifier(PhasedModel):
    """A `PhasedModel` that gives class probabilities; a validation logs their scores on the monitored samples."""

    monitor = "val/log_likelihood"  # of a few dozen samples macro-F1 is too coarse: it would choose a network that has learnt little
    mode = "max"
    scored = "answers on val_indices"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._validated: list[tuple[Tensor, Tensor]] = []

    @abstractmethod
    def answer(self, x: Batch, names: list[str] | None = None) -> Tensor:
        """Return probabilities (B, K) of scaled samples, of which only the modalities `names` are looked at; all, without names."""

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        x, labels = self.rows(batch)
        self._validated.append((self.answer(x), labels))

    def on_validation_epoch_end(self) -> None:
        answers, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        self.log_dict({f"val/{name}": value for name, value in scores(labels, answers).items()})

    def predict_probabilities(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return class probabilities (n, K) of samples {name: (n, *shape)} in physical units; modalities may be missing.

        Raises MmganError for samples without any known modality, or of wrong shapes.
        """
        n, given = self._given(x)
        parts = []
        with self.evaluating():
            for start in range(0, n, PREDICTED_ROWS):
                rows = {name: self.tensor(value[start : start + PREDICTED_ROWS]) for name, value in given.items()}
                parts.append(self.answer(self.scaler(rows), list(x)).cpu().numpy())
        return np.concatenate(parts)

    def _given(self, x: Mapping[str, np.ndarray]) -> tuple[int, Arrays]:
        """Return the number of samples and all modalities, zeros where one is missing."""
        known = {name: np.asarray(value) for name, value in x.items() if name in self.schema.modalities}
        numbers = all(value.ndim and len(value) and value.dtype.kind in "fiub" for value in known.values())
        if not numbers or not all(np.isfinite(value).all() for value in known.values()):
            raise MmganError("the samples are none, or hold values that are no finite numbers; give arrays of numbers.")
        if not known or len(known) < len(x):
            raise MmganError(
                f"the samples have {list(x)}; give at least one of {list(self.schema.modalities)}, and no other."
            )
        n = len(next(iter(known.values())))
        filled = {
            name: known.get(name, np.zeros((n, *shape), np.float32)) for name, shape in self.schema.modalities.items()
        }
        self.schema.check_samples(filled)
        return n, filled
