"""What everything that is trained shares: scaling, the phases of a batch, logs per epoch."""

import functools
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from mmgan.errors import Betas, Clip, MmganError, Rates, Weights
from mmgan.models.memory import memory_indices
from mmgan.models.tally import Tally
from mmgan.nets.axis import AxisStatistics
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.nets.scaling import ModalityScaler
from mmgan.schema import Arrays, Batch, DataSchema

TOTAL = "total"  # the weighted sum of a phase's terms, which is no term of its own


class DivergedError(MmganError):
    """A loss term became NaN or infinite."""


@dataclass(frozen=True)
class Phase:
    """One kind of update within a batch: the modules that move, and their loss, as terms by name, of (x, labels).

    It is repeated `repeats` times a batch, and left out while `active` says no.
    """

    name: str
    modules: tuple[nn.Module, ...]
    terms: Callable[[Batch, Tensor], dict[str, Tensor]]
    repeats: int = 1
    active: Callable[[], bool] = lambda: True

    @functools.cached_property  # a walk through the networks takes as long as a small layer
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that move."""
        return [parameter for module in self.modules for parameter in module.parameters()]


class PhasedModel(L.LightningModule):
    """A model that is trained in named phases by manual optimisation, one Adam optimizer each.

    A family sets `phases` in its constructor; the last phase's optimizer counts Lightning's steps.

    Parameters
    ----------
    schema : names and shapes of the modalities, and the classes.
    scaler : shape -> one of `mmgan.nets.scaling`, for each modality; None where the family sets `scaler` itself.
    weights : {phase: {term: weight}}; the same words are the log's keys `phase/term`.
    lr : {phase: learning rate}.
    betas : of Adam.
    clip : largest gradient norm of a step; None: no limit.
    """

    monitor: str  # the logged value that the best checkpoint is chosen by
    mode: str  # its direction, min or max
    phases: Sequence[Phase]
    needs_training = True

    def __init__(
        self,
        schema: DataSchema,
        *,
        scaler: Callable[..., nn.Module] | None,
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.schema = schema
        if scaler is not None:
            self.scaler = ModalityScaler(schema.modalities, scaler)
        self.weights, self.lr, self.betas, self.clip = weights, lr, betas, clip
        self.seed = 0
        self.recipe: dict[str, Any] = {}
        self.mapping: QuantileMapping | None = (
            None  # a generator's: of its marginals onto those of the training samples
        )
        self.held_out = MeanMetric()
        self.served: tuple[str, ...] | None = None  # what the training's batches hold, where they come prepared
        self._tallies: dict[tuple[str, ...], Tally] = defaultdict(
            Tally
        )  # of this epoch, by the phase and what it tells

    # -- data -----------------------------------------------------------------------------------------------------
    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        """Take in the training samples in physical units, with class indices (n,), before anything is trained."""
        if missing := [phase.name for phase in self.phases if phase.name not in self.lr]:
            raise MmganError(f"model.lr.{missing[0]}: give this phase a learning rate.")
        self.fit_scaler({name: torch.from_numpy(value) for name, value in x.items()})
        for module in self.modules():
            if isinstance(module, AxisStatistics):
                some = memory_indices(y)
                module.fit(self.from_arrays({name: value[some] for name, value in x.items()}), self.scaler)
        self.class_counts = np.bincount(y, minlength=self.schema.n_classes)
        if self.mapping is not None:
            self.mapping.real.fit({name: torch.from_numpy(value) for name, value in x.items()})

    def fit_scaler(self, x: Batch) -> None:
        """Fit the scaler on the training samples, {name: (n, *shape)}."""
        self.scaler.fit(x)

    def scaled(self, batch: tuple[Tensor, ...]) -> tuple[Batch, Tensor]:
        """Turn the loader's (modality, ..., labels) into scaled samples by name, and labels."""
        *values, labels = batch
        return self._scaled(values), labels

    def _scaled(self, values: Sequence[Tensor]) -> Batch:
        named = zip(self.schema.modalities, values, strict=True)
        return self.scaler({name: value.to(self.device) for name, value in named})

    def prepared(self, x: Batch) -> Batch:
        """Return scaled training samples with what else the phases look at of each: what stays the same for an epoch."""
        return x

    def prepared_values(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn training samples in physical units into what batches of them hold; `served` are its names."""
        x = self.prepared(self._scaled(values))
        self.served = tuple(x)
        return tuple(x.values())

    def from_arrays(self, x: Arrays) -> Batch:
        """Return samples in physical units as scaled tensors on the model's device."""
        return self.scaler({name: self.tensor(value) for name, value in x.items()})

    def to_arrays(self, scaled: Batch, *, mapped: bool = True) -> dict[str, np.ndarray]:
        """Return scaled samples in physical units; `mapped`: through the quantile mapping, where there is one."""
        through = self.mapping(scaled) if mapped and self.mapping is not None and self.mapping.fitted else {}
        samples = self.scaler.inverse({name: value for name, value in scaled.items() if name not in through}) | through
        return {name: samples[name].cpu().numpy() for name in self.schema.modalities if name in samples}

    def tensor(self, values: np.ndarray) -> Tensor:
        """Return `values` as float32 on the model's device."""
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device)

    # -- training -------------------------------------------------------------------------------------------------
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        # Betas as floats: YAML's 0 is an int, which Adam refuses. Fused: 2.5 times the default's speed on CPU.
        betas = tuple(map(float, self.betas))
        return [
            torch.optim.Adam(phase.parameters, lr=float(self.lr[phase.name]), betas=betas, fused=True)
            for phase in self.phases
        ]

    def on_train_epoch_start(self) -> None:
        # One seed per epoch and process: a run that resumes at an epoch's beginning goes on exactly as if it had not stopped.
        entropy = [self.seed, self.current_epoch, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self.requires_grad_(False)  # each phase switches on what it moves
        # All samples at once, anew in each epoch, since tied values are spread by chance: batches would scale each of them many times.
        prepare = getattr(self.trainer.train_dataloader, "prepare", None)  # a torch DataLoader of one's own has none
        if prepare is None or not prepare(self.prepared_values):
            self.served = None
        self._tallies.clear()
        self._begun = self.global_step

    def training_batch(self, batch: tuple[Tensor, ...]) -> tuple[Batch, Tensor]:
        """Turn the training loader's (modality, ..., labels) into prepared samples by name, and labels."""
        if self.served is not None:
            return dict(zip(self.served, batch[:-1], strict=True)), batch[-1]
        x, labels = self.scaled(batch)
        return self.prepared(x), labels

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        x, labels = self.training_batch(batch)
        self.before_batch(x, labels)
        optimizers = self.optimizers()
        optimizers = (
            optimizers if isinstance(optimizers, list) else [optimizers]
        )  # Lightning gives a lone one as itself
        try:
            for phase, optimizer in zip(self.phases, optimizers, strict=True):
                # Only the last phase steps through Lightning, so that global_step counts batches, not updates.
                stepper = optimizer if phase is self.phases[-1] else optimizer.optimizer
                for _ in range(phase.repeats if phase.active() else 0):
                    self.update(phase, stepper, x, labels)
            self.after_batch(x, labels)
        except RuntimeError:  # of torch, which cannot count with NaN everywhere
            self.check_finite()
            raise
        if batch_idx + 1 == self.trainer.num_training_batches:  # before the validation
            self.check_finite()
            with self.evaluating(), torch.autocast(self.device.type, enabled=False):
                self.after_epoch()

    def update(self, phase: Phase, optimizer: Any, x: Batch, labels: Tensor) -> None:
        """Make one step of `phase` on scaled samples; nothing here waits for a value, as a GPU would have to."""
        moving = phase.parameters
        for other in self.phases:
            for parameter in other.parameters if other is not phase else ():
                parameter.requires_grad_(False)
        for parameter in moving:
            parameter.requires_grad_(True)
        terms = phase.terms(x, labels)
        total = sum(self.weight(phase.name, name) * term for name, term in terms.items())
        for parameter in moving:  # in a fraction of the time of optimizer.zero_grad()
            parameter.grad = None
        self.manual_backward(total)
        norm = nn.utils.clip_grad_norm_(moving, self.clip or torch.inf)
        optimizer.step()
        # Autocast keeps low-precision copies of weights to the end of the batch: a phase's next step would use old ones.
        torch.clear_autocast_cache()
        told = {f"{phase.name}/{name}": term for name, term in {**terms, TOTAL: total}.items()}
        self._tallies[phase.name, *terms].add(told)
        self.accumulate({f"{phase.name}/gradient_norm": norm})

    def check_finite(self) -> None:
        """Raise DivergedError that names the first loss term of the epoch which was not finite, if there is one."""
        repeats = {phase.name: phase.repeats for phase in self.phases}
        found = [
            (lasted // repeats[phase], phase, names)
            for (phase, *_), tally in self._tallies.items()
            for lasted, names in [tally.broken() or (None, [])]
            if lasted is not None and phase in repeats
        ]
        if found:
            batches, phase, names = min(found)
            terms = [name for name in names if not name.endswith(f"/{TOTAL}")]
            raise DivergedError(
                f"the loss term {', '.join(terms) or phase} is not finite in batch {self._begun + batches + 1};"
                " lower the learning rates (model.lr) or the term's weight (model.weights)."
            )

    def weight(self, phase: str, term: str) -> float:
        """Return the weight of a term at this moment of the training."""
        if term not in self.weights.get(phase, {}):
            raise MmganError(f"model.weights.{phase}.{term}: this term has no weight; give 0 to leave it out.")
        return self.weights[phase][term]

    def progress(self, batches: int) -> float:
        """Return how much of the first `batches` batches is done, from 0 to 1; of a short training, of its first eighth."""
        planned = self.trainer.max_epochs * self.trainer.num_training_batches
        return min(1.0, self.global_step / max(min(batches, planned / 8), 1))

    def before_batch(self, x: Batch, labels: Tensor) -> None:
        """Draw what several phases of a batch share."""

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        """Update moving averages once the phases of a batch are done."""

    def after_epoch(self) -> None:
        """Bring up to date what is needed beside the networks; in evaluation mode, at the end of each epoch."""

    def calibrate(self) -> bool:
        """Fit in full what `after_epoch` fits on a part of the generated samples, for a finished model; say whether there is such a thing."""
        return False

    # -- logs -----------------------------------------------------------------------------------------------------
    def accumulate(self, values: Mapping[str, Tensor]) -> None:
        """Add values, `name/value`, to the means that are logged as the epoch ends."""
        # Lightning's self.log costs some 300 us a key and batch; sums of tensors, logged once an epoch, cost none.
        self._tallies["", *values].add(values)

    def epoch_means(self) -> dict[str, Tensor]:
        """Return the means, so far, of the epoch's terms, `phase/term`."""
        sums: dict[str, Tensor] = {}
        counts: Counter[str] = Counter()
        for tally in self._tallies.values():
            for name, value in tally.sums().items():
                if not name.endswith(f"/{TOTAL}"):
                    sums[name] = sums.get(name, 0.0) + value
                    counts[name] += tally.updates
        return {name: value / counts[name] for name, value in sums.items()}

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_means(), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        # Not from the single batches: a pruner would see the value of the epoch before.
        if self.held_out.update_called:
            self.log(self.monitor, self.held_out.compute(), prog_bar=True, sync_dist=True)
            self.held_out.reset()

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

    @abstractmethod
    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Look at a batch of the inner validation samples."""
