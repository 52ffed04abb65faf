"""Convolutions that look at stretches of a sample: a critic that judges each stretch, and the features that two samples are compared in."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from mmgan.errors import Range, Width, checked
from mmgan.nets.blocks import CONVS, activation
from mmgan.nets.modality import convolved
from mmgan.schema import DataSchema

Stages = Annotated[int, Range(1, 30)]  # halvings


class Pyramid(nn.Module):
    """(B, *shape) -> feature maps [(B, channels, ...), (B, 2 channels, ...), ...], each half as fine as the one before."""

    def __init__(self, shape: tuple[int, ...], *, channels: int, stages: int, norm: bool):
        super().__init__()
        self.shape = convolved(shape)  # (C, L) or (C, H, W)
        conv, before = CONVS[len(self.shape) - 1], self.shape[0]
        self.stages = nn.ModuleList()
        for stage in range(stages):
            width = channels * 2 ** min(stage, 3)
            layers: list[nn.Module] = [conv(before, width, 3, stride=2, padding=1)]
            layers += [nn.GroupNorm(1, width)] if norm and stage else []
            self.stages.append(nn.Sequential(*layers))
            before = width
        self.width = before
        self.coarsest = (before, *(-(-size // 2**stages) for size in self.shape[1:]))  # shape of the last map

    def forward(self, x: Tensor) -> list[Tensor]:
        h, maps = x.reshape(len(x), *self.shape), []
        for stage in self.stages:
            h = activation(stage(h))
            maps.append(h)
        return maps


class PatchCritic(nn.Module):
    """D: {name: (B, *shape)} -> scores (B, patches), each of a stretch of a modality (Isola et al. 2017, arXiv:1611.07004).

    It is not conditioned on the class, and has no normalisation: through one, a gradient penalty is not defined per sample.
    """

    @checked
    def __init__(self, schema: DataSchema, *, channels: Width = 32, stages: Stages = 2):
        super().__init__()
        self.names = tuple(schema.modalities)
        self.pyramids = nn.ModuleList(
            Pyramid(shape, channels=channels, stages=stages, norm=False) for shape in schema.modalities.values()
        )
        self.scores = nn.ModuleList(CONVS[len(p.shape) - 1](p.width, 1, 3, padding=1) for p in self.pyramids)

    def forward(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.from_features(self.features(x, labels), labels)

    def features(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return each modality's last feature map, side by side, (B, values)."""
        return torch.cat([p(x[name])[-1].flatten(1) for name, p in zip(self.names, self.pyramids, strict=True)], dim=1)

    def from_features(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (B, patches) of features (B, values)."""
        shapes = [pyramid.coarsest for pyramid in self.pyramids]
        parts = h.split([math.prod(shape) for shape in shapes], dim=1)
        maps = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return torch.cat([score(part).flatten(1) for score, part in zip(self.scores, maps, strict=True)], dim=1)


class FeatureClassifier(nn.Module):
    """C: {name: (B, *shape)} -> class logits (B, n_classes), on feature maps that `features` gives."""

    @checked
    def __init__(self, schema: DataSchema, *, channels: Width = 16, stages: Stages = 3):
        super().__init__()
        self.names = tuple(schema.modalities)
        self.pyramids = nn.ModuleList(
            Pyramid(shape, channels=channels, stages=stages, norm=True) for shape in schema.modalities.values()
        )
        self.logits = nn.Linear(sum(pyramid.width for pyramid in self.pyramids), schema.n_classes)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        last = [maps[-1].flatten(2).mean(2) for maps in self.features(x).values()]
        return self.logits(torch.cat(last, dim=1))

    def features(self, x: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """Return the feature maps of each modality."""
        return {name: pyramid(x[name]) for name, pyramid in zip(self.names, self.pyramids, strict=True)}
