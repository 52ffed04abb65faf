"""One generator and one critic for each class, behind the interface of those that serve all classes.

The networks of all classes work side by side, as one batched product each: ten small networks one after another spend their
time on being called.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional
from torch.utils._pytree import tree_map

from mmgan.nets.networks import Generated
from mmgan.schema import DataSchema


class PerClass(nn.Module):
    """A network for each class; each parameter of `network` holds those of all, class first."""

    def __init__(self, schema: DataSchema, make: Callable[[DataSchema], nn.Module]):
        super().__init__()
        networks = [
            make(DataSchema(schema.modalities, (label,), (name,)))
            for label, name in zip(schema.labels, schema.class_names, strict=True)
        ]
        stacked, _ = stack_module_state(networks)
        self.n_classes = schema.n_classes
        self.network = networks[0]
        for name, values in stacked.items():
            owner, _, own = name.rpartition(".")
            setattr(self.network.get_submodule(owner), own, nn.Parameter(values))

    def each(self, labels: Tensor, call: Callable[..., Any], *rows: Any) -> Any:
        """Return `call`(network, labels of its lone class, *rows) of each class on its own samples; tensors (B, ...), or trees of them."""
        present, own = torch.unique(labels, return_inverse=True)
        parameters = {f"network.{name}": _plain(value) for name, value in self.network.named_parameters()}
        if len(present) < self.n_classes:
            parameters = {name: value[present] for name, value in parameters.items()}
        of_class = functional.one_hot(own, len(present))
        place = (of_class.cumsum(0) * of_class).sum(1) - 1  # among the samples of its class
        most = int(place.max()) + 1

        def apart(values: Tensor) -> Tensor:
            """(B, ...) -> (classes, most, ...), with zeros where a class has fewer samples."""
            return values.new_zeros(len(present), most, *values.shape[1:]).index_put((own, place), values)

        def of_one(its_parameters: dict[str, Tensor], *its_rows: Any) -> Any:
            return functional_call(_Call(self.network, call), its_parameters, (labels.new_zeros(most), *its_rows))

        found = torch.vmap(of_one, randomness="different")(parameters, *tree_map(apart, rows))
        return tree_map(lambda values: values[own, place], found)


def _plain(parameter: Tensor) -> Tensor:
    """Return a parameter whose gradient has its strides: processes that train together warn of others, which an axis of one value may have."""
    return parameter.flatten().view_as(parameter) if 1 in parameter.shape else parameter


class _Call(nn.Module):
    """A call that a module is part of, as the module that `functional_call` asks for."""

    def __init__(self, network: nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.network, self.call = network, call

    def forward(self, *rows: Any) -> Any:
        return self.call(self.network, *rows)


class GeneratorPerClass(PerClass):
    """G: z (B, latent_dim), labels (B,), noise (B, noise_dim) -> `Generated`, each sample from its own class's `Generator`."""

    def __init__(self, schema: DataSchema, latent_dim: int, *, network: Callable[..., nn.Module]):
        super().__init__(schema, lambda one: network(one, latent_dim))
        self.noise_dim = self.network.noise_dim

    def forward(self, z: Tensor, labels: Tensor, noise: Tensor) -> Generated:
        return self.each(labels, lambda network, lone, z, noise: network(z, lone, noise), z, noise)


class CriticPerClass(PerClass):
    """D: {name: (B, *shape)} and labels (B,) -> scores (B,), each sample's from its own class's `Critic`."""

    def __init__(self, schema: DataSchema, *, network: Callable[..., nn.Module]):
        super().__init__(schema, network)

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.each(labels, lambda network, lone, x: network(x, lone), x)

    def features(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the features before the scores, (B, width)."""
        return self.each(labels, lambda network, lone, x: network.features(x, lone), x)

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B,) of features (B, width)."""
        return self.each(labels, lambda network, lone, h: network.from_features(h, lone), h)
