"""The baselines do what their names say."""

import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from mmgan import baselines
from mmgan.data.arrays import flatten, unflatten
from mmgan.errors import MmganError
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.novelty import novelty


def make_rows(n: int = 240, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng, weights = np.random.default_rng(seed), np.random.default_rng(99)
    y = np.arange(n) % 3
    hidden = rng.normal(size=(n, 4)) + 2 * y[:, None]
    a = np.exp(hidden @ weights.normal(size=(4, 12)) / 6).reshape(n, 2, 6).astype(np.float32)
    return {"a": a, "b": (hidden @ weights.normal(size=(4, 5))).astype(np.float32)}, y


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_contract(name):
    x, y = make_rows()
    labels = np.array([2, 0, 1, 1, 2, 0, 0] * 20)
    function, options = baselines.BASELINES[name]
    first = function(x, y, labels, np.random.default_rng(5), **options)
    again = function(x, y, labels, np.random.default_rng(5), **options)
    for key in x:
        assert first[key].shape == (140, *x[key].shape[1:]) and first[key].dtype == x[key].dtype
        assert np.isfinite(first[key]).all() and (first[key] == again[key]).all()
    for label in range(3):  # samples lie nearer to their own class's mean than to the others'
        mean = np.stack([flatten(x)[y == c].mean(0) for c in range(3)])
        own = flatten(first)[labels == label].mean(0)
        assert np.argmin(((mean - own) ** 2).sum(1)) == label
    with pytest.raises(MmganError, match="class 7 has no training samples"):
        function(x, y, np.array([0, 7]), np.random.default_rng(0), **options)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_classes_of_one_two_and_three_samples(name):
    x, _ = make_rows(36)
    y = np.array([0, 1, 1, 2, 2, 2] + [3] * 30)
    function, options = baselines.BASELINES[name]
    rows = function(x, y, np.repeat([0, 1, 2, 3], 8), np.random.default_rng(0), **options)
    assert all(np.isfinite(values).all() and len(values) == 32 for values in rows.values())


@pytest.mark.parametrize("name", baselines.BASELINES)
@pytest.mark.parametrize("unit", [2.0**-30, 2.0**-110, 2.0**100])
def test_the_unit_of_samples_changes_no_digit(name, unit):
    x, y = make_rows(60)
    function, options = baselines.BASELINES[name]
    before, after = (
        function({key: factor * values for key, values in x.items()}, y, y, np.random.default_rng(3), **options)
        for factor in (np.float32(1), np.float32(unit))
    )
    for key, values in before.items():
        np.testing.assert_allclose(after[key].astype(float) / unit, values, rtol=1e-6)


def test_one_class_only():
    x, _ = make_rows(30)
    for function, options in baselines.BASELINES.values():
        rows = function(x, np.zeros(30, int), np.zeros(11, int), np.random.default_rng(0), **options)
        assert len(rows["a"]) == 11


def test_duplicate_uses_each_row_before_any_twice():
    x, y = make_rows(30)
    rows = flatten(baselines.duplicate(x, y, np.zeros(25, int), np.random.default_rng(0)))
    counts = np.array([(rows == row).all(1).sum() for row in flatten(x)[y == 0]])
    assert sorted(set(counts)) == [2, 3] and counts.sum() == 25


def test_jitter_has_the_noise_it_says():
    x, _ = make_rows(240)
    spread = flatten(x).std(0)
    rows = flatten(baselines.jitter({"a": x["a"]}, np.zeros(240, int), np.zeros(4000, int), np.random.default_rng(0)))
    total = rows.var(0) / spread[:12] ** 2
    assert total == pytest.approx(np.full(12, 1 + 0.3**2), abs=0.12)


def test_smote_samples_lie_between_two_samples_of_their_class():
    x, y = make_rows(60)
    flat = flatten(x).astype(float)
    rows = flatten(baselines.smote(x, y, np.ones(20, int), np.random.default_rng(0))).astype(float)
    own = flat[y == 1]
    gap = np.linalg.norm(own[:, None] - own[None], axis=2)
    for row in rows:
        to = np.linalg.norm(own - row, axis=1)
        # On the segment between i and j, and nowhere else, |i - row| + |row - j| = |i - j|.
        excess = to[:, None] + to[None] - gap + 10 * np.eye(len(own))
        assert excess.min() < 1e-5


def test_novelty_recognises_copies_and_interpolation():
    x, y = make_rows(300)
    unseen, _ = make_rows(300, seed=1)
    space = FeatureSpace(x)
    heldout = nearest(space.flat(x), space.flat(unseen))[:, 0]
    found = {}
    for name in ("duplicate", "smote", "copula"):
        rows = baselines.BASELINES[name][0](x, y, y, np.random.default_rng(0))
        found[name] = novelty(heldout, nearest(space.flat(x), space.flat(rows))[:, 0])
    assert found["duplicate"]["close"] == 1.0 and found["duplicate"]["novelty90"] < 1e-4
    assert found["smote"]["novelty50"] < 0.6 and found["smote"]["close"] > 0.1
    assert found["copula"]["novelty50"] > 0.6


@pytest.mark.parametrize("h", [0.0, 0.5, 1.0])
def test_smoothed_bootstrap_keeps_marginals_and_class_means(h):
    x, y = make_rows(600)
    rows = baselines.smoothed_bootstrap(x, y, y, np.random.default_rng(0), h=h)
    for key in x:
        assert rows[key].min() >= x[key].min() - 1e-4 and rows[key].max() <= x[key].max() + 1e-4
    distance = [stats.ks_2samp(a, b).statistic for a, b in zip(flatten(rows).T, flatten(x).T, strict=True)]
    assert np.mean(distance) < 0.08
    if h == 0:
        assert np.max(nearest(flatten(x), flatten(rows))) < 1e-3  # copies
    with pytest.raises(MmganError, match=r"h=1\.5"):
        baselines.smoothed_bootstrap(x, y, y, np.random.default_rng(0), h=1.5)


class RawSpace:
    """Stands in for `NormalSpace`, so that a bootstrap's samples are the formula's to the last digit."""

    def __init__(self, x, rng):
        self.forward, self.bounded, self.backward = flatten, np.copy, unflatten


@pytest.fixture
def two_clusters(monkeypatch):
    """Two modalities (9, 2) and (9, 3) of one class: four samples here, five far off."""
    monkeypatch.setattr(baselines, "NormalSpace", RawSpace)
    x = np.random.default_rng(4).normal(size=(9, 5))
    x[4:] += 50
    return {"a": x[:, :2], "b": x[:, 2:]}, np.zeros(9, int)


@pytest.mark.parametrize("count", [1, 2])
def test_neighbour_differences_are_the_formula(two_clusters, count):
    x, y = two_clusters
    flat, h, k = flatten(x), 0.7, 3
    pairs = list(product(permutations(range(k), 2), repeat=count))
    possible = []
    for centre in flat:
        near = flat[np.argsort(np.linalg.norm(flat - centre, axis=1))[:k]]
        mean = (near[0] + near[1] + near[2]) / 3
        noise = [sum(near[a] - near[b] for a, b in chosen) / np.sqrt(2 * count) for chosen in pairs]
        possible += [mean + np.sqrt(1 - h * h) * (centre - mean) + h * each for each in noise]
    options = {"neighbours": k, "h": h, "differences": count}
    rows = flatten(baselines.neighbour_bootstrap(x, y, np.zeros(4000, int), np.random.default_rng(0), **options))
    distance = np.linalg.norm(rows[:, None] - np.array(possible), axis=2)
    assert distance.min(axis=1).max() < 1e-9  # nothing else is drawn,
    assert distance.min(axis=0).max() < 1e-9  # and all of it


def test_neighbour_combinations_have_the_moments_of_the_formula(two_clusters):
    x, y = two_clusters
    labels, h = np.zeros(100_000, int), 0.8
    options = {"form": "combinations", "neighbours": 4, "h": h}
    rows = flatten(baselines.neighbour_bootstrap(x, y, labels, np.random.default_rng(0), **options))
    rows, near = rows[rows[:, 0] < 25], flatten(x)[:4]
    assert len(rows) / len(labels) == pytest.approx(4 / 9, abs=0.01)
    assert rows.mean(axis=0) == pytest.approx(near.mean(axis=0), abs=0.03)
    assert np.cov(rows.T) == pytest.approx((0.5**2 + h**2) * np.cov(near.T, bias=True), abs=0.03)


def test_neighbours_are_as_many_as_the_class_has(two_clusters):
    x, y = two_clusters[0], np.array([0, 1, 1, 0, 0, 0, 0, 0, 0])
    first, second = flatten(x)[1:3]
    rows = flatten(baselines.neighbour_bootstrap(x, y, np.ones(50, int), np.random.default_rng(0), differences=1))
    along = (rows - first) @ (second - first) / ((second - first) ** 2).sum()
    assert rows == pytest.approx(first + along[:, None] * (second - first))  # on the line of the two
    step = (np.sqrt(0.19) + 0.9 * np.sqrt(2)) / 2, (np.sqrt(0.19) - 0.9 * np.sqrt(2)) / 2
    assert np.unique(np.abs(along - 0.5).round(9)) == pytest.approx(sorted(np.abs(step)))
    lone = np.array([0, 1, 2, 0, 0, 0, 0, 0, 0])
    rows = flatten(baselines.neighbour_bootstrap(x, lone, np.full(50, 2), np.random.default_rng(0)))
    assert len(np.unique(rows, axis=0)) == 50  # not copies


def test_extreme_values_are_no_spikes_in_other_samples():
    x, y = {"a": np.random.default_rng(0).normal(size=(41, 300))}, np.zeros(41, int)
    space = baselines.NormalSpace(x, np.random.default_rng(0))
    assert space.forward(x).max() > 5
    assert space.bounded(space.forward(x)).max() == pytest.approx(stats.norm.ppf(1 - 0.5 / 41))
    rows = baselines.neighbour_bootstrap(x, y, y, np.random.default_rng(0))["a"]
    assert ((rows > x["a"].min(axis=0)) & (rows < x["a"].max(axis=0))).all()


@pytest.mark.parametrize("form", ["differences", "combinations"])
def test_neighbour_bootstrap_of_one_modality_of_integers(form):
    y = np.arange(80) % 2
    x = {"counts": np.random.default_rng(0).poisson(20 + 20 * y[:, None], size=(80, 6))}
    rows = baselines.neighbour_bootstrap(x, y, y, np.random.default_rng(0), form=form)["counts"]
    assert rows.dtype == x["counts"].dtype and rows.shape == (80, 6)
    assert rows.min() >= x["counts"].min() and rows.max() <= x["counts"].max()
    assert rows[y == 1].mean() - rows[y == 0].mean() == pytest.approx(20, abs=4)


@pytest.mark.parametrize("wrong", [{"form": "sums"}, {"neighbours": 0}, {"h": 1.1}, {"differences": 0}])
def test_neighbour_bootstrap_refuses(wrong):
    (option,) = wrong
    with pytest.raises(MmganError, match=f"^{option}="):
        baselines.neighbour_bootstrap(*make_rows(30), np.zeros(5, int), np.random.default_rng(0), **wrong)


@pytest.mark.parametrize("n", [5, 30])  # fewer samples than features, and more
def test_shrunk_noise_has_the_ledoit_wolf_covariance(n):
    from sklearn.covariance import LedoitWolf

    rng = np.random.default_rng(0)
    centred = rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6))
    noise = baselines._shrunk_noise(centred, 200_000, rng)
    expected = LedoitWolf(assume_centered=True).fit(centred).covariance_
    assert np.cov(noise.T) == pytest.approx(expected, abs=0.03 * np.trace(expected))


@pytest.mark.parametrize("seed", range(8))
def test_the_shrinkage_is_that_of_the_paper(seed):
    """Equations 9 to 12 of Ledoit & Wolf 2004 word by word, with every covariance written out."""
    rng = np.random.default_rng(seed)
    n, width = rng.integers(2, 40, size=2)
    rows = rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) * rng.gamma(0.5, size=(n, 1))
    covariance = rows.T @ rows / n
    distance = np.mean((covariance - np.eye(width) * np.trace(covariance) / width) ** 2)
    error = np.mean([np.mean((np.outer(row, row) - covariance) ** 2) for row in rows]) / n
    assert baselines._shrinkage(rows) == pytest.approx(min(error, distance) / distance)
    assert baselines._shrinkage(np.repeat(rows[:1], n, axis=0)) == pytest.approx(0, abs=1e-9)  # no error to shrink for


def test_a_long_signal_needs_no_value_for_each_pair_of_its_points():
    x = {"signal": np.random.default_rng(0).normal(size=(24, 60_000)).astype(np.float32)}
    y = np.arange(24) % 3
    tracemalloc.start()
    try:
        assert baselines.smoothed_bootstrap(x, y, y, np.random.default_rng(0))["signal"].shape == (24, 60_000)
        assert tracemalloc.get_traced_memory()[1] < 500e6  # all pairs would take 29 GB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("function", [baselines.copula, baselines.neighbour_bootstrap])
def test_wide_modalities_are_standardised_without_a_large_covariance(function):
    rng = np.random.default_rng(0)
    x, y = {"image": rng.normal(3, 2, size=(40, 3, 40, 40)).astype(np.float32)}, np.arange(40) % 2
    rows = function(x, y, y, rng)["image"]
    assert rows.shape == (40, 3, 40, 40) and rows.mean() == pytest.approx(3, abs=0.1)


def test_mixup_labels_are_those_of_the_heavier_row():
    x, y = {"a": np.array([[0.0], [1.0]])}, np.array([0, 1])
    rows, labels = baselines.mixup(x, y, 500, np.random.default_rng(0))
    assert ((rows["a"][:, 0] >= 0) & (rows["a"][:, 0] <= 1)).all()
    assert (labels == (rows["a"][:, 0] > 0.5)).mean() > 0.99
