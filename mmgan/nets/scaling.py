"""Invertible scalings of one modality, fitted on training samples and kept as buffers of the model."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

MAX_KNOTS = 256
MAX_FIT_ROWS = 20_000
MAX_FIT_VALUES = 2**26  # of images: a sort of them takes some 0.8 GB
MAX_TABLE_FEATURES = 4096  # wider modalities are standardised: their quantile tables would outweigh the networks


class Scaler(nn.Module):
    """Base: (n, *shape) in physical units -> the same shape, zero mean and unit spread, and back.

    Modalities of rank 1 and 2 are scaled feature by feature, of rank 3 channel by channel.
    If no training value is negative, no inverted value is; a feature of whole numbers stays one; images keep to the range of the
    training values.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)
        self.n_features = shape[0] if len(shape) == 3 else math.prod(shape)
        self.register_buffer("lower_bound", torch.tensor(-math.inf))
        self.register_buffer("upper_bound", torch.tensor(math.inf))
        self.register_buffer("whole", torch.zeros(self.n_features, 1, dtype=torch.bool))

    def _columns(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (features, values): one row per scaled feature."""
        return x.reshape(len(x), self.n_features, -1).transpose(0, 1).reshape(self.n_features, -1)

    def _rows(self, columns: Tensor, n: int) -> Tensor:
        """(features, values) -> (n, *shape), the inverse of `_columns`."""
        return columns.reshape(self.n_features, n, -1).transpose(0, 1).reshape(n, *self.shape)

    @torch.no_grad()
    def fit(self, x: Tensor) -> "Scaler":
        """Fit on training samples `x`, (n, *shape); of more than 20 000 samples, or 2^26 values, on a fixed random choice."""
        is_image = len(self.shape) == 3
        if x.min() >= 0 or is_image:
            self.lower_bound.copy_(x.min() if is_image else torch.zeros(()))
        if is_image:
            self.upper_bound.copy_(x.max())
        most = min(MAX_FIT_ROWS, max(1, MAX_FIT_VALUES // math.prod(self.shape)))
        if len(x) > most:
            x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:most]]
        columns = self._columns(x)
        self.whole.copy_((columns == columns.round()).all(1, keepdim=True))
        self._fit(columns)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Scale samples, (n, *shape) -> (n, *shape)."""
        return self._rows(self._scale(self._columns(x)), len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """Return samples in physical units, (n, *shape) -> (n, *shape)."""
        columns = self._unscale(self._columns(z))
        columns = torch.where(self.whole, columns.round(), columns)
        return self._rows(columns, len(z)).clamp(self.lower_bound, self.upper_bound)

    def _fit(self, columns: Tensor) -> None:
        raise TypeError("a Scaler subclass defines _fit, _scale and _unscale")

    _scale = _unscale = _fit


class AffineScaler(Scaler):
    """x -> (x - shift) / scale."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__(shape)
        self.register_buffer("shift", torch.zeros(self.n_features, 1))
        self.register_buffer("scale", torch.ones(self.n_features, 1))

    def _set(self, shift: Tensor, scale: Tensor) -> None:
        self.shift.copy_(shift)
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))  # a constant feature keeps its unit

    def _scale(self, columns: Tensor) -> Tensor:
        return (columns - self.shift) / self.scale

    def _unscale(self, columns: Tensor) -> Tensor:
        return columns * self.scale + self.shift


class StandardScaler(AffineScaler):
    """Zero mean and unit standard deviation."""

    def _fit(self, columns: Tensor) -> None:
        self._set(columns.mean(1, keepdim=True), columns.std(1, keepdim=True, correction=0))


class IdentityScaler(AffineScaler):
    """Arrays as they are, for data that are in fit units already."""

    def _fit(self, columns: Tensor) -> None:
        pass


class MinMaxScaler(AffineScaler):
    """Training minimum to -1, training maximum to 1."""

    def _fit(self, columns: Tensor) -> None:
        low, high = columns.amin(1, keepdim=True), columns.amax(1, keepdim=True)
        self._set((low + high) / 2, (high - low) / 2)


class QuantileScaler(Scaler):
    """Per-feature quantile-to-normal map with at most 256 knots a feature, linear between and beyond them.

    In training mode, tied values (a pile-up at zero, integers) are spread at random over the interval of ranks that they
    fill, so that the networks see a density without atoms; in eval mode they take its middle. The inverse snaps back.
    """

    def __init__(self, shape: tuple[int, ...], knots: int = MAX_KNOTS):
        super().__init__(shape)
        self.n_knots = min(knots, MAX_KNOTS)
        levels = (torch.arange(self.n_knots, dtype=torch.float64) + 0.5) / self.n_knots
        self.register_buffer("normal", torch.special.ndtri(levels).float())  # (knots,)
        self.register_buffer("levels", levels.float())
        self.register_buffer("values", torch.zeros(self.n_features, self.n_knots))
        self.register_buffer("slope", torch.ones(self.n_features, 2))  # d value / d normal, below and above the knots

    def _fit(self, columns: Tensor) -> None:
        n = columns.shape[1]
        # By numpy: four times as fast as torch, which finds the places too.
        ordered = torch.from_numpy(np.sort(columns.cpu().numpy(), axis=1)).to(columns.device)
        # Hazen's plotting positions: sorted value i stands at rank (i + .5) / n; outside, the extreme value holds.
        position = (self.levels.double() * n - 0.5).clamp(0, n - 1)
        below = position.floor().long()
        above = (below + 1).clamp(max=n - 1)
        weight = position - below
        self.values.copy_(ordered[:, below].double() * (1 - weight) + ordered[:, above].double() * weight)
        # Tails go on with the mean slope of the outer tenth; slopes of the last two knots alone would be noise.
        outer = max(1, self.n_knots // 10)
        for side, (low, high) in enumerate([(0, outer), (-1 - outer, -1)]):
            rise = self.values[:, high] - self.values[:, low]
            self.slope[:, side] = rise / (self.normal[high] - self.normal[low])

    def _scale(self, columns: Tensor) -> Tensor:
        columns = columns.contiguous()
        last = self.n_knots - 1
        left = torch.searchsorted(self.values, columns)  # first knot >= x
        upper = left.clamp(1, last)
        x0, x1 = self.values.gather(1, upper - 1), self.values.gather(1, upper)
        z0, z1 = self.normal[upper - 1], self.normal[upper]
        step = x1 - x0
        z = z0 + (columns - x0) / torch.where(step > 0, step, torch.ones_like(step)) * (z1 - z0)
        low, high = columns < self.values[:, :1], columns > self.values[:, -1:]
        z = torch.where(low, self.normal[0] + (columns - self.values[:, :1]) / self._steep(0), z)
        z = torch.where(high, self.normal[last] + (columns - self.values[:, -1:]) / self._steep(1), z)
        if self.values.diff(dim=1).eq(0).any():  # a second search takes as long as all the rest
            z = self._spread_ties(columns, left, z)
        return z.clamp(-5.0, 5.0)

    def _spread_ties(self, columns: Tensor, left: Tensor, z: Tensor) -> Tensor:
        """Return z with the values that meet several equal knots, from knot `left` on, spread over those."""
        right = torch.searchsorted(self.values, columns, right=True)  # first knot > x
        u = torch.rand_like(columns) if self.training else 0.5
        # From the first tied knot to the last: all that lies between them goes back to the tied value.
        spread = torch.special.ndtri((left + 0.5 + u * (right - left - 1)) / self.n_knots)
        return torch.where(right - left > 1, spread, z)

    def _steep(self, side: int) -> Tensor:
        slope = self.slope[:, side : side + 1]
        return torch.where(slope > 0, slope, torch.ones_like(slope))

    def _unscale(self, columns: Tensor) -> Tensor:
        last = self.n_knots - 1
        upper = torch.searchsorted(self.normal, columns.contiguous()).clamp(1, last)
        z0, z1 = self.normal[upper - 1], self.normal[upper]
        x0, x1 = self.values.gather(1, upper - 1), self.values.gather(1, upper)
        weight = ((columns - z0) / (z1 - z0)).clamp(0, 1)
        # Between two tied values (0 and 1, say) nothing lies: snap to the nearer.
        tied_below = self.values.gather(1, (upper - 2).clamp_min(0)) == x0
        tied_above = self.values.gather(1, (upper + 1).clamp_max(last)) == x1
        weight = torch.where(tied_below & tied_above & (upper > 1) & (upper < last), weight.round(), weight)
        x = torch.lerp(x0, x1, weight)
        x = x + (columns - self.normal[0]).clamp_max(0) * self.slope[:, :1]
        return x + (columns - self.normal[last]).clamp_min(0) * self.slope[:, 1:]


class ModalityScaler(nn.Module):
    """One scaler per modality; dict of (n, *shape) in, dict of the same shapes out."""

    def __init__(self, modalities: dict[str, tuple[int, ...]], scaler: Callable[[tuple[int, ...]], Scaler]):
        super().__init__()
        self.names = tuple(modalities)  # a ModuleDict would refuse names such as "type"
        self.scalers = nn.ModuleList(
            StandardScaler(shape) if len(shape) < 3 and math.prod(shape) > MAX_TABLE_FEATURES else scaler(shape)
            for shape in modalities.values()
        )

    def fit(self, x: dict[str, Tensor]) -> None:
        """Fit every modality on training samples."""
        for name, scaler in zip(self.names, self.scalers, strict=True):
            scaler.fit(x[name])

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale samples of every modality that `x` has."""
        return {name: scaler(x[name]) for name, scaler in zip(self.names, self.scalers, strict=True) if name in x}

    def inverse(self, z: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return samples of every modality that `z` has in physical units."""
        return {
            name: scaler.inverse(z[name]) for name, scaler in zip(self.names, self.scalers, strict=True) if name in z
        }
