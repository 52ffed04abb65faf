"""Networks and scalers, each against what it promises."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from mmgan.errors import MmganError
from mmgan.nets.augmentation import CriticAugmentation
from mmgan.nets.blocks import ConditionalLayerNorm
from mmgan.nets.calibration import MarginalMap
from mmgan.nets.density import PosteriorDensity
from mmgan.nets.modality import ModalityDecoder, ModalityEncoder, ModalityNoise
from mmgan.nets.multimodal import Classifier, Critic, Encoder, Generator
from mmgan.nets.scaling import MAX_KNOTS, MinMaxScaler, ModalityScaler, QuantileScaler, StandardScaler
from mmgan.schema import DataSchema

SCHEMA = DataSchema({"features": (7,), "spec": (3, 9), "image": (2, 4, 5)}, (0, 1, 2), ("a", "b", "c"))
SHAPES = [(76,), (1,), (3, 100), (15, 16), (7, 48), (1, 1), (2, 3, 5), (1, 28, 28), (3, 1, 2)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def fitted(scaler, x, *, training=False):
    scaler.fit(torch.as_tensor(x, dtype=torch.float32))
    return scaler.train(training)


def column(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1)


# -- scaling ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("draw", ["lognormal", "bimodal", "uniform"])
def test_quantile_scaling_makes_any_continuous_feature_normal(draw):
    rng = np.random.default_rng(0)
    x = {
        "lognormal": rng.lognormal(3, 1.5, 2000),
        "bimodal": np.concatenate([rng.normal(-50, 1, 700), rng.normal(9, 3, 1300)]),
        "uniform": rng.uniform(-1e-3, 1e-3, 2000),
    }[draw]
    z = fitted(QuantileScaler((1,)), column(x))(column(x)).numpy().ravel()
    assert stats.kstest(z, "norm").pvalue > 0.5
    ranks = stats.norm.ppf((stats.rankdata(x) - 0.5) / len(x))  # the same map, from scipy's ranks
    middle = np.abs(ranks) < 2
    np.testing.assert_allclose(z[middle], ranks[middle], atol=0.06)


def test_quantile_scaling_is_inverted_at_the_knots_between_them_and_in_the_tails():
    x = torch.randn(600, 4) * torch.tensor([1.0, 10.0, 0.01, 3.0]) - 2
    scaler = fitted(QuantileScaler((4,)), x)
    spread = x.std(0)
    beyond = torch.stack([x.max(0).values + 0.2 * spread, x.min(0).values - 0.2 * spread])
    for rows in (scaler.values.T, x, beyond):
        torch.testing.assert_close(scaler.inverse(scaler(rows)) / spread, rows / spread, atol=1e-3, rtol=1e-3)


def test_values_far_outside_stay_finite_and_bounded():
    scaler = fitted(QuantileScaler((1,)), torch.randn(300, 1))
    z = scaler(column([-1e30, -1e6, 1e6, 1e30]))
    assert z.abs().max() <= 5
    assert torch.isfinite(scaler.inverse(column([-50.0, 50.0]))).all()


def test_scaling_is_monotone_both_ways():
    rng = np.random.default_rng(1)
    x = column(np.concatenate([np.zeros(300), rng.exponential(1, 500), np.full(100, 7.0)]))
    scaler = fitted(QuantileScaler((1,)), x)
    assert (scaler(column(np.linspace(-3, 20, 2000))).ravel().diff() >= 0).all()
    assert (scaler.inverse(column(np.linspace(-6, 6, 2000))).ravel().diff() >= 0).all()


def test_tied_values_are_spread_over_their_ranks_in_training_and_snapped_back():
    rng = np.random.default_rng(2)
    x = column(np.concatenate([np.zeros(400), 1 + rng.exponential(1, 600)]))
    scaler = fitted(QuantileScaler((1,)), x, training=True)
    zeros = column(np.zeros(5000))
    z = scaler(zeros).ravel()
    assert stats.kstest(stats.norm.cdf(z.numpy()), "uniform", args=(0, 0.4)).statistic < 0.03
    assert (scaler.inverse(z[:, None]) == 0).all()
    scaler.eval()
    middle = scaler(zeros).ravel()
    assert middle.unique().numel() == 1  # no chance in eval mode
    assert middle[0].item() == pytest.approx(stats.norm.ppf(0.2), abs=0.02)
    assert scaler.inverse(middle[:, None]).abs().max() == 0


def test_integers_stay_integers():
    x = column(np.random.default_rng(3).choice(5, 1000, p=[0.4, 0.3, 0.15, 0.1, 0.05]))
    scaler = fitted(QuantileScaler((1,)), x, training=True)
    torch.testing.assert_close(scaler.inverse(scaler(x)), x, atol=0, rtol=0)
    drawn = scaler.inverse(torch.randn(20_000, 1)).ravel()
    assert torch.equal(drawn, drawn.round())
    shares = torch.bincount(drawn.long(), minlength=5)[:5] / len(drawn)
    np.testing.assert_allclose(shares.numpy(), [0.4, 0.3, 0.15, 0.1, 0.05], atol=0.02)


@pytest.mark.parametrize("scaler", [QuantileScaler, StandardScaler, MinMaxScaler])
def test_a_constant_feature_comes_back_as_that_constant(scaler):
    x = torch.stack([torch.full((50,), 3.25), torch.randn(50)], dim=1)
    scaler = fitted(scaler((2,)), x, training=True)
    assert torch.isfinite(scaler(x)).all()
    torch.testing.assert_close(scaler.inverse(scaler(x))[:, 0], x[:, 0])
    if isinstance(scaler, QuantileScaler):
        assert (scaler.inverse(3 * torch.randn(200, 2))[:, 0] == 3.25).all()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_can_be_scaled(rows):
    x = torch.randn(rows, 3, 4)
    scaler = fitted(QuantileScaler((3, 4)), x, training=True)
    assert torch.isfinite(scaler(x)).all()
    assert torch.isfinite(scaler.inverse(torch.randn(64, 3, 4))).all()


@pytest.mark.parametrize("scaler", [QuantileScaler, StandardScaler, MinMaxScaler])
def test_what_is_never_negative_stays_so_and_what_may_be_negative_is_left_alone(scaler):
    wild = 6 * torch.randn(500, 4)
    assert fitted(scaler((4,)), torch.rand(100, 4)).inverse(wild).min() >= 0
    assert fitted(scaler((4,)), torch.randn(100, 4)).inverse(wild).min() < 0


def test_rank_three_is_scaled_channel_by_channel_and_lower_ranks_feature_by_feature():
    x = torch.randn(40, 2, 4, 5) * torch.tensor([1.0, 50.0]).view(1, 2, 1, 1) + 7
    image = fitted(StandardScaler((2, 4, 5)), x)
    per_channel = x.transpose(0, 1).reshape(2, -1)
    torch.testing.assert_close(image.shift.ravel(), per_channel.mean(1))
    torch.testing.assert_close(image.scale.ravel(), per_channel.std(1, correction=0))
    torch.testing.assert_close(image(x), (x - image.shift.view(1, 2, 1, 1)) / image.scale.view(1, 2, 1, 1))
    assert QuantileScaler((2, 4, 5)).values.shape == (2, MAX_KNOTS)
    assert QuantileScaler((2, 20)).values.shape == (40, MAX_KNOTS)
    for scaler in (QuantileScaler((2, 4, 5)), StandardScaler((2, 4, 5)), MinMaxScaler((2, 4, 5))):
        fitted(scaler, x)
        torch.testing.assert_close(scaler.inverse(scaler(x)), x, atol=0.05, rtol=1e-3)


def test_each_feature_is_scaled_by_itself():
    x = torch.randn(200, 3, 4)
    scaler = fitted(QuantileScaler((3, 4)), x)
    alone = fitted(QuantileScaler((1,)), x[:, 1, 2:3])
    torch.testing.assert_close(scaler(x)[:, 1, 2:3], alone(x[:, 1, 2:3]))


def test_standard_and_minmax_against_numpy():
    x = np.random.default_rng(0).gamma(2, 3, (100, 5)).astype(np.float32)
    standard, minmax = fitted(StandardScaler((5,)), x), fitted(MinMaxScaler((5,)), x)
    t = torch.from_numpy(x)
    np.testing.assert_allclose(standard(t), (x - x.mean(0)) / x.std(0), atol=1e-4)
    np.testing.assert_allclose(minmax(t).amin(0), -1, atol=1e-5)
    np.testing.assert_allclose(minmax(t).amax(0), 1, atol=1e-5)


def test_tables_stay_small():
    assert QuantileScaler((3,), knots=1000).values.shape == (3, 256)
    scaler = ModalityScaler({"wide": (3, 1500), "narrow": (3, 15), "image": (3, 100, 100)}, QuantileScaler)
    assert {name: type(part) for name, part in zip(scaler.names, scaler.scalers, strict=True)} == {
        "wide": StandardScaler,
        "narrow": QuantileScaler,
        "image": QuantileScaler,
    }


def test_a_fitted_scaler_is_its_buffers():
    scaler = ModalityScaler(SCHEMA.modalities, QuantileScaler)
    x = {name: torch.randn(30, *shape) for name, shape in SCHEMA.modalities.items()}
    scaler.fit(x)
    other = ModalityScaler(SCHEMA.modalities, QuantileScaler)
    other.load_state_dict(scaler.state_dict())
    for name, value in scaler.eval()(x).items():
        assert torch.equal(other.eval()(x)[name], value)


# -- branches -----------------------------------------------------------------------------------------------------------
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


@pytest.mark.parametrize("branch", [ModalityEncoder, ModalityDecoder])
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5)])
def test_other_ranks_are_refused(branch, shape):
    with pytest.raises(ValueError, match="rank 1"):
        branch(shape, 8)


# -- players ------------------------------------------------------------------------------------------------------------
def batch(n=6):
    return {name: torch.randn(n, *shape) for name, shape in SCHEMA.modalities.items()}


def trunk(**more):
    return {"width": 16, "depth": 2, "branch": {"channels": 4, "stages": 1, "dims": 1}} | more


def test_players_map_rows_to_latents_rows_scores_and_classes():
    x, labels = batch(), torch.tensor([0, 1, 2, 0, 1, 2])
    mu, logvar = Encoder(SCHEMA, 5, **trunk())(x)
    assert mu.shape == logvar.shape == (6, 5)
    assert (logvar == 0).all()  # a posterior starts with the prior's spread
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    assert generator.noise_dim == 7 + 3 * 9 + 2 * 4 * 5
    generated = generator(mu, labels, torch.randn(6, generator.noise_dim))
    for drawn in (generated.rows, generated.mean, generated.log_std):
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
    h = critic.features(x)
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
        h = critic.features(x)
        plain = critic.score(h).squeeze(1)
        expected = sum(part.from_features(h, labels) for part in parts) - plain
        torch.testing.assert_close(critic.from_features(h, labels), expected)


def test_an_unknown_conditioning_is_refused():
    with pytest.raises(MmganError, match="conditioning=none: choose projection"):
        Critic(SCHEMA, conditioning="none", **trunk())


def test_the_class_changes_what_is_generated():
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    z = torch.randn(1, 5).expand(3, 5)
    rows = generator(z, torch.arange(3), torch.zeros(3, generator.noise_dim)).rows["spec"]
    assert not torch.allclose(rows[0], rows[1]) and not torch.allclose(rows[1], rows[2])


def test_rows_are_their_mean_plus_noise_of_each_modality_s_own():
    generator = Generator(SCHEMA, 5, **trunk(class_dim=3))
    z, labels, noise = torch.randn(1, 5).expand(2, 5), torch.zeros(2, dtype=torch.int64), torch.randn(2, 74)
    drawn = generator(z, labels, noise)
    start = 0
    for name, shape in SCHEMA.modalities.items():
        own = noise[:, start : start + math.prod(shape)].view(2, *shape)
        start += math.prod(shape)
        torch.testing.assert_close(drawn.rows[name], drawn.mean[name] + drawn.log_std[name].exp() * own)


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


# -- augmentation -------------------------------------------------------------------------------------------------------
def test_augmentation_adds_noise_erases_a_stretch_of_all_channels_and_passes_gradients():
    x = {"spec": torch.ones(4000, 3, 20, requires_grad=True), "flat": torch.ones(4000, 10)}
    (rows,) = CriticAugmentation(noise=0.0, erase=0.5)(x)
    drawn = rows["spec"]
    kept = drawn.detach() != 0
    assert (kept == kept[:, :1]).all() and torch.equal(drawn.detach()[kept], torch.ones(int(kept.sum())))
    edges = kept[:, 0].int().diff(dim=1).ne(0).sum(1)
    assert edges.max() <= 2 and (~kept[:, 0]).sum(1).max() <= 10  # one stretch, of half the axis at most
    assert kept.float().mean() == pytest.approx(0.75, abs=0.02)  # a quarter on average
    drawn.sum().backward()
    torch.testing.assert_close(x["spec"].grad, kept.float())
    other = {name: torch.zeros_like(value) for name, value in x.items()}
    first, second = (rows["flat"] for rows in CriticAugmentation(noise=0.3, erase=0.5)(x, other))
    torch.testing.assert_close(first - second, (first != 0).float())  # the same noise and stretch for both
    noisy = CriticAugmentation(noise=0.3)(x)[0]["flat"]
    assert noisy.std() == pytest.approx(0.3, abs=0.01) and noisy.mean() == pytest.approx(1, abs=0.01)


def test_no_augmentation_leaves_rows_as_they_are():
    x = batch()
    assert all(torch.equal(value, x[name]) for name, value in CriticAugmentation()(x)[0].items())


@pytest.mark.parametrize("options", [{"noise": -0.1}, {"erase": 1.5}, {"erase": -0.1}], ids=str)
def test_impossible_augmentation_is_refused(options):
    with pytest.raises(MmganError, match=r"model\.augmentation: noise"):
        CriticAugmentation(**options)


# -- density ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def posteriors():
    """Means and log variances of 300 posteriors over 3 dimensions, of classes 0 and 1 of 3."""
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 2
    return mu, rng.normal(-1, 0.5, (300, 3)), rng.integers(0, 2, 300)


def density_of(posteriors):
    density = PosteriorDensity(3)
    density.fit(*map(torch.tensor, posteriors))
    return density


def test_the_gaussian_of_a_class_has_the_moments_of_its_posterior_draws(posteriors):
    mu, logvar, y = posteriors
    for k in (0, 1):
        mean = density_of(posteriors).from_gaussian(k, torch.zeros(1, 3))[0]
        factor = (density_of(posteriors).from_gaussian(k, torch.eye(3)) - mean).T.numpy()
        np.testing.assert_allclose(mean, mu[y == k].mean(0), atol=1e-4)
        expected = np.cov(mu[y == k].T, bias=True) + np.diag(np.exp(logvar[y == k]).mean(0))
        np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-3)


def test_the_mixture_of_a_class_is_its_posteriors_each_as_often(posteriors):
    mu, logvar, y = posteriors
    density, members = density_of(posteriors), np.flatnonzero(y == 1)
    choice = (torch.arange(len(members)) + 0.5) / len(members)
    centres = density.from_mixture(1, torch.zeros(len(members), 3), choice)
    np.testing.assert_allclose(centres, mu[members], atol=1e-5)
    step = density.from_mixture(1, torch.ones(len(members), 3), choice) - centres
    np.testing.assert_allclose(step, np.exp(logvar[members] / 2), atol=1e-5)
    ends = density.from_mixture(
        1, torch.zeros(2, 3), torch.tensor([0.0, 1.0])
    )  # 1.0: what rounding may make of .9999...
    np.testing.assert_allclose(ends, mu[members[[0, -1]]], atol=1e-5)


def test_without_posteriors_there_is_the_prior(posteriors):
    density, noise = density_of(posteriors), torch.randn(4, 3)
    assert torch.equal(density.from_mixture(2, noise, torch.rand(4)), noise)
    assert torch.equal(density.from_gaussian(2, noise), noise)


def test_a_density_takes_its_number_of_rows_from_the_checkpoint(posteriors):
    density, other = density_of(posteriors), PosteriorDensity(3)
    other.load_state_dict(density.state_dict())
    assert torch.equal(other.mu, density.mu) and other.labels.dtype == torch.int64 and len(other.labels) == 300


# -- marginal map -------------------------------------------------------------------------------------------------------
def test_the_marginal_map_gives_training_marginals_and_keeps_ranks():
    rng = np.random.default_rng(0)
    training = {"x": torch.tensor(rng.gamma(2.0, 3.0, (900, 2)), dtype=torch.float32)}
    shared = rng.normal(size=(4000, 1))
    generated = {"x": torch.tensor(0.5 * shared + 0.3 * rng.normal(size=(4000, 2)) + 1, dtype=torch.float32)}
    marginals = MarginalMap({"x": (2,)}).eval()
    marginals.real.fit(training)
    assert not marginals.fitted
    marginals.fit_generated(generated)
    assert marginals.fitted
    mapped = marginals(generated)["x"].numpy()
    for k in (0, 1):
        assert stats.ks_2samp(mapped[:, k], training["x"][:, k]).statistic < 0.02
        assert stats.spearmanr(mapped[:, k], generated["x"][:, k]).statistic > 0.9999
    assert mapped.min() >= 0
    expected = np.quantile(
        training["x"][:, 0], stats.rankdata(generated["x"][:, 0]) / 4001
    )  # quantile mapping by ranks
    inner = np.abs(expected - np.median(expected)) < 6
    np.testing.assert_allclose(mapped[inner, 0], expected[inner], atol=0.25)
