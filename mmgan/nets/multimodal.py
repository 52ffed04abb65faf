"""The four players of a multimodal adversarial game: encoder E, generator G, critic D, classifier C.

All take and give `dict[str, Tensor]` in scaled units; `branch` holds the options of `mmgan.nets.modality`.
"""

from typing import Any

from torch import Tensor, nn

from mmgan.nets.blocks import ConditionalLayerNorm, ConditionalResidualMLP, ResidualMLP, activation
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder
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
    ):
        super().__init__()
        self.names = tuple(schema.modalities)  # a ModuleDict would refuse names such as "type"
        self.branches = nn.ModuleList(
            ModalityEncoder(shape, width, norm=norm, **(branch or {})) for shape in schema.modalities.values()
        )
        self.fusion = ConcatFusion(len(schema.modalities), width)
        self.blocks = nn.Sequential(*[ResidualMLP(width, norm=norm, dropout=dropout) for _ in range(depth)])

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        features = [activation(branch(x[name])) for name, branch in zip(self.names, self.branches, strict=True)]
        return activation(self.blocks(self.fusion(features)))


class Encoder(nn.Module):
    """E: {name: (B, *shape)} -> mu, logvar, both (B, latent_dim); logvar starts at zero and is clamped to +-10."""

    def __init__(self, schema: DataSchema, latent_dim: int, **trunk: Any):
        super().__init__()
        self.trunk = Trunk(schema, **trunk)
        self.mu = nn.Linear(trunk["width"], latent_dim)
        self.logvar = nn.Linear(trunk["width"], latent_dim)
        nn.init.zeros_(self.logvar.weight)
        nn.init.zeros_(self.logvar.bias)

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mu(h), self.logvar(h).clamp(-10, 10)


class Generator(nn.Module):
    """G: z (B, latent_dim) and labels (B,) -> {name: (B, *shape)}: a shared trunk that splits into modality branches."""

    def __init__(
        self,
        schema: DataSchema,
        latent_dim: int,
        *,
        width: int,
        depth: int,
        class_dim: int = 64,
        branch: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(schema.n_classes, class_dim)
        self.stem = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList([ConditionalResidualMLP(width, class_dim) for _ in range(depth)])
        self.norm = ConditionalLayerNorm(width, class_dim)
        self.names = tuple(schema.modalities)
        self.branches = nn.ModuleList(
            ModalityDecoder(shape, width, **(branch or {})) for shape in schema.modalities.values()
        )

    def forward(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        condition = self.embedding(labels)
        h = self.stem(z)
        for block in self.blocks:
            h = block(h, condition)
        h = activation(self.norm(h, condition))
        return {name: branch(h) for name, branch in zip(self.names, self.branches, strict=True)}


class ProjectionCritic(nn.Module):
    """D: {name: (B, *shape)} and labels (B,) -> scores (B,), with the class as a projection and no normalisation.

    score = w.h + <V[label], h> (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, schema: DataSchema, **trunk: Any):
        super().__init__()
        self.trunk = Trunk(schema, norm=False, **trunk)
        self.score = nn.Linear(trunk["width"], 1)
        self.projection = nn.Embedding(schema.n_classes, trunk["width"])
        nn.init.normal_(self.projection.weight, std=trunk["width"] ** -0.5)

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.from_features(self.features(x), labels)

    def features(self, x: dict[str, Tensor]) -> Tensor:
        """Return the features before the scores, (B, width), as feature matching compares them."""
        return self.trunk(x)

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B,) of features (B, width)."""
        return self.score(h).squeeze(1) + (self.projection(labels) * h).sum(1)


class Classifier(nn.Module):
    """C: {name: (B, *shape)} -> class logits (B, n_classes)."""

    def __init__(self, schema: DataSchema, **trunk: Any):
        super().__init__()
        self.trunk = Trunk(schema, **trunk)
        self.logits = nn.Linear(trunk["width"], schema.n_classes)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.logits(self.trunk(x))
