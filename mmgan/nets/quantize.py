"""Vectors to the nearest of a codebook: thin rooms round vector-quantize-pytorch, which is in the extra `diffusion`."""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from mmgan.errors import EachOf, NonNegative, Range, ShareBelowOne, checked, require


class Quantized(NamedTuple):
    """Tokens (B, n, dim) as the codebook has them, the number of each (B, n), and a commitment loss of the encoder, a scalar."""

    tokens: Tensor
    codes: Tensor
    commitment: Tensor


class VectorQuantizer(nn.Module):
    """The nearest of `size` learnt vectors (van den Oord et al. 2017, arXiv:1711.00937): moving averages of what they stand for.

    They begin at k-means of the first batch; one that stands for fewer than `revive` tokens of a batch, on average, becomes a random token of it.
    """

    @checked
    def __init__(
        self,
        dim: int,
        *,
        size: Annotated[int, Range(2, 65_536)] = 64,
        decay: ShareBelowOne = 0.95,
        revive: NonNegative = 1.0,
    ):
        super().__init__()
        require("vector_quantize_pytorch", "model/quantizer=vq", extra="diffusion")
        from vector_quantize_pytorch import VectorQuantize

        self.size = size
        self.codebook = VectorQuantize(
            dim, size, decay=decay, kmeans_init=True, threshold_ema_dead_code=revive, rotation_trick=False
        )

    def forward(self, tokens: Tensor, learn: bool) -> Quantized:
        """Return the nearest vectors, which move towards `tokens` in training mode if `learn`; the gradient goes straight through to `tokens`."""
        quantized, codes, commitment = self.codebook(tokens, freeze_codebook=not learn)
        return Quantized(quantized, codes, commitment.sum())


class FiniteScalarQuantizer(nn.Module):
    """Each of a few dimensions rounded to one of `levels` values (FSQ, Mentzer et al. 2023, arXiv:2309.15505): nothing to collapse."""

    @checked
    def __init__(
        self, dim: int, *, levels: Annotated[Sequence[int], EachOf(Annotated[int, Range(2, 1000)])] = (5, 5, 5, 5)
    ):
        super().__init__()
        require("vector_quantize_pytorch", "model/quantizer=fsq", extra="diffusion")
        from vector_quantize_pytorch import FSQ

        self.rounding = FSQ(list(levels), dim=dim)
        self.size = self.rounding.codebook_size

    def forward(self, tokens: Tensor, learn: bool) -> Quantized:
        """Return the rounded tokens; the gradient goes straight through the rounding."""
        quantized, codes = self.rounding(tokens)
        return Quantized(quantized, codes, tokens.new_zeros(()))


class NoQuantizer(nn.Module):
    """Tokens as they are, small: for a first stage that is a plain autoencoder."""

    size = 0

    def __init__(self, dim: int):
        super().__init__()

    def forward(self, tokens: Tensor, learn: bool) -> Quantized:
        """Return the tokens, and their mean square in the place of a commitment loss, which keeps them small."""
        codes = torch.zeros(tokens.shape[:2], dtype=torch.int64, device=tokens.device)
        return Quantized(tokens, codes, tokens.square().mean())


class TokenQuantizers(nn.Module):
    """One quantizer for the tokens of all modalities, or one for each: tokens {name: (B, n, dim)} -> {name: `Quantized`}.

    Codes are numbered through all codebooks, from 0 to `size` - 1.
    """

    def __init__(self, names: Sequence[str], dim: int, quantizer: Callable[[int], nn.Module], *, shared: bool):
        super().__init__()
        self.names = tuple(names)
        self.shared = shared
        self.quantizers = nn.ModuleList(quantizer(dim) for _ in (self.names[:1] if shared else self.names))
        self.size = sum(each.size for each in self.quantizers)

    def forward(self, tokens: dict[str, Tensor], learn: bool = False) -> dict[str, Quantized]:
        """Quantise; codebooks in training mode learn from the tokens if `learn`."""
        if not self.shared:
            found, first = {}, 0
            for name, quantizer in zip(self.names, self.quantizers, strict=True):
                own = quantizer(tokens[name], learn)
                found[name] = own._replace(codes=own.codes + first)
                first += quantizer.size
            return found
        lengths = [tokens[name].shape[1] for name in self.names]
        joint = self.quantizers[0](torch.cat([tokens[name] for name in self.names], dim=1), learn)
        parts = zip(self.names, joint.tokens.split(lengths, 1), joint.codes.split(lengths, 1), strict=True)
        return {name: Quantized(part, codes, joint.commitment) for name, part, codes in parts}
