"""Dense networks on the flattened values of a sample, as tutorials draw a GAN."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmgan.errors import Hidden, Positive, checked
from mmgan.nets.networks import Generated
from mmgan.schema import DataSchema


class DenseGenerator(nn.Module):
    """G: z (B, latent_dim) -> `Generated`, by dense layers with tanh between them and no noise of its own.

    It does not look at labels. Weights and biases start at N(0, init_std^2).
    """

    noise_dim = 0

    @checked
    def __init__(self, schema: DataSchema, latent_dim: int, *, hidden: Hidden = (), init_std: Positive = 0.02):
        super().__init__()
        self.shapes = dict(schema.modalities)
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.layers = _layers(latent_dim, hidden, sum(self.sizes), init_std)

    def forward(self, z: Tensor, labels: Tensor, noise: Tensor) -> Generated:
        parts = zip(self.shapes.items(), self.layers(z).split(self.sizes, dim=1), strict=True)
        samples = {name: part.reshape(len(z), *shape) for (name, shape), part in parts}
        return Generated(
            samples, samples, {name: torch.full_like(value, -torch.inf) for name, value in samples.items()}
        )


class DenseCritic(nn.Module):
    """D: {name: (B, *shape)} -> scores (B,), by dense layers with tanh between them; it does not look at labels.

    Weights and biases start at N(0, init_std^2).
    """

    @checked
    def __init__(self, schema: DataSchema, *, hidden: Hidden, init_std: Positive = 0.02):
        super().__init__()
        self.names = tuple(schema.modalities)
        layers = _layers(sum(map(math.prod, schema.modalities.values())), hidden, 1, init_std)
        self.trunk, self.score = layers[:-1], layers[-1]

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.from_features(self.features(x, labels), labels)

    def features(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the features before the scores, (B, last of `hidden`)."""
        return self.trunk(torch.cat([x[name].flatten(1) for name in self.names], dim=1))

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B,) of features (B, last of `hidden`)."""
        return self.score(h).squeeze(1)


def _layers(first: int, hidden: Sequence[int], last: int, init_std: float) -> nn.Sequential:
    """Return linear layers, tanh between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([first, *hidden, last]):
        layers += [nn.Linear(before, after), nn.Tanh()]
    for parameter in (p for layer in layers for p in layer.parameters()):
        nn.init.normal_(parameter, std=init_std)
    return nn.Sequential(*layers[:-1])
