"""Models are composed: little above a class, parts that a configuration exchanges, and constructors that say all they take."""

import inspect
from collections.abc import Mapping
from typing import get_args, get_origin

import pytest
import torch
from conftest import CONF, compose
from hydra.utils import get_class, get_object
from omegaconf import OmegaConf
from test_models_contract import CONFIGS
from torch import nn

import mmgan
from mmgan.commands.build import plain
from mmgan.commands.train import train_folds
from mmgan.errors import OptionsOf
from mmgan.training.checkpoint import NOT_OF_MODEL

MODELS = sorted({cfg.model._target_ for cfg in CONFIGS.values()})
CHOICES = sorted(  # of a part of a model, each with one model that has it
    (part.name, path.stem, next((name for name, cfg in CONFIGS.items() if part.name in cfg.model), "gan"))
    for part in (CONF / "model").iterdir()
    for path in part.glob("*.yaml")
)
NODES = sorted(path for path in CONF.rglob("*.yaml"))


def nodes(node, name="model"):
    """Yield every mapping within plain containers that names a target, and its dotted name."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield name, node
        for key, value in node.items():
            yield from nodes(value, f"{name}.{key}")


@pytest.mark.parametrize("target", MODELS)
def test_a_model_class_has_at_most_two_of_the_project_s_above_it(target):
    above = [cls.__name__ for cls in get_class(target).__mro__[1:] if cls.__module__.startswith("mmgan.")]
    assert len(above) <= 2, above


@pytest.mark.parametrize("target", MODELS)
def test_a_constructor_names_every_option_itself(target):
    parameters = inspect.signature(get_class(target)).parameters.values()
    assert not [each for each in parameters if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    assert not {each.name for each in parameters} & {"training", "sampler", "loss", "optimizer"}
    of_dicts = [each for each in parameters if each.name in ("network", "networks") and is_mapping(each.annotation)]
    assert not of_dicts


def is_mapping(annotation):
    kinds = [annotation, get_origin(annotation), *get_args(annotation)]
    return any(inspect.isclass(kind) and issubclass(kind, Mapping | dict) for kind in kinds)


@pytest.mark.parametrize("path", NODES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_target_of_the_configuration_exists(path):
    for name, node in nodes(OmegaConf.to_container(OmegaConf.load(path)), path.stem):
        assert callable(get_object(node["_target_"])), name


@pytest.mark.parametrize(("part", "choice", "name"), [(None, None, name) for name in CONFIGS] + CHOICES)
def test_a_model_s_configuration_has_only_keys_that_constructors_take(part, choice, name):
    words = [f"model/{part}={choice}"] if part else []
    model = plain(compose("train", f"model={name}", *words).model)
    for place, node in nodes({key: value for key, value in model.items() if key not in NOT_OF_MODEL}):
        parameters = inspect.signature(get_object(node["_target_"])).parameters
        for key, value in node.items():
            if key in ("_target_", "_partial_"):
                continue
            assert key in parameters, f"{place}.{key}"
            for mark in getattr(parameters[key].annotation, "__metadata__", ()):
                if isinstance(mark, OptionsOf):
                    assert set(value) <= set(inspect.signature(mark.function).parameters), f"{place}.{key}"


class OwnCritic(nn.Module):
    """Scores by a linear layer on all values of a sample, and one more for each class."""

    def __init__(self, schema, *, width):
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Tanh())
        self.score = nn.Linear(width, schema.n_classes)
        self.features({name: torch.zeros(1, *shape) for name, shape in schema.modalities.items()}, None)

    def forward(self, x, labels):
        return self.from_features(self.features(x, labels), labels)

    def features(self, x, labels):
        return self.trunk(torch.cat([value.flatten(1) for value in x.values()], dim=1))

    def from_features(self, h, labels):
        return self.score(h).gather(1, labels[:, None])[:, 0]


class OwnEncoder(nn.Module):
    """A linear posterior of unit variance."""

    def __init__(self, schema, latent_dim, *, width):
        super().__init__()
        self.mu = nn.Sequential(nn.LazyLinear(width), nn.Tanh(), nn.Linear(width, latent_dim))
        self({name: torch.zeros(1, *shape) for name, shape in schema.modalities.items()})

    def forward(self, x):
        mu = self.mu(torch.cat([value.flatten(1) for value in x.values()], dim=1))
        return mu, torch.zeros_like(mu)


def test_critic_and_encoder_are_exchanged_by_the_configuration_alone(tiny, tmp_path, quick):
    words = [f"model.critic._target_={__name__}.OwnCritic", f"model.encoder._target_={__name__}.OwnEncoder"]
    words += [f"~model.critic.{key}" for key in ("depth", "conditioning", "norm", "branch", "axis")]
    words += [f"~model.encoder.{key}" for key in ("depth", "branch", "fusion")]
    (result,) = train_folds(compose("train", "model=vacwgan", *words, f"out_dir={tmp_path / 'run'}", path=tiny))
    assert result.score is not None
    synthesizer = mmgan.load(result.folder / "best.ckpt", trust=[__name__])
    assert isinstance(synthesizer.model.critic, OwnCritic) and isinstance(synthesizer.model.encoder, OwnEncoder)
    assert synthesizer.sample([0, 1])["spec"].shape == (2, 3, 10)
