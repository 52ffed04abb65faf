"""Networks that see noisy samples, the time and the class, and predict what a diffusion process asks for.

All take x {name: (B, *shape)}, times (B,) from 0 to 1 and labels (B,), where the label `n_classes` says nothing of the class, and
return {name: (B, *shape)}.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.errors import Depth, MmganError, OptionsOf, Share, Width, Widths, checked, require
from mmgan.nets.blocks import ConditionalLayerNorm
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder
from mmgan.nets.tokens import Attention, Patches, feedforward
from mmgan.schema import kind_of

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
    """h + gate * inner(norm(h)), norm and gate functions of the condition; the gate begins at zero (adaLN-Zero, Peebles & Xie 2023, arXiv:2212.09748)."""

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


class DenseDenoiser(nn.Module):
    """Modality branches, their sum, residual blocks that the condition steers, and a branch out for each modality."""

    @checked
    def __init__(
        self,
        shapes: Shapes,
        n_classes: int,
        *,
        width: Width,
        depth: Depth,
        dropout: Share = 0.0,
        expansion: Width = 2,
        condition_dim: Width = 64,
        branch: Annotated[dict[str, Any] | None, OptionsOf(ModalityDecoder)] = None,
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


class TokenDenoiser(nn.Module):
    """A transformer over the tokens of all modalities, each of `patch` places of the last axis."""

    @checked
    def __init__(
        self,
        shapes: Shapes,
        n_classes: int,
        *,
        width: Width,
        depth: Depth,
        heads: Width = 4,
        patch: Width = 4,
        dropout: Share = 0.0,
        expansion: Width = 2,
        condition_dim: Width = 64,
    ):
        super().__init__()
        self.patches = {name: Patches(shape, patch) for name, shape in shapes.items()}
        self.tokens = [patches.n for patches in self.patches.values()]
        sizes = [patches.size for patches in self.patches.values()]
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
        cut = [patches.cut(x[name]) for name, patches in self.patches.items()]
        parts = [embedding(tokens) for embedding, tokens in zip(self.embeddings, cut, strict=True)]
        h = torch.cat(parts, dim=1) + self.places
        for block in self.blocks:
            h = block(h, condition)
        parts = self.norm(h, condition).split(self.tokens, dim=1)
        return {
            name: patches.join(readout(part))
            for (name, patches), readout, part in zip(self.patches.items(), self.readouts, parts, strict=True)
        }


class UNetDenoiser(nn.Module):
    """The UNet of diffusers (extra `diffusion`) for one image or latent image (C, H, W); its coarser half of levels has attention."""

    @checked
    def __init__(
        self,
        shapes: Shapes,
        n_classes: int,
        *,
        block_out_channels: Widths = (48, 96),
        layers_per_block: Width = 1,
        dropout: Share = 0.0,
    ):
        super().__init__()
        require("diffusers", "model/denoiser=unet", extra="diffusion")
        from diffusers import UNet2DModel

        if len(shapes) != 1 or kind_of(next(iter(shapes.values()))) != "image":
            raise MmganError(
                f"model/denoiser=unet takes one image (C, H, W), and the data have {dict(shapes)}; choose dense or transformer."
            )
        ((self.name, shape),) = shapes.items()
        levels = len(block_out_channels)
        attention = [level >= levels // 2 for level in range(levels)]
        self.size = shape[1:]
        # Every level but the last halves both sides; what does not divide is filled up, and cut off again.
        self.padding = [-side % 2 ** (levels - 1) for side in self.size]
        self.unet = UNet2DModel(
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            norm_num_groups=math.gcd(8, *block_out_channels),
            attention_head_dim=math.gcd(16, *block_out_channels),
            num_class_embeds=n_classes + 1,
            dropout=dropout,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, x: dict[str, Tensor], t: Tensor, labels: Tensor) -> dict[str, Tensor]:
        high, wide = self.padding
        filled = F.pad(x[self.name], (0, wide, 0, high), mode="replicate")
        # Its sines of the time are made for a thousand steps.
        out = self.unet(filled, 1000 * t, class_labels=labels).sample
        return {self.name: out[..., : self.size[0], : self.size[1]]}


def by_rank(
    shapes: Shapes, n_classes: int, *, signal: Callable[..., nn.Module], image: Callable[..., nn.Module]
) -> nn.Module:
    """Return the network `image` for one image (C, H, W), `signal` for anything else."""
    is_image = len(shapes) == 1 and kind_of(next(iter(shapes.values()))) == "image"
    return (image if is_image else signal)(shapes, n_classes)
