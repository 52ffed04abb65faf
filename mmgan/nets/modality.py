"""One modality to a feature vector and back, by the rank of its shape.

(F,) takes dense layers; (C, L) convolutions over L with C as channels, or over both axes with `dims=2`;
(C, H, W) 2-D convolutions. Every convolutional branch is residual to a dense map, as long as that map is small:
in a few hundred samples each position of a spectrum has a meaning of its own, which weight sharing alone cannot express.
With `stages=0` the dense map is all there is, but where it would be large.
There an axis of more than 1024 points is cut into patches first, a position each (Dosovitskiy et al. 2021, arXiv:2010.11929).
"""

import itertools
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmgan.errors import Depth, Positive, Width, checked
from mmgan.nets.blocks import CONVS, INVERSES, SLOPE, ResidualConv, activation
from mmgan.schema import kind_of

MAX_DENSE_FEATURES = 4096
MAX_COLOURED_FEATURES = 1024  # the mixing matrix has the square of it
MAX_POSITIONS = 1024  # of an axis, as the convolutions of a branch without a dense map see it
LEAST_STAGES = 2  # of a branch that has no dense map
MIN_SIZE = 4  # no axis is halved below this


def convolved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a modality's shape as convolutions take it, channels first: a vector has one channel."""
    return (1, *shape) if kind_of(shape) == "vector" else tuple(shape)


def _conv_input(shape: tuple[int, ...], dims: int) -> tuple[int, tuple[int, ...]]:
    """Return (channels, size) as the convolutions see a modality of `shape`."""
    if kind_of(shape) == "signal" and dims == 2:
        return 1, tuple(shape)
    return shape[0], tuple(shape[1:])


def _pyramid(size: tuple[int, ...], stages: int) -> list[tuple[int, ...]]:
    """Return the sizes of the feature maps, finest first; an axis is halved (rounding up) while it stays >= MIN_SIZE."""
    sizes = [size]
    for _ in range(stages):
        sizes.append(tuple(math.ceil(s / 2) if s >= 2 * MIN_SIZE else s for s in sizes[-1]))
    return sizes


def _patches(size: tuple[int, ...], whole: bool) -> tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]:
    """Return the patches along each axis, the options of a convolution that makes a position of each, and the rest that its inverse adds; of one point each, where `whole`."""
    length = [1 if whole else math.ceil(points / MAX_POSITIONS) for points in size]
    count = tuple(math.ceil(points / each) for points, each in zip(size, length, strict=True))
    beyond = [n * each - points for n, each, points in zip(count, length, size, strict=True)]
    padding = tuple(math.ceil(points / 2) for points in beyond)
    rest = tuple(2 * pad - points for pad, points in zip(padding, beyond, strict=True))
    return count, {"kernel_size": tuple(length), "stride": tuple(length), "padding": padding}, rest


class ModalityEncoder(nn.Module):
    """(B, *shape) -> (B, width)."""

    @checked
    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        *,
        channels: Width = 32,
        stages: Depth = 2,
        dims: Literal[1, 2] = 1,
        norm: bool = True,
    ):
        super().__init__()
        dims = 2 if kind_of(shape) == "image" else dims
        flat = math.prod(shape)
        self.dense = nn.Linear(flat, width) if flat <= MAX_DENSE_FEATURES or kind_of(shape) == "vector" else None
        self.conv = None
        stages = stages if self.dense is not None else max(stages, LEAST_STAGES)
        if kind_of(shape) != "vector" and stages:
            in_channels, size = _conv_input(shape, dims)
            count, cut, _ = _patches(size, whole=self.dense is not None)
            sizes = _pyramid(count, stages)
            layers: list[nn.Module] = [nn.Unflatten(1, (in_channels, *size))]
            if count != size:
                layers += [CONVS[dims](in_channels, channels, **cut)]
                in_channels = channels
            for stage, (before, after) in enumerate(itertools.pairwise(sizes)):
                stride = tuple(2 if a < b else 1 for a, b in zip(after, before, strict=True))
                out_channels = channels * 2**stage
                layers += [CONVS[dims](in_channels, out_channels, 3, stride=stride, padding=1)]
                layers += [ResidualConv(out_channels, dims, norm=norm)]
                in_channels = out_channels
            layers += [nn.LeakyReLU(SLOPE), nn.Flatten(), nn.Linear(in_channels * math.prod(sizes[-1]), width)]
            self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)  # (B, prod(shape))
        if self.conv is None:
            return self.dense(flat)
        return self.conv(flat) if self.dense is None else self.conv(flat) + self.dense(flat)


class ModalityDecoder(nn.Module):
    """(B, width) -> (B, *shape)."""

    @checked
    def __init__(
        self, shape: tuple[int, ...], width: int, *, channels: Width = 32, stages: Depth = 2, dims: Literal[1, 2] = 1
    ):
        super().__init__()
        dims = 2 if kind_of(shape) == "image" else dims
        flat = math.prod(shape)
        self.shape = tuple(shape)
        self.dense = nn.Linear(width, flat) if flat <= MAX_DENSE_FEATURES or kind_of(shape) == "vector" else None
        self.conv = None
        stages = stages if self.dense is not None else max(stages, LEAST_STAGES)
        if kind_of(shape) != "vector" and stages:
            out_channels, size = _conv_input(shape, dims)
            count, cut, rest = _patches(size, whole=self.dense is not None)
            sizes = _pyramid(count, stages)[::-1]  # coarsest first
            in_channels = channels * 2 ** (stages - 1)
            layers: list[nn.Module] = [nn.Linear(width, in_channels * math.prod(sizes[0]))]
            layers += [nn.Unflatten(1, (in_channels, *sizes[0]))]
            for stage, finer in enumerate(sizes[1:]):
                next_channels = channels * 2 ** max(stages - 2 - stage, 0)
                layers += [ResidualConv(in_channels, dims), nn.Upsample(finer)]
                layers += [CONVS[dims](in_channels, next_channels, 3, padding=1)]
                in_channels = next_channels
            layers += [nn.LeakyReLU(SLOPE)]
            if count == size:
                layers += [CONVS[dims](in_channels, out_channels, 3, padding=1)]
            else:
                layers += [INVERSES[dims](in_channels, out_channels, **cut, output_padding=rest)]
            layers += [nn.Flatten()]
            self.conv = nn.Sequential(*layers)

    def forward(self, h: Tensor) -> Tensor:
        if self.conv is None:
            flat = self.dense(h)
        else:
            flat = self.conv(activation(h)) if self.dense is None else self.conv(activation(h)) + self.dense(h)
        return flat.reshape(len(h), *self.shape)


class ModalityNoise(nn.Module):
    """Noise of a modality: (B, width) -> the logarithm of its standard deviation, (B, *shape), and a colour of its own.

    One deviation per value, and noise that is correlated between values as learned; where values are too many, one per
    channel, and white noise. The deviation is `start` at first, and stays between `least` and `most`; without `coloured` all noise
    is white.
    """

    @checked
    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        *,
        start: Positive = 0.3,
        least: Positive = 0.01,
        most: Positive = 2.0,
        coloured: bool = True,
    ):
        super().__init__()
        flat = math.prod(shape)
        by_value = flat <= MAX_DENSE_FEATURES or kind_of(shape) == "vector"
        self.shape = tuple(shape)
        self.bounds = math.log(least), math.log(most)
        self.deviations = self.shape if by_value else (shape[0], *[1] * (len(shape) - 1))
        self.log_std = None  # where `least` and `most` leave nothing to learn
        if least < most:
            self.log_std = nn.Linear(width, math.prod(self.deviations))
            nn.init.normal_(self.log_std.weight, std=0.01)
            nn.init.constant_(self.log_std.bias, math.log(start))
        self.mixing = nn.Parameter(torch.eye(flat)) if coloured and flat <= MAX_COLOURED_FEATURES else None

    def forward(self, h: Tensor) -> Tensor:
        if self.log_std is None:
            return h.new_full((len(h), *self.shape), self.bounds[0])
        return self.log_std(h).clamp(*self.bounds).reshape(len(h), *self.deviations).expand(-1, *self.shape)

    def coloured(self, white: Tensor) -> Tensor:
        """Return correlated noise (B, *shape), each value of unit variance, of white noise (B, values)."""
        if self.mixing is not None:
            # Of the products, few, not of the matrix: the same, in a fraction of the time.
            white = functional.linear(white, self.mixing) / torch.linalg.vector_norm(self.mixing, dim=1)
        return white.reshape(len(white), *self.shape)
