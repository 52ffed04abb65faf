"""Statistics of single samples along their axes, as differentiable functions: what a critic sees texture by.

Values one by one say little of how rough a spectrum or an image is; these say it at once.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmgan.errors import Positive, Width, checked
from mmgan.schema import DataSchema, kind_of

STATISTICS = "axis statistics"  # the entry of a critic's input that holds them
MIN_LENGTH = 8  # points of an axis that has statistics
MAX_CORRELATED = 32  # channels of a modality whose correlations are among them
MAX_DECORRELATED = 1024
MAX_TABLE_FEATURES = 4096
MAX_MATRIX = 128  # points of an axis whose spectrum is found by a matrix
LEAST_ENERGY = 1e-3  # of values of about unit variance
LEAST_DEVIATION = 1e-3
REACH, N_KNOTS = 4.0, 65  # knots of scaled values from -REACH to REACH; beyond, they go on as they do there
BLOCK_SIZE = 1024  # samples that are measured together


class AxisStatistics(nn.Module):
    """Scaled samples {name: (B, *shape)} -> (B, n_statistics), standardised by those of the training samples, and decorrelated.

    For each channel, along each axis of at least 8 points: the log energies of first and second differences, and the autocorrelation
    at lags 1 to `lags`; the log energy of the channel; the correlations between channels. A channel's mean is removed first.
    They are those of standardised physical values: a scaling by quantiles hides how rough the largest are.
    Vectors have no order and give none; those of a modality that is missing are 0, which is the training samples' mean.

    Statistics go together (a rough channel is so at every lag), and what tells generated samples is how they do not. So they are
    multiplied by (R + `shrinkage` I)^(-1/2), R being the training samples' correlations; not where there are more than 1024, nor
    with None.
    """

    @checked
    def __init__(self, schema: DataSchema, *, lags: Width = 8, shrinkage: Positive | None = 0.1):
        super().__init__()
        self.shrinkage = shrinkage
        shapes = {name: shape for name, shape in schema.modalities.items() if axes_of(shape)}
        self.units = nn.ModuleList(PhysicalUnits(shape) for shape in shapes.values())
        self.autocorrelations = nn.ModuleList(
            nn.ModuleList(Autocorrelations(shape[axis], lags) for axis in axes_of(shape)) for shape in shapes.values()
        )
        found = zip(shapes.items(), self.autocorrelations, strict=True)
        self.widths = {name: _measured(torch.zeros(1, *shape), along).shape[1] for (name, shape), along in found}
        self.n_statistics = sum(self.widths.values())
        self.register_buffer("mean", torch.zeros(self.n_statistics))
        self.register_buffer("deviation", torch.ones(self.n_statistics))
        decorrelated = shrinkage is not None and self.n_statistics <= MAX_DECORRELATED
        self.register_buffer("decorrelation", torch.eye(self.n_statistics if decorrelated else 0))

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        # Real samples are measured before a training's precision is set: generated ones must not differ by that.
        with torch.autocast(self.mean.device.type, enabled=False):
            standardised = (self._raw(x) - self.mean) / self.deviation
            return standardised @ self.decorrelation if len(self.decorrelation) else standardised

    @torch.no_grad()
    def fit(self, x: dict[str, Tensor], scaler: nn.Module) -> None:
        """Take training samples {name: (n, *shape)}, which `scaler` (of `mmgan.nets.scaling`) has scaled."""
        if not self.widths:
            return
        physical = scaler.inverse(x)
        knots = scaler.inverse({name: knots_like(value) for name, value in x.items()})
        for name, units in zip(self.widths, self.units, strict=True):
            units.fit(knots[name], physical[name])
        measured = self._raw(x)
        self.mean.copy_(measured.mean(0))
        self.deviation.copy_(measured.std(0, correction=0) + LEAST_DEVIATION)
        if len(self.decorrelation):
            standardised = ((measured - self.mean) / self.deviation).double()
            variance, directions = torch.linalg.eigh(standardised.T @ standardised / len(standardised))
            scale = (variance.clamp_min(0) + self.shrinkage).rsqrt()
            self.decorrelation.copy_(directions * scale @ directions.T)

    def _raw(self, x: dict[str, Tensor]) -> Tensor:
        """Return the statistics (B, n_statistics) before they are standardised; of a modality that is missing, their mean."""
        n, means = len(next(iter(x.values()))), self.mean.split(list(self.widths.values()))
        found = [
            torch.cat([_measured(units(block.float()), along) for block in x[name].split(BLOCK_SIZE)])
            if name in x
            else mean.expand(n, -1)
            for name, units, along, mean in zip(self.widths, self.units, self.autocorrelations, means, strict=True)
        ]
        return torch.cat(found, 1)


class PhysicalUnits(nn.Module):
    """Scaled values (B, *shape) -> standardised physical ones, by a table per feature with linear steps, so that it has slopes.

    Of more than 4096 features, as images have them, values stay scaled.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        features = math.prod(shape)
        knots = torch.linspace(-REACH, REACH, N_KNOTS)[:, None]
        self.register_buffer("table", knots.repeat(1, features if features <= MAX_TABLE_FEATURES else 0))

    def fit(self, knots: Tensor, physical: Tensor) -> None:
        """Take the physical values of all features at the knots, (knots, *shape), and the training samples' (n, *shape)."""
        if self.table.numel():
            knots, physical = knots.flatten(1).double(), physical.flatten(1).double()
            deviation = physical.std(0, correction=0)
            deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            self.table.copy_((knots - physical.mean(0)) / deviation)

    def forward(self, x: Tensor) -> Tensor:
        if not self.table.numel():
            return x
        place = (x.flatten(1) + REACH) * ((N_KNOTS - 1) / (2 * REACH))  # in knots
        below = (
            place.detach().nan_to_num().floor().clamp(0, N_KNOTS - 2).long()
        )  # NaN, of a model that diverges, stays so
        value = self.table.gather(0, below)
        return (value + (place - below) * (self.table.gather(0, below + 1) - value)).reshape(x.shape)


class Autocorrelations(nn.Module):
    """Normalised values (B, C, M, L) -> their autocorrelations along L at lags 1 to `lags`, (B, C, lags).

    Of the power spectrum, padded so that nothing wraps around; that of a short axis by matrices, which takes half the time.
    """

    def __init__(self, length: int, lags: int):
        super().__init__()
        self.lags = min(lags, length - 1)
        self.padded = length + self.lags
        self.register_buffer("pairs", torch.arange(length - 1, length - self.lags - 1, -1), persistent=False)
        self.is_short = length <= MAX_MATRIX
        if self.is_short:
            there = torch.view_as_real(torch.fft.rfft(torch.eye(length), self.padded)).flatten(1)
            self.register_buffer("there", there, persistent=False)  # (L, 2 * frequencies)
            back = self._of_power(torch.eye(self.padded // 2 + 1))
            self.register_buffer("back", back.repeat_interleave(2, 0), persistent=False)  # (2 * frequencies, lags)

    def forward(self, z: Tensor) -> Tensor:
        if self.is_short:
            return (z @ self.there).square().mean(2) @ self.back
        power = torch.view_as_real(torch.fft.rfft(z, self.padded)).square().sum(4)
        return self._of_power(power.mean(2))

    def _of_power(self, power: Tensor) -> Tensor:
        """Return the autocorrelations (..., lags) of power spectra (..., frequencies)."""
        return torch.fft.irfft(power, self.padded)[..., 1 : self.lags + 1] / self.pairs


def knots_like(x: Tensor) -> Tensor:
    """Return the knots as samples (N_KNOTS, *shape), each of one value, of the shape of `x` (n, *shape)."""
    knots = torch.linspace(-REACH, REACH, N_KNOTS, device=x.device, dtype=x.dtype)
    return knots.view(-1, *[1] * (x.dim() - 1)).expand(-1, *x.shape[1:])


def axes_of(shape: tuple[int, ...]) -> list[int]:
    """Return which axes of a modality have statistics, counted from the last, -1: not channels, nor what has no order or is too short."""
    spatial = [] if kind_of(shape) == "vector" else range(1 - len(shape), 0)
    return [axis for axis in spatial if shape[axis] >= MIN_LENGTH]


def _measured(x: Tensor, autocorrelations: nn.ModuleList) -> Tensor:
    """Return the statistics (B, n) of one modality (B, *shape), along whose axes go `autocorrelations`."""
    shape = tuple(x.shape[1:])
    planes = x.reshape(len(x), shape[0], -1, shape[-1])  # (B, C, H, W); of a signal H = 1
    centred = planes - planes.mean((2, 3), keepdim=True)
    energy = centred.square().mean((2, 3)) + LEAST_ENERGY  # (B, C)
    normalised = centred * energy.rsqrt()[..., None, None]
    found = [energy.log()]
    for axis, correlated in zip(axes_of(shape), autocorrelations, strict=True):
        found += _roughness(centred.transpose(-1, axis))
        found.append(correlated(normalised.transpose(-1, axis)))
    if 1 < shape[0] <= MAX_CORRELATED:
        found.append(_correlations(normalised.flatten(2)))
    return torch.cat([part.flatten(1) for part in found], 1)


def _roughness(z: Tensor) -> Iterator[Tensor]:
    """Yield the log energies (B, C) of first and second differences of centred values (B, C, M, L) along L."""
    first = z.diff()
    for difference in (first, first.diff()):
        yield (difference.square().mean((2, 3)) + LEAST_ENERGY).log()


def _correlations(z: Tensor) -> Tensor:
    """Return the correlations (B, pairs) between the channels of normalised values (B, C, N)."""
    channels = z.shape[1]
    i, j = torch.triu_indices(channels, channels, 1, device=z.device)
    # Of the flattened matrix: the slope of a choice by two indices takes four times as long.
    return (z @ z.transpose(1, 2)).flatten(1).index_select(1, i * channels + j) / z.shape[2]
