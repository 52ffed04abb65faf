"""The four players of a multimodal adversarial game: encoder E, generator G, critic D, classifier C.

All take and give `dict[str, Tensor]` in scaled units; `branch` holds the options of `mmgan.nets.modality`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmgan.errors import MmganError
from mmgan.losses.variational import reparameterize
from mmgan.nets.blocks import SLOPE, ConditionalLayerNorm, ConditionalResidualMLP, ResidualMLP, activation
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder, ModalityNoise
from mmgan.nets.variational import ModalityDecoders, VariationalEncoders
from mmgan.schema import DataSchema


class Trunk(nn.Module):
    """Modality branches, fusion, residual blocks: {name: (B, *shape)} -> (B, width)."""

    def __init__(
        self,
        schema: DataSchema,
        *,
        width: int,
        depth: int,
        norm: bool = True,
        dropout: float = 0.0,
        branch: dict[str, Any] | None = None,
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
    ):
        super().__init__()
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
        self.blocks = nn.Sequential(*[ResidualMLP(width, norm=norm, dropout=dropout) for _ in range(depth)])

    def forward(self, x: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return features of samples {name: (B, *shape)}; what is not `present`, (B, M) bool, is not looked at."""
        branches = zip(self.names, self.branches, strict=True)
        mu = torch.stack([activation(branch(x[name])) for name, branch in branches], dim=1)  # (B, M, width)
        present = torch.ones(mu.shape[:2], dtype=torch.bool, device=mu.device) if present is None else present
        logvar = None if self.uncertainty is None else self.uncertainty(mu).clamp(-10, 10)
        return activation(self.blocks(self.fusion(mu, logvar, present).features))


class Encoder(nn.Module):
    """E: {name: (B, *shape)} -> mu, logvar, both (B, latent_dim); logvar starts at zero and is clamped to +-10."""

    def __init__(self, schema: DataSchema, latent_dim: int, **trunk: Any):
        super().__init__()
        self.trunk = Trunk(schema, **trunk)
        self.mu = nn.Linear(trunk["width"], latent_dim)
        self.logvar = nn.Linear(trunk["width"], latent_dim)
        nn.init.zeros_(self.logvar.weight)
        nn.init.zeros_(self.logvar.bias)

    def forward(self, x: dict[str, Tensor], present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = self.trunk(x, present)
        return self.mu(h), self.logvar(h).clamp(-10, 10)


class Generated(NamedTuple):
    """Generated samples, with the mean and log standard deviation that their own noise has around it; {name: (B, *shape)}."""

    rows: dict[str, Tensor]
    mean: dict[str, Tensor]
    log_std: dict[str, Tensor]


class Generator(nn.Module):
    """G: z (B, latent_dim), labels (B,), noise (B, noise_dim) -> `Generated`: a shared trunk that splits into modality branches.

    What modalities share goes through z. What varies value by value, such as the speckle of a spectrum, which no few latent
    dimensions can carry, is noise of each modality's own, of a spread that depends on z and class.
    """

    def __init__(
        self,
        schema: DataSchema,
        latent_dim: int,
        *,
        width: int,
        depth: int,
        class_dim: int = 64,
        branch: dict[str, Any] | None = None,
        noise: dict[str, Any] | None = None,
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
        condition = self.embedding(labels)
        h = self.stem(z)
        for block in self.blocks:
            h = block(h, condition)
        h = activation(self.norm(h, condition))
        rows, mean, log_std = {}, {}, {}
        own = noise.split(self.sizes, dim=1)
        for name, branch, spread, part in zip(self.names, self.branches, self.noises, own, strict=True):
            mean[name], log_std[name] = branch(h), spread(h)
            rows[name] = mean[name] + log_std[name].exp() * spread.coloured(part)
        return Generated(rows, mean, log_std)


class Critic(nn.Module):
    """D: {name: (B, *shape)} and labels (B,) -> scores (B,).

    The class enters by `conditioning`: `projection`, score = w.h + <V[label], h> (Miyato & Koyama 2018, arXiv:1802.05637);
    `concatenation`, a small network on h and V[label]; or `both`, their sum. No normalisation unless `norm`.
    """

    def __init__(self, schema: DataSchema, *, conditioning: str = "projection", norm: bool = False, **trunk: Any):
        super().__init__()
        if conditioning not in ("projection", "concatenation", "both"):
            raise MmganError(f"critic: conditioning={conditioning}: choose projection, concatenation or both.")
        width = trunk["width"]
        self.trunk = Trunk(schema, norm=norm, **trunk)
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
        return self.trunk(x)

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

    def __init__(self, schema: DataSchema, **trunk: Any):
        super().__init__()
        self.trunk = Trunk(schema, **trunk)
        self.logits = nn.Linear(trunk["width"], schema.n_classes)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.logits(self.trunk(x))


class RobustOutput(NamedTuple):
    """What a robust classifier says of samples: logits (B, K); per modality mu, logvar (B, M, width), samples rebuilt, weights (B, M)."""

    logits: Tensor
    mu: Tensor
    logvar: Tensor
    rebuilt: dict[str, Tensor]
    weights: Tensor


class RobustNetwork(nn.Module):
    """Variational encoders of single modalities, fusion, residual blocks, logits; and decoders, each from its own modality.

    While it trains, z is drawn from the modalities' posteriors; in evaluation it is their mean.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        width: int,
        depth: int,
        dropout: float,
        fusion: Callable[[int, int], nn.Module],
        branch: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.encoders = VariationalEncoders(schema, width, dropout=dropout, branch=branch)
        self.fusion = fusion(len(schema.modalities), width)
        self.blocks = nn.Sequential(*[ResidualMLP(width, dropout=dropout) for _ in range(depth)])
        self.logits = nn.Linear(width, schema.n_classes)
        decoder = {key: value for key, value in (branch or {}).items() if key != "norm"}
        self.decoders = ModalityDecoders(schema, width, **decoder)

    def forward(self, x: dict[str, Tensor], present: Tensor) -> RobustOutput:
        mu, logvar = self.encoders(x)
        z = reparameterize(mu, logvar, torch.randn_like(mu)) if self.training else mu
        fused = self.fusion(z, logvar, present)
        logits = self.logits(activation(self.blocks(fused.features)))
        return RobustOutput(logits, mu, logvar, self.decoders(z), fused.weights)
