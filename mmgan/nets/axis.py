"""Statistics of single samples along their axes, as differentiable functions: what a critic sees texture by.

Values one by one say little of how rough a spectrum or an image is; these say it at once. All in scaled units.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmgan.errors import Positive, Width, checked
from mmgan.schema import DataSchema, kind_of

STATISTICS = "axis statistics"  # the entry of a critic's input that holds them
MIN_LENGTH = 8  # points of an axis that has statistics
MAX_CORRELATED = 32  # channels of a modality whose correlations are among them
MAX_DECORRELATED = 1024
LEAST_ENERGY = 1e-3  # of values of about unit variance
LEAST_DEVIATION = 1e-3
BLOCK_SIZE = 1024  # samples that are measured together


class AxisStatistics(nn.Module):
    """{name: (B, *shape)} -> (B, n_statistics), standardised by those of the training samples, and decorrelated.

    For each channel, along each axis of at least 8 points: the log energies of first and second differences, and the autocorrelation
    at lags 1 to `lags`; the log energy of the channel; the correlations between channels. A channel's mean is removed first.
    Vectors have no order and give none; those of a modality that is missing are 0, which is the training samples' mean.

    Statistics go together (a rough channel is so at every lag), and what tells generated samples is how they do not. So they are
    multiplied by (R + `shrinkage` I)^(-1/2), R being the training samples' correlations; not where there are more than 1024, nor
    with None.
    """

    @checked
    def __init__(self, schema: DataSchema, *, lags: Width = 8, shrinkage: Positive | None = 0.1):
        super().__init__()
        self.lags, self.shrinkage = lags, shrinkage
        self.shapes = {name: shape for name, shape in schema.modalities.items() if any(axes_of(shape))}
        self.widths = {name: self._measured(torch.zeros(1, *shape)).shape[1] for name, shape in self.shapes.items()}
        self.n_statistics = sum(self.widths.values())
        self.register_buffer("mean", torch.zeros(self.n_statistics))
        self.register_buffer("deviation", torch.ones(self.n_statistics))
        decorrelated = shrinkage is not None and self.n_statistics <= MAX_DECORRELATED
        self.register_buffer("decorrelation", torch.eye(self.n_statistics if decorrelated else 0))

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        n = len(next(iter(x.values())))
        parts = zip(self.widths.items(), self.mean.split(list(self.widths.values())), strict=True)
        found = [self._measured(x[k].float()) if k in x else mean.expand(n, -1) for (k, _), mean in parts]
        standardised = (torch.cat(found, 1) - self.mean) / self.deviation
        return standardised @ self.decorrelation if len(self.decorrelation) else standardised

    @torch.no_grad()
    def fit(self, x: dict[str, Tensor]) -> None:
        """Take the mean and deviation of training samples {name: (n, *shape)}."""
        if not self.widths:
            return
        parts = zip(*(x[name].split(BLOCK_SIZE) for name in self.widths), strict=True)
        blocks = [[self._measured(part.float()) for part in block] for block in parts]
        measured = torch.cat([torch.cat(block, 1) for block in blocks])
        self.mean.copy_(measured.mean(0))
        self.deviation.copy_(measured.std(0, correction=0) + LEAST_DEVIATION)
        if len(self.decorrelation):
            standardised = ((measured - self.mean) / self.deviation).double()
            variance, directions = torch.linalg.eigh(standardised.T @ standardised / len(standardised))
            scale = (variance.clamp_min(0) + self.shrinkage).rsqrt()
            self.decorrelation.copy_(directions * scale @ directions.T)

    def _measured(self, x: Tensor) -> Tensor:
        """Return the statistics (B, n) of one modality, before they are standardised."""
        shape = tuple(x.shape[1:])
        planes = x.reshape(len(x), shape[0], -1, shape[-1])  # (B, C, H, W); of a signal H = 1
        centred = planes - planes.mean((2, 3), keepdim=True)
        energy = centred.square().mean((2, 3)) + LEAST_ENERGY  # (B, C)
        found = [energy.log()]
        for axis in axes_of(shape):
            found += self._along(centred.transpose(-1, axis), energy)
        if 1 < shape[0] <= MAX_CORRELATED:
            found.append(_correlations(centred.flatten(2), energy))
        return torch.cat([part.flatten(1) for part in found], 1)

    def _along(self, z: Tensor, energy: Tensor) -> Iterator[Tensor]:
        """Yield the statistics of centred values (B, C, M, L) along L, each (B, C) or (B, C, lags)."""
        first = z.diff()
        for difference in (first, first.diff()):
            yield (difference.square().mean((2, 3)) + LEAST_ENERGY).log()
        length = z.shape[3]
        lags = torch.arange(1, min(self.lags, length - 1) + 1, device=z.device)
        # Of the power spectrum, padded so that nothing wraps around: one transform for all lags.
        power = torch.view_as_real(torch.fft.rfft(z, length + len(lags))).square().sum((2, 4))  # (B, C, frequencies)
        covariance = torch.fft.irfft(power, length + len(lags))[..., lags] / (z.shape[2] * (length - lags))
        yield covariance / energy[..., None]


def axes_of(shape: tuple[int, ...]) -> list[int]:
    """Return which axes of a modality have statistics, counted from the last, -1: not channels, nor what has no order or is too short."""
    spatial = [] if kind_of(shape) == "vector" else range(1 - len(shape), 0)
    return [axis for axis in spatial if shape[axis] >= MIN_LENGTH]


def _correlations(z: Tensor, energy: Tensor) -> Tensor:
    """Return the correlations (B, pairs) between the channels of centred values (B, C, N)."""
    covariance = z @ z.transpose(1, 2) / z.shape[2]  # (B, C, C)
    i, j = torch.triu_indices(z.shape[1], z.shape[1], 1, device=z.device)
    return covariance[:, i, j] / (energy[:, i] * energy[:, j]).sqrt()
