"""Each metric against an independent derivation, or a case whose answer is known."""

import numpy as np
import pytest

from mmgan.data.arrays import flatten, unflatten
from mmgan.errors import MmganError
from mmgan.evaluation import classifiers, fidelity, utility
from mmgan.evaluation.coherence import Retrieval, retrieval_rank
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.metrics import METRICS, metric_of
from mmgan.evaluation.novelty import novelty
from mmgan.evaluation.signal import SignalComparison, sample_statistics


def gaussian(n: int, d: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, size=(n, d))


def brute_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_prdc_equals_the_paper_formulas_by_brute_force(shift):
    real, synthetic, k = gaussian(80, 3, 0), gaussian(60, 3, 1, shift), 5
    radius_real = np.sort(brute_distances(real, real), axis=1)[:, k]  # column 0 is the row itself
    radius_synthetic = np.sort(brute_distances(synthetic, synthetic), axis=1)[:, k]
    cross = brute_distances(real, synthetic)
    expected = {
        "precision": np.mean([(cross[:, j] <= radius_real).any() for j in range(60)]),
        "recall": np.mean([(cross[i] <= radius_synthetic).any() for i in range(80)]),
        "density": sum((cross[:, j] <= radius_real).sum() for j in range(60)) / (k * 60),
        "coverage": np.mean([cross[i].min() <= radius_real[i] for i in range(80)]),
    }
    assert fidelity.prdc(real, synthetic, k) == pytest.approx(expected)


def test_coverage_of_equal_distributions_is_the_expected_one():
    found = [fidelity.prdc(gaussian(150, 4, 2 * s), gaussian(150, 4, 2 * s + 1))["coverage"] for s in range(20)]
    # Of real row i's neighbours among the other 149 real and 150 synthetic samples, the first five are all real with
    # probability 149/299 * 148/298 * ... * 145/295: then the row is not covered.
    not_covered = 1.0
    for j in range(5):
        not_covered *= (149 - j) / (299 - j)
    assert np.mean(found) == pytest.approx(1 - not_covered, abs=0.01)


def test_prdc_of_disjoint_sets_is_zero_and_too_few_samples_are_refused():
    assert set(fidelity.prdc(gaussian(20, 2, 0), gaussian(20, 2, 1, 100.0)).values()) == {0.0}
    with pytest.raises(MmganError, match="5 samples have no 5 nearest"):
        fidelity.prdc(gaussian(20, 2, 0), gaussian(5, 2, 1))


def test_mmd_is_unbiased_for_the_closed_form_of_gaussians():
    """For N(0, I) and N(m, I) in d dimensions E k = (s / (s + 2))^(d/2) exp(-|m|^2 / (2 (s + 2))), s the squared width."""
    d, width, shift = 3, 1.5, 0.5
    scale = (width**2 / (width**2 + 2)) ** (d / 2)
    expected = 2 * scale * (1 - np.exp(-d * shift**2 / (2 * (width**2 + 2))))
    found = [fidelity.mmd(gaussian(200, d, 2 * s), gaussian(200, d, 2 * s + 1, shift), width) for s in range(30)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(30))
    same = [fidelity.mmd(gaussian(100, d, 2 * s), gaussian(100, d, 2 * s + 1), width) for s in range(30)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(30)


def test_mmd_equals_the_double_sum_and_the_null_has_the_same_scale():
    real, synthetic, width = gaussian(12, 2, 0), gaussian(9, 2, 1), 0.7

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * width**2))

    xx = np.mean([kernel(real[i], real[j]) for i in range(12) for j in range(12) if i != j])
    yy = np.mean([kernel(synthetic[i], synthetic[j]) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([kernel(a, b) for a in real for b in synthetic])
    assert fidelity.mmd(real, synthetic, width) == pytest.approx(xx + yy - 2 * xy)
    rows = gaussian(80, 2, 3)
    null = fidelity.mmd_null(rows, 40, width, permutations=50)
    rng = np.random.default_rng(0)
    order = rng.permutation(80)
    assert null[0] == pytest.approx(fidelity.mmd(rows[order[:40]], rows[order[40:]], width))
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(50)


def test_median_bandwidth():
    rows = np.array([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    assert fidelity.median_bandwidth(rows) == 2.0


def test_c2st_is_at_chance_for_two_halves_and_finds_a_correlation_that_a_linear_model_misses():
    chance = []
    for seed in range(6):
        rows = gaussian(300, 6, seed)
        halves = fidelity.c2st_auc(rows[:150], rows[150:], classifiers.two_sample_classifiers(6), folds=3)
        chance.append(list(halves.values()))
    assert np.mean(chance, axis=0) == pytest.approx(np.full(3, 0.5), abs=0.06)  # 3 standard errors
    rows, correlated = gaussian(300, 6, 0), gaussian(300, 6, 10)
    correlated[:, 1] = correlated[:, 0]
    auc = fidelity.c2st_auc(rows, correlated, classifiers.two_sample_classifiers(6), folds=3)
    assert auc["logistic"] < 0.65
    assert max(auc["forest"], auc["mlp"]) > 0.75


def test_nearest_finds_copies_at_distance_zero():
    rows = gaussian(50, 400, 0).astype(np.float32)
    assert np.max(nearest(rows, rows[:10])) < 1e-5
    assert nearest(rows, rows[:3], k=4) == pytest.approx(np.sort(brute_distances(rows[:3], rows))[:, :4], abs=1e-4)


def test_within_class_spread_scales_with_the_square_and_ignores_class_means():
    rows, y = gaussian(400, 3, 0), np.arange(400) % 4
    moved = rows + 50 * y[:, None]
    assert fidelity.within_class_spread(moved, y) == pytest.approx(fidelity.within_class_spread(rows, y))
    assert fidelity.within_class_spread(2 * rows, y) == pytest.approx(4 * fidelity.within_class_spread(rows, y))


def test_class_variance_is_the_trace_of_the_covariance_within_each_class():
    rows, y = gaussian(300, 3, 0), np.arange(300) % 3
    y[y == 2] = 1
    y[-1] = 7  # a lone row has no variance
    found = fidelity.class_variance(rows + 50 * y[:, None], y)
    assert found == pytest.approx({c: np.trace(np.cov(rows[y == c].T)) for c in (0, 1)})


def test_retrieval_rank_by_hand():
    predicted, partner = np.array([[0.0], [1.0], [2.0]]), np.array([[0.1], [2.2], [1.9]])
    # Distances from row 0: .1, 2.2, 1.9 (rank 0 of 2); from row 1: .9, 1.2, .9 (2 of 2); from row 2: 1.9, .2, .1 (0).
    assert retrieval_rank(predicted, partner, np.zeros(3, int)) == pytest.approx((0 + 1 + 0) / 3)
    assert retrieval_rank(predicted[:2], partner[:2], np.zeros(2, int)) == pytest.approx((0 + 1) / 2)
    assert retrieval_rank(partner, partner, np.zeros(3, int)) == 0.0
    assert retrieval_rank(predicted, np.zeros((3, 1)), np.zeros(3, int)) == 0.5  # all alike: chance
    assert np.isnan(retrieval_rank(predicted, partner, np.arange(3)))


def test_retrieval_tells_coherent_pairs_from_shuffled_ones():
    hidden = gaussian(400, 3, 0)
    x = {"a": hidden @ gaussian(3, 8, 1), "b": (hidden @ gaussian(3, 10, 2)).reshape(400, 2, 5)}
    y = np.arange(400) % 2
    train = {name: values[:200] for name, values in x.items()}
    held = {name: values[200:] for name, values in x.items()}
    retrieval = Retrieval(FeatureSpace(train), train)
    found = retrieval(held, y[200:])
    assert set(found) == {"retrieval", "retrieval/a_to_b", "retrieval/b_to_a"}
    assert found["retrieval"] < 0.02
    held["b"] = np.random.default_rng(3).permutation(held["b"])
    assert retrieval(held, y[200:])["retrieval"] == pytest.approx(0.5, abs=0.06)
    alone = {"a": train["a"]}
    assert Retrieval(FeatureSpace(alone), alone)(alone, y[:200]) == {}


def test_novelty_by_hand():
    heldout = np.arange(1.0, 101.0)
    found = novelty(heldout, 0.5 * heldout)
    assert [found[f"novelty{p}"] for p in (10, 50, 90)] == pytest.approx([0.5, 0.5, 0.5])
    assert novelty(heldout, np.zeros(7)) == {"novelty10": 0, "novelty50": 0, "novelty90": 0, "close": 1.0}
    # A tenth of copies: the median is blind to it, the 10th percentile and `close` are not.
    found = novelty(heldout, np.where(np.arange(100) < 11, 0.0, heldout))
    assert found["novelty50"] == pytest.approx(1.0) and found["novelty10"] == 0.0 and found["close"] == 0.11
    assert np.isnan(
        novelty(np.zeros(5), np.ones(5))["novelty50"]
    )  # no ratio to unseen samples that are copies themselves


def test_signal_statistics_of_a_sine_and_of_white_noise():
    t = np.arange(40)
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    sine = np.sin(2 * np.pi * t / 8 + phases[:, None])
    x = np.stack([sine, -2 * sine + 1], axis=1)  # (200, 2, 40)
    found = sample_statistics(x.reshape(200, -1), x).means()
    lags = np.arange(1, 21)
    # A sine of period 8 has autocorrelation cos(2 pi lag / 8), times the share of overlapping points.
    expected = np.cos(2 * np.pi * lags / 8) * (40 - lags) / 40
    assert found["signal_autocorrelation"][:20] == pytest.approx(expected, abs=0.03)
    assert found["signal_cross"] == pytest.approx([-1.0])
    assert found["signal_spread"][:40] == pytest.approx(sine.std(0))


def test_signal_comparison_is_one_for_real_samples_and_large_for_shuffled_time():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(400, 3, 32)), axis=-1)
    statistics = {"w": sample_statistics(walk.reshape(400, -1), walk)}
    compare = SignalComparison(statistics, 150)
    first, second = np.arange(150), np.arange(150, 300)
    real = compare({"w": statistics["w"].take(first)}, {"w": statistics["w"].take(second)})
    assert all(0.3 < value < 2.5 for value in real.values())
    broken = rng.permuted(walk[second], axis=-1)
    found = compare({"w": statistics["w"].take(first)}, {"w": sample_statistics(broken.reshape(150, -1), broken)})
    assert found["signal_autocorrelation"] > 5
    statistics = ("mean", "spread", "autocorrelation", "cross")
    assert set(found) == {f"signal_{s}{m}" for s in statistics for m in ("", "/w", "_null")}
    assert all(1 < found[f"signal_{s}_null"] < 3 for s in statistics)  # what 99 % of halves of real samples reach


def test_a_flat_modality_has_no_autocorrelation():
    flat = gaussian(50, 7, 0)
    assert set(sample_statistics(flat, flat).means()) == {"signal_mean", "signal_spread", "signal_cross"}
    image = gaussian(20, 3 * 8 * 8, 0).reshape(20, 3, 8, 8)
    assert sample_statistics(image.reshape(20, -1), image).cross.shape == (20, 3)


def test_utility_by_hand():
    y = np.array([0, 0, 1, 1])
    predicted = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    assert utility.panel_f1(y, predicted) == pytest.approx((1 + (2 / 3) / 2) / 2)
    assert utility.class_recall(y, predicted) == {0: 1.0, 1: 0.5}
    assert utility.confusion(y, predicted, 3) == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]))
    assert classifiers.macro_f1(np.zeros(3, int), np.array([0, 0, 2])) == pytest.approx(0.8)


def test_utility_gain_of_more_real_samples_and_of_noise():
    rng = np.random.default_rng(0)
    y = np.arange(620) % 3
    flat = rng.normal(size=(620, 6)).astype(np.float32)
    flat[:, :3] += 1.5 * np.eye(3)[y]
    few, more, test = (flat[:12], y[:12]), (flat[12:212], y[12:212]), (flat[212:], y[212:])

    def gain_of(real, extra):
        both = [np.concatenate(pair) for pair in zip(real, extra, strict=True)]
        return utility.train_and_test(*both, *test) - utility.train_and_test(*real, *test)

    gain, wrong = gain_of(few, more), gain_of(more, (more[0], (more[1] + 1) % 3))
    assert gain > 0.05 and wrong < -0.05
    assert utility.captured(0.02, 0.05, 0.01) == pytest.approx(0.4)
    assert utility.captured(0.02, 0.05, 0.03) is None


def test_class_weights_help_the_rare_class():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 12])
    flat = (rng.normal(size=(312, 2)) + 1.2 * y[:, None]).astype(np.float32)
    test_y = np.repeat([0, 1], 200)
    test = (rng.normal(size=(400, 2)) + 1.2 * test_y[:, None]).astype(np.float32)
    recall = {
        balanced: utility.class_recall(test_y, utility.fit_panel(flat, y, balanced=balanced).predict(test))[1]
        for balanced in (False, True)
    }
    assert recall[True] > recall[False] + 0.1


def test_feature_space_sees_training_samples_only_and_survives_absurd_ones():
    x = {"a": gaussian(30, 4, 0) * 5 + 3, "b": np.zeros((30, 2, 3))}
    space = FeatureSpace(x)
    assert space.flat(x).shape == (30, 10) and space.embed(x).shape == (30, 10)
    assert space.flat(x, "a").std(0) == pytest.approx(np.ones(4), abs=1e-4)
    absurd = {"a": np.full((2, 4), 1e35), "b": np.ones((2, 2, 3))}
    assert np.isfinite(space.embed(absurd)).all() and (space.flat(absurd, "b") == 1).all()
    with pytest.raises(MmganError, match="finite"):
        FeatureSpace({"a": np.full((3, 2), np.nan)})


def test_flatten_and_back():
    x = {"a": gaussian(5, 4, 0).astype(np.float32), "b": gaussian(5, 6, 1).reshape(5, 2, 3)}
    back = unflatten(flatten(x), x)
    assert all((back[name] == x[name]).all() and back[name].dtype == x[name].dtype for name in x)


def test_every_metric_declares_itself():
    assert metric_of("c2st/spec") is METRICS["c2st"]
    assert all(metric.good and metric.paper for metric in METRICS.values())
    good = {
        "c2st": "at most .10 above the real row",
        "coverage": "at least .95 of the real row",
        "density": ".95-1.05 of the real row",
        "spread": "within .10 of the real row",
        "close": "at most .03",
        "novelty10": ".85-1.20",
        "mmd": "at most mmd_null",
    }
    assert {name: METRICS[name].good for name in good} == good
    with pytest.raises(MmganError, match="no metric is called 'fid'"):
        metric_of("fid")
