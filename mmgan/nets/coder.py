"""A modality to a grid of tokens and back, for the first stage of a two-stage model; ranks are told apart here as in `mmgan.nets.modality`.

(F,) and (C, L) are cut into patches, which a small transformer looks at; (C, H, W) goes through the convolutional encoder and decoder of
diffusers (extra `diffusion`).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmgan.errors import Depth, Width, Widths, checked, require
from mmgan.nets.tokens import Patches, TransformerBlock
from mmgan.schema import kind_of


class PatchCoder(nn.Module):
    """Arrays (B, ..., L) <-> tokens (B, n, dim), one for each patch of `patch` places."""

    @checked
    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int,
        *,
        patch: Width = 4,
        width: Width = 96,
        depth: Depth = 2,
        heads: Width = 4,
    ):
        super().__init__()
        self.patches = Patches(shape, patch)
        self.grid = (self.patches.n,)
        self.places = nn.ParameterList(0.02 * torch.randn(self.patches.n, width) for _ in range(2))
        self.inward = nn.Linear(self.patches.size, width)
        self.encoder = nn.Sequential(*[TransformerBlock(width, heads) for _ in range(depth)])
        self.to_latent = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))
        self.from_latent = nn.Linear(dim, width)
        self.decoder = nn.Sequential(*[TransformerBlock(width, heads) for _ in range(depth)], nn.LayerNorm(width))
        self.last = nn.Linear(width, self.patches.size)

    def encode(self, x: Tensor) -> Tensor:
        """(B, ..., L) -> (B, n, dim)."""
        return self.to_latent(self.encoder(self.inward(self.patches.cut(x)) + self.places[0]))

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, n, dim) -> (B, ..., L)."""
        return self.patches.join(self.last(self.decoder(self.from_latent(tokens) + self.places[1])))


class ImageCoder(nn.Module):
    """Images (B, C, H, W) <-> tokens (B, h w, dim): each of `block_out_channels` but the last halves both sides."""

    @checked
    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int,
        *,
        block_out_channels: Widths = (16, 32, 64),
        layers_per_block: Width = 1,
    ):
        super().__init__()
        require("diffusers", "a first stage for images", extra="diffusion")
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        blocks = tuple(block_out_channels)
        halvings = 2 ** (len(blocks) - 1)
        self.size = shape[1:]
        # What does not divide by it is filled up with the outermost values, and cut off again.
        self.padding = [-side % halvings for side in shape[1:]]
        self.grid = tuple((side + more) // halvings for side, more in zip(shape[1:], self.padding, strict=True))
        shared = {
            "block_out_channels": blocks,
            "layers_per_block": layers_per_block,
            "norm_num_groups": math.gcd(8, *blocks),
            "mid_block_add_attention": False,
        }
        down, up = (("DownEncoderBlock2D",) * len(blocks), ("UpDecoderBlock2D",) * len(blocks))
        self.encoder = Encoder(shape[0], dim, down_block_types=down, double_z=False, **shared)
        self.decoder = Decoder(dim, shape[0], up_block_types=up, **shared)
        self.last = self.decoder.conv_out

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h w, dim)."""
        high, wide = self.padding
        return self.encoder(nn.functional.pad(x, (0, wide, 0, high), mode="replicate")).flatten(2).transpose(1, 2)

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, h w, dim) -> (B, C, H, W)."""
        return self.decoder(tokens.transpose(1, 2).unflatten(2, self.grid))[..., : self.size[0], : self.size[1]]


def by_rank(
    shape: tuple[int, ...], dim: int, *, signal: Callable[..., nn.Module], image: Callable[..., nn.Module]
) -> nn.Module:
    """Return the coder `image` of an image (C, H, W), `signal` of anything else."""
    return (image if kind_of(shape) == "image" else signal)(shape, dim)
