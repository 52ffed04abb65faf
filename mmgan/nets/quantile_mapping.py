"""Quantile mapping of generated marginals onto the training marginals (post-processing)."""

import torch
from torch import Tensor, nn

from mmgan.nets.scaling import ModalityScaler, QuantileScaler
from mmgan.schema import DataSchema, kind_of


class QuantileMapping(nn.Module):
    """A monotone map per feature that gives generated samples the marginals of the training samples (quantile mapping).

    From the quantiles of generated samples, in scaled units, to those of training samples, in physical units, both through the normal
    distribution: dependences between features stay as generated. Moments alone above 4096 values. It leaves out images, whose colours
    maps of single channels would change; `names` are the other modalities. It is fitted on `n_samples` generated samples.
    """

    def __init__(self, modalities: dict[str, tuple[int, ...]], n_samples: int):
        super().__init__()
        mapped = {name: shape for name, shape in modalities.items() if kind_of(shape) != "image"}
        self.n_samples = n_samples
        self.names = tuple(mapped)
        self.generated = ModalityScaler(mapped, QuantileScaler)
        self.real = ModalityScaler(mapped, QuantileScaler)
        self.register_buffer("fitted", torch.tensor(False))

    @classmethod
    def of(cls, schema: DataSchema, n_samples: int) -> "QuantileMapping | None":
        """Return the mapping of a generator; None for 0 samples, or where all modalities are images."""
        mapping = cls(schema.modalities, n_samples)
        return mapping if n_samples and mapping.names else None

    def fit_generated(self, scaled: dict[str, Tensor]) -> None:
        """Take generated samples, {name: (n, *shape)} in scaled units; `real` is fitted on training samples in physical units."""
        self.generated.fit(scaled)
        self.fitted.fill_(True)

    def forward(self, scaled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the samples of `names` in physical units, {name: (n, *shape)}, of generated samples in scaled units."""
        return self.real.inverse(self.generated(scaled))
