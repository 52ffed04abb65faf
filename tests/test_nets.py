"""Branches and the networks made of them, each against what it promises."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmgan.errors import MmganError
from mmgan.nets.blocks import ConditionalLayerNorm
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder, ModalityNoise
from mmgan.nets.networks import Classifier, Critic, Encoder, Generator
from mmgan.schema import DataSchema

SCHEMA = DataSchema({"features": (7,), "spec": (3, 9), "image": (2, 4, 5)}, (0, 1, 2), ("a", "b", "c"))
SHAPES = [(76,), (1,), (3, 100), (15, 16), (7, 48), (1, 1), (2, 3, 5), (1, 28, 28), (3, 1, 2)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_branches_of_every_rank_and_odd_sizes(shape, dims):
    options = {"channels": 4, "stages": 2, "dims": dims}
    encoder, decoder = ModalityEncoder(shape, 8, **options), ModalityDecoder(shape, 8, **options)
    h = encoder(torch.randn(5, *shape))
    x = decoder(h)
    assert h.shape == (5, 8) and x.shape == (5, *shape)
    x.square().sum().backward()
    idle = [n for net in (encoder, decoder) for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("stages", [0, 1, 5])
def test_a_branch_has_as_many_stages_as_asked_for(stages):
    x = torch.randn(2, 3, 11)
    h = ModalityEncoder((3, 11), 6, channels=2, stages=stages)(x)
    assert ModalityDecoder((3, 11), 6, channels=2, stages=stages)(h).shape == x.shape


def test_a_branch_is_dense_and_convolutional_unless_the_dense_map_would_be_large():
    small, large = ModalityEncoder((3, 40), 8), ModalityEncoder((5, 1000), 8)
    assert small.dense is not None and small.conv is not None
    assert large.dense is None and large(torch.randn(2, 5, 1000)).shape == (2, 8)
    assert ModalityDecoder((5, 1000), 8)(torch.randn(2, 8)).shape == (2, 5, 1000)


@pytest.mark.parametrize("shape", [(3, 48, 48), (5, 1000)], ids=str)
def test_a_large_modality_has_convolutions_also_where_none_are_asked_for(shape):
    h = ModalityEncoder(shape, 6, channels=2, stages=0)(torch.randn(2, *shape))
    assert ModalityDecoder(shape, 6, channels=2, stages=0)(h).shape == (2, *shape)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("length", [2100, 4801, 60_000])
def test_what_a_long_signal_costs_in_parameters_is_bounded(length, dims):
    encoder, decoder = (branch((2, length), 8, stages=0, dims=dims) for branch in (ModalityEncoder, ModalityDecoder))
    x = torch.randn(2, 2, length)
    assert decoder(encoder(x)).shape == x.shape
    for branch in (encoder, decoder):
        assert sum(p.numel() for name, p in branch.named_parameters() if "conv" in name) < 1_000_000
    assert (encoder(x) != encoder(torch.cat([x[..., :-1], x[..., -1:] + 9], -1))).any()  # the last point is seen
    assert (decoder(torch.randn(2, 8)).flatten(1).std(0) > 0).all()  # every point is drawn


@pytest.mark.parametrize("branch", [ModalityEncoder, ModalityDecoder])
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5)])
def test_other_ranks_are_refused(branch, shape):
    with pytest.raises(MmganError, match="a modality has shape"):
        branch(shape, 8)


# -- networks ------------------------------------------------------------------------------------------------------------
def batch(n=6):
    return {name: torch.randn(n, *shape) for name, shape in SCHEMA.modalities.items()}


def trunk(**more):
    return {"width": 16, "depth": 2, "branch": {"channels": 4, "stages": 1, "dims": 1}} | more


def test_networks_map_samples_to_latents_samples_scores_and_classes():
    x, labels = batch(), torch.tensor([0, 1, 2, 0, 1, 2])
    mu, logvar = Encoder(SCHEMA, 5, **trunk())(x)
    assert mu.shape == logvar.shape == (6, 5)
    assert (logvar == 0).all()  # a posterior starts with the prior's spread
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    assert generator.noise_dim == 7 + 3 * 9 + 2 * 4 * 5
    generated = generator(mu, labels, torch.randn(6, generator.noise_dim))
    for drawn in (generated.samples, generated.mean, generated.log_std):
        assert {name: value.shape for name, value in drawn.items()} == {name: value.shape for name, value in x.items()}
    assert Critic(SCHEMA, **trunk())(x, labels).shape == (6,)
    assert Classifier(SCHEMA, **trunk(dropout=0.3))(x).shape == (6, 3)


def test_a_score_does_not_depend_on_the_other_samples():
    critic = Critic(SCHEMA, **trunk())
    x = {name: value.requires_grad_() for name, value in batch().items()}
    critic(x, torch.zeros(6, dtype=torch.int64))[0].backward()
    for value in x.values():
        assert value.grad[0].any() and not value.grad[1:].any()


def test_the_critic_scores_by_the_projected_class():
    critic, x = Critic(SCHEMA, **trunk()), batch(1)
    h = critic.features(x, torch.tensor([0]))
    for k in range(3):
        expected = h[0] @ (critic.score.weight[0] + critic.embedding.weight[k]) + critic.score.bias[0]
        torch.testing.assert_close(critic(x, torch.tensor([k]))[0], expected)


@pytest.mark.parametrize("conditioning", ["projection", "concatenation", "both"])
def test_every_conditioning_of_the_critic_makes_the_score_depend_on_the_class_and_uses_all_it_has(conditioning):
    critic, x = Critic(SCHEMA, conditioning=conditioning, **trunk()), batch(6)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    assert not torch.allclose(critic(x, labels), critic(x, labels.flip(0)))
    critic(x, labels).sum().backward()
    assert all(parameter.grad.any() for parameter in critic.parameters())
    parts = [Critic(SCHEMA, conditioning=part, **trunk()) for part in ("projection", "concatenation")]
    if conditioning == "both":
        for part in parts:
            part.load_state_dict(critic.state_dict(), strict=False)
        h = critic.features(x, labels)
        plain = critic.score(h).squeeze(1)
        expected = sum(part.from_features(h, labels) for part in parts) - plain
        torch.testing.assert_close(critic.from_features(h, labels), expected)


def test_the_class_changes_what_is_generated():
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    z = torch.randn(1, 5).expand(3, 5)
    drawn = generator(z, torch.arange(3), torch.zeros(3, generator.noise_dim)).samples["spec"]
    assert not torch.allclose(drawn[0], drawn[1]) and not torch.allclose(drawn[1], drawn[2])


def test_samples_are_their_mean_plus_noise_of_each_modality_s_own():
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    z, labels, noise = torch.randn(1, 5).expand(2, 5), torch.zeros(2, dtype=torch.int64), torch.randn(2, 74)
    drawn = generator(z, labels, noise)
    start = 0
    for name, shape in SCHEMA.modalities.items():
        own = noise[:, start : start + math.prod(shape)].view(2, *shape)
        start += math.prod(shape)
        torch.testing.assert_close(drawn.samples[name], drawn.mean[name] + drawn.log_std[name].exp() * own)


@pytest.mark.parametrize("shape, steps", [((7,), 7), ((3, 9), 27), ((2, 4, 5), 40), ((3, 50, 50), 3)], ids=str)
def test_a_deviation_is_one_of_each_value_or_of_each_channel_of_a_large_image(shape, steps):
    own = ModalityNoise(shape, 8, start=0.3, least=0.01, most=2.0)
    assert own.log_std.out_features == steps
    torch.testing.assert_close(own(torch.zeros(4, 8)).exp(), torch.full((4, *shape), 0.3))
    far = own(1e6 * torch.randn(4, 8)).exp()
    assert far.min() >= 0.0099 and far.max() <= 2.001


def test_coloured_noise_is_correlated_as_the_mixing_says_and_of_unit_variance():
    own = ModalityNoise((2, 2), 8)
    with torch.no_grad():
        own.mixing.copy_(torch.tensor([[2.0, 0, 0, 0], [3, 4, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    drawn = own.coloured(torch.randn(100_000, 4)).flatten(1)
    expected = torch.eye(4)
    expected[0, 1] = expected[1, 0] = 0.6
    torch.testing.assert_close(torch.cov(drawn.T), expected, atol=0.02, rtol=0)
    large = ModalityNoise((3, 50, 50), 8)
    assert large.mixing is None and large.coloured(torch.randn(2, 7500)).shape == (2, 3, 50, 50)


def test_conditional_norm_is_layer_norm_with_gain_and_shift_of_the_condition():
    norm = ConditionalLayerNorm(8, 2)
    h, condition = torch.randn(5, 8), torch.randn(5, 2)
    plain = F.layer_norm(h, (8,))
    gain, shift = norm.film(condition).split(8, dim=1)
    torch.testing.assert_close(norm(h, condition), plain * (1 + gain) + shift)
    torch.nn.init.zeros_(norm.film.weight)
    torch.nn.init.zeros_(norm.film.bias)
    torch.testing.assert_close(norm(h, condition), plain)
