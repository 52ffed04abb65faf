"""Generators and critics beside the shared ones: one pair for each class, and the dense ones of tutorials."""

import pytest
import torch

from mmgan.nets.dense import DenseCritic, DenseGenerator
from mmgan.nets.per_class import CriticPerClass, GeneratorPerClass
from mmgan.schema import DataSchema

SCHEMA = DataSchema({"spec": (3, 9), "env": (2, 4)}, (0, 1, 2), ("a", "b", "c"))
LABELS = torch.tensor([2, 0, 2, 1, 0])
BRANCH = {"channels": 4, "stages": 0, "dims": 1}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def rows(n=5):
    return {name: torch.randn(n, *shape) for name, shape in SCHEMA.modalities.items()}


def test_a_row_comes_from_its_own_class_s_generator():
    net = GeneratorPerClass(SCHEMA, 4, width=8, depth=1, class_dim=2, branch=BRANCH)
    z, noise = torch.randn(5, 4), torch.randn(5, net.noise_dim)
    found = net(z, LABELS, noise)
    for place, label in enumerate(LABELS.tolist()):
        alone = net.players[label](z[[place]], torch.tensor([0]), noise[[place]])
        for kind in ("rows", "mean", "log_std"):
            for name, value in getattr(found, kind).items():
                torch.testing.assert_close(value[[place]], getattr(alone, kind)[name])


def test_a_row_is_scored_by_its_own_class_s_critic():
    net, x = CriticPerClass(SCHEMA, width=8, depth=1, branch=BRANCH), rows()
    scores = net(x, LABELS)
    assert net.features(x, LABELS).shape == (5, 8)
    for place, label in enumerate(LABELS.tolist()):
        one = {name: value[[place]] for name, value in x.items()}
        torch.testing.assert_close(scores[[place]], net.players[label](one, torch.tensor([0])))


def test_a_class_that_a_batch_lacks_stays_as_it_is():
    net = CriticPerClass(SCHEMA, width=8, depth=1, branch=BRANCH)
    net(rows(2), torch.tensor([0, 2])).sum().backward()
    assert all(p.grad is None for p in net.players[1].parameters())
    assert all(p.grad is not None for k in (0, 2) for p in net.players[k].parameters())


def test_a_dense_generator_without_hidden_layers_is_linear_and_has_no_noise():
    net = DenseGenerator(SCHEMA, 4)
    z = torch.randn(3, 4)
    made = [net(value, LABELS[:3], torch.randn(3, 0)) for value in (z, torch.zeros(3, 4), 2 * z)]
    for name, shape in SCHEMA.modalities.items():
        assert made[0].rows[name].shape == (3, *shape)
        torch.testing.assert_close(
            made[2].rows[name] - made[1].rows[name], 2 * (made[0].rows[name] - made[1].rows[name])
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
