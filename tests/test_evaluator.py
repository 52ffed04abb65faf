"""The protocol's samples, the score, and the statistics over folds."""

import json

import numpy as np
import pytest
from scipy import stats

from mmgan import baselines
from mmgan.data.arrays import take
from mmgan.errors import MmganError
from mmgan.evaluation import evaluator as protocol
from mmgan.evaluation.evaluator import FoldSamples
from mmgan.evaluation.metrics import METRICS, metric_of
from mmgan.evaluation.score import PARTS, CheapScore
from mmgan.evaluation.statistics import compare, interval

CHEAP = [metric for metric in METRICS.values() if metric.cost == "cheap"]


def make_samples(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99)
    y = rng.integers(0, 3, n)
    hidden = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[y]
    wave = (hidden @ weights.normal(size=(4, 24)) + 0.3 * rng.normal(size=(n, 24))).reshape(n, 2, 12)
    flat = hidden @ weights.normal(size=(4, 6)) + 0.3 * rng.normal(size=(n, 6))
    return {"wave": wave.astype(np.float32), "flat": flat.astype(np.float32)}, y


TRAIN, HELDOUT = make_samples(150, 0), make_samples(120, 1)


def judge_of(train=TRAIN, heldout=HELDOUT, synthetic=TRAIN, **options):
    """Return the judge of one fold, and by default what needs one draw alone."""
    given = {name: options.pop(name) for name in ("unseen_groups", "others") if name in options}
    return protocol.Evaluator([FoldSamples(1, train, heldout, synthetic, **given)], **{"quick": True} | options)


@pytest.fixture(scope="module")
def judge():
    return judge_of()


@pytest.fixture(scope="module")
def real(judge):
    return judge.real()


def test_real_row_is_the_ceiling(real):
    found = real["metrics"]
    assert real["n"] == 60 and real["missing_classes"] == []
    assert found["c2st"] < 0.62 and found["coverage"] > 0.9 and found["retrieval"] < 0.25
    assert found["novelty50"] == pytest.approx(1, abs=0.15) and found["spread"] == pytest.approx(1, abs=0.3)
    assert found["mmd"] < 1 and found["axis_c2st"] < 0.65 and found["copies"] == found["heldout_copies"] == 0
    assert found["signal_mean"] == pytest.approx(1, abs=0.7)
    assert {metric_of(key).name for key in found}  # every key belongs to a declared metric
    assert 0 < real["deviation"]["coverage"] < 0.1 and set(real["deviation"]) < set(found) | {"c2st/wave", "c2st/flat"}
    json.dumps(real)


@pytest.mark.slow
def test_what_is_wrong_shows(judge, real):
    x, y = TRAIN
    copies = judge([TRAIN])["metrics"]
    assert copies["close"] == copies["copies"] == copies["copies/wave"] == 1.0
    assert copies["novelty50/wave"] < 1e-3 and copies["c2st"] < 0.62 and copies["heldout_copies"] == 0.0
    assert judge([HELDOUT])["metrics"]["heldout_copies"] == 1.0
    mean = {name: values.mean(0) for name, values in x.items()}
    shrunk = judge(
        [({name: mean[name] + 0.5 * (v - mean[name]) for name, v in make_samples(90, 2)[0].items()}, y[:90])]
    )
    assert shrunk["metrics"]["spread"] < 0.5 and shrunk["metrics"]["density"] > 1.3 * real["metrics"]["density"]
    fresh_x, fresh_y = make_samples(90, 3)
    order = np.lexsort((np.random.default_rng(0).random(90), fresh_y))
    shuffled = {"wave": np.empty_like(fresh_x["wave"]), "flat": fresh_x["flat"]}
    for c in range(3):
        own = np.flatnonzero(fresh_y == c)
        shuffled["wave"][own] = fresh_x["wave"][np.roll(order[np.isin(order, own)], 1)]
    found = judge([(shuffled, fresh_y)])["metrics"]
    assert found["retrieval"] > real["metrics"]["retrieval"] + 0.15 and found["tstr"] > 0.85 * found["trtr"]
    noise = {name: np.random.default_rng(0).normal(size=v.shape).astype(np.float32) for name, v in x.items()}
    found = judge([(noise, y)])["metrics"]
    assert found["c2st"] > 0.85 and found["tstr"] < 0.7 * found["trtr"] and found["mmd"] > 1


def test_samples_of_one_class(judge):
    x, y = make_samples(200, 4)
    found = judge([(take(x, y == 1), y[y == 1])])
    assert found["missing_classes"] == [0, 2]
    assert found["metrics"]["class_recall/1"] == 1.0 and found["metrics"]["class_recall/0"] == 0.0
    assert [key for key in found["metrics"] if key.startswith("class_spread")] == ["class_spread/1"]


def test_the_spread_of_a_single_class(judge):
    x, y = make_samples(300, 4)
    centre = {name: v[y == 1].mean(0) for name, v in x.items()}
    halved = {n: np.where((y == 1).reshape(-1, *[1] * (v.ndim - 1)), (v + centre[n]) / 2, v) for n, v in x.items()}
    before, after = (judge([(samples, y)], [METRICS["class_spread"]])["metrics"] for samples in (x, halved))
    assert after["class_spread/1"] == pytest.approx(before["class_spread/1"] / 4, rel=0.05)
    assert after["class_spread/0"] == pytest.approx(before["class_spread/0"])


@pytest.mark.slow
def test_equal_numbers_and_the_same_judges_for_all():
    x, y = make_samples(40, 5)
    few, tried = judge_of(synthetic=(x, y), quick=False, draws=2), [METRICS["c2st"], *CHEAP]
    found = few(None, tried)
    assert (
        found["n"] == few.real(CHEAP)["n"] == 40 and len(found["draws"]["c2st"]) == 2 and "c2st/wave" in found["draws"]
    )
    assert found["metrics"]["c2st"] == max(np.mean(v) for key, v in found["draws"].items() if key.startswith("c2st:"))
    assert found == few(None, tried)  # nothing random is left
    with pytest.raises(MmganError, match="39 synthetic samples are given, but 40 are compared"):
        few([(take(x, np.arange(39)), y[:39])])


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
def test_bad_samples_get_a_sentence(change, message):
    with pytest.raises(MmganError, match=message):
        judge_of(synthetic=change(*make_samples(60, 7)))


def test_one_modality_and_one_class():
    x, y = {"only": TRAIN[0]["flat"]}, np.zeros(150, int)
    held = {"only": HELDOUT[0]["flat"]}, np.zeros(120, int)
    found = judge_of((x, y), held, (x, y))()["metrics"]
    assert found["trtr"] == found["tstr"] == 1.0 and "retrieval" not in found and found["close"] == 1.0
    assert np.isnan(found["axis_c2st"])  # a vector has no order


def test_the_caller_says_which_vectors_have_an_axis():
    shuffled = {name: v[..., np.random.default_rng(0).permutation(v.shape[-1])] for name, v in TRAIN[0].items()}
    of_vector = judge_of(({"v": TRAIN[0]["wave"].reshape(150, 24)}, TRAIN[1]), ({"v": HELDOUT[0]["wave"].reshape(120, 24)}, HELDOUT[1]),
                         ({"v": shuffled["wave"].reshape(150, 24)}, TRAIN[1]), ordered=["v"])  # fmt: skip
    assert of_vector(None, [METRICS["axis_c2st"]])["metrics"]["axis_c2st"] > 0.8


@pytest.mark.slow
def test_folds_are_judged_together_each_by_its_own_training_samples():
    x, y = make_samples(150, 20)
    parts = np.array_split(np.arange(150), 5)
    folds = []
    for k, val in enumerate(parts):
        train = np.setdiff1d(np.arange(150), val)
        folds.append(FoldSamples(k + 1, (take(x, train), y[train]), (take(x, val), y[val]), make_samples(40, 30 + k)))
    together = protocol.Evaluator(folds, quick=True)
    assert together.n == 75 and together.real(CHEAP)["metrics"]["copies"] == 0
    # Another fold's training samples are this fold's unseen ones: as synthetic samples they are copies of those.
    copied = together([fold.train for fold in folds], CHEAP)["metrics"]
    assert copied["copies"] == 1.0
    swapped = together([fold.train for fold in [*folds[1:], folds[0]]], CHEAP)["metrics"]
    assert swapped["copies"] == pytest.approx(0.75, abs=0.15) and swapped["heldout_copies"] > 0.1
    gains = together.__class__(folds, draws=1)(None, [METRICS["gain"]])["metrics"]
    assert set(gains) == {"gain", *(f"gain/{k}" for k in range(5))}
    assert gains["gain"] == pytest.approx(np.mean([gains[f"gain/{k}"] for k in range(5)]))


def test_samples_that_stand_in_both_sets_or_twice_do_not_judge():
    x, y = HELDOUT
    doubled = {name: np.concatenate([v, v[:20], TRAIN[0][name][:10]]) for name, v in x.items()}
    labels = np.concatenate([y, y[:20], TRAIN[1][:10]])
    judge = judge_of(heldout=(doubled, labels), synthetic=make_samples(150, 2))
    assert protocol.distinct(FoldSamples(1, TRAIN, (doubled, labels), TRAIN))[1] == 30 and judge.n == 60
    assert judge(None, CHEAP)["metrics"] == judge_of(synthetic=make_samples(150, 2))(None, CHEAP)["metrics"]


@pytest.mark.slow
def test_unseen_groups_judge_utility_alone(judge):
    samples, (x, y) = make_samples(90, 12), make_samples(80, 13)
    found = judge([samples])["metrics"]
    swapped = judge_of(unseen_groups=(x, (y + 1) % 3))
    with_groups = swapped([samples])["metrics"]
    changed = {key for key in found if with_groups.get(key) != found[key] and not np.isnan(found[key])}
    utility = {"trtr", "tstr", "class_recall", "chance", "trtr_log_loss", "tstr_log_loss"}
    assert {key.split("/")[0] for key in changed} == utility
    assert with_groups["trtr"] < 0.3 < found["trtr"]
    for synthetic in (True, False):
        assert np.trace(swapped.confusion(synthetic)) < 1 < np.trace(judge.confusion(synthetic))


# --- the score while training ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def score():
    return CheapScore(*TRAIN, *make_samples(60, 8))


def test_score_orders_what_it_should(score):
    x, y = TRAIN
    labels = y[:130]
    rng = np.random.default_rng(0)
    found = {"real": score(*make_samples(150, 9))}
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


@pytest.mark.slow
def test_score_never_raises_on_bad_samples(score):
    x, y = make_samples(50, 10)
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
    assert CheapScore(x, y, take(HELDOUT[0], some), HELDOUT[1][some])(*make_samples(80, 11))["utility"] > 0.8
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


def test_equal_generators_are_seldom_called_different_and_different_ones_mostly():
    """Five folds of three seeds; differences of two folds correlate as their training samples overlap (Nadeau & Bengio 2003)."""
    rng, n_train, n_test = np.random.default_rng(0), 688, 172
    shared = np.sqrt(n_test / (n_train + n_test))

    def outcomes(shift, runs=1000):
        found = []
        for _ in range(runs):
            fold = 0.8 + 0.03 * rng.standard_normal(5)  # how hard a fold is, for both
            theirs = fold + 0.01 * rng.standard_normal((3, 5)).mean(0)
            own = shared * rng.standard_normal() + np.sqrt(1 - shared**2) * rng.standard_normal(5)
            ours = fold + 0.01 * own + 0.01 * rng.standard_normal((3, 5)).mean(0) + shift
            found.append(compare(ours, theirs, n_train, n_test))
        return found

    equal = outcomes(0.0)
    assert np.mean([each.outcome != "tie" for each in equal]) <= 0.05
    half_width = np.median([(each.difference.high - each.difference.low) / 2 for each in equal])
    assert np.mean([each.outcome == "win" for each in outcomes(1.5 * half_width)]) >= 0.5


def test_statistics_at_the_edges():
    assert compare([0.5, 0.6], [0.5, 0.6], 10, 5).outcome == "tie"
    assert compare([0.5, 0.5], [0.4, 0.4], 10, 5).outcome == "win"
    assert compare([0.5], [0.4], 10, 5).outcome == "tie"
    assert np.isnan(interval([0.5], 10, 5).low)
    with pytest.raises(MmganError, match="one finite value per fold"):
        interval([0.5, float("nan")], 10, 5)
    with pytest.raises(MmganError, match="cannot be paired"):
        compare([0.5, 0.6], [0.5], 10, 5)
