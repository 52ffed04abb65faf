"""One generator and one critic for each class, behind the interface of those that serve all classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmgan.nets.multimodal import Critic, Generated, Generator
from mmgan.schema import DataSchema


class GeneratorPerClass(nn.Module):
    """G: z (B, latent_dim), labels (B,), noise (B, noise_dim) -> `Generated`, each row from its own class's `Generator`."""

    def __init__(self, schema: DataSchema, latent_dim: int, **options: Any):
        super().__init__()
        self.players = _one_each(schema, lambda one: Generator(one, latent_dim, **options))
        self.noise_dim = self.players[0].noise_dim

    def forward(self, z: Tensor, labels: Tensor, noise: Tensor) -> Generated:
        parts, places = _each(self.players, labels, lambda player, at, one: player(z[at], one, noise[at]))
        kinds = ([getattr(part, kind) for part in parts] for kind in ("rows", "mean", "log_std"))
        return Generated(
            *({name: _in_order([part[name] for part in kind], places) for name in kind[0]} for kind in kinds)
        )


class CriticPerClass(nn.Module):
    """D: {name: (B, *shape)} and labels (B,) -> scores (B,), each row's from its own class's `Critic`."""

    def __init__(self, schema: DataSchema, **options: Any):
        super().__init__()
        self.players = _one_each(schema, lambda one: Critic(one, **options))

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.from_features(self.features(x, labels), labels)

    def features(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the features before the scores, (B, width)."""
        return _in_order(
            *_each(self.players, labels, lambda player, at, one: player.features({k: v[at] for k, v in x.items()}, one))
        )

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B,) of features (B, width)."""
        return _in_order(*_each(self.players, labels, lambda player, at, one: player.from_features(h[at], one)))


def _one_each(schema: DataSchema, make: Callable[[DataSchema], nn.Module]) -> nn.ModuleList:
    ones = [
        DataSchema(schema.modalities, (schema.labels[k],), (schema.class_names[k],)) for k in range(schema.n_classes)
    ]
    return nn.ModuleList(make(one) for one in ones)


def _each(players: nn.ModuleList, labels: Tensor, call: Callable[..., Any]) -> tuple[list[Any], list[Tensor]]:
    """Return what `call`(player, places, labels of its lone class) gives for each class that `labels` (B,) has, and the places."""
    parts, places = [], []
    for label, player in enumerate(players):
        at = torch.nonzero(labels == label)[:, 0]
        if len(at):
            parts.append(call(player, at, torch.zeros_like(at)))
            places.append(at)
    return parts, places


def _in_order(parts: list[Tensor], places: list[Tensor]) -> Tensor:
    """Return the rows of `parts`, one of each class, at their `places` of the batch."""
    return torch.cat(parts)[torch.cat(places).argsort()]
