"""The protocol's samples, the score, and the statistics over folds."""

import json

import numpy as np
import pytest
from scipy import stats

from mmgan import baselines
from mmgan.data.arrays import take
from mmgan.errors import MmganError
from mmgan.evaluation import evaluator as protocol
from mmgan.evaluation.metrics import metric_of
from mmgan.evaluation.score import PARTS, CheapScore
from mmgan.evaluation.statistics import compare, interval


def make_rows(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99)
    y = rng.integers(0, 3, n)
    hidden = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[y]
    wave = (hidden @ weights.normal(size=(4, 24)) + 0.3 * rng.normal(size=(n, 24))).reshape(n, 2, 12)
    flat = hidden @ weights.normal(size=(4, 6)) + 0.3 * rng.normal(size=(n, 6))
    return {"wave": wave.astype(np.float32), "flat": flat.astype(np.float32)}, y


TRAIN, HELDOUT = make_rows(150, 0), make_rows(120, 1)


@pytest.fixture(scope="module")
def judge():
    return protocol.Evaluator(TRAIN, HELDOUT, draws=2)


@pytest.fixture(scope="module")
def quick_judge():
    return protocol.Evaluator(TRAIN, HELDOUT, quick=True)


@pytest.fixture(scope="module")
def real(judge):
    return judge.real()


def test_real_row_is_the_ceiling(real):
    found = real["metrics"]
    assert real["n"] == 60 and real["missing_classes"] == []
    assert found["c2st"] < 0.62 and found["coverage"] > 0.9 and found["retrieval"] < 0.25
    assert found["novelty50"] == pytest.approx(1, abs=0.15) and found["spread"] == pytest.approx(1, abs=0.3)
    assert found["mmd"] < found["mmd_null"]
    assert found["signal_mean"] == pytest.approx(1, abs=0.7)
    assert all(len(values) == 2 for values in real["draws"].values())
    assert {metric_of(key.split(":")[0]).name for key in found}  # every key belongs to a declared metric
    json.dumps(real)


def test_what_is_wrong_shows(quick_judge, real):
    x, y = TRAIN
    copies = quick_judge((x, y))["metrics"]
    assert copies["close"] == 1.0 and copies["novelty50/wave"] < 1e-3 and copies["c2st"] < 0.62
    mean = {name: values.mean(0) for name, values in x.items()}
    shrunk = quick_judge(
        ({name: mean[name] + 0.5 * (v - mean[name]) for name, v in make_rows(90, 2)[0].items()}, y[:90])
    )
    assert shrunk["metrics"]["spread"] < 0.5 and shrunk["metrics"]["density"] > 1.3 * real["metrics"]["density"]
    fresh_x, fresh_y = make_rows(90, 3)
    order = np.lexsort((np.random.default_rng(0).random(90), fresh_y))
    shuffled = {"wave": np.empty_like(fresh_x["wave"]), "flat": fresh_x["flat"]}
    for c in range(3):
        own = np.flatnonzero(fresh_y == c)
        shuffled["wave"][own] = fresh_x["wave"][np.roll(order[np.isin(order, own)], 1)]
    found = quick_judge((shuffled, fresh_y))["metrics"]
    assert found["retrieval"] > real["metrics"]["retrieval"] + 0.15 and found["tstr"] > 0.85 * found["trtr"]
    noise = {name: np.random.default_rng(0).normal(size=v.shape).astype(np.float32) for name, v in x.items()}
    found = quick_judge((noise, y))["metrics"]
    assert found["c2st"] > 0.85 and found["tstr"] < 0.7 * found["trtr"] and found["mmd"] > found["mmd_null"]


def test_samples_of_one_class(quick_judge):
    x, y = make_rows(200, 4)
    found = quick_judge((take(x, y == 1), y[y == 1]))
    assert found["missing_classes"] == [0, 2]
    assert found["metrics"]["class_recall/1"] == 1.0 and found["metrics"]["class_recall/0"] == 0.0
    assert [key for key in found["metrics"] if key.startswith("class_spread")] == ["class_spread/1"]


def test_the_spread_of_a_single_class(quick_judge):
    x, y = make_rows(300, 4)
    centre = {name: v[y == 1].mean(0) for name, v in x.items()}
    halved = {n: np.where((y == 1).reshape(-1, *[1] * (v.ndim - 1)), (v + centre[n]) / 2, v) for n, v in x.items()}
    before, after = (quick_judge((rows, y))["metrics"] for rows in (x, halved))
    assert after["class_spread/1"] == pytest.approx(before["class_spread/1"] / 4, rel=0.02)
    assert after["class_spread/0"] == pytest.approx(before["class_spread/0"])


@pytest.mark.slow
def test_equal_numbers_and_the_same_judges_for_all(judge):
    x, y = make_rows(40, 5)
    found = judge((x, y))
    assert found["n"] == 40 and len(found["draws"]["c2st"]) == 2
    assert found == judge((x, y))  # nothing random is left
    sized = protocol.Evaluator(TRAIN, HELDOUT, quick=True, n=25)(make_rows(90, 6))
    assert sized["n"] == 25 and "gain" not in sized["metrics"] and "c2st/wave" not in sized["metrics"]
    assert protocol.Evaluator(TRAIN, HELDOUT, quick=True, n=25).real()["n"] == 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ({"wave": x["wave"]}, y), "have modalities"),
        (lambda x, y: ({**x, "flat": x["flat"][:, :3]}, y), "'flat' have shape"),
        (lambda x, y: (x, y[:-1]), "labels; give one each"),
        (lambda x, y: ({**x, "flat": np.where(np.arange(6) == 2, np.nan, x["flat"])}, y), "NaN or infinite"),
        (lambda x, y: (x, y + 7), "class"),
        (lambda x, y: (take(x, np.arange(4)), y[:4]), "only 4 samples"),
        (lambda x, y: (take(x, np.arange(0)), y[:0]), "there are no synthetic samples"),
    ],
)
def test_bad_samples_get_a_sentence(judge, change, message):
    with pytest.raises(MmganError, match=message):
        judge(change(*make_rows(60, 7)))


def test_one_modality_and_one_class():
    x, y = {"only": TRAIN[0]["flat"]}, np.zeros(150, int)
    held = {"only": HELDOUT[0]["flat"]}, np.zeros(120, int)
    found = protocol.Evaluator((x, y), held, quick=True)((x, y))["metrics"]
    assert found["trtr"] == found["tstr"] == 1.0 and "retrieval" not in found and found["close"] == 1.0


# --- the score while training ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def score():
    return CheapScore(*TRAIN, *make_rows(60, 8))


def test_score_orders_what_it_should(score):
    x, y = TRAIN
    labels = y[:130]
    rng = np.random.default_rng(0)
    found = {"real": score(*make_rows(150, 9))}
    found["bootstrap"] = score(baselines.smoothed_bootstrap(x, y, labels, rng, h=0.8), labels)
    found["duplicate"] = score(x, y)
    noise = {name: rng.normal(size=values.shape) for name, values in x.items()}
    found["noise"] = score(noise, y)
    for parts in found.values():
        assert set(parts) == {"score", *PARTS} and all(0 <= value <= 1 for value in parts.values())
        expected = np.exp(np.mean([np.log(max(parts[key], 1e-300)) for key in PARTS]))
        assert parts["score"] == pytest.approx(expected, abs=1e-6)
    assert found["real"]["score"] > 0.9 and found["real"]["score"] > found["bootstrap"]["score"]
    assert found["bootstrap"]["score"] > found["noise"]["score"] > found["duplicate"]["score"]
    assert found["duplicate"]["novelty"] < 1e-3
    assert score(x, y) == found["duplicate"]


def test_score_never_raises_on_bad_samples(score):
    x, y = make_rows(50, 10)
    zero = {"score": 0.0, **dict.fromkeys(PARTS, 0.0)}
    assert score({**x, "flat": np.full((50, 6), np.nan)}, y) == zero
    assert score({**x, "flat": np.full((50, 6), np.inf)}, y) == zero
    assert score(take(x, np.arange(3)), y[:3]) == zero
    for rows in (
        {name: np.zeros_like(values) for name, values in x.items()},
        {name: np.full_like(values, 1e30) for name, values in x.items()},
    ):
        assert score(rows, y)["score"] < 0.2
    assert score(x, np.full(50, 2))["utility"] < 0.8
    assert 0 <= score(take(x, np.arange(6)), y[:6])["score"] <= 1


def test_score_of_one_class_and_of_held_out_samples_that_lack_one():
    x, y = TRAIN
    one = CheapScore({"a": x["flat"]}, 0 * y, {"a": HELDOUT[0]["flat"]}, 0 * HELDOUT[1])({"a": x["flat"]}, 0 * y)
    assert one["utility"] == 1.0
    some = HELDOUT[1] != 2
    assert CheapScore(x, y, take(HELDOUT[0], some), HELDOUT[1][some])(*make_rows(80, 11))["utility"] > 0.8
    with pytest.raises(MmganError, match="6 held-out samples"):
        CheapScore(x, y, take(HELDOUT[0], np.arange(5)), HELDOUT[1][:5])


# --- statistics over folds ------------------------------------------------------------------------------------------


def test_corrected_t_test_by_hand():
    ours, theirs = np.array([0.90, 0.88, 0.91, 0.87, 0.92]), np.array([0.86, 0.87, 0.88, 0.85, 0.88])
    d = ours - theirs
    variance = ((d - d.sum() / 5) ** 2).sum() / 4
    t = (d.sum() / 5) / ((1 / 5 + 172 / 688) * variance) ** 0.5
    found = compare(ours, theirs, n_train=688, n_test=172)
    assert found.p_value == pytest.approx(2 * (1 - stats.t.cdf(t, 4)))
    assert found.outcome == "win"
    assert compare(theirs, ours, 688, 172).outcome == "loss"
    assert compare(ours, theirs, 688, 172, higher_is_better=False).outcome == "loss"
    # Without the correction (no test samples) it is the ordinary paired t-test.
    assert compare(ours, theirs, 688, 0).p_value == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    half = stats.t.ppf(0.975, 4) * ((1 / 5 + 172 / 688) * variance) ** 0.5
    assert (found.difference.low, found.difference.high) == pytest.approx((d.mean() - half, d.mean() + half))


def test_statistics_at_the_edges():
    assert compare([0.5, 0.6], [0.5, 0.6], 10, 5).outcome == "tie"
    assert compare([0.5, 0.5], [0.4, 0.4], 10, 5).outcome == "win"
    assert compare([0.5], [0.4], 10, 5).outcome == "tie"
    assert np.isnan(interval([0.5], 10, 5).low)
    with pytest.raises(MmganError, match="one finite value per fold"):
        interval([0.5, float("nan")], 10, 5)
    with pytest.raises(MmganError, match="cannot be paired"):
        compare([0.5, 0.6], [0.5], 10, 5)


def test_unseen_groups_judge_utility_alone(quick_judge):
    rows, (x, y) = make_rows(90, 12), make_rows(80, 13)
    found = quick_judge(rows)["metrics"]
    swapped = protocol.Evaluator(TRAIN, HELDOUT, quick=True, unseen_groups=(x, (y + 1) % 3))
    with_groups = swapped(rows)["metrics"]
    changed = {key for key in found if with_groups.get(key) != found[key]}
    assert {key.split("/")[0] for key in changed} == {"trtr", "tstr", "class_recall"}
    assert with_groups["trtr"] < 0.3 < found["trtr"]
    assert swapped.confusion().shape == (3, 3)
