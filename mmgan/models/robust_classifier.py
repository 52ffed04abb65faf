"""A classifier of several modalities that survives when one of them is noisy or missing."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.data.arrays import n_samples_of, take
from mmgan.errors import (
    Betas,
    Clip,
    MmganError,
    NonNegative,
    NonNegativeInt,
    Range,
    Rates,
    Share,
    ShareBelowOne,
    Weights,
    checked,
)
from mmgan.evaluation.prediction import scores
from mmgan.losses.classification import focal_cross_entropy
from mmgan.losses.variational import kl_standard_normal
from mmgan.models.average import MovingAverage
from mmgan.models.module import Phase, PhasedModel
from mmgan.nets.robust import RobustOutput, mixed
from mmgan.schema import Arrays, Batch, DataSchema

PREDICTED_SAMPLES = 512  # that go through the network together


class RobustClassifier(PhasedModel):
    """Per-modality variational encoders, uncertainty-aware fusion, class logits; with decoders and a contrastive term beside it.

    Several such networks, which start and see the samples differently, answer together (Lakshminarayanan et al. 2017, arXiv:1612.01474),
    as one member beside classical ones.
    Synthetic samples that `fit_synthetic` takes add a term of their own to each batch.

    Parameters
    ----------
    network : schema -> a member, such as `mmgan.nets.robust.RobustNetwork`.
    contrast : (n_modalities, width) -> the contrastive term, of `mmgan.losses.contrastive`.
    corruption : what training samples go through: noise, and modalities that are missing.
    members : number of networks.
    classical : schema -> members that answer beside the networks, such as `mmgan.models.members.ClassicalMembers`; None: none.
    gamma : exponent of the focal loss; 0: cross-entropy.
    smoothing : of the labels.
    balance : weigh classes by their rarity.
    mixup : parameter of the Beta distribution that mixes pairs of samples; 0: none.
    kl_warmup : batches until the KL term has its full weight.
    fade : batches over which the weight of synthetic samples falls to zero; 0: it stays.
    ema_decay : of the moving average of the networks, which answers.
    """

    # Of a few dozen samples macro-F1 is too coarse: it would choose a network that has learnt little.
    monitor, mode = "val/log_likelihood", "max"

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        network: Callable[..., nn.Module],
        contrast: Callable[..., nn.Module],
        corruption: nn.Module,
        members: Annotated[int, Range(1, 1000)],
        classical: Callable[..., nn.Module] | None,
        gamma: NonNegative,
        smoothing: Share,
        balance: bool,
        mixup: NonNegative,
        kl_warmup: NonNegativeInt,
        fade: NonNegativeInt,
        ema_decay: ShareBelowOne,
        scaler: Callable[..., nn.Module],
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.networks = nn.ModuleList(network(schema) for _ in range(members))
        width = self.networks[0].width
        self.contrasts = nn.ModuleList(contrast(len(schema.modalities), width) for _ in range(members))
        self.classical = None if classical is None else classical(schema)
        self.corruption = corruption
        self.gamma, self.smoothing, self.balance = gamma, smoothing, balance
        self.mixup, self.kl_warmup, self.fade = float(mixup), kl_warmup, fade
        self.average = MovingAverage(self.networks, ema_decay)
        self.register_buffer("class_weights", torch.ones(schema.n_classes))
        self.phases = [Phase("classifier", (self.networks, self.contrasts), self.terms)]
        self._synthetic: tuple[Batch, Tensor] | None = None
        self._validated: list[tuple[Tensor, Tensor]] = []

    # -- training -------------------------------------------------------------------------------------------------
    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        if self.balance:
            counts = torch.from_numpy(self.class_counts).float()
            self.class_weights.copy_(counts.sum() / counts.clamp_min(1) / (counts > 0).sum())
        if self.classical is not None:
            self.classical.take(x, y)

    def fit_unlabelled(self, x: Arrays, y: np.ndarray, unlabelled: Arrays, soft_labels: np.ndarray) -> None:
        """Tell apart the labelled samples, with class indices (n,), and the unlabelled ones, with class probabilities (m, K)."""
        if self.classical is not None:
            self.classical.take(x, y, unlabelled, soft_labels)

    def fit_synthetic(self, x: Arrays, y: np.ndarray) -> None:
        """Take synthetic samples in physical units with class indices (n,), to train on beside the real ones."""
        self._synthetic = {name: torch.from_numpy(value) for name, value in x.items()}, torch.from_numpy(y)

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms of the one phase, means over the members, each of which sees the samples mixed and corrupted in its own way."""
        synthetic = None
        if self.weight("classifier", "synthetic") > 0 and self._synthetic is not None:
            synthetic = self._drawn(len(labels), *self._synthetic)
        of_members = []
        for network, contrast in zip(self.networks, self.contrasts, strict=True):
            own = self._terms(network, contrast, x, labels)
            if synthetic is not None:
                own["synthetic"] = self._classified(network, *synthetic)[-1]
            of_members.append(own)
        return {name: torch.stack([own[name] for own in of_members]).mean() for name in of_members[0]}

    def _terms(self, network: nn.Module, contrast: nn.Module, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        clean, present, out, classification = self._classified(network, x, labels)
        rebuilt = [(out.rebuilt[k] - clean[k]).square().flatten(1).mean(1) for k in clean]  # (B,) each
        there = present.to(out.mu.dtype)
        return {
            "classification": classification,
            "reconstruction": (torch.stack(rebuilt, dim=1) * there).sum() / there.sum(),
            "kl": kl_standard_normal(out.mu[present], out.logvar[present]),
            "contrastive": contrast(out.mu, labels, present),
        }

    def _drawn(self, count: int, x: Batch, y: Tensor) -> tuple[Batch, Tensor]:
        chosen = torch.randint(len(y), (count,))
        return self.scaler({name: value[chosen].to(self.device) for name, value in x.items()}), y[chosen].to(
            self.device
        )

    def _classified(self, network: nn.Module, x: Batch, labels: Tensor) -> tuple[Batch, Tensor, RobustOutput, Tensor]:
        """Mix and corrupt samples; return them mixed, what is present, what a member says, and how wrong it is."""
        clean, partner, share = mixed(x, self.mixup)
        seen, present = self.corruption(clean)
        out = network(seen, present)
        loss = share * self._classification(out.logits, labels)
        if share < 1:
            loss = loss + (1 - share) * self._classification(out.logits, labels[partner])
        return clean, present, out, loss

    def _classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        return focal_cross_entropy(logits, labels, self.class_weights, gamma=self.gamma, smoothing=self.smoothing)

    def weight(self, phase: str, term: str) -> float:
        """The KL weight grows to its value over `kl_warmup` batches; that of synthetic samples falls over `fade` batches."""
        weight = super().weight(phase, term)
        if term == "kl":
            return weight * self.progress(self.kl_warmup)
        return weight * (1 - self.progress(self.fade)) if term == "synthetic" and self.fade else weight

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.networks)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        x, labels = self.scaled(batch)
        self._validated.append((self.answer(x), labels))

    def on_validation_epoch_end(self) -> None:
        answers, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        self.log_dict({f"val/{name}": value for name, value in scores(labels, answers).items()}, sync_dist=True)

    # -- answers --------------------------------------------------------------------------------------------------
    def predict_probabilities(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return class probabilities (n, K) of samples {name: (n, *shape)} in physical units, the mean over members; modalities may be missing.

        Raises MmganError for samples without any known modality, or of wrong shapes.
        """
        return np.mean(list(self.predict_members(x).values()), axis=0)

    def predict_members(self, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return each member's class probabilities (n, K): those of `network`, the networks together, and of classical classifiers.

        Raises MmganError as `predict_probabilities` does.
        """
        n, given = self._given(x)
        parts = np.split(np.arange(n), range(PREDICTED_SAMPLES, n, PREDICTED_SAMPLES))
        with self.evaluating():
            answers = [self.answer(self.from_arrays(take(given, part)), list(x)).cpu().numpy() for part in parts]
        classical = {} if self.classical is None else self.classical.answers({name: given[name] for name in x})
        return {"network": np.concatenate(answers), **classical}

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
        n = n_samples_of(known)
        filled = {k: known.get(k, np.zeros((n, *shape), np.float32)) for k, shape in self.schema.modalities.items()}
        return self.schema.check_samples(filled), filled

    def answer(self, x: Batch, names: list[str] | None = None) -> Tensor:
        """Return the averaged members' mean probabilities (B, K) of scaled samples, of which only the modalities `names` are looked at."""
        there = [names is None or name in names for name in self.schema.modalities]
        present = torch.tensor(there, device=self.device).expand(len(next(iter(x.values()))), -1)
        logits = torch.stack([member(x, present).logits for member in self.average.module])
        return logits.float().softmax(2).mean(0)  # autocast leaves bfloat16, which numpy does not know
