"""The networks of the robust classifier: one Gaussian per modality, fusion, logits, decoders; and what its training samples go through."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmgan.errors import Depth, NonNegative, OptionsOf, Share, Width, checked
from mmgan.losses.variational import reparameterize
from mmgan.nets.blocks import ResidualMLP, activation
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder
from mmgan.schema import DataSchema

MAX_LOGVAR = 10.0


class VariationalEncoders(nn.Module):
    """{name: (B, *shape)} -> mu, logvar, both (B, M, width): q(z_m | x_m) of each modality by itself.

    A branch, a residual block with LayerNorm and GELU, two linear heads; logvar starts at zero and is clamped to +-10.
    """

    def __init__(
        self,
        schema: DataSchema,
        width: int,
        *,
        dropout: float = 0.0,
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityEncoder)] = None,
    ):
        super().__init__()
        self.names = tuple(schema.modalities)
        self.encoders = nn.ModuleList(
            _GaussianEncoder(shape, width, dropout, branch or {}) for shape in schema.modalities.values()
        )

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = [encoder(x[name]) for name, encoder in zip(self.names, self.encoders, strict=True)]
        return tuple(torch.stack(parts, dim=1) for parts in zip(*found, strict=True))


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


def mixed(x: dict[str, Tensor], alpha: float) -> tuple[dict[str, Tensor], Tensor, float]:
    """Return share * x + (1 - share) * x[partner], the partners (B,), and the share, from Beta(alpha, alpha) and at least .5.

    With alpha 0 the samples as they are, and share 1. Paper: Zhang et al. 2018 (arXiv:1710.09412).
    """
    first = next(iter(x.values()))
    partner = torch.randperm(len(first), device=first.device)
    if not alpha:
        return x, partner, 1.0
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share = max(share, 1 - share)
    return {name: share * value + (1 - share) * value[partner] for name, value in x.items()}, partner, share


class Corruption(nn.Module):
    """Noise and missing modalities, of scaled samples {name: (B, *shape)} -> noisy samples, and which are present, (B, M) bool.

    A modality gets white noise with probability one half, of a deviation drawn from 0 to `noise` for each sample and modality. With
    probability `drop` a sample loses one modality, a random one; never its last.
    """

    @checked
    def __init__(self, noise: NonNegative = 0.0, drop: Share = 0.0):
        super().__init__()
        self.noise = noise
        self.drop = drop

    def forward(self, x: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        noisy = {name: value + self._level(value) * torch.randn_like(value) for name, value in x.items()}
        first = next(iter(x.values()))
        present = torch.ones(len(first), len(x), dtype=torch.bool, device=first.device)
        if len(x) > 1 and self.drop:
            lost = torch.randint(len(x), (len(first),), device=first.device)
            losing = torch.rand(len(first), device=first.device) < self.drop
            present[torch.arange(len(first), device=first.device), lost] = ~losing
        return noisy, present

    def _level(self, x: Tensor) -> Tensor:
        """Return the deviation of each sample's noise, (B, 1, ...)."""
        level = self.noise * torch.rand(len(x), device=x.device) * (torch.rand(len(x), device=x.device) < 0.5)
        return level.view(-1, *[1] * (x.dim() - 1))


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

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        width: Width,
        depth: Depth,
        dropout: Share,
        fusion: Callable[[int, int], nn.Module],
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityEncoder)] = None,
    ):
        super().__init__()
        self.width = width
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
