"""What is put right after the networks."""

from torch import Tensor, nn

from mmgan.nets.scaling import ModalityScaler, QuantileScaler


class MarginalMap(nn.Module):
    """A monotone map per feature that gives generated rows the marginals of the training rows (quantile mapping).

    From the quantiles of generated rows, in scaled units, to those of training rows, in physical units, both through the normal
    distribution: dependences between features stay as generated. Per channel for images; moments alone above 4096 values.
    """

    def __init__(self, modalities: dict[str, tuple[int, ...]]):
        super().__init__()
        self.generated = ModalityScaler(modalities, QuantileScaler)
        self.real = ModalityScaler(modalities, QuantileScaler)

    def forward(self, scaled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return rows in physical units, {name: (n, *shape)}, of generated rows in scaled units."""
        return self.real.inverse(self.generated(scaled))
