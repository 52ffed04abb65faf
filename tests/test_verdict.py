"""The verdict calls samples what they are."""

import numpy as np
import pytest
from test_evaluator import make_rows

from mmgan.baselines import smoothed_bootstrap, smote
from mmgan.data.arrays import take
from mmgan.evaluation.metrics import METRICS, number
from mmgan.evaluation.statistics import Interval, interval
from mmgan.evaluation.table import REAL, FoldSamples, judged_row
from mmgan.evaluation.verdict import verdict

TRAIN, HELDOUT = make_rows(300, 0), make_rows(400, 1)
NONE = dict.fromkeys(METRICS, 0.0)


def shrunken():
    x, y = make_rows(300, 2)
    mean = {name: np.stack([values[y == k].mean(0) for k in range(3)])[y] for name, values in x.items()}
    return {name: mean[name] + 0.5 * (values - mean[name]) for name, values in x.items()}, y


def shuffled_pairs():
    x, y = make_rows(300, 3)
    order = np.arange(300)
    for k in range(3):
        order[y == k] = np.random.default_rng(0).permutation(order[y == k])
    return {**x, "wave": x["wave"][order]}, y


def one_class():
    x, y = make_rows(600, 4)
    return take(x, y == 1), y[y == 1]


def noise():
    rng = np.random.default_rng(0)
    rows = {
        name: rng.normal(v.mean(0), v.std(0), (300, *v.shape[1:])).astype(np.float32) for name, v in TRAIN[0].items()
    }
    return rows, rng.integers(0, 3, 300)


def wrong_labels():
    x, y = make_rows(300, 5)
    return x, (y + 1) % 3


def some_memorised():
    x, y = make_rows(300, 6)
    return {name: np.concatenate([TRAIN[0][name][:60], v[60:]]) for name, v in x.items()}, np.append(
        TRAIN[1][:60], y[60:]
    )


def close_by():
    return smoothed_bootstrap(*TRAIN, TRAIN[1], np.random.default_rng(0), h=0.3), TRAIN[1]


def interpolated():
    return smote(*TRAIN, TRAIN[1], np.random.default_rng(0)), TRAIN[1]


def judged(rows):
    fold = FoldSamples(1, TRAIN, HELDOUT, rows)
    ours, real = (judged_row(fold, name, quick=True) for name in ("file", REAL))
    missing = [str(k) for k in ours["missing_classes"]]
    return verdict(ours["metrics"], real["metrics"], real["deviation"], None, missing)


@pytest.mark.parametrize(
    ("rows", "findings", "answers"),
    [
        (lambda: TRAIN, ["Copies: 100%"], {"new": "no"}),
        (shrunken, ["Shrunken"], {"faithful": "no"}),
        (shuffled_pairs, ["Incoherent"], {"faithful": "no"}),
        (one_class, ["Classes without synthetic samples: 0, 2"], {"faithful": "no"}),
        (noise, ["Noise"], {"faithful": "no", "new": "too far"}),
        (wrong_labels, ["Wrong labels"], {}),
        (some_memorised, ["Memorised: 2"], {"new": "no"}),
        (close_by, ["Too near: at"], {"new": "no"}),
        (interpolated, ["Near-copies", "Shrunken"], {"new": "no", "faithful": "no"}),
    ],
)
def test_samples_are_called_what_they_are(rows, findings, answers):
    found = judged(rows())
    assert [text[: len(start)] for text, start in zip(found.findings, findings, strict=True)] == findings
    assert {question: found.answer(question) for question in answers} == answers


def test_unseen_real_samples_are_faithful_and_new():
    found = judged(make_rows(300, 7))
    assert not found.findings
    assert (found.answer("new"), found.answer("useful")) == ("yes", "unknown")
    assert found.answer("faithful") == "yes", found.criteria[0]


GOOD = {
    "c2st": 0.5,
    "coverage": 0.97,
    "precision": 0.96,
    "recall": 0.96,
    "density": 1.0,
    "spread": 1.0,
    "retrieval": 0.3,
}
GOOD |= {f"signal_{name}": 1.0 for name in ("mean", "spread", "autocorrelation", "cross")}
GOOD |= {"novelty10": 1.0, "novelty50": 1.0, "novelty90": 1.0, "close": 0.01, "mmd": 0.0, "mmd_null": 1.0}
GOOD |= {"trtr": 0.9, "tstr": 0.88, "trts": 0.9}


@pytest.mark.parametrize(
    ("gain", "answer", "text"),
    [
        (
            Interval(0.004, -0.002, 0.010, 0.002),
            "not shown",
            "+0.4 +- 0.6 points of macro-F1 beside the real samples, not distinguishable",
        ),
        (Interval(0.020, 0.010, 0.030, 0.004), "yes", "+2.0 +- 1.0 points"),
        (Interval(-0.020, -0.030, -0.010, 0.004), "no", "they do harm"),
        (interval([0.02], 8, 2), "unknown", "on one fold, which has no interval"),
        (None, "unknown", "the gain was not measured; classifiers trained on them alone reach 1.00 of what as many"),
    ],
)
def test_useful(gain, answer, text):
    found = verdict(GOOD, GOOD, NONE, gain)
    assert found.answer("useful") == answer and text in found.criteria[2].reason
    assert (found.answer("faithful"), found.answer("new")) == ("yes", "yes")


@pytest.mark.parametrize(
    ("change", "question", "answer"),
    [
        ({"c2st": 0.61}, "faithful", "no"),
        ({"c2st": 0.40}, "faithful", "yes"),
        ({"coverage": 0.91}, "faithful", "no"),
        ({"density": 1.2}, "faithful", "no"),
        ({"retrieval": 0.24}, "faithful", "no"),
        ({"mmd": 1.1}, "faithful", "no"),
        ({"signal_cross": 1.3}, "faithful", "no"),
        ({"close": 0.04}, "new", "no"),
        ({"novelty10": 0.8}, "new", "no"),
        ({"novelty90": 1.3}, "new", "too far"),
    ],
)
def test_each_check_can_fail(change, question, answer):
    assert verdict({**GOOD, **change}, GOOD, NONE, None).answer(question) == answer


def test_what_real_samples_do_by_chance_is_not_held_against_synthetic_ones():
    off = {**GOOD, "signal_cross": 1.3, "coverage": 0.90, "close": 0.04}
    assert (
        verdict(off, GOOD, {**NONE, "signal_cross": 0.2, "coverage": 0.04, "close": 0.02}, None).answer("faithful")
        == "yes"
    )


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


def test_few_unseen_samples_are_not_called_unfaithful_for_chance():
    few = FoldSamples(1, make_rows(160, 20), make_rows(150, 21), make_rows(160, 22))
    ours, real = (judged_row(few, name, quick=True) for name in ("file", REAL))
    found = verdict(ours["metrics"], real["metrics"], real["deviation"], None)
    assert ours["n"] == 75 and found.answer("faithful") == "yes", found.criteria[0]
    assert real["deviation"]["density"] > 0.03


def test_a_metric_that_is_not_defined_decides_nothing():
    undefined = {"novelty10": float("nan"), "retrieval": float("nan")}
    found = verdict({**GOOD, **undefined}, {**GOOD, **undefined}, NONE, None)
    assert [each.answer for each in found.criteria] == ["yes", "yes", "unknown"]
