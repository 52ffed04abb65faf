"""Each metric against an independent derivation, or a case whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest

from mmgan.data.arrays import flatten, unflatten
from mmgan.errors import MmganError
from mmgan.evaluation import classifiers, fidelity, utility
from mmgan.evaluation.axis import FLOOR, axis_statistics
from mmgan.evaluation.coherence import Retrieval, retrieval_rank
from mmgan.evaluation.comparison import Pair, Reference
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.metrics import METRICS, metric_of
from mmgan.evaluation.novelty import LeaveOneOut, TrainingDistance, copies, membership_auc, novelty
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


@pytest.mark.slow
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
    space = FeatureSpace(train)
    retrieval = Retrieval(space, train)

    def ranks(x):
        return {
            pair: retrieval_rank(found, space.embed(x, pair[1]), y[200:])
            for pair, found in retrieval.predict(x).items()
        }

    assert set(ranks(held)) == {("a", "b"), ("b", "a")} and max(ranks(held).values()) < 0.02
    held["b"] = np.random.default_rng(3).permutation(held["b"])
    assert list(ranks(held).values()) == pytest.approx([0.5, 0.5], abs=0.06)
    alone = {"a": train["a"]}
    assert Retrieval(FeatureSpace(alone), alone).predict(alone) == {}


def test_novelty_by_hand():
    heldout = np.arange(1.0, 101.0)
    found = novelty(heldout, 0.5 * heldout)
    assert [found[f"novelty{p}"] for p in (10, 50, 90)] == pytest.approx([0.5, 0.5, 0.5])
    assert novelty(heldout, np.zeros(7)) == {"novelty10": 0, "novelty50": 0, "novelty90": 0, "close": 1.0, "far": 0.0}
    assert novelty(heldout, heldout + 50)["far"] == 0.37  # beyond 1.15 times 99.01
    # A tenth of copies: the median is blind to it, the 10th percentile and `close` are not.
    found = novelty(heldout, np.where(np.arange(100) < 11, 0.0, heldout))
    assert found["novelty50"] == pytest.approx(1.0) and found["novelty10"] == 0.0 and found["close"] == 0.11
    # Unseen samples that are copies themselves allow no ratio.
    assert (
        np.isnan(novelty(np.zeros(5), np.ones(5))["novelty50"]) and novelty(np.zeros(5), np.zeros(5))["novelty50"] == 1
    )


def test_distances_to_training_samples_by_brute_force():
    flat, y = gaussian(90, 5, 0), np.arange(90) % 3
    flat[y == 2] *= 50  # a class of its own scale
    queries, labels = gaussian(40, 5, 1), np.arange(40) % 3
    found = TrainingDistance(flat, y)
    unit = {}
    for k in range(3):
        own = brute_distances(flat[y == k], flat[y == k])
        unit[k] = np.median(np.sort(own, axis=1)[:, 1])
    cross = brute_distances(queries, flat)
    expected = [cross[i][y == k].min() / unit[k] for i, k in enumerate(labels)]
    assert found.within_class(queries, labels) == pytest.approx(np.array(expected), rel=1e-6)
    expected = [cross[i].min() / unit[y[cross[i].argmin()]] for i in range(40)]
    assert found.to_any(queries) == pytest.approx(np.array(expected), rel=1e-6)
    lone = TrainingDistance(np.append(flat, flat[:1] + 1, axis=0), np.append(y, 3))  # its unit is the other classes'
    assert lone.within_class(flat[:1], np.array([3])) == pytest.approx([np.sqrt(5) / np.median(list(unit.values()))])


@pytest.mark.parametrize("unit", [1.0, 1e-12, 1e6])
def test_novelty_by_leave_one_out_is_1_of_unseen_samples_and_0_of_copies(unit):
    y = np.arange(300) % 2
    scale = unit * np.where(y == 0, 1.0, 0.01)[:, None]  # a class of small scale counts as much
    train, unseen, others = ({"a": scale * gaussian(300, 20, seed)} for seed in range(3))
    judge = LeaveOneOut(train, y)
    assert judge(unseen, y) == pytest.approx(1.0, abs=0.05)
    assert judge(train, y) == pytest.approx(0.0, abs=1e-3)
    assert judge({"a": train["a"] + 0.1 * others["a"]}, y) < 0.2
    assert judge(train, 1 - y) > 0.5  # of the other class
    with_pool = LeaveOneOut(train, y, unseen)  # which the generator saw too
    assert with_pool(unseen, y) == pytest.approx(0.0, abs=1e-3) and with_pool(others, y) == pytest.approx(1.0, abs=0.05)


def test_novelty_by_leave_one_out_is_a_ratio_of_medians_by_brute_force():
    train, other, one = gaussian(40, 5, 0), gaussian(30, 5, 1), np.zeros(40, int)
    flat, queries = ((each - train.mean(0)) / train.std(0) for each in (train, other))
    between, own = brute_distances(flat, flat), brute_distances(flat, queries)
    np.fill_diagonal(between, np.inf)
    ratio = np.median(own.min(axis=0)) / np.median(between.min(axis=1))
    found = LeaveOneOut({"a": train}, one)({"a": other}, one[:30])
    assert 0.8 * ratio < found < ratio  # the upper bound of 40 samples' median
    twice = LeaveOneOut({"a": np.repeat(train, 2, axis=0)}, np.repeat(one, 2))
    alone = LeaveOneOut({"a": train}, np.arange(40))
    assert twice({"a": train}, one) == alone({"a": train}, np.arange(40)) == 1.0  # nothing is known


def test_copies_are_nearer_than_half_of_what_99_percent_of_real_samples_keep():
    heldout = np.arange(1.0, 102.0)  # its 1 % quantile is 2
    assert copies(heldout, np.array([0.0, 0.9, 1.0, 1.1, 50])) == 0.6
    assert copies(np.zeros(9), np.array([0.0, 1e-9, 1])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("k", [3, 5])
def test_clipped_density_and_coverage_by_brute_force(k):
    real, synthetic = gaussian(60, 3, 0), np.concatenate([gaussian(30, 3, 1), gaussian(30, 3, 2, 30.0)])
    among, cross = np.sort(brute_distances(real, real), axis=1), brute_distances(real, synthetic)
    radius = among[:, k]
    cut = np.minimum(radius, np.median(radius))
    own = np.mean(
        [min(sum(brute_distances(real, real)[i, j] <= cut[i] for i in range(60) if i != j) / k, 1) for j in range(60)]
    )
    density = np.mean([min((cross[:, j] <= cut).sum() / k, 1) for j in range(60)])
    coverage = np.mean([min((cross[i] <= radius[i]).sum() / k, 1) for i in range(60)])
    # Half of the samples are off: of 30 good ones among 60 real ones this coverage is expected, by drawing the ball's share.
    share = np.random.default_rng(0).beta(k, 60 - k, 400_000)
    expected = [np.minimum(np.random.default_rng(1).binomial(good, share) / k, 1).mean() for good in (20, 30, 40)]
    found = fidelity.clipped(real, synthetic, k)
    assert found["clipped_density"] == pytest.approx(min(density / own, 1)) and 0.4 < found["clipped_density"] < 0.6
    assert found["clipped_coverage"] == pytest.approx(
        np.interp(coverage, expected, np.array([20, 30, 40]) / 60), abs=0.01
    )


def test_clipped_metrics_read_as_the_share_of_good_samples():
    for good in (0, 30, 90, 150):
        both = [np.concatenate([gaussian(good, 4, 2 * s), gaussian(150 - good, 4, 2 * s, 40.0)]) for s in range(1, 9)]
        found = [fidelity.clipped(gaussian(150, 4, 99 + s), rows) for s, rows in enumerate(both)]
        for key in ("clipped_density", "clipped_coverage"):
            assert np.mean([each[key] for each in found]) == pytest.approx(good / 150, abs=0.05)


def test_membership_is_an_attack_by_distance():
    train, heldout = gaussian(40, 3, 0), gaussian(60, 3, 1)
    synthetic = np.concatenate([train[:20] + 0.05, gaussian(20, 3, 2)])
    rng = np.random.default_rng(4)
    first, second = train[rng.permutation(40)[:40]], heldout[rng.permutation(60)[:40]]
    real, score = np.concatenate([first, second]), []
    for i, sample in enumerate(real):
        others = np.delete(real, i, axis=0)
        score.append(brute_distances(sample[None], synthetic).min() / brute_distances(sample[None], others).min())
    wins = [(a < b) + (a == b) / 2 for a in score[:40] for b in score[40:]]
    assert membership_auc(train, heldout, synthetic, seed=4) == pytest.approx(np.mean(wins)) and np.mean(wins) > 0.6
    assert membership_auc(train, heldout, train) == 1.0
    fresh = [
        membership_auc(gaussian(60, 3, 3 * s), gaussian(60, 3, 3 * s + 1), gaussian(60, 3, 3 * s + 2)) for s in range(9)
    ]
    assert np.mean(fresh) == pytest.approx(0.5, abs=0.05)


def test_statistics_along_the_axis_by_brute_force():
    values = gaussian(4, 2 * 20, 0).reshape(4, 2, 20) + 3
    for sample, found in zip(values, axis_statistics(values), strict=True):
        expected, energies = [], []
        for channel in sample:
            centred = channel - channel.mean()
            energies.append(np.mean(centred**2) + FLOOR)
            first = [b - a for a, b in pairwise(centred)]
            second = [b - a for a, b in pairwise(first)]
            lags = [
                np.mean([centred[t] * centred[t + lag] for t in range(20 - lag)]) / energies[-1] for lag in range(1, 9)
            ]
            energy = [np.log(np.mean(np.square(each)) + FLOOR) for each in (centred, first, second)]
            expected.append([*energy, *lags])
        centred = sample - sample.mean(axis=1, keepdims=True)
        correlation = np.mean(centred[0] * centred[1]) / np.sqrt(energies[0] * energies[1])
        # By statistic, then by channel.
        assert found == pytest.approx(np.append(np.transpose(expected).ravel(), correlation))


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((9,), 0),
        ((3, 7), 0),
        ((1, 8), 3 + 4),
        ((7, 48), 7 * 11 + 21),
        ((5, 32), 5 * 11 + 10),
        ((2, 8, 16), 2 * (1 + 6 + 10) + 1),
    ],
)
def test_how_many_statistics_an_axis_has(shape, count):
    found = axis_statistics(gaussian(3, int(np.prod(shape)), 0).reshape(3, *shape))
    assert found.shape == (3, count) and np.isfinite(axis_statistics(np.zeros((3, *shape)))).all()


def samples_of(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    y = np.arange(n) % 3
    hidden = gaussian(n, 3, seed) + 2 * np.eye(3)[y]
    both = {"a": hidden @ gaussian(3, 5, 98), "b": (hidden @ gaussian(3, 16, 99)).reshape(n, 2, 8)}
    return {name: v + 0.4 * gaussian(n, v[0].size, seed + 1).reshape(v.shape) for name, v in both.items()}, y


def pair_of(other: tuple[dict[str, np.ndarray], np.ndarray], unlisted: dict[str, np.ndarray] | None = None) -> Pair:
    """Return 60 held-out samples beside others, as the evaluator lays them side by side."""
    train, heldout = samples_of(90, 0), samples_of(60, 10)
    reference = Reference(train, FeatureSpace(train[0]))
    view, beside = reference.view(*heldout), reference.view(*other)
    more = reference.flat_parts(unlisted) if unlisted else {}
    return Pair(view, beside, [reference], view.flat, more, 1.0, 1.0, SignalComparison(view.signal, 30))


def standardised(x: dict[str, np.ndarray], by: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    flat = {
        name: (v.reshape(len(v), -1) - by[name].reshape(len(by[name]), -1).mean(0))
        / by[name].reshape(len(by[name]), -1).std(0)
        for name, v in x.items()
    }
    return {"": np.concatenate(list(flat.values()), axis=1)} | {f"/{name}": v for name, v in flat.items()}


def test_copies_and_novelty_of_a_pair_by_brute_force():
    (train, y_train), (heldout, y_heldout) = samples_of(90, 0), samples_of(60, 10)
    fresh, y = samples_of(45, 20)
    some = np.arange(45) < 9
    x = {name: np.where(some.reshape(-1, *[1] * (v.ndim - 1)), train[name][:45], v) for name, v in fresh.items()}
    x["b"][20:23] = heldout["b"][20:23]  # one modality of held-out samples
    x["a"][30], x["b"][30] = x["a"][31], x["b"][31]  # and a sample twice
    pair = pair_of((x, y))
    found = {key: value for name in ("novelty50", "close", "copies", "heldout_copies", "repeated", "far", "class_novelty", "class_close")
             for key, value in METRICS[name].of(pair).items()}  # fmt: skip
    of_train, of_heldout, ours = (standardised(each, train) for each in (train, heldout, x))
    for part in ("", "/a", "/b"):
        unit = {
            k: np.median(
                np.sort(brute_distances(of_train[part][y_train == k], of_train[part][y_train == k]), axis=1)[:, 1]
            )
            for k in range(3)
        }

        def within(flat, labels, part=part, unit=unit):
            cross = brute_distances(flat, of_train[part])
            return np.array([cross[i][y_train == k].min() / unit[k] for i, k in enumerate(labels)])

        def to_any(flat, part=part, unit=unit):
            cross = brute_distances(flat, of_train[part])
            return np.array([row.min() / unit[y_train[row.argmin()]] for row in cross])

        real, own = within(of_heldout[part], y_heldout), within(ours[part], y)
        assert found[f"novelty50{part}"] == pytest.approx(np.median(own) / np.median(real), rel=1e-3)
        assert found[f"close{part}"] == np.mean(own < np.percentile(real, 1))
        assert found[f"copies{part}"] == np.mean(to_any(ours[part]) <= np.percentile(to_any(of_heldout[part]), 1) / 2)
        among = brute_distances(of_heldout[part], of_heldout[part])
        usual = np.sort(among, axis=1)[:, 1]
        nearest_unseen = brute_distances(ours[part], of_heldout[part]).min(1)
        assert found[f"heldout_copies{part}"] == np.mean(nearest_unseen <= np.percentile(usual, 1) / 2)
        if not part:
            assert found["far"] == np.mean(own > 1.15 * np.percentile(real, 99))
            for k in range(3):
                own_k, real_k = own[y == k], real[y_heldout == k]
                assert found[f"class_novelty/{k}"] == pytest.approx(np.median(own_k) / np.median(real_k), rel=1e-3)
                assert found[f"class_close/{k}"] == np.mean(own_k < np.percentile(real_k, 1))
            own_among = np.sort(brute_distances(ours[""], ours[""]), axis=1)[:, 1]
            assert found["repeated"] == np.mean(own_among <= np.percentile(usual, 1) / 2) == 2 / 45
    assert found["copies"] == 9 / 45 and found["heldout_copies"] == 0 and found["heldout_copies/b"] == 3 / 45
    # Copies of real samples that neither judge nor are said to have trained are found too.
    found = METRICS["unlisted_copies"].of(pair_of((x, y), unlisted=fresh))
    assert found["unlisted_copies"] == pytest.approx(33 / 45) and found["unlisted_copies/a"] == pytest.approx(36 / 45)
    assert METRICS["unlisted_copies"].of(pair) == {}


def test_far_along_the_axis_by_brute_force():
    x, y = samples_of(45, 20)
    x["b"][:9] = 5 * x["b"][:9, :, np.random.default_rng(0).permutation(8)]
    (train, _), (heldout, _) = samples_of(90, 0), samples_of(60, 10)
    unit = np.sqrt(train["b"].reshape(90, -1).var(0).mean())
    mean = train["b"].reshape(90, -1).mean(0).mean()
    along = [axis_statistics((each["b"] - mean) / unit) for each in (train, heldout, x)]
    scaled = [(each - along[0].mean(0)) / along[0].std(0) for each in along]
    real, own = (brute_distances(each, scaled[0]).min(1) for each in scaled[1:])
    found = METRICS["far"].of(pair_of((x, y)))["far/axis"]
    assert found == np.mean(own > 1.15 * np.percentile(real, 99)) > 0


def test_spread_and_labels_of_a_pair_by_brute_force():
    x, y = samples_of(45, 20)
    wrong = np.where(np.arange(45) < 9, (y + 1) % 3, y)
    pair = pair_of((x, wrong))
    predicted = pair.other.predicted
    recall = {f"label_recall/{k}": np.mean(predicted[wrong == k] == k) for k in range(3)}
    assert METRICS["label_recall"].of(pair) == pytest.approx(recall)
    of_class = []
    for k in range(3):
        hit = ((predicted == k) & (wrong == k)).sum()
        of_class.append(2 * hit / ((predicted == k).sum() + (wrong == k).sum()))
    assert METRICS["trts"].of(pair)["trts"] == pytest.approx(np.mean(of_class))
    right = METRICS["trts"].of(pair_of((x, y)))["trts"]
    assert right - 0.3 < np.mean(of_class) < right - 0.1
    halved = pair_of(({name: v / 2 for name, v in x.items()}, y))
    ours = METRICS["class_spread"].of(halved)
    assert ours == pytest.approx({key: value / 4 for key, value in METRICS["class_spread"].of(pair_of((x, y))).items()})


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
    assert set(found) == {f"signal_{s}{m}" for s in statistics for m in ("", "/w")}


def test_a_flat_modality_has_no_autocorrelation():
    flat = gaussian(50, 7, 0)
    assert set(sample_statistics(flat, flat).means()) == {"signal_mean", "signal_spread", "signal_cross"}
    image = gaussian(20, 3 * 8 * 8, 0).reshape(20, 3, 8, 8)
    assert sample_statistics(image.reshape(20, -1), image).cross.shape == (20, 3)


def test_utility_by_hand():
    y = np.array([0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1])
    assert classifiers.macro_f1(y, predicted) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert utility.class_recall(y, predicted) == {0: 1.0, 1: 0.5}
    assert utility.confusion(y, predicted, 3) == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]))
    found = np.array([[0.8, 0.2], [1, 0], [0.5, 0.5], [1, 0]])
    assert utility.log_loss(y, found) == pytest.approx(-np.log([0.8, 1, 0.5, utility.LEAST_PROBABILITY]).mean())
    share = np.array([0, 0, 0, 1])  # always 0: F1 is 2 * 3 / (4 + 3) and 0
    assert utility.chance_f1(share) == pytest.approx(3 / 7 + 2 * np.sqrt(3 / 7 * 4 / 7 / 4))
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
    assert all(metric.good and metric.meaning and metric.source for metric in METRICS.values())
    assert len(METRICS) == len({metric.name for metric in METRICS.values()})
    good = {
        "c2st": "at most .10 above the real row",
        "coverage": "at least .95 of the real row",
        "density": ".95-1.05 of the real row",
        "spread": "within .10 of the real row",
        "close": "at most .03",
        "novelty10": ".85-1.20",
        "mmd": "at most 2.00",
        "axis_c2st": "at most .80",
        "trtr": "the reference",
    }
    assert {name: METRICS[name].good for name in good} == good
    with pytest.raises(MmganError, match="no metric is called 'fid'"):
        metric_of("fid")
