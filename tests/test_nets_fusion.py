"""Fusion of modalities: weights, missing ones, limits; and what a robust classifier's training samples go through."""

import numpy as np
import pytest
import torch

from mmgan.errors import MmganError
from mmgan.nets.fusion import ConcatFusion, GatedUncertaintyFusion, ProductOfExperts, ProxyAttentionFusion
from mmgan.nets.networks import Encoder
from mmgan.nets.robust import Corruption, RobustNetwork, VariationalEncoders, mixed
from mmgan.schema import DataSchema

FUSIONS = [ConcatFusion, GatedUncertaintyFusion, ProductOfExperts, ProxyAttentionFusion]
SCHEMA = DataSchema({"features": (7,), "spec": (3, 9), "image": (2, 4, 5)}, (0, 1, 2), ("a", "b", "c"))
BRANCH = {"channels": 4, "stages": 1, "dims": 1}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def gaussians(rows=6, modalities=3, width=8):
    return torch.randn(rows, modalities, width), torch.randn(rows, modalities, width)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_weights_sum_to_one_over_what_is_present(fusion, modalities):
    mu, logvar = gaussians(modalities=modalities)
    present = torch.ones(6, modalities, dtype=torch.bool)
    present[0, -1] = modalities == 1
    features, weights = fusion(modalities, 8).eval()(mu, logvar, present)
    assert features.shape == (6, 8) and torch.isfinite(features).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    assert (weights[~present] == 0).all() and (weights[present] > 0).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_missing_is_not_looked_at_and_what_is_there_is(fusion):
    net = fusion(3, 8).eval()
    mu, logvar = gaussians()
    present = torch.tensor([[True, True, False]] * 6)
    before = net(mu, logvar, present).features
    mu[:, 2] += 100
    logvar[:, 2] -= 3
    assert torch.equal(net(mu, logvar, present).features, before)
    mu[:, 0] += 1
    assert not torch.isclose(net(mu, logvar, present).features, before).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_word_of_what_is_present_all_is(fusion):
    net = fusion(3, 8).eval()
    mu, logvar = gaussians()
    for found, wanted in zip(net(mu, logvar, None), net(mu, logvar, torch.ones(6, 3, dtype=torch.bool)), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_row_without_any_modality_is_finite_and_trains(fusion):
    net = fusion(2, 8).eval()
    mu, logvar = gaussians(modalities=2)
    present = torch.tensor([[True, True]] * 5 + [[False, False]])
    features, weights = net(mu.requires_grad_(), logvar.requires_grad_(), present)
    features.square().sum().backward()
    assert torch.isfinite(features).all() and torch.isfinite(mu.grad).all() and (weights[-1] == 0).all()
    assert not mu.grad[-1].any()


def test_gated_weights_by_hand():
    fusion = GatedUncertaintyFusion(2, 8, temperature=2.0, alpha=0.3).eval()
    mu, logvar = gaussians(modalities=2)
    features, weights = fusion(mu, logvar, torch.ones(6, 2, dtype=torch.bool))
    certain = torch.softmax(1 / (2.0 * torch.exp(logvar / 2).mean(2)), 1)
    gate = torch.softmax(fusion.gate(mu.flatten(1)), 1)
    expected = 0.3 * certain + 0.7 * gate
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features, expected[:, :1] * mu[:, 0] + expected[:, 1:] * mu[:, 1], atol=1e-4, rtol=1e-3)


def test_what_is_less_certain_counts_less():
    mu, logvar = gaussians(modalities=2)
    logvar[:, 0], logvar[:, 1] = -1.0, 1.0
    present = torch.ones(6, 2, dtype=torch.bool)
    for fusion in (GatedUncertaintyFusion(2, 8, alpha=1.0), ProductOfExperts(2, 8)):
        weights = fusion.eval()(mu, logvar, present).weights
        assert (weights[:, 0] > 0.7).all()
    sharp = GatedUncertaintyFusion(2, 8, alpha=1.0, temperature=0.1).eval()(mu, logvar, present).weights
    assert (sharp[:, 0] > 0.999).all()


def test_the_product_of_experts_is_the_mean_of_the_product_of_gaussians():
    mu, logvar = gaussians(rows=1, modalities=2, width=1)
    features, _ = ProductOfExperts(2, 1)(mu, logvar, torch.ones(1, 2, dtype=torch.bool))
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.double)
    log_density = -0.5 * grid**2  # the prior, and one factor per modality
    for m in (0, 1):
        log_density -= 0.5 * (grid - mu[0, m, 0].double()) ** 2 / logvar[0, m, 0].double().exp()
    density = torch.exp(log_density - log_density.max())
    assert float(features) == pytest.approx(float((grid * density).sum() / density.sum()), abs=1e-4)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"alpha": 1.5}, {"heads": 3}], ids=str)
def test_impossible_options_are_refused(options):
    with pytest.raises(MmganError):
        ProxyAttentionFusion(2, 8, **options)


def rows(n=6):
    return {name: torch.randn(n, *shape) for name, shape in SCHEMA.modalities.items()}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_encoder_takes_every_fusion_and_a_missing_modality(fusion):
    encoder = Encoder(SCHEMA, 5, width=8, depth=1, branch=BRANCH, fusion=fusion).eval()
    x, present = rows(), torch.tensor([[True, False, True]] * 6)
    mu, logvar = encoder(x, present)
    assert mu.shape == logvar.shape == (6, 5)
    other = encoder({**x, "spec": torch.randn(6, 3, 9)}, present)[0]
    assert torch.equal(mu, other) and not torch.equal(mu, encoder(x)[0])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_of_the_robust_network_is_used(fusion):
    net = RobustNetwork(SCHEMA, width=8, depth=1, dropout=0.1, fusion=fusion, branch=BRANCH)
    for parameter in net.parameters():  # heads that start at zero pass nothing on
        torch.nn.init.normal_(parameter, std=0.3)
    out = net(rows(), torch.ones(6, 3, dtype=torch.bool))
    total = out.logits.square().sum() + sum(v.square().sum() for v in out.rebuilt.values())
    (total + out.logvar.square().sum()).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_each_modality_is_rebuilt_from_itself_and_posteriors_start_as_the_prior_s_width():
    net = RobustNetwork(SCHEMA, width=8, depth=1, dropout=0.0, fusion=ConcatFusion, branch=BRANCH).eval()
    x, present = rows(), torch.ones(6, 3, dtype=torch.bool)
    out = net(x, present)
    other = net({**x, "spec": torch.randn(6, 3, 9)}, present)
    assert torch.equal(out.rebuilt["features"], other.rebuilt["features"])
    assert not torch.equal(out.rebuilt["spec"], other.rebuilt["spec"])
    mu, logvar = VariationalEncoders(SCHEMA, 8, branch=BRANCH)(x)
    assert mu.shape == (6, 3, 8) and (logvar == 0).all()


# -- corruption ---------------------------------------------------------------------------------------------------------
def test_mixed_rows_are_between_two_rows_nearer_to_the_first():
    x = rows(200)
    found, partner, share = mixed(x, 0.4)
    assert 0.5 <= share < 1 and sorted(partner.tolist()) == list(range(200))
    for name, value in x.items():
        torch.testing.assert_close(found[name], share * value + (1 - share) * value[partner])
    same, _, share = mixed(x, 0.0)
    assert share == 1 and same is x


def test_corruption_loses_one_modality_of_as_many_rows_as_asked_and_never_the_last():
    x = rows(4000)
    noisy, present = Corruption(noise=0.0, drop=0.3)(x)
    assert all(torch.equal(noisy[name], value) for name, value in x.items())
    assert set((~present).sum(1).tolist()) == {0, 1}
    assert float((~present).any(1).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert (~present).float().mean(0).numpy() == pytest.approx(np.full(3, 0.1), abs=0.02)
    _, present = Corruption(drop=1.0)({"spec": x["spec"]})
    assert present.all()


def test_corruption_adds_noise_to_half_of_the_modalities_up_to_its_level():
    x = {"spec": torch.zeros(4000, 3, 50), "flat": torch.zeros(4000, 60)}
    noisy, present = Corruption(noise=2.0)(x)
    level = torch.stack([noisy["spec"].flatten(1).std(1), noisy["flat"].std(1)], 1)
    assert present.all() and float((level > 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(level.max()) < 2.8 and float(level[level > 0].mean()) == pytest.approx(1.0, abs=0.05)
    assert abs(float(np.corrcoef((level > 0).T.float().numpy())[0, 1])) < 0.06  # one by one
