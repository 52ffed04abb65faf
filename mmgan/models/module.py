"""What everything that is trained shares: scaling, phases of an update, moving averages, epoch logs."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmgan.errors import MmganError
from mmgan.nets.scaling import ModalityScaler
from mmgan.schema import Arrays, DataSchema

Batch = dict[str, Tensor]


class DivergedError(MmganError):
    """A loss term became NaN or infinite."""


@dataclass(frozen=True)
class Phase:
    """One kind of update within a batch: the modules that move, and the terms, by name, that move them."""

    name: str
    modules: tuple[nn.Module, ...]
    terms: Callable[[Batch, Tensor], dict[str, Tensor]]
    repeats: int = 1


class PhasedModel(L.LightningModule):
    """A model that is trained in named phases, with one optimizer each.

    `weights[phase][term]` and the log's keys `phase/term` are the same words. `optimizer` is
    {"lr": {phase: rate}, "betas": [b1, b2], "clip": largest gradient norm or None}. `monitor` and `mode` name the logged value that
    the best checkpoint is chosen by, and its direction.
    """

    monitor: str
    mode: str
    scored: str  # what a finished fold's scores are of, as the heading of their table

    def __init__(
        self,
        schema: DataSchema,
        scaler: Callable[..., nn.Module],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
    ):
        super().__init__()
        self.automatic_optimization = False
        self.schema = schema
        self.scaler = ModalityScaler(schema.modalities, scaler)
        self.weights = weights
        self.optimizer = optimizer
        self.seed = 0
        self.recipe: dict[str, Any] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._errors: list[tuple[Tensor, int]] = []

    @abstractmethod
    def phases(self) -> list[Phase]:
        """Return the phases of a batch, in order; the last one's optimizer counts Lightning's steps."""

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        """Update moving averages once the phases of a batch are done."""

    def after_epoch(self) -> None:
        """Bring up to date what is needed beside the networks; in evaluation mode, at the end of each epoch."""

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        """Take in the training samples in physical units, with class indices (n,), before anything is trained."""
        self.fit_scaler({name: torch.from_numpy(value) for name, value in x.items()})
        self._class_counts = np.bincount(y, minlength=self.schema.n_classes)

    def fit_scaler(self, x: Batch) -> None:
        """Fit the scaler on the training samples, {name: (n, *shape)}."""
        self.scaler.fit(x)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        # Betas as floats: YAML's 0 is an int, which Adam refuses. Fused: 2.5 times the default's speed on CPU.
        betas = tuple(float(beta) for beta in self.optimizer["betas"])
        return [
            torch.optim.Adam(_parameters(phase), lr=float(self.optimizer["lr"][phase.name]), betas=betas, fused=True)
            for phase in self.phases()
        ]

    def on_train_epoch_start(self) -> None:
        # One seed per epoch and process: a run that resumes at an epoch's beginning goes on exactly as if it had not stopped.
        entropy = [self.seed, self.current_epoch, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self._sums.clear()
        self._counts.clear()

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        x, labels = self.rows(batch)
        phases, optimizers = self.phases(), self.optimizers()
        optimizers = (
            optimizers if isinstance(optimizers, list) else [optimizers]
        )  # Lightning gives a lone one as itself
        for phase, optimizer in zip(phases, optimizers, strict=True):
            # Only the last phase steps through Lightning, so that global_step counts batches, not updates.
            stepper = optimizer if phase is phases[-1] else optimizer.optimizer
            for _ in range(phase.repeats):
                self.update(phase, stepper, x, labels)
        self.after_batch(x, labels)
        if batch_idx + 1 == self.trainer.num_training_batches:  # before the validation
            with self.evaluating(), torch.autocast(self.device.type, enabled=False):
                self.after_epoch()

    def update(self, phase: Phase, optimizer: Any, x: Batch, labels: Tensor) -> None:
        """Make one step of `phase` on scaled samples; raises DivergedError that names the term which is not finite."""
        moving = _parameters(phase)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for parameter in moving:
            parameter.requires_grad_(True)
        terms = phase.terms(x, labels)
        total = sum(self.weight(phase.name, name) * term for name, term in terms.items())
        if not torch.isfinite(total):
            broken = [f"{phase.name}/{name}" for name, term in terms.items() if not torch.isfinite(term)]
            raise DivergedError(
                f"the loss term {', '.join(broken) or phase.name} is not finite after {self.global_step} batches;"
                " lower the learning rates (model.optimizer.lr) or the term's weight (model.weights)."
            )
        optimizer.zero_grad()
        self.manual_backward(total)
        norm = nn.utils.clip_grad_norm_(moving, self.optimizer["clip"] or torch.inf)
        optimizer.step()
        # Autocast keeps low-precision copies of weights to the end of the batch: a phase's next step would use old ones.
        torch.clear_autocast_cache()
        self._accumulate({f"{phase.name}/{name}": term for name, term in terms.items()})
        self._accumulate({f"{phase.name}/gradient_norm": norm})

    def weight(self, phase: str, term: str) -> float:
        """Return the weight of a term at this moment of the training."""
        return self.weights[phase][term]

    def progress(self, batches: int) -> float:
        """Return how much of the first `batches` batches is done, from 0 to 1."""
        return min(1.0, self.global_step / max(batches, 1))

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_means(), sync_dist=True)

    def held_out(self, error: Tensor, rows: int) -> None:
        """Take the mean error of so many held-out samples; the mean over all is logged, under `monitor`, as the validation ends."""
        self._errors.append((rows * error.detach(), rows))

    def on_validation_epoch_end(self) -> None:
        # Not from the single batches: a pruner would see the value of the epoch before.
        if self._errors:
            errors, rows = zip(*self._errors, strict=True)
            self.log(self.monitor, torch.stack(errors).sum() / sum(rows), prog_bar=True, sync_dist=True)
            self._errors.clear()

    def epoch_means(self) -> dict[str, Tensor]:
        """Return the means, so far, of the epoch's terms, `phase/term`."""
        return {key: value / self._counts[key] for key, value in self._sums.items()}

    def _accumulate(self, values: dict[str, Tensor]) -> None:
        # Lightning's self.log costs some 300 us a key and batch; sums of tensors, logged once an epoch, cost none.
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, 0.0) + value.detach()
            self._counts[key] = self._counts.get(key, 0) + 1

    def rows(self, batch: tuple[Tensor, ...]) -> tuple[Batch, Tensor]:
        """Turn the loader's (modality, ..., labels) into scaled samples by name, and labels."""
        *values, labels = batch
        return self.scaler(dict(zip(self.schema.modalities, values, strict=True))), labels

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch to evaluation mode, without gradients, and back."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    def tensor(self, values: np.ndarray) -> Tensor:
        """Return `values` as float32 on the model's device."""
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights, which `update_parameters` moves on."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(float(decay)), use_buffers=True)


def _parameters(phase: Phase) -> list[nn.Parameter]:
    return [parameter for module in phase.modules for parameter in module.parameters()]
