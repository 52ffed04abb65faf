"""Losses against their closed forms."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Laplace, Normal, kl_divergence

from mmgan.losses.adversarial import (
    CrossEntropy,
    Hinge,
    RelativisticR1R2,
    WassersteinGP,
    gradient_penalty,
    input_gradient_norm,
    mix,
)
from mmgan.losses.variational import LaplaceLikelihood, gaussian_nll, kl_standard_normal, log_likelihood, reparameterize
from mmgan.nets.blocks import activation, penalised_activation


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def linear_critic(scale=1.0):
    """A critic w.x over two modalities, and the norm of w."""
    w = {"spec": scale * torch.randn(3, 5), "env": scale * torch.randn(4)}
    norm = math.sqrt(sum(float(v.square().sum()) for v in w.values()))
    return lambda x: sum((x[name] * v).flatten(1).sum(1) for name, v in w.items()), norm


def batch(n=6):
    return {"spec": torch.randn(n, 3, 5), "env": torch.randn(n, 4)}


def test_kl_is_that_of_torch_distributions():
    mu, logvar = torch.randn(7, 5), torch.randn(7, 5)
    posterior = Independent(Normal(mu, (logvar / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(7, 5), torch.ones(7, 5)), 1)
    torch.testing.assert_close(kl_standard_normal(mu, logvar), kl_divergence(posterior, prior).mean())


def test_kl_of_the_prior_is_zero_and_the_batch_size_does_not_scale_it():
    mu, logvar = torch.randn(3, 5), torch.randn(3, 5)
    assert kl_standard_normal(torch.zeros(3, 5), torch.zeros(3, 5)) == 0
    torch.testing.assert_close(kl_standard_normal(mu, logvar), kl_standard_normal(mu.repeat(9, 1), logvar.repeat(9, 1)))


def test_reparameterize_has_the_posterior_s_moments_and_gradients():
    mu, logvar = torch.tensor([[1.0, -2.0]], requires_grad=True), torch.tensor([[0.0, math.log(9)]], requires_grad=True)
    z = reparameterize(mu, logvar, torch.randn(100_000, 2))
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.04, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([1.0, 3.0]), atol=0.04, rtol=0)
    z.sum().backward()
    assert mu.grad.abs().min() > 0 and logvar.grad is not None


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
def test_penalty_of_a_linear_critic_is_that_of_its_norm_over_both_modalities(scale):
    critic, norm = linear_critic(scale)
    torch.testing.assert_close(input_gradient_norm(critic, batch()), torch.full((6,), norm), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(gradient_penalty(critic, batch()), torch.tensor((norm - 1) ** 2), atol=1e-5, rtol=1e-4)


def test_penalty_has_a_finite_slope_at_a_gradient_of_zero():
    w = torch.zeros(4, requires_grad=True)
    gradient_penalty(lambda x: (x["env"] * w).sum(1), {"env": torch.randn(3, 4)}).backward()
    assert torch.isfinite(w.grad).all()


def test_the_activation_of_a_penalised_network_is_a_leaky_relu_without_a_second_derivative():
    h = torch.linspace(-2, 2, 40, requires_grad=True)
    pairs = [
        (out, *torch.autograd.grad(out.sum(), h, create_graph=True)) for out in (penalised_activation(h), activation(h))
    ]
    torch.testing.assert_close(*pairs, rtol=0, atol=0)
    assert not pairs[0][1].requires_grad


def test_penalty_trains_the_critic_through_the_gradient():
    w = torch.full((4,), 2.0, requires_grad=True)  # norm 4
    gradient_penalty(lambda x: (x["env"] * w).sum(1), {"env": torch.randn(3, 4)}).backward()
    torch.testing.assert_close(w.grad, 2 * (4 - 1) * w.detach() / 4)  # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|


def test_mixing_uses_one_epsilon_per_sample_in_all_modalities():
    real, generated, epsilon = batch(), batch(), torch.rand(6)
    for name, mixed in mix(real, generated, epsilon).items():
        share = (mixed - generated[name]) / (real[name] - generated[name])
        torch.testing.assert_close(share.flatten(1), epsilon[:, None].expand(6, share[0].numel()), atol=1e-3, rtol=1e-3)


def test_wasserstein_terms():
    critic, norm = linear_critic()
    real, generated = batch(), batch()
    gan_loss = WassersteinGP()
    terms = gan_loss.critic_terms(critic, real, generated, torch.rand)
    assert set(terms) == {"adversarial", "gradient_penalty"}
    torch.testing.assert_close(terms["adversarial"], critic(generated).mean() - critic(real).mean())
    torch.testing.assert_close(terms["gradient_penalty"], torch.tensor((norm - 1) ** 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gan_loss.generator_loss(critic(real), critic(generated)), -critic(generated).mean())


def test_relativistic_terms():
    critic, norm = linear_critic()
    real, generated = batch(), batch()
    gan_loss = RelativisticR1R2()
    terms = gan_loss.critic_terms(critic, real, generated, torch.rand)
    assert set(terms) == {"adversarial", "r1", "r2"}
    margin = critic(real) - critic(generated)
    torch.testing.assert_close(terms["adversarial"], -torch.log(torch.sigmoid(margin)).mean())
    for name in ("r1", "r2"):
        torch.testing.assert_close(terms[name], torch.tensor(norm**2 / 2), rtol=1e-4, atol=1e-5)
    on_real, on_generated = critic(real), critic(generated)
    torch.testing.assert_close(
        gan_loss.generator_loss(on_real, on_generated), -torch.log(torch.sigmoid(-margin)).mean()
    )


def test_gaussian_nll_is_that_of_torch_distributions_and_counts_a_wide_modality_no_more_than_a_narrow_one():
    x = {"wide": torch.randn(5, 30, 40), "narrow": torch.randn(5, 2)}
    mean, log_std = ({name: torch.randn_like(value) for name, value in x.items()} for _ in range(2))
    expected = [-Normal(mean[k], log_std[k].exp()).log_prob(x[k]).mean() - 0.5 * math.log(2 * math.pi) for k in x]
    torch.testing.assert_close(gaussian_nll(x, mean, log_std), sum(expected) / 2)


def test_the_log_likelihood_of_every_sample_under_every_gaussian():
    x, mean, log_std = torch.randn(4, 2, 3), torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    found = log_likelihood(x, mean, log_std)
    for i, j in itertools.product(range(4), range(5)):
        density = torch.distributions.Normal(mean[j], log_std[j].exp()).log_prob(x[i]).sum()
        assert float(found[i, j]) == pytest.approx(float(density) + 6 / 2 * math.log(2 * math.pi), rel=1e-5)


def test_laplace_nll_is_that_of_torch_distributions():
    x = {"wide": torch.randn(5, 30, 40), "narrow": torch.randn(5, 2)}
    mean, log_std = ({name: torch.randn_like(value) for name, value in x.items()} for _ in range(2))
    scale = {k: log_std[k].exp() / math.sqrt(2) for k in x}  # a Laplace distribution's variance is 2 scale^2
    expected = [-Laplace(mean[k], scale[k]).log_prob(x[k]).mean() - math.log(math.sqrt(2)) for k in x]
    torch.testing.assert_close(LaplaceLikelihood().nll(x, mean, log_std), sum(expected) / 2)


def test_laplace_noise_has_the_quantiles_of_its_distribution():
    white = torch.randn(100_000)
    noise = LaplaceLikelihood().noise(white)
    found = stats.kstest(noise.numpy(), stats.laplace(scale=1 / math.sqrt(2)).cdf)
    assert found.pvalue > 0.01 and noise.std().item() == pytest.approx(1, abs=0.02)
    assert torch.isfinite(LaplaceLikelihood().noise(torch.tensor([0.0, 6.0, -6.0]))).all()


def test_free_bits_leave_a_dimension_that_tells_less_without_gradient():
    mu = torch.tensor([[0.1, 2.0], [-0.1, 1.0]], requires_grad=True)
    logvar = torch.zeros(2, 2)
    found = kl_standard_normal(mu, logvar, free_bits=0.5)
    assert found.item() == pytest.approx(0.5 + (4 + 1) / 2 / 2)  # 0.005 counts as 0.5
    found.backward()
    assert not mu.grad[:, 0].any() and (mu.grad[:, 1] > 0).all()
    torch.testing.assert_close(kl_standard_normal(mu, logvar, 0.0), kl_standard_normal(mu, logvar))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_terms(smoothing):
    critic, _ = linear_critic()
    real, generated = batch(), batch()
    gan_loss = CrossEntropy(smoothing)
    on_real, on_generated = critic(real), critic(generated)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = (bce(on_real, torch.full((6,), 1 - smoothing)) + bce(on_generated, torch.zeros(6))) / 2
    torch.testing.assert_close(gan_loss.critic_terms(critic, real, generated, torch.rand), {"adversarial": expected})
    torch.testing.assert_close(gan_loss.critic_loss(on_real, on_generated), expected)
    torch.testing.assert_close(gan_loss.generator_loss(on_real, on_generated), bce(on_generated, torch.ones(6)))


def test_hinge_terms():
    gan_loss = Hinge()
    on_real, on_generated = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 2.0])
    assert float(gan_loss.critic_loss(on_real, on_generated)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 3) / 3)
    assert float(gan_loss.generator_loss(on_real, on_generated)) == pytest.approx(1 / 3)
    critic, _ = linear_critic()
    real, generated = batch(), batch()
    expected = {"adversarial": gan_loss.critic_loss(critic(real), critic(generated))}
    torch.testing.assert_close(gan_loss.critic_terms(critic, real, generated, torch.rand), expected)
