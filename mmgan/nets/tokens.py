"""Arrays as sequences of tokens, and a transformer's layers."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.errors import MmganError


class Patches:
    """Cuts samples (B, ..., L) into tokens (B, n, size): `patch` places of the last axis each, with all channels of them."""

    def __init__(self, shape: tuple[int, ...], patch: int):
        self.shape = tuple(shape)
        self.patch = patch
        self.n = -(-shape[-1] // patch)
        self.size = math.prod(shape[:-1]) * patch

    def cut(self, x: Tensor) -> Tensor:
        """Return the tokens of samples; the last one is filled up with zeros."""
        flat = x.reshape(len(x), -1, self.shape[-1])
        flat = F.pad(flat, (0, self.n * self.patch - self.shape[-1]))
        return flat.unflatten(2, (self.n, self.patch)).transpose(1, 2).flatten(2)

    def join(self, tokens: Tensor) -> Tensor:
        """Return the samples of tokens: the inverse of `cut`."""
        flat = tokens.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(2)
        return flat[..., : self.shape[-1]].reshape(len(tokens), *self.shape)


class Attention(nn.Module):
    """Multi-head attention of tokens (B, n, width) to each other (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if width % heads:
            raise MmganError(f"heads={heads} do not divide width={width}; give a width that is a multiple of them.")
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.project(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, n, dim) each
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


def feedforward(width: int, dropout: float, expansion: int) -> nn.Module:
    """Two layers with a GELU between them; (..., width) -> (..., width)."""
    inner = expansion * width
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))


class TransformerBlock(nn.Module):
    """Attention, then two layers for each token, both residual to their normalised input; (B, n, width) -> the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = Attention(width, heads)
        self.feedforward = feedforward(width, dropout=0.0, expansion=2)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.norms[0](h))
        return h + self.feedforward(self.norms[1](h))
