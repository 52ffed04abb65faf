"""Networks that see noisy rows, the time and the class, and predict what a diffusion process asks for.

All take x {name: (B, *shape)}, times (B,) from 0 to 1 and labels (B,), where the label `n_classes` says nothing of the class, and
return {name: (B, *shape)}. Their last layers begin at zero.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.nets.blocks import ConditionalLayerNorm
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder

FREQUENCIES = 32  # sines and as many cosines of the time
Shapes = Mapping[str, tuple[int, ...]]


class TimeAndClass(nn.Module):
    """Times (B,) and labels (B,) -> a condition (B, dim)."""

    def __init__(self, n_classes: int, dim: int):
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.logspace(-2, 2, FREQUENCIES), persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(n_classes + 1, dim)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, t: Tensor, labels: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        return F.silu(self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.label(labels))


class GatedBlock(nn.Module):
    """h + gate * inner(norm(h)), norm and gate told by the condition; the gate begins at zero (adaLN-Zero, Peebles & Xie 2023, arXiv:2212.09748)."""

    def __init__(self, inner: nn.Module, width: int, condition_dim: int):
        super().__init__()
        self.norm = ConditionalLayerNorm(width, condition_dim)
        self.inner = inner
        self.gate = nn.Linear(condition_dim, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        gate = self.gate(condition)
        gate = gate if h.dim() == 2 else gate[:, None]
        return h + gate * self.inner(self.norm(h, condition))


def feedforward(width: int, dropout: float, expansion: int) -> nn.Module:
    """Two layers with a GELU between them; (..., width) -> (..., width)."""
    inner = expansion * width
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))


class DenseDenoiser(nn.Module):
    """Modality branches, their sum, residual blocks that the condition steers, and a branch out for each modality."""

    def __init__(
        self,
        shapes: Shapes,
        n_classes: int,
        *,
        width: int,
        depth: int,
        dropout: float = 0.0,
        expansion: int = 2,
        condition_dim: int = 64,
        branch: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.names = tuple(shapes)
        self.condition = TimeAndClass(n_classes, condition_dim)
        self.encoders = nn.ModuleList(ModalityEncoder(shape, width, **(branch or {})) for shape in shapes.values())
        self.blocks = nn.ModuleList(
            GatedBlock(feedforward(width, dropout, expansion), width, condition_dim) for _ in range(depth)
        )
        self.norm = ConditionalLayerNorm(width, condition_dim)
        self.decoders = nn.ModuleList(ModalityDecoder(shape, width, **(branch or {})) for shape in shapes.values())

    def forward(self, x: dict[str, Tensor], t: Tensor, labels: Tensor) -> dict[str, Tensor]:
        condition = self.condition(t, labels)
        h = sum(encoder(x[name]) for name, encoder in zip(self.names, self.encoders, strict=True))
        for block in self.blocks:
            h = block(h, condition)
        h = self.norm(h, condition)
        return {name: decoder(h) for name, decoder in zip(self.names, self.decoders, strict=True)}


class Attention(nn.Module):
    """Multi-head attention of tokens (B, N, width) to each other."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.project(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, dim) each
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TokenDenoiser(nn.Module):
    """A transformer over the tokens of all modalities: `patch` places of the last axis each, all channels of them."""

    def __init__(
        self,
        shapes: Shapes,
        n_classes: int,
        *,
        width: int,
        depth: int,
        heads: int = 4,
        patch: int = 4,
        dropout: float = 0.0,
        expansion: int = 2,
        condition_dim: int = 64,
    ):
        super().__init__()
        self.shapes = dict(shapes)
        self.patch = patch
        self.tokens = [-(-shape[-1] // patch) for shape in shapes.values()]
        sizes = [math.prod(shape[:-1]) * patch for shape in shapes.values()]
        self.condition = TimeAndClass(n_classes, condition_dim)
        self.embeddings = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.places = nn.Parameter(0.02 * torch.randn(sum(self.tokens), width))
        self.blocks = nn.ModuleList(
            GatedBlock(inner, width, condition_dim)
            for _ in range(depth)
            for inner in (Attention(width, heads, dropout), feedforward(width, dropout, expansion))
        )
        self.norm = ConditionalLayerNorm(width, condition_dim)
        self.readouts = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        for readout in self.readouts:
            nn.init.zeros_(readout.weight)
            nn.init.zeros_(readout.bias)

    def forward(self, x: dict[str, Tensor], t: Tensor, labels: Tensor) -> dict[str, Tensor]:
        condition = self.condition(t, labels)
        parts = [
            embedding(self._patches(x[name])) for name, embedding in zip(self.shapes, self.embeddings, strict=True)
        ]
        h = torch.cat(parts, dim=1) + self.places
        for block in self.blocks:
            h = block(h, condition)
        parts = self.norm(h, condition).split(self.tokens, dim=1)
        return {
            name: self._rows(readout(part), shape)
            for (name, shape), readout, part in zip(self.shapes.items(), self.readouts, parts, strict=True)
        }

    def _patches(self, x: Tensor) -> Tensor:
        """(B, ..., L) -> (B, tokens, values of one)."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        flat = F.pad(flat, (0, -x.shape[-1] % self.patch))
        return flat.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(2)

    def _rows(self, tokens: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `_patches`."""
        flat = tokens.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(2)
        return flat[..., : shape[-1]].reshape(len(tokens), *shape)
