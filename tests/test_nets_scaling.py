"""Scalers and the marginal map, each against what it promises."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.nets.scaling import MAX_KNOTS, MinMaxScaler, ModalityScaler, QuantileScaler, StandardScaler
from mmgan.schema import DataSchema

SCHEMA = DataSchema({"features": (7,), "spec": (3, 9), "image": (2, 4, 5)}, (0, 1, 2), ("a", "b", "c"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def fitted(scaler, x, *, training=False):
    scaler.fit(torch.as_tensor(x, dtype=torch.float32))
    return scaler.train(training)


def column(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1)


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


@pytest.mark.parametrize("unit", [1e-13, 1e-6, 1e6])
def test_the_unit_of_a_modality_does_not_matter(unit):
    x = np.random.default_rng(0).lognormal(0, 1, 500)
    usual, other = (fitted(QuantileScaler((1,)), column(x * each)) for each in (1, unit))
    z = torch.linspace(-4, 4, 50).reshape(-1, 1)
    torch.testing.assert_close(other(column(x * unit)), usual(column(x)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(other.inverse(z) / unit, usual.inverse(z), rtol=1e-3, atol=1e-5)


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
def test_a_handful_of_samples_can_be_scaled(rows):
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


def test_the_marginal_map_gives_training_marginals_and_keeps_ranks():
    rng = np.random.default_rng(0)
    training = {"x": torch.tensor(rng.gamma(2.0, 3.0, (900, 2)), dtype=torch.float32)}
    shared = rng.normal(size=(4000, 1))
    generated = {"x": torch.tensor(0.5 * shared + 0.3 * rng.normal(size=(4000, 2)) + 1, dtype=torch.float32)}
    marginals = QuantileMapping({"x": (2,)}, 4000).eval()
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


def test_images_keep_to_the_range_of_the_training_values():
    x = torch.randint(3, 256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    for scaler in (QuantileScaler, StandardScaler, MinMaxScaler):
        fitted = scaler((3, 4, 4)).fit(x).eval()
        far = fitted.inverse(torch.cat([fitted(x[:5]) - 9, fitted(x[:5]) + 9]))
        assert far.min() == x.min() and far.max() == x.max()
        assert torch.allclose(fitted.inverse(fitted(x[:5])), x[:5], atol=1)
    free = StandardScaler((4,)).fit(x[:, 0, 0]).eval()
    assert free.inverse(torch.full((1, 4), 9.0)).min() > x.max()


def test_the_marginal_map_leaves_images_out():
    assert QuantileMapping({"spec": (2, 5), "image": (3, 4, 4), "x": (7,)}, 4000).names == ("spec", "x")
