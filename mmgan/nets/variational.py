"""One Gaussian per modality, and each modality back from it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmgan.nets.modality import ModalityDecoder, ModalityEncoder
from mmgan.schema import DataSchema

MAX_LOGVAR = 10.0


class VariationalEncoders(nn.Module):
    """{name: (B, *shape)} -> mu, logvar, both (B, M, width): q(z_m | x_m) of each modality by itself.

    A branch, a residual block with LayerNorm and GELU, two linear heads; logvar starts at zero and is clamped to +-10.
    """

    def __init__(self, schema: DataSchema, width: int, *, dropout: float = 0.0, branch: dict[str, Any] | None = None):
        super().__init__()
        self.names = tuple(schema.modalities)
        self.encoders = nn.ModuleList(
            _GaussianEncoder(shape, width, dropout, branch or {}) for shape in schema.modalities.values()
        )

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = [encoder(x[name]) for name, encoder in zip(self.names, self.encoders, strict=True)]
        mu, logvar = (torch.stack(parts, dim=1) for parts in zip(*found, strict=True))
        return mu, logvar


class _GaussianEncoder(nn.Module):
    """One modality (B, *shape) -> mu, logvar, both (B, width)."""

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float, branch: dict[str, Any]):
        super().__init__()
        self.branch = ModalityEncoder(shape, width, **branch)
        self.norm_branch, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, width)
        self.mu, self.logvar = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.logvar.weight)
        nn.init.zeros_(self.logvar.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.dropout(functional.gelu(self.norm_branch(self.branch(x))))
        h = h + self.dropout(functional.gelu(self.norm_hidden(self.hidden(h))))
        return self.mu(h), self.logvar(h).clamp(-MAX_LOGVAR, MAX_LOGVAR)


class ModalityDecoders(nn.Module):
    """z (B, M, width), one of each modality -> {name: (B, *shape)}."""

    def __init__(self, schema: DataSchema, width: int, **branch: Any):
        super().__init__()
        self.names = tuple(schema.modalities)
        self.decoders = nn.ModuleList(ModalityDecoder(shape, width, **branch) for shape in schema.modalities.values())

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        return {name: decoder(z[:, m]) for m, (name, decoder) in enumerate(zip(self.names, self.decoders, strict=True))}
