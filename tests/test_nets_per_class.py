"""Generators and critics beside the shared ones: one pair for each class, and the dense ones of tutorials."""

import functools

import pytest
import torch

from mmgan.nets.dense import DenseCritic, DenseGenerator
from mmgan.nets.networks import Critic, Generator
from mmgan.nets.per_class import CriticPerClass, GeneratorPerClass
from mmgan.schema import DataSchema

SCHEMA = DataSchema({"spec": (3, 9), "env": (2, 4)}, (0, 1, 2), ("a", "b", "c"))
LABELS = torch.tensor([2, 0, 2, 1, 0])
BRANCH = {"channels": 4, "stages": 0, "dims": 1}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def samples(n=5):
    return {name: torch.randn(n, *shape) for name, shape in SCHEMA.modalities.items()}


def alone(net, label, make):
    """The network of one class by itself, with what `net` holds for it."""
    lone = make(DataSchema(SCHEMA.modalities, (0,), ("lone",)))
    lone.load_state_dict({name: value[label] for name, value in net.network.state_dict().items()})
    return lone


def critic(schema):
    return Critic(schema, width=8, depth=1, branch=BRANCH)


@pytest.mark.parametrize("labels", [[2, 0, 2, 1, 0], [2, 0, 2, 2, 0], [1, 1, 1, 1, 1]], ids=str)
def test_a_sample_comes_from_its_own_class_s_generator(labels):
    options = {"width": 8, "depth": 1, "class_dim": 2, "branch": BRANCH}
    net = GeneratorPerClass(SCHEMA, 4, network=functools.partial(Generator, **options))
    z, noise = torch.randn(5, 4), torch.randn(5, net.noise_dim)
    found = net(z, torch.tensor(labels), noise)
    for place, label in enumerate(labels):
        of_class = alone(net, label, lambda one: Generator(one, 4, **options))
        by_itself = of_class(z[[place]], torch.tensor([0]), noise[[place]])
        for kind in ("samples", "mean", "log_std"):
            for name, value in getattr(found, kind).items():
                torch.testing.assert_close(value[[place]], getattr(by_itself, kind)[name])


def test_a_sample_is_scored_by_its_own_class_s_critic():
    net, x = CriticPerClass(SCHEMA, network=critic), samples()
    scores = net(x, LABELS)
    assert net.features(x, LABELS).shape == (5, 8)
    for place, label in enumerate(LABELS.tolist()):
        one = {name: value[[place]] for name, value in x.items()}
        torch.testing.assert_close(scores[[place]], alone(net, label, critic)(one, torch.tensor([0])))


def test_each_class_has_a_network_of_its_own():
    net = CriticPerClass(SCHEMA, network=critic)
    ours = net.network.trunk.branches[0].dense.weight
    assert len(ours) == 3 and not torch.allclose(ours[0], ours[1])


def test_a_class_that_a_batch_lacks_stays_as_it_is():
    net = CriticPerClass(SCHEMA, network=critic)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.Adam(net.parameters(), betas=(0.0, 0.9))
    net(samples(2), torch.tensor([0, 2])).sum().backward()
    optimizer.step()
    for now, then in zip(net.parameters(), before, strict=True):
        assert torch.equal(now[1], then[1])
    moved = [(now[[0, 2]] != then[[0, 2]]).any() for now, then in zip(net.parameters(), before, strict=True)]
    assert all(moved)


def test_the_gradient_s_norm_has_a_gradient_in_every_class():
    net, x = CriticPerClass(SCHEMA, network=critic), samples()
    x = {name: value.requires_grad_() for name, value in x.items()}
    slopes = torch.autograd.grad(net(x, LABELS).sum(), list(x.values()), create_graph=True)
    sum(slope.square().sum() for slope in slopes).backward()
    ours = net.network.trunk.branches[0].dense.weight.grad
    for label in range(3):
        of_class, at = alone(net, label, critic), label == LABELS
        own = {name: value[at].detach().requires_grad_() for name, value in x.items()}
        slopes = torch.autograd.grad(
            of_class(own, LABELS.new_zeros(int(at.sum()))).sum(), list(own.values()), create_graph=True
        )
        sum(slope.square().sum() for slope in slopes).backward()
        torch.testing.assert_close(ours[label], of_class.trunk.branches[0].dense.weight.grad)


def test_a_dense_generator_without_hidden_layers_is_linear_and_has_no_noise():
    net = DenseGenerator(SCHEMA, 4)
    z = torch.randn(3, 4)
    made = [net(value, LABELS[:3], torch.randn(3, 0)) for value in (z, torch.zeros(3, 4), 2 * z)]
    for name, shape in SCHEMA.modalities.items():
        assert made[0].samples[name].shape == (3, *shape)
        torch.testing.assert_close(
            made[2].samples[name] - made[1].samples[name], 2 * (made[0].samples[name] - made[1].samples[name])
        )
        assert (made[0].log_std[name].exp() == 0).all()


def test_a_dense_critic_has_the_layers_it_is_asked_for():
    net, x = DenseCritic(DataSchema({"xy": (2,)}, (0,), ("points",)), hidden=[5, 3]), {"xy": torch.randn(4, 2)}
    sizes = [tuple(p.shape) for p in net.parameters() if p.dim() == 2]
    assert sizes == [(5, 2), (3, 5), (1, 3)] and net(x, LABELS[:4]).shape == (4,)
    first, _, second, _ = net.trunk
    by_hand = net.score(torch.tanh(second(torch.tanh(first(x["xy"])))))[:, 0]
    torch.testing.assert_close(net(x, LABELS[:4]), by_hand)


def test_weights_and_biases_start_as_asked_for():
    net = DenseCritic(SCHEMA, hidden=[200, 200], init_std=0.02)
    values = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert float(values.std()) == pytest.approx(0.02, rel=0.05) and abs(float(values.mean())) < 0.001
    assert all(p.any() for p in net.parameters())
