"""What is put right after the networks."""

import torch
from torch import Tensor, nn

from mmgan.nets.scaling import ModalityScaler, QuantileScaler


class QuantileMapping(nn.Module):
    """A monotone map per feature that gives generated samples the marginals of the training samples (quantile mapping).

    From the quantiles of generated samples, in scaled units, to those of training samples, in physical units, both through the normal
    distribution: dependences between features stay as generated. Moments alone above 4096 values. It leaves out images, whose colours
    maps of single channels would change; `names` are the other modalities.
    """

    def __init__(self, modalities: dict[str, tuple[int, ...]]):
        super().__init__()
        mapped = {name: shape for name, shape in modalities.items() if len(shape) < 3}
        self.names = tuple(mapped)
        self.generated = ModalityScaler(mapped, QuantileScaler)
        self.real = ModalityScaler(mapped, QuantileScaler)
        self.register_buffer("fitted", torch.tensor(False))

    def fit_generated(self, scaled: dict[str, Tensor]) -> None:
        """Take generated samples, {name: (n, *shape)} in scaled units; `real` is fitted on training samples in physical units."""
        self.generated.fit(scaled)
        self.fitted.fill_(True)

    def forward(self, scaled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the samples of `names` in physical units, {name: (n, *shape)}, of generated samples in scaled units."""
        return self.real.inverse(self.generated(scaled))
