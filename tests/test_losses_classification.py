"""Focal, smoothed, weighted cross-entropy and InfoNCE, each against a re-derivation and its limits."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmgan.losses.classification import focal_cross_entropy
from mmgan.losses.contrastive import CrossModalContrast, info_nce


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def softmax(row):
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


def focal_by_hand(logits, labels, gamma, smoothing, alpha):
    """Row by row, as the definition reads."""
    losses = []
    for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
        p, k = softmax(row), len(row)
        target = [smoothing / k + (1 - smoothing) * (c == y) for c in range(k)]
        cross_entropy = -sum(t * math.log(q) for t, q in zip(target, p, strict=True))
        losses.append(alpha[y] * (1 - p[y]) ** gamma * cross_entropy)
    return losses


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_cross_entropy_by_hand(classes, gamma, smoothing):
    logits, labels = 2 * torch.randn(9, classes, dtype=torch.double), torch.arange(9) % (classes - 1)  # one is absent
    alpha = torch.linspace(0.5, 3, classes, dtype=torch.double)
    each = focal_by_hand(logits, labels, gamma, smoothing, alpha.tolist())
    options = {"gamma": gamma, "smoothing": smoothing, "alpha": alpha}
    weight = float(alpha[labels].sum())
    assert float(focal_cross_entropy(logits, labels, **options)) == pytest.approx(sum(each) / weight)


def test_without_options_it_is_the_cross_entropy():
    logits, labels = torch.randn(20, 5), torch.randint(5, (20,))
    alike, alpha = torch.ones(5), torch.rand(5)
    torch.testing.assert_close(focal_cross_entropy(logits, labels, alike), F.cross_entropy(logits, labels))
    torch.testing.assert_close(
        focal_cross_entropy(logits, labels, alpha=alpha), F.cross_entropy(logits, labels, weight=alpha)
    )
    torch.testing.assert_close(
        focal_cross_entropy(logits, labels, alike, smoothing=0.2), F.cross_entropy(logits, labels, label_smoothing=0.2)
    )


def test_the_focal_exponent_turns_from_easy_rows_to_hard_ones():
    label, alpha = torch.tensor([0]), torch.ones(2)

    def reduced(*logits):
        plain, focal = (focal_cross_entropy(torch.tensor([logits]), label, alpha, gamma=g) for g in (0, 2))
        return float(focal / plain)

    easy, hard = reduced(4.0, 0.0), reduced(0.0, 0.2)
    assert easy < 0.001 and hard > 0.25


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_gradients_are_finite_where_a_row_is_certain(gamma):
    logits = torch.tensor([[60.0, 0.0], [-60.0, 0.0]], requires_grad=True)
    focal_cross_entropy(logits, torch.tensor([0, 0]), torch.ones(2), gamma=gamma, smoothing=0.1).backward()
    assert torch.isfinite(logits.grad).all()


# -- contrast -----------------------------------------------------------------------------------------------------------
def info_nce_by_hand(first, second, temperature, labels=None):
    """One row after another, both ways."""
    a, b = ([np.array(v) / np.linalg.norm(v) for v in rows.tolist()] for rows in (first, second))
    losses = []
    for anchors, others in ((a, b), (b, a)):
        for i, anchor in enumerate(anchors):
            known = [j for j in range(len(others)) if j == i or labels is None or labels[j] != labels[i]]
            scores = [float(anchor @ others[j]) / temperature for j in known]
            losses.append(-math.log(softmax(scores)[known.index(i)]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("labels", [None, [0, 0, 1, 1, 2], [0, 0, 0, 0, 0]], ids=str)
def test_info_nce_by_hand(labels):
    first, second = torch.randn(5, 4, dtype=torch.double), torch.randn(5, 4, dtype=torch.double)
    given = None if labels is None else torch.tensor(labels)
    found = info_nce(first, second, 0.3, given)
    assert float(found) == pytest.approx(info_nce_by_hand(first, second, 0.3, labels))
    if labels == [0] * 5:
        assert float(found) == 0  # no negatives are left


def test_samples_that_lack_a_modality_are_left_out():
    first, second = torch.randn(6, 4), torch.randn(6, 4)
    kept = torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(info_nce(first, second, 0.2, kept=kept), info_nce(first[kept], second[kept], 0.2))
    none = info_nce(first.requires_grad_(), second, kept=torch.zeros(6, dtype=torch.bool))
    none.backward()
    assert none.detach() == 0 and not first.grad.any()


@torch.no_grad()
def test_the_contrast_is_the_mean_over_all_pairs_of_modalities():
    contrast = CrossModalContrast(3, 8, dim=4, temperature=0.5)
    h, labels, present = torch.randn(7, 3, 8), torch.arange(7) % 3, torch.ones(7, 3, dtype=torch.bool)
    present[0, 1] = present[3, 2] = False
    heads = [head(h[:, m]) for m, head in enumerate(contrast.heads)]
    pairs = [
        info_nce(heads[a], heads[b], 0.5, labels, present[:, a] & present[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    torch.testing.assert_close(contrast(h, labels, present), sum(pairs) / 3)
    contrast.mask_same_class = False
    assert float(contrast(h, labels, present)) > float(sum(pairs) / 3)  # more negatives
    assert float(CrossModalContrast(1, 8)(h[:, :1], labels, present[:, :1])) == 0
