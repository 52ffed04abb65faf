"""Where latents come from, and what the critic's input goes through."""

import numpy as np
import pytest
import torch

from mmgan.models.memory import AggregatePosterior
from mmgan.nets.augmentation import CriticAugmentation


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_augmentation_adds_noise_erases_a_stretch_of_all_channels_and_passes_gradients():
    x = {"spec": torch.ones(4000, 3, 20, requires_grad=True), "flat": torch.ones(4000, 10)}
    (changed,) = CriticAugmentation(noise=0.0, erase=0.5)(x)
    drawn = changed["spec"]
    kept = drawn.detach() != 0
    assert (kept == kept[:, :1]).all() and torch.equal(drawn.detach()[kept], torch.ones(int(kept.sum())))
    edges = kept[:, 0].int().diff(dim=1).ne(0).sum(1)
    assert edges.max() <= 2 and (~kept[:, 0]).sum(1).max() <= 10  # one stretch, of half the axis at most
    assert kept.float().mean() == pytest.approx(0.75, abs=0.02)  # a quarter on average
    drawn.sum().backward()
    torch.testing.assert_close(x["spec"].grad, kept.float())
    other = {name: torch.zeros_like(value) for name, value in x.items()}
    first, second = (each["flat"] for each in CriticAugmentation(noise=0.3, erase=0.5)(x, other))
    torch.testing.assert_close(first - second, (first != 0).float())  # the same noise and stretch for both
    noisy = CriticAugmentation(noise=0.3)(x)[0]["flat"]
    assert noisy.std() == pytest.approx(0.3, abs=0.01) and noisy.mean() == pytest.approx(1, abs=0.01)


def test_no_augmentation_leaves_samples_as_they_are():
    x = {"spec": torch.randn(6, 3, 9), "flat": torch.randn(6, 7)}
    assert all(torch.equal(value, x[name]) for name, value in CriticAugmentation()(x)[0].items())


@pytest.fixture
def posteriors():
    """Means and log variances of 300 posteriors over 3 dimensions, of classes 0 and 1 of 3."""
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 2
    return mu, rng.normal(-1, 0.5, (300, 3)), rng.integers(0, 2, 300)


def density_of(posteriors):
    density = AggregatePosterior(3)
    mu, logvar, labels = map(torch.tensor, posteriors)
    density.fit(labels, mu=mu, logvar=logvar)
    return density


def test_the_gaussian_of_a_class_has_the_moments_of_its_posterior_draws(posteriors):
    mu, logvar, y = posteriors
    for k in (0, 1):
        mean = density_of(posteriors).sample_gaussian(k, torch.zeros(1, 3))[0]
        factor = (density_of(posteriors).sample_gaussian(k, torch.eye(3)) - mean).T.numpy()
        np.testing.assert_allclose(mean, mu[y == k].mean(0), atol=1e-4)
        expected = np.cov(mu[y == k].T, bias=True) + np.diag(np.exp(logvar[y == k]).mean(0))
        np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-3)


def test_the_mixture_of_a_class_is_its_posteriors_each_as_often(posteriors):
    mu, logvar, y = posteriors
    density, members = density_of(posteriors), np.flatnonzero(y == 1)
    choice = (torch.arange(len(members)) + 0.5) / len(members)
    centres = density.sample_mixture(1, torch.zeros(len(members), 3), choice)
    np.testing.assert_allclose(centres, mu[members], atol=1e-5)
    step = density.sample_mixture(1, torch.ones(len(members), 3), choice) - centres
    np.testing.assert_allclose(step, np.exp(logvar[members] / 2), atol=1e-5)
    ends = density.sample_mixture(
        1, torch.zeros(2, 3), torch.tensor([0.0, 1.0])
    )  # 1.0: what rounding may make of .9999...
    np.testing.assert_allclose(ends, mu[members[[0, -1]]], atol=1e-5)


def test_without_posteriors_there_is_the_prior(posteriors):
    density, noise = density_of(posteriors), torch.randn(4, 3)
    assert torch.equal(density.sample_mixture(2, noise, torch.rand(4)), noise)
    assert torch.equal(density.sample_gaussian(2, noise), noise)


def test_a_density_takes_its_number_of_samples_from_the_checkpoint(posteriors):
    density, other = density_of(posteriors), AggregatePosterior(3)
    other.load_state_dict(density.state_dict())
    assert torch.equal(other.mu, density.mu) and other.labels.dtype == torch.int64 and len(other.labels) == 300
