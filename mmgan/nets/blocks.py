"""Residual blocks and class-conditional normalisation, for vectors, signals and images."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
INVERSES = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}

SLOPE = 0.2


def activation(h: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(h, SLOPE)


def penalised_activation(h: Tensor) -> Tensor:
    """The same for a network whose input gradient is penalised: without torch's second derivative, zeros that go back through all of it."""
    return h * h.detach().sign().clamp_min(SLOPE)


class ResidualMLP(nn.Module):
    """h + W2 act(W1 norm(h)); (B, width) -> (B, width). Pre-normalised where `norm` is true."""

    def __init__(
        self,
        width: int,
        *,
        norm: bool = True,
        dropout: float = 0.0,
        activation: Callable[[Tensor], Tensor] = activation,
    ):
        super().__init__()
        self.activation = activation
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.inner = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.outer = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(self.dropout(self.activation(self.inner(self.norm(h)))))


class ConditionalLayerNorm(nn.Module):
    """LayerNorm whose gain and shift are functions of a condition (FiLM, Perez et al. 2018, arXiv:1709.07871).

    (B, width) or tokens (B, N, width), and (B, condition_dim) -> the same shape; or conditions (K, condition_dim), one for each
    class, with the samples' `labels` (B,), which costs less.
    """

    def __init__(self, width: int, condition_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(condition_dim, 2 * width)

    def forward(self, h: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        film = self.film(condition)
        if labels is not None:
            film = F.embedding(labels, film)
        gain, shift = (film if h.dim() == 2 else film[:, None]).chunk(2, dim=-1)
        return self.norm(h) * (1 + gain) + shift


class ConditionalResidualMLP(nn.Module):
    """A residual block of a conditional generator; (B, width), conditions as of `ConditionalLayerNorm` -> (B, width)."""

    def __init__(self, width: int, condition_dim: int):
        super().__init__()
        self.norm = ConditionalLayerNorm(width, condition_dim)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        return h + self.outer(activation(self.inner(self.norm(h, condition, labels))))


class ResidualConv(nn.Module):
    """h + conv(act(conv(act(norm(h))))); (B, C, *size) -> the same. GroupNorm of one group where `norm` is true.

    BatchNorm is not offered: through it a gradient penalty is not defined per sample (Gulrajani et al. 2017).
    """

    def __init__(self, channels: int, dims: int, *, norm: bool = True):
        super().__init__()
        conv = CONVS[dims]
        self.norm = nn.GroupNorm(1, channels) if norm else nn.Identity()
        self.inner = conv(channels, channels, 3, padding=1)
        self.outer = conv(channels, channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(activation(self.inner(activation(self.norm(h)))))
