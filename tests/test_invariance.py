"""What must not change a judgement, and data that are unusual: each gives figures or a sentence."""

import warnings

import numpy as np
import pytest
from test_evaluator import CHEAP, make_samples

from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.metrics import DEVIATIONS, METRICS, metric_of
from mmgan.evaluation.table import derived
from mmgan.evaluation.verdict import verdict

SETS = [make_samples(120, 0), make_samples(100, 1), make_samples(50, 2)]
FITTED = {"trts", "label_recall"}  # by classifiers whose random numbers follow the order of what they are fitted on


def judged(train, heldout, synthetic, metrics=CHEAP):
    judge = Evaluator([FoldSamples(1, train, heldout, synthetic)], quick=True)
    return judge(None, metrics), judge.real(metrics)


def mapped(change, sets=SETS):
    return [({name: change(name, np.asarray(v, np.float64)) for name, v in x.items()}, y) for x, y in sets]


@pytest.fixture(scope="module")
def before():
    return judged(*mapped(lambda name, v: v), [*CHEAP, METRICS["axis_c2st"], METRICS["tstr"]])


def same_figures(found, before, rel=1e-3, fitted=0.05):
    for row, expected in zip(found, before, strict=True):
        for key, value in row["metrics"].items():
            usual = metric_of(key).cost == "cheap" and metric_of(key).name not in FITTED
            assert value == pytest.approx(
                expected["metrics"][key], rel=rel if usual else 0, abs=1e-6 if usual else fitted
            ), key


@pytest.mark.parametrize(
    ("wave", "flat"),
    [((1e12, 0), (1e-13, 0)), ((3.7, 1e3), (1e-9, 1e-7))],
)
def test_units_and_offsets_of_a_modality_change_no_figure(wave, flat, before):
    scale = {"wave": wave, "flat": flat}
    found = judged(
        *mapped(lambda name, v: scale[name][0] * v + scale[name][1]), [*CHEAP, METRICS["axis_c2st"], METRICS["tstr"]]
    )
    same_figures(found, before)


def test_the_order_of_modalities_of_training_and_of_synthetic_samples_changes_no_figure(before):
    order = np.random.default_rng(0).permutation(120)
    (x, y), heldout, (made, labels) = mapped(lambda name, v: v)
    turned = {name: v[order] for name, v in reversed(x.items())}, y[order]
    found = judged(turned, heldout, ({name: v[::-1] for name, v in made.items()}, labels[::-1]), CHEAP)
    for each in found:  # the bandwidth and the principal components are the same, the training samples' order is not
        each["metrics"] = {key: each["metrics"][key] for key in each["metrics"] if key != "mmd"}
    same_figures(found, before)


def test_the_order_of_held_out_samples_changes_figures_by_less_than_chance(before):
    train, (x, y), synthetic = mapped(lambda name, v: v)
    order = np.random.default_rng(0).permutation(100)
    (ours, _), real = judged(train, ({name: v[order] for name, v in x.items()}, y[order]), synthetic, CHEAP), before[1]
    for key, value in ours["metrics"].items():
        allowed = DEVIATIONS * real["deviation"].get(key, np.inf) + 0.02
        assert abs(value - before[0]["metrics"][key]) <= allowed, key


def test_the_order_of_classes_renames_figures_and_changes_none(before):
    other = np.array([2, 0, 1])
    (ours, real) = judged(*[(x, other[y]) for x, y in mapped(lambda name, v: v)], CHEAP)
    for row in (ours, real):
        row["metrics"] = {_class_before(key, other): value for key, value in row["metrics"].items()}
    same_figures((ours, real), before)


def _class_before(key, other):
    name, _, part = key.partition("/")
    return f"{name}/{int(np.flatnonzero(other == int(part))[0])}" if metric_of(key).by_class else key


@pytest.mark.parametrize("names", [("0", "1", "2"), ("a/b", "x:y", "$_$"), ("内圈", "[b]", "yes")])
def test_any_class_name_is_said_as_it_is(names):
    real = {
        "label_recall/1": 0.9,
        "tstr": 0.9,
        "trts": 0.9,
        "spread": 1.0,
        "density": 1.0,
        "precision": 1.0,
        "coverage": 1.0,
        "novelty50": 1.0,
        "close": 0.0,
    }
    found = verdict({**real, "label_recall/1": 0.2}, real, {}, None, 100, [2], names)
    assert f"recall) of class {names[1]}: .20" in next(c.fault for c in found.answers[0].criteria if not c.met)
    assert found.findings[0] == f"Classes without synthetic samples: {names[2]}."


# --- unusual data ----------------------------------------------------------------------------------------------------


def blobs(n, seed, classes=4, features=8, separation=1.0):
    rng, y = np.random.default_rng(seed), np.arange(n) % classes
    means = np.random.default_rng(5).standard_normal((classes, features))
    return {"x": rng.standard_normal((n, features)) + separation * means[y]}, y


def whole(sets, n_classes):
    """Judge with all metrics, without a warning, and return the metrics of both rows and the verdict; all figures have a meaning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, real = judged(*sets, metrics=None)
    means = ours["metrics"], real["metrics"]
    word = verdict(
        *means, real["deviation"], None, ours["n"], ours["missing_classes"], list(map(str, range(n_classes)))
    )
    means = derived(*means), real["metrics"]
    for row in means:
        for key, value in row.items():
            assert np.isnan(value) or abs(value) < 1e4, (key, value)
    assert not [text for text in [*word.findings, *(each.reason for each in word.answers)] if "inf" in text]
    return *means, word


def test_two_copied_classes_of_five_scales_are_found():
    scale = 4.0 ** np.arange(5)
    sets = []
    for n, seed in ((320, 0), (160, 1), (320, 2)):
        x, y = blobs(n, seed, 5, 16)
        sets.append(({"x": np.random.default_rng(seed).standard_normal((n, 16)) * scale[y][:, None]}, y))
    (x, y), copied = sets[0], np.isin(sets[0][1], (1, 3))
    noise = 0.2 * scale[y[copied]][:, None] * np.random.default_rng(9).standard_normal((copied.sum(), 16))
    sets[2][0]["x"][copied] = x["x"][copied] + noise
    ours, real = judged(*sets)
    found = verdict(ours["metrics"], real["metrics"], real["deviation"], None, ours["n"], (), list("abcde"))
    failed = {c.key for c in found.answers[1].criteria if not c.met}
    assert found.answer("new") == "no" and {"class_novelty/1", "class_novelty/3"} <= failed
    assert not {"class_novelty/0", "class_novelty/2", "class_novelty/4"} & failed


@pytest.mark.slow
def test_200_classes_with_one_unseen_sample_each():
    sets = [blobs(n, seed, 200) for n, seed in ((400, 0), (200, 1), (200, 2))]
    ours, real, found = whole(sets, 200)
    assert all(0 <= row["tstr"] <= 1 for row in (ours, real)) and found.answer("faithful") != ""


@pytest.mark.slow
def test_52_classes_of_two():
    rng = np.random.default_rng(0)
    x, y = blobs(104, 0, 52)
    x = {"x": x["x"] + 2 * rng.standard_normal((104, 8))}
    parts = np.array_split(np.arange(104), 2)
    folds = []
    for k, val in enumerate(parts):
        train = np.setdiff1d(np.arange(104), val)
        folds.append(
            FoldSamples(k + 1, ({"x": x["x"][train]}, y[train]), ({"x": x["x"][val]}, y[val]), blobs(52, 3 + k, 52))
        )
    judge = Evaluator(folds, quick=True)
    ours, real = judge(), judge.real()
    assert judge.n == 52 and all(np.isfinite(row["metrics"]["trts"]) for row in (ours, real))
    assert set(derived(ours["metrics"], real["metrics"])) >= {"coverage_ratio"}


@pytest.mark.slow
def test_a_modality_of_one_number_and_one_feature():
    sets = []
    for n, seed in ((90, 0), (80, 1), (40, 2)):
        x, y = blobs(n, seed)
        rng = np.random.default_rng(seed)
        sets.append(({"rpm": 1500 + 50 * x["x"][:, 0], "one": rng.normal(size=(n, 1)) + y[:, None], **x}, y))
    ours, _, _ = whole(sets, 4)
    assert {"novelty50/rpm", "novelty50/one", "retrieval/rpm_to_x"} <= set(ours)
    alone = [({"rpm": x["rpm"]}, y) for x, y in sets]
    assert np.isfinite(whole(alone, 4)[0]["novelty50"])


@pytest.mark.slow
def test_constant_features_and_constant_modalities():
    sets = [({"x": np.concatenate([x["x"], np.full((len(y), 2), 3.0)], axis=1), "dead": np.zeros((len(y), 1, 16))}, y)
            for x, y in (blobs(n, seed) for n, seed in ((90, 0), (80, 1), (40, 2)))]  # fmt: skip
    ours, real, found = whole(sets, 4)
    assert real["copies"] == 0 and ours["copies"] == 0 and found.answer("new") == "yes", found.answers[1].reason
    sets[2][0]["dead"][:] = np.random.default_rng(0).standard_normal(sets[2][0]["dead"].shape)
    assert whole(sets, 4)[2].answer("faithful") == "no"  # real samples never move there


@pytest.mark.slow
def test_integers_repeat_and_that_is_no_copying():
    sets = [({"x": np.random.default_rng(seed).poisson(1.0 + y[:, None], (n, 3)).astype(float)}, y)
            for n, seed in ((300, 0), (200, 1), (100, 2)) for y in [np.arange(n) % 3]]  # fmt: skip
    _, real, found = whole(sets, 3)
    assert found.answer("new") == "yes", found.answers[1].reason
    assert real["copies"] > 0.2  # as of real samples


@pytest.mark.slow
def test_noise_beside_a_rare_class_has_no_ratio_and_is_no_use():
    rng, sets = np.random.default_rng(0), []
    for n in (300, 200, 100):
        y = (np.arange(n) % 50 == 0).astype(int)
        sets.append(({"x": rng.standard_normal((n, 6))}, y))
    sets[2] = ({"x": rng.uniform(-3, 3, (100, 6))}, sets[2][1])
    ours, real, found = whole(sets, 2)
    assert real["tstr"] <= real["chance"] and "tstr_ratio" not in ours
    assert found.answer("faithful") == "no"


def test_what_has_too_few_samples_gets_a_sentence():
    with pytest.raises(MmganError, match=r"only 4 samples of either kind .* as a file of all folds has"):
        Evaluator([FoldSamples(1, blobs(40, 0), blobs(8, 1), blobs(40, 2))])


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1.0, 1e-13])
def test_garbage_is_told_in_any_unit(unit):
    train, heldout = blobs(160, 0, 2, 32), blobs(120, 1, 2, 32)
    bad = {"x": 5 * np.random.default_rng(3).standard_normal((160, 32)) - 3}, train[1]
    sets = [({"x": (x["x"] * unit).astype(np.float32)}, y) for x, y in (train, heldout, bad)]
    ours, real, found = whole(sets, 2)
    assert ours["c2st"] > 0.95 and real["trtr"] > 0.9 and ours["far"] > 0.9
    assert (found.answer("faithful"), found.answer("new")) == ("no", "no")


def test_samples_at_their_class_means_are_called_a_collapse():
    train, heldout = blobs(160, 0, 2, 32), blobs(160, 1, 2, 32)
    centre = np.stack([train[0]["x"][train[1] == k].mean(0) for k in (0, 1)])
    made = {"x": centre[train[1]] + 1e-3 * np.random.default_rng(0).standard_normal((160, 32))}, train[1]
    ours, real = judged(train, heldout, made)
    assert ours["metrics"]["recall"] < 0.1 < 0.8 < real["metrics"]["recall"]
    found = verdict(ours["metrics"], real["metrics"], real["deviation"], None, ours["n"], (), ["a", "b"])
    assert found.answer("faithful") == "no" and found.findings[0].startswith(
        "Collapse: samples stand at their class means"
    )


@pytest.mark.parametrize(("share", "finding"), [(1.0, "Wrong labels"), (0.1, "Labels: about")])
def test_wrong_labels_are_no_longer_faithful(share, finding):
    sets = [blobs(320, seed, separation=2) for seed in range(3)]
    (x, y), rng = sets[2], np.random.default_rng(0)
    wrong = rng.permutation(320)[: round(share * 320)]
    labels = y.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 4, len(wrong))) % 4
    ours, real = judged(*sets[:2], (x, labels))
    found = verdict(ours["metrics"], real["metrics"], real["deviation"], None, ours["n"], (), list("abcd"))
    assert found.answer("faithful") == "no" and found.findings[0].startswith(finding)
