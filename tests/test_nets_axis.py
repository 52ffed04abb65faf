"""What the critic sees of a sample along its axes, against sums in numpy."""

import numpy as np
import pytest
import torch

from mmgan.losses.adversarial import input_gradient_norm, mix, of_labels
from mmgan.nets.augmentation import CriticAugmentation
from mmgan.nets.axis import STATISTICS, AxisStatistics
from mmgan.nets.networks import Critic
from mmgan.nets.scaling import ModalityScaler, QuantileScaler, StandardScaler
from mmgan.schema import DataSchema

SHAPES = {"signal": (3, 20), "vector": (6,), "short": (2, 5), "image": (2, 9, 12)}


def schema_of(shapes):
    return DataSchema(dict(shapes), (0, 1), ("a", "b"))


def samples(shapes=None, n=40, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.normal(size=(n, *shape)).astype(np.float32).cumsum(-1))
        for name, shape in (shapes or SHAPES).items()
    }


def scaled(x, scaler=QuantileScaler):
    """Return training samples as scaled, and the scaler."""
    fitted = ModalityScaler({name: tuple(value.shape[1:]) for name, value in x.items()}, scaler)
    fitted.fit(x)
    return fitted.eval()(x), fitted


def along(lines, lags):
    """Return the statistics of one channel of one sample, given as its lines (M, L) along an axis, its mean being removed."""
    energy = (lines**2).mean() + 1e-3
    roughness = [np.log((np.diff(lines, order) ** 2).mean() + 1e-3) for order in (1, 2)]
    length = lines.shape[1]
    products = [[line[i] * line[i + lag] for line in lines for i in range(length - lag)] for lag in range(1, lags + 1)]
    return [*roughness, *(np.mean(each) / energy for each in products)]


def expected(x, lags):
    """Return the statistics of one sample (C, L) or (C, H, W), in no order."""
    channels = [channel - channel.mean() for channel in x.astype(np.float64)]
    found = [np.log((channel**2).mean() + 1e-3) for channel in channels]
    for channel in channels:
        lines = np.atleast_2d(channel)
        found += along(lines, min(lags, lines.shape[1] - 1))
        if channel.ndim == 2:
            found += along(lines.T, min(lags, lines.shape[0] - 1))
    for i in range(len(channels)):
        for j in range(i):
            energies = [(channel**2).mean() + 1e-3 for channel in (channels[i], channels[j])]
            found.append((channels[i] * channels[j]).mean() / np.sqrt(np.prod(energies)))
    return np.sort(found)


@pytest.mark.parametrize(
    ("shape", "lags"), [((3, 20), 8), ((3, 20), 30), ((2, 9, 12), 8), ((2, 9, 12), 10), ((2, 200), 8), ((1, 9, 150), 3)]
)
def test_statistics_are_those_of_numpy(shape, lags):
    name, shapes = "x", {"x": shape}
    x = samples(shapes)
    found = AxisStatistics(schema_of(shapes), lags=lags, shrinkage=None)(x).numpy()
    for row, sample in zip(found, x[name].numpy(), strict=True):
        np.testing.assert_allclose(np.sort(row), expected(sample, lags), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaler", [QuantileScaler, StandardScaler])
@pytest.mark.parametrize("unit", [1e-13, 1.0, 1e12])
def test_statistics_are_those_of_physical_values_in_any_unit(scaler, unit):
    x = samples(n=300)
    x["signal"] = (x["signal"] / 4).exp()
    axis = AxisStatistics(schema_of(SHAPES), shrinkage=None)
    axis.fit(*scaled({name: unit * value for name, value in x.items()}, scaler))
    values = axis.units[0](scaled(x, scaler)[0]["signal"]).flatten(1).numpy()
    physical = x["signal"].flatten(1).numpy().astype(np.float64)
    wanted = (physical - physical.mean(0)) / physical.std(0)
    assert np.quantile(np.abs(values - wanted), 0.99) < 0.1  # the knots of the largest values are far apart


def test_statistics_of_the_training_samples_are_standardised():
    axis, (x, scaler) = AxisStatistics(schema_of(SHAPES), shrinkage=None), scaled(samples())
    axis.fit(x, scaler)
    found = axis(x)
    torch.testing.assert_close(found.mean(0), torch.zeros(axis.n_statistics), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(axis.n_statistics), atol=0.05, rtol=0)


def test_statistics_are_decorrelated_the_less_the_less_they_vary():
    x, scaler = scaled(samples(n=400))
    plain, axis = (AxisStatistics(schema_of(SHAPES), shrinkage=shrinkage) for shrinkage in (None, 0.3))
    plain.fit(x, scaler)
    axis.fit(x, scaler)
    variance = np.linalg.eigvalsh(np.cov(plain(x).numpy().T, bias=True))
    found = np.linalg.eigvalsh(np.cov(axis(x).numpy().T, bias=True))
    np.testing.assert_allclose(found, np.sort(variance / (variance + 0.3)), atol=1e-3)


def test_what_has_no_order_has_no_statistics_and_what_is_missing_has_those_of_the_mean():
    axis, (x, scaler) = AxisStatistics(schema_of(SHAPES), shrinkage=None), scaled(samples())
    axis.fit(x, scaler)
    assert axis.n_statistics == axis.widths["signal"] + axis.widths["image"]
    without = axis({"vector": x["vector"], "image": x["image"]})
    assert (without[:, : axis.widths["signal"]] == 0).all()
    torch.testing.assert_close(without[:, axis.widths["signal"] :], axis(x)[:, axis.widths["signal"] :])
    unordered = {name: SHAPES[name] for name in ("vector", "short")}
    critic = Critic(schema_of(unordered), width=4, depth=0, axis=AxisStatistics)
    assert critic.axis is None
    assert critic.described(samples(unordered)).keys() == unordered.keys()


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_samples_have_finite_statistics_and_slopes(value):
    x = {name: torch.full((2, *shape), value, requires_grad=True) for name, shape in SHAPES.items()}
    found = AxisStatistics(schema_of(SHAPES))(x)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(x["signal"].grad).all()


def critic_and_pairs():
    torch.manual_seed(0)
    critic, labels = Critic(schema_of(SHAPES), width=8, depth=1, axis=AxisStatistics), torch.tensor([0, 1]).repeat(4)
    critic.axis.fit(*scaled(samples()))
    return critic, labels, [critic.described(samples(n=8, seed=seed)) for seed in (1, 2)]


def test_statistics_are_those_before_augmentation():
    critic, labels, (real, generated) = critic_and_pairs()
    augmented = CriticAugmentation(noise=0.5, erase=0.5)(real, generated)
    for before, after in zip((real, generated), augmented, strict=True):
        assert after[STATISTICS] is before[STATISTICS]
        assert not torch.equal(after["signal"], before["signal"])
    plain = {name: real[name] for name in SHAPES}
    torch.testing.assert_close(critic(real, labels), critic(plain, labels))


def test_one_epsilon_mixes_samples_and_statistics():
    _, _, (real, generated) = critic_and_pairs()
    epsilon = torch.rand(8, generator=torch.Generator().manual_seed(0))
    mixed = mix(real, generated, epsilon)
    for name in ("vector", STATISTICS):
        torch.testing.assert_close(
            mixed[name], epsilon[:, None] * real[name] + (1 - epsilon[:, None]) * generated[name]
        )


def test_the_penalty_takes_one_norm_over_samples_and_statistics():
    critic, labels, (real, _) = critic_and_pairs()
    found = input_gradient_norm(of_labels(critic, labels), real)
    for row in range(2):
        inputs = {name: value[row : row + 1].clone().requires_grad_() for name, value in real.items()}
        slopes = torch.autograd.grad(critic(inputs, labels[row : row + 1]).sum(), list(inputs.values()))
        norm = torch.cat([slope.flatten() for slope in slopes]).norm()
        torch.testing.assert_close(found[row], norm)
        assert slopes[-1].norm() > 0.01 * norm  # that of the statistics, the last entry
