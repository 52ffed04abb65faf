"""A classifier of several modalities that survives when one of them is noisy or missing."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.errors import MmganError
from mmgan.losses.classification import focal_cross_entropy
from mmgan.losses.contrastive import CrossModalContrast
from mmgan.losses.variational import kl_standard_normal
from mmgan.models.classifier import RowClassifier
from mmgan.models.module import Batch, Phase, moving_average
from mmgan.nets.corruption import Corruption, mixed
from mmgan.nets.networks import RobustNetwork, RobustOutput
from mmgan.schema import Arrays, DataSchema


class RobustClassifier(RowClassifier):
    """Per-modality variational encoders, uncertainty-aware fusion, class logits; with decoders and a contrastive term beside it.

    `members` such networks, which start and see the samples differently, answer together (Lakshminarayanan et al. 2017, arXiv:1612.01474).
    Synthetic samples that `fit_synthetic` takes add a term of their own to each batch. Over `fade` batches the weight of that
    term falls to zero; 0 keeps it. Raises MmganError for options outside their range.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        network: Mapping[str, Any],
        fusion: Callable[[int, int], nn.Module],
        corruption: Mapping[str, float],
        loss: Mapping[str, Any],
        contrast: Mapping[str, Any],
        training: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        scaler: Callable[..., nn.Module],
        members: int = 1,
    ):
        super().__init__(schema, scaler, weights, optimizer)
        if not isinstance(members, int) or members < 1:
            raise MmganError(f"model.members={members}: give a number of networks from 1 on.")
        self.networks = nn.ModuleList(RobustNetwork(schema, fusion=fusion, **network) for _ in range(members))
        width = int(network["width"])
        self.contrasts = nn.ModuleList(
            CrossModalContrast(len(schema.modalities), width, **contrast) for _ in range(members)
        )
        self.corruption = Corruption(**corruption)
        for name, value, most in (
            ("loss.gamma", loss["gamma"], np.inf),
            ("loss.smoothing", loss["smoothing"], 1),
            ("training.mixup", training["mixup"], np.inf),
            ("training.fade", training["fade"], np.inf),
        ):
            if not 0 <= value <= most:
                raise MmganError(f"model.{name}={value}: give a number from 0{f' to {most}' if most == 1 else ' on'}.")
        self.loss = {"gamma": float(loss["gamma"]), "smoothing": float(loss["smoothing"])}
        self.balance = bool(loss["balance"])
        self.mixup = float(training["mixup"])
        self.kl_warmup = int(training["kl_warmup"])
        self.fade = int(training["fade"])
        self.average = moving_average(self.networks, training["ema_decay"])
        self.register_buffer("class_weights", torch.ones(schema.n_classes))
        self._synthetic: tuple[Batch, Tensor] | None = None

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        if self.balance:
            counts = torch.from_numpy(self._class_counts).float()
            self.class_weights.copy_(counts.sum() / counts.clamp_min(1) / (counts > 0).sum())

    def fit_synthetic(self, x: Arrays, y: np.ndarray) -> None:
        """Take synthetic samples in physical units with class indices (n,), to train on beside the real ones."""
        self._synthetic = {name: torch.from_numpy(value) for name, value in x.items()}, torch.from_numpy(y)

    def phases(self) -> list[Phase]:
        return [Phase("classifier", (self.networks, self.contrasts), self.terms)]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms of the one phase, means over the members, each of which sees the samples mixed and corrupted in its own way."""
        synthetic = self._drawn(len(labels)) if self.weight("classifier", "synthetic") > 0 else None
        terms: dict[str, list[Tensor]] = {}
        for network, contrast in zip(self.networks, self.contrasts, strict=True):
            for name, term in self._terms(network, contrast, x, labels).items():
                terms.setdefault(name, []).append(term)
            if synthetic is not None:
                terms.setdefault("synthetic", []).append(self._classified(network, *synthetic)[-1])
        return {name: torch.stack(each).mean() for name, each in terms.items()}

    def _terms(self, network: nn.Module, contrast: nn.Module, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """How well a member knows classes, each modality from itself, and modalities from one another."""
        clean, present, out, classification = self._classified(network, x, labels)
        rebuilt = [(out.rebuilt[k] - clean[k]).square().flatten(1).mean(1) for k in clean]  # (B,) each
        there = present.to(out.mu.dtype)
        return {
            "classification": classification,
            "reconstruction": (torch.stack(rebuilt, dim=1) * there).sum() / there.sum(),
            "kl": kl_standard_normal(out.mu[present], out.logvar[present]),
            "contrastive": contrast(out.mu, labels, present),
        }

    def _drawn(self, count: int) -> tuple[Batch, Tensor] | None:
        """Return random synthetic samples, scaled, with labels; None where none were given."""
        if self._synthetic is None:
            return None
        rows, y = self._synthetic
        chosen = torch.randint(len(y), (count,))
        scaled = self.scaler({name: value[chosen].to(self.device) for name, value in rows.items()})
        return scaled, y[chosen].to(self.device)

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
        return focal_cross_entropy(logits, labels, alpha=self.class_weights if self.balance else None, **self.loss)

    def weight(self, phase: str, term: str) -> float:
        """The KL weight grows to its value over `kl_warmup` batches; that of synthetic samples falls over `fade` batches."""
        weight = super().weight(phase, term)
        if term == "kl":
            return weight * self.progress(self.kl_warmup)
        return weight * (1 - self.progress(self.fade)) if term == "synthetic" and self.fade else weight

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.networks)

    def answer(self, x: Batch, names: list[str] | None = None) -> Tensor:
        """Return the averaged members' mean probabilities (B, K) of scaled samples, of which only the modalities `names` are looked at."""
        there = [names is None or name in names for name in self.schema.modalities]
        present = torch.tensor(there, device=self.device).expand(len(next(iter(x.values()))), -1)
        logits = torch.stack([member(x, present).logits for member in self.average.module])
        return logits.float().softmax(2).mean(0)  # autocast leaves bfloat16, which numpy does not know
