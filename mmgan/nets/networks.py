"""The four networks of a multimodal GAN: encoder E, generator G, critic D, classifier C.

All take and give `dict[str, Tensor]` in scaled units; `branch` holds the options of `mmgan.nets.modality`.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mmgan.errors import Depth, OptionsOf, Share, Width, checked
from mmgan.nets.axis import STATISTICS
from mmgan.nets.blocks import (
    SLOPE,
    ConditionalLayerNorm,
    ConditionalResidualMLP,
    ResidualMLP,
    activation,
    penalised_activation,
)
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder, ModalityNoise
from mmgan.schema import DataSchema


class Trunk(nn.Module):
    """Modality branches, fusion, residual blocks: {name: (B, *shape)} -> (B, width)."""

    def __init__(
        self,
        schema: DataSchema,
        *,
        width: int,
        depth: int,
        norm: bool,
        dropout: float,
        branch: dict[str, Any] | None,
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
        activation: Callable[[Tensor], Tensor] = activation,
    ):
        super().__init__()
        self.activation = activation
        self.names = tuple(schema.modalities)  # a ModuleDict would refuse names such as "type"
        self.branches = nn.ModuleList(
            ModalityEncoder(shape, width, norm=norm, **(branch or {})) for shape in schema.modalities.values()
        )
        self.fusion = fusion(len(schema.modalities), width)
        self.uncertainty = None
        if self.fusion.uses_uncertainty:
            self.uncertainty = nn.Linear(width, width)
            nn.init.zeros_(self.uncertainty.weight)
            nn.init.zeros_(self.uncertainty.bias)
        self.blocks = nn.Sequential(
            *[ResidualMLP(width, norm=norm, dropout=dropout, activation=activation) for _ in range(depth)]
        )

    def forward(self, x: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return features of samples {name: (B, *shape)}; what is not `present`, (B, M) bool, is not looked at (None: all is)."""
        branches = zip(self.names, self.branches, strict=True)
        mu = torch.stack([self.activation(branch(x[name])) for name, branch in branches], dim=1)  # (B, M, width)
        logvar = None if self.uncertainty is None else self.uncertainty(mu).clamp(-10, 10)
        return self.activation(self.blocks(self.fusion(mu, logvar, present).features))


class Encoder(nn.Module):
    """E: {name: (B, *shape)} -> mu, logvar, both (B, latent_dim); logvar starts at zero and is clamped to +-10."""

    @checked
    def __init__(
        self,
        schema: DataSchema,
        latent_dim: int,
        *,
        width: Width,
        depth: Depth,
        norm: bool = True,
        dropout: Share = 0.0,
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityEncoder)] = None,
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
    ):
        super().__init__()
        self.trunk = Trunk(schema, width=width, depth=depth, norm=norm, dropout=dropout, branch=branch, fusion=fusion)
        self.mu = nn.Linear(width, latent_dim)
        self.logvar = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.logvar.weight)
        nn.init.zeros_(self.logvar.bias)

    def forward(self, x: dict[str, Tensor], present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = self.trunk(x, present)
        return self.mu(h), self.logvar(h).clamp(-10, 10)


class Generated(NamedTuple):
    """Generated samples, with the mean and log standard deviation that their own noise has around it; {name: (B, *shape)}."""

    samples: dict[str, Tensor]
    mean: dict[str, Tensor]
    log_std: dict[str, Tensor]


class Generator(nn.Module):
    """G: z (B, latent_dim), labels (B,), noise (B, noise_dim) -> `Generated`: a shared trunk that splits into modality branches.

    What modalities share goes through z. What varies value by value, such as the speckle of a spectrum, which no few latent
    dimensions can carry, is noise of each modality's own, of a spread that depends on z and class.
    """

    @checked
    def __init__(
        self,
        schema: DataSchema,
        latent_dim: int,
        *,
        width: Width,
        depth: Depth,
        class_dim: Width = 64,
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityDecoder)] = None,
        noise: Annotated[dict[str, Any] | None, OptionsOf(ModalityNoise)] = None,
    ):
        super().__init__()
        self.sizes = [math.prod(shape) for shape in schema.modalities.values()]
        self.noise_dim = sum(self.sizes)
        self.embedding = nn.Embedding(schema.n_classes, class_dim)
        self.stem = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList([ConditionalResidualMLP(width, class_dim) for _ in range(depth)])
        self.norm = ConditionalLayerNorm(width, class_dim)
        self.names = tuple(schema.modalities)
        self.branches = nn.ModuleList(
            ModalityDecoder(shape, width, **(branch or {})) for shape in schema.modalities.values()
        )
        self.noises = nn.ModuleList(
            ModalityNoise(shape, width, **(noise or {})) for shape in schema.modalities.values()
        )

    def forward(self, z: Tensor, labels: Tensor, noise: Tensor) -> Generated:
        h = self.stem(z)
        for block in self.blocks:
            h = block(h, self.embedding.weight, labels)
        h = activation(self.norm(h, self.embedding.weight, labels))
        samples, mean, log_std = {}, {}, {}
        own = noise.split(self.sizes, dim=1)
        for name, branch, spread, part in zip(self.names, self.branches, self.noises, own, strict=True):
            mean[name], log_std[name] = branch(h), spread(h)
            samples[name] = mean[name] + log_std[name].exp() * spread.coloured(part)
        return Generated(samples, mean, log_std)


def seen_by(critic: nn.Module, *batches: dict[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Return batches as a critic is to see them before augmentation: with their axis statistics, where it looks at them."""
    return tuple(critic.described(x) if hasattr(critic, "described") else x for x in batches)


class Critic(nn.Module):
    """D: {name: (B, *shape)} and labels (B,) -> scores (B,).

    The class enters by `conditioning`: `projection`, score = w.h + <V[label], h> (Miyato & Koyama 2018, arXiv:1802.05637);
    `concatenation`, a small network on h and V[label]; or `both`, their sum. No normalisation unless `norm`.

    With `axis`, schema -> `mmgan.nets.axis.AxisStatistics`, a linear map of each sample's statistics is added to the features h.
    They are the entry STATISTICS of the samples, where `described` has put them, and else those of the samples as given.
    """

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        width: Width,
        depth: Depth,
        norm: bool = False,
        dropout: Share = 0.0,
        conditioning: Literal["projection", "concatenation", "both"] = "projection",
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityEncoder)] = None,
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
        axis: Callable[[DataSchema], nn.Module] | None = None,
    ):
        super().__init__()
        options = {"norm": norm, "dropout": dropout, "branch": branch, "fusion": fusion}
        self.trunk = Trunk(schema, width=width, depth=depth, activation=penalised_activation, **options)
        self.axis = None if axis is None else axis(schema)
        if self.axis is not None and not self.axis.n_statistics:
            self.axis = None  # no modality has an axis
        self.of_axis = None if self.axis is None else nn.Linear(self.axis.n_statistics, width)
        self.score = nn.Linear(width, 1)
        self.embedding = nn.Embedding(schema.n_classes, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.projects = conditioning != "concatenation"
        self.mixed = None
        if conditioning != "projection":
            self.mixed = nn.Sequential(nn.Linear(2 * width, width), nn.LeakyReLU(SLOPE), nn.Linear(width, 1))

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.from_features(self.features(x, labels), labels)

    def features(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the features before the scores, (B, width), as feature matching compares them; without the class, here."""
        h = self.trunk(x)
        return h if self.axis is None else h + self.of_axis(x[STATISTICS] if STATISTICS in x else self.axis(x))

    def described(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return samples with the entry STATISTICS, by which D knows them before augmentation."""
        return x if self.axis is None or STATISTICS in x else {**x, STATISTICS: self.axis(x)}

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B,) of features (B, width)."""
        of_class = self.embedding(labels)
        score = self.score(h).squeeze(1)
        if self.projects:
            score = score + (of_class * h).sum(1)
        if self.mixed is not None:
            score = score + self.mixed(torch.cat([h, of_class], dim=1)).squeeze(1)
        return score


class Classifier(nn.Module):
    """C: {name: (B, *shape)} -> class logits (B, n_classes)."""

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        width: Width,
        depth: Depth,
        norm: bool = True,
        dropout: Share = 0.0,
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityEncoder)] = None,
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
    ):
        super().__init__()
        self.trunk = Trunk(schema, width=width, depth=depth, norm=norm, dropout=dropout, branch=branch, fusion=fusion)
        self.logits = nn.Linear(width, schema.n_classes)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.logits(self.trunk(x))
