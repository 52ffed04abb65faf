"""The verdict calls samples what they are."""

import functools

import numpy as np
import pytest
from test_evaluator import CHEAP, make_samples

from mmgan.baselines import smoothed_bootstrap, smote
from mmgan.data.arrays import take
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.metrics import METRICS, number
from mmgan.evaluation.statistics import Interval, interval
from mmgan.evaluation.table import REAL, derived, judged_row
from mmgan.evaluation.verdict import TOO_FEW, ratio, verdict
from mmgan.training.tasks import Generation

TRAIN, HELDOUT = make_samples(300, 0), make_samples(400, 1)
NONE = dict.fromkeys(METRICS, 0.0)


def shrunken():
    x, y = make_samples(300, 2)
    mean = {name: np.stack([values[y == k].mean(0) for k in range(3)])[y] for name, values in x.items()}
    return {name: mean[name] + 0.5 * (values - mean[name]) for name, values in x.items()}, y


def shuffled_pairs():
    x, y = make_samples(300, 3)
    order = np.arange(300)
    for k in range(3):
        order[y == k] = np.random.default_rng(0).permutation(order[y == k])
    return {**x, "wave": x["wave"][order]}, y


def one_class():
    x, y = make_samples(700, 4)
    return take(x, y == 1), y[y == 1]


def noise():
    rng = np.random.default_rng(0)
    rows = {
        name: rng.normal(v.mean(0), v.std(0), (300, *v.shape[1:])).astype(np.float32) for name, v in TRAIN[0].items()
    }
    return rows, rng.integers(0, 3, 300)


def wrong_labels():
    x, y = make_samples(300, 5)
    return x, (y + 1) % 3


def some_memorised():
    x, y = make_samples(300, 6)
    return {name: np.concatenate([TRAIN[0][name][:60], v[60:]]) for name, v in x.items()}, np.append(
        TRAIN[1][:60], y[60:]
    )


def close_by():
    return smoothed_bootstrap(*TRAIN, TRAIN[1], np.random.default_rng(0), h=0.3), TRAIN[1]


def interpolated():
    return smote(*TRAIN, TRAIN[1], np.random.default_rng(0)), TRAIN[1]


@functools.cache
def judges():
    """Return the judge of all samples below, and the real row."""
    judge = Evaluator([FoldSamples(1, TRAIN, HELDOUT, make_samples(300, 7))], quick=True)
    return judge, judge.real()


def judged(synthetic, metrics=None):
    judge, real = judges()
    ours = judge([synthetic], metrics)
    means = ours["metrics"], real["metrics"]
    return verdict(*means, real["deviation"], None, ours["n"], ours["missing_classes"], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("samples", "findings", "answers"),
    [
        (lambda: TRAIN, ["Copies: 100"], {"new": "no"}),
        (lambda: HELDOUT, ["Copies of held-out samples: 100%"], {"new": "no"}),
        (shrunken, ["Shrunken"], {"faithful": "no"}),
        (shuffled_pairs, ["Incoherent"], {"faithful": "no"}),
        (one_class, ["Classes without synthetic samples: a, c"], {"faithful": "no"}),
        (noise, ["Noise"], {"faithful": "no", "new": "no"}),
        (wrong_labels, ["Wrong labels"], {"faithful": "no"}),
        (some_memorised, ["Copies: "], {"new": "no"}),
        (close_by, ["Too near: at"], {"new": "no"}),
        (interpolated, ["Near-copies"], {"new": "no", "faithful": "no"}),
    ],
)
def test_samples_are_called_what_they_are(samples, findings, answers):
    found = judged(samples(), CHEAP)  # no fault of these needs a classifier to be seen
    assert [text[: len(start)] for text, start in zip(found.findings, findings, strict=False)] == findings
    assert {question: found.answer(question) for question in answers} == answers
    for each in found.answers:
        assert (each.answer == "no") == (
            bool(each.criteria) and not all(c.met for c in each.criteria)
        ) or "no samples of a, c" in each.reason


def test_unseen_real_samples_are_faithful_and_new():
    found = judged(make_samples(300, 7))
    assert not found.findings
    assert [each.answer for each in found.answers] == ["too few samples to tell", "yes", "too few samples to tell"]
    assert all(criterion.met for criterion in found.answers[0].criteria)
    assert "of 200 samples these would be seen too seldom: wrong labels" in found.answers[0].reason


GOOD = {
    "c2st": 0.5,
    "axis_c2st": 0.5,
    "coverage": 0.97,
    "precision": 0.96,
    "recall": 0.96,
    "density": 1.0,
    "clipped_density": 0.98,
    "clipped_coverage": 0.98,
    "mmd": 0.3,
    "spread": 1.0,
    "far": 0.01,
    "retrieval": 0.3,
}
GOOD |= {f"signal_{name}": 1.0 for name in ("mean", "spread", "autocorrelation", "cross")}
GOOD |= {
    "novelty10": 1.0,
    "novelty50": 1.0,
    "novelty90": 1.0,
    "close": 0.01,
    "class_novelty/1": 1.0,
    "class_close/1": 0.01,
}
GOOD |= {
    "copies": 0.0,
    "copies/x": 0.0,
    "heldout_copies": 0.0,
    "heldout_copies/x": 0.0,
    "unlisted_copies": 0.0,
    "repeated": 0.0,
}
GOOD |= {"trtr": 0.9, "tstr": 0.88, "trts": 0.9, "label_recall/1": 0.9}


def word_on(change, deviation=NONE, gain=None, n=570):
    return verdict({**GOOD, **change}, GOOD, deviation, gain, n, (), ["a", "$_$"])


@pytest.mark.parametrize(
    ("gain", "answer", "text"),
    [
        (
            Interval(0.004, -0.002, 0.014, 0.002),
            TOO_FEW,
            "+0.4 +- 0.8 points of macro-F1 beside the real samples, not distinguishable",
        ),
        (Interval(0.020, 0.010, 0.030, 0.004), "yes", "+2.0 +- 1.0 points"),
        (Interval(-0.020, -0.030, -0.010, 0.004), "no", "they do harm"),
        (Interval(0.001, -0.003, 0.005, 0.001), "no", "less than one point"),
        (interval([0.02], 8, 2), TOO_FEW, "on one fold, which has no interval"),
        (None, TOO_FEW, "the gain was not measured: judge without quick=true; alone they train classifiers to 1.00"),
    ],
)
def test_useful(gain, answer, text):
    found = word_on({}, gain=gain)
    assert found.answer("useful") == answer and text in found.answers[2].reason
    assert (found.answer("faithful"), found.answer("new")) == ("yes", "yes")


@pytest.mark.parametrize(
    ("change", "question", "answer", "reason"),
    [
        ({"c2st": 0.61}, "faithful", "no", "C2ST AUC"),
        ({"c2st": 0.40}, "faithful", "yes", "all 18 figures"),
        ({"axis_c2st": 0.85}, "faithful", "no", "axis C2ST"),
        ({"coverage": 0.91}, "faithful", "no", "coverage"),
        ({"density": 1.2}, "faithful", "no", "density"),
        ({"clipped_density": 0.9}, "faithful", "no", "clipped density"),
        ({"clipped_coverage": 0.85}, "faithful", "no", "clipped coverage"),
        ({"retrieval": 0.24}, "faithful", "no", "retrieval rank"),
        ({"mmd": 2.3}, "faithful", "no", "MMD"),
        ({"far": 0.05}, "faithful", "no", "far outside the data"),
        ({"trts": 0.85}, "faithful", "no", "TRTS"),
        ({"trts": 0.95}, "faithful", "no", "TRTS"),  # easier than real samples
        ({"label_recall/1": 0.75}, "faithful", "no", r"recall) of class $_$: .75, real samples .90"),
        ({"signal_cross": 1.6}, "faithful", "no", "cross-correlation"),
        ({"close": 0.04}, "new", "no", "near-copies"),
        ({"class_close/1": 0.3}, "new", "no", "near-copies of training samples of a class (share) of class $_$"),
        ({"class_novelty/1": 0.5}, "new", "no", "of class $_$"),
        ({"copies/x": 0.02}, "new", "no", "copies of training samples (share) of x"),
        ({"heldout_copies": 0.02}, "new", "no", "copies of held-out samples"),
        ({"unlisted_copies": 0.02}, "new", "no", "copies of real samples that train_indices do not list"),
        ({"repeated": 0.02}, "new", "no", "repeat each other"),
        ({"novelty10": 0.8}, "new", "no", "nearest tenth"),
        ({"novelty90": 1.3}, "new", "no", "farthest tenth"),
    ],
)
def test_each_limit_can_fail_and_says_which_figure_it_was(change, question, answer, reason):
    found = word_on(change)
    other = {"faithful": "new", "new": "faithful"}[question]
    assert (found.answer(question), found.answer(other)) == (answer, "yes")
    own = next(each for each in found.answers if each.question == question)
    assert reason in own.reason and sum(not c.met for c in own.criteria) == (answer == "no")


def test_every_limit_is_tried_by_a_test():
    tried = {key.split("/")[0] for key in GOOD}
    assert {name for name, metric in METRICS.items() if metric.limit} <= tried


@pytest.mark.parametrize(
    ("real", "text"),
    [
        (Interval(0.04, 0.03, 0.05, 0.005), "; as many more real samples add +4.0, of which 50% is captured; alone"),
        (
            Interval(0.004, -0.01, 0.018, 0.005),
            "add +0.4, which is not distinguishable from 0: the data are saturated;",
        ),
        (Interval(0.04, np.nan, np.nan, np.nan), "beside the real samples; alone"),
    ],
)
def test_useful_says_what_real_samples_would_add(real, text):
    found = verdict(GOOD, GOOD, NONE, Interval(0.02, 0.01, 0.03, 0.005), 570, (), ["a", "b"], real)
    assert text in found.answers[-1].reason and found.answers[-1].answer == "yes"


def test_what_real_samples_do_by_chance_is_not_held_against_synthetic_ones():
    off = {"signal_cross": 1.6, "coverage": 0.90, "close": 0.04}
    found = word_on(off, {**NONE, "signal_cross": 0.2, "coverage": 0.04, "close": 0.02})
    assert (found.answer("faithful"), found.answer("new")) == ("yes", "yes")


def test_the_worst_figure_is_the_reason_and_the_others_are_counted():
    found = word_on({"coverage": 0.2, "density": 1.1, "signal_mean": 1.6}).answers[0]
    assert found.reason == "kinds of real samples are missing (coverage): .20, real samples .97 (and 2 more below)"
    plain = word_on({"coverage": 0.2}).as_dict()
    assert set(plain) == {"faithful", "new", "useful", "findings"} and plain["faithful"]["answer"] == "no"
    (failed,) = [each for each in plain["faithful"]["criteria"] if not each["met"]]
    assert failed["metric"] == "coverage" and failed["low"] == pytest.approx(0.95 * 0.97) and failed["high"] == np.inf


POWER = {
    30: {"faithful": {"noise": 0.3, "wrong labels": 0.9}, "new": {"copies": 1.0}},
    120: {"faithful": {"noise": 0.95, "wrong labels": 0.9}, "new": {"copies": 1.0}},
}


@pytest.mark.parametrize(
    ("n", "faithful", "new"), [(20, TOO_FEW, TOO_FEW), (30, TOO_FEW, "yes"), (119, TOO_FEW, "yes"), (570, "yes", "yes")]
)
def test_too_few_samples_is_said_where_a_kind_of_cheat_would_pass(n, faithful, new, monkeypatch):
    monkeypatch.setattr("mmgan.evaluation.power.table", lambda: POWER)
    found = word_on({}, n=n)
    assert (found.answer("faithful"), found.answer("new")) == (faithful, new)
    if n == 30:
        assert (
            found.answers[0].reason == "no fault is seen, but of 30 samples these would be seen too seldom: noise 30%"
        )
    assert (
        word_on({"coverage": 0.5}, n=n).answer("faithful") == "no"
    )  # a fault that is seen is one with few samples too


def test_a_ratio_has_a_meaning_or_is_none():
    assert ratio(0.8, 0.9) == pytest.approx(8 / 9)
    for without in [(0.8, 0.0), (0.8, None), (None, 0.9), (0.8, np.nan), (np.inf, 1.0), (0.8, 0.1, 0.06)]:
        assert ratio(*without) is None
    real = {"tstr": 0.5, "chance": 0.52, "coverage": 0.9}
    assert derived({"tstr": 0.49, "coverage": 0.45}, real) == {"tstr": 0.49, "coverage": 0.45, "coverage_ratio": 0.5}
    assert derived({"tstr": 0.4, "coverage": 0.9}, real | {"chance": 0.4})["tstr_ratio"] == 0.8


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.974, ".97"),
        (1.02, "1.02"),
        (-0.5, "-.50"),
        (12.34, "12.3"),
        (0.0, ".00"),
        (0.0004, "0.0004"),
        (float("nan"), "none"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text.replace("0.0004", ".0004")


@pytest.mark.slow
def test_few_unseen_samples_are_not_called_unfaithful_for_chance():
    few = FoldSamples(1, make_samples(160, 20), make_samples(150, 21), make_samples(160, 22))
    ours, real = (judged_row([few], name, quick=True) for name in ("file", REAL))
    found = verdict(ours["metrics"], real["metrics"], real["deviation"], None, ours["n"])
    assert ours["n"] == 75 and found.answer("faithful") == "too few samples to tell"
    assert all(criterion.met for criterion in found.answers[0].criteria), found.answers[0].reason
    assert real["deviation"]["density"] > 0.03


def test_a_metric_that_is_not_defined_decides_nothing():
    undefined = {"novelty10": float("nan"), "retrieval": float("nan")}
    found = verdict({**GOOD, **undefined}, {**GOOD, **undefined}, NONE, None, 570, (), ["a", "b"])
    assert [each.answer for each in found.answers] == ["yes", "yes", TOO_FEW]
    assert not {"novelty10", "retrieval"} & {c.key for each in found.answers for c in each.criteria}


def test_a_training_whose_samples_are_near_copies_says_so():
    task = Generation()
    assert task.doubts({1: {"novelty": 0.97}, 2: {"novelty": 0.85}, 3: {}}) == []
    (sentence,) = task.doubts({1: {"novelty": 0.97}, 2: {"novelty": 0.27}, 4: {"novelty": 0.5}})
    assert sentence.startswith("novelty is .27 of fold 2, .50 of fold 4: ") and "trainer.max_epochs=" in sentence
