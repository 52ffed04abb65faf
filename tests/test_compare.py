"""`compare`: its cells, its lines, its measures' arithmetic, its tables, and what it refuses."""

import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from processes import python

from benchmarks import measures as of_docs
from mmgan.commands.build import compose
from mmgan.commands.cells import Cell
from mmgan.commands.compare import (
    _identity,
    asked_cells,
    chosen_measure,
    compare,
    finished,
    measured,
    read_variants,
    tables_page,
)
from mmgan.commands.measures import MEASURES, conditions
from mmgan.data.arrays import take
from mmgan.errors import MmganError
from mmgan.evaluation.features import FeatureSpace
from mmgan.evaluation.gain import Augmentation, real_per_class, synthetic_per_class
from mmgan.evaluation.statistics import interval
from mmgan.report.quality import curve_of, read_lines

ROOT = Path(__file__).parent.parent
SMALL = [
    "data=bearing",
    "data.n_train=200",
    "data.n_test=80",
    "data.steps_per_epoch=2",
    "overrides='trainer.max_epochs=1'",
]
QUICK = "model.n_calibration_samples=200"
NARROW = f"trainer.max_epochs=1 model.generator.width=16 {QUICK}"  # drawn from often
IMAGES = ["data=micro_doppler", "data.n_train=120", "data.n_test=60", "data.image_size=16", "data.steps_per_epoch=2"]


def cells_of(*words: str) -> list[Cell]:
    cfg = compose("compare", words)
    return asked_cells(cfg, chosen_measure(cfg))


def measure_of(name: str = "quality"):
    return chosen_measure(compose("compare", [f"measure={name}"]))


def line(model: str, fold: int, seed: int = 0, rows: str = "full", variant: str = "", **metrics: float) -> dict:
    known = {
        "tstr": 0.8,
        "trtr": 0.9,
        "coverage": 0.9,
        "mmd": 0.5,
        "c2st": 0.7,
        "gain": 0.01,
        "close": 0.0,
    }
    cell = {"data": "toy", "draw": 0, "rows": rows, "model": model, "variant": variant, "fold": fold, "seed": seed}
    sizes = {"n_train": 80, "n_fold": 80, "n_val": 20, "trained": model == "net", "settings": "a"}
    return {**cell, **sizes, "metrics": {**known, **metrics}}


# -- cells and lines -----------------------------------------------------------------------------------------------------
def test_each_cell_asked_for_is_there_once_and_variants_are_of_what_is_trained(tmp_path):
    (tmp_path / "v.yaml").write_text('default: ""\nlong: trainer.max_epochs=9\n')
    words = ["models=[real,vacwgan]", "folds=[1,2]", "seeds=2", "rows=[full,10]", f"variants={tmp_path}/v.yaml"]
    found = cells_of(*words, "data.draw=3", "overrides='data.batch_size=7'")
    assert len(set(found)) == len(found) == 2 * 2 * 2 * 3 and {cell.name for cell in found} == {
        "real",
        "default",
        "long",
    }
    few = next(cell for cell in found if cell.rows == "10" and cell.name == "long").config()
    assert few.data.rows_per_class == 10 and few.data.draw == 3 and few.data.batch_size == 7
    assert few.final and few.trainer.max_epochs == 9 and few.model.name == "vacwgan"


@pytest.mark.slow
def test_what_decides_a_result_is_in_its_settings():
    def settings(*words: str) -> str:
        return cells_of(*SMALL[:4], "folds=[1]", *words)[0].settings(draws=1)

    trained = "models=[vacwgan]"
    different = [[], ["data.n_train=100"], ["data.draw=1"], ["rows=[10]"]]
    different += [
        [f"overrides='{word}'"] for word in ("trainer.precision=bf16-mixed", "final=false", "trainer.max_epochs=3")
    ]
    assert len({settings(trained, *words) for words in different}) == len(different)
    assert settings(trained, "overrides='model.epochs=3'") == settings(trained, "overrides='trainer.max_epochs=3'")
    longer = settings("models=[real]", "overrides='trainer.max_epochs=3'")
    assert (
        longer == settings("models=[real]") != settings("models=[real]", "data.n_test=90")
    )  # nothing is trained for it
    cell = cells_of(*SMALL, trained)[0]
    assert cell.settings(draws=1) != cell.settings(draws=2)


@pytest.mark.slow
def test_a_second_stage_has_the_first_s_cell_and_its_settings():
    cell = cells_of(*SMALL, "models=[ldm]", "overrides='trainer.max_epochs=3 final=false'")[0]
    stage = cell.first_stage()
    assert (stage.model, stage.fold) == ("vqgan", cell.fold) and not stage.config().final
    assert stage.config().data == cell.config().data and stage.config().trainer.max_epochs != 3
    assert cells_of("models=[vae]")[0].first_stage() is None
    assert cells_of("models=[ldm]", "overrides='first_stage=somewhere'")[0].first_stage() is None


def test_a_line_at_which_an_earlier_call_was_killed_is_cut_off(tmp_path):
    out = tmp_path / "out.jsonl"
    kept = json.dumps(line("real", 1))
    out.write_text(f"{kept}\n{kept[:30]}")
    assert finished(out, "quality") == {("a", "toy", 0, "full", "real", 1, 0, "")}
    assert out.read_text() == f"{kept}\n" and finished(tmp_path / "none.jsonl", "quality") == set()


def test_of_several_lines_of_a_cell_the_latest_counts(tmp_path):
    old = [line("net", fold, variant=name, tstr=0.1) for fold in (1, 2) for name in ("", "b")]
    new = [line("net", 1, tstr=value) | {"settings": "new"} for value in (0.5, 0.6)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*old, line("real", 1), *new]))
    found = read_lines(tmp_path / "x.jsonl", "quality")
    assert found[0]["model"] == "real"
    assert {(each["variant"], each["fold"], each["metrics"]["tstr"]) for each in found[1:]} == {
        ("", 1, 0.6), ("b", 1, 0.1), ("b", 2, 0.1),
    }  # fmt: skip


def test_a_file_that_is_no_result_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    for text in ("", "{}", "[1, 2]", '{"model": "real"}', "no json"):
        path.write_text(text)
        with pytest.raises(MmganError, match="holds no result of python -m mmgan compare"):
            read_lines(path, "quality")
    with pytest.raises(MmganError, match="holds no result"):
        read_lines(tmp_path / "none.jsonl", "quality")
    path.write_text(json.dumps(line("real", 1) | {"measure": "ensemble"}))
    with pytest.raises(MmganError, match="holds lines of measure=ensemble, not of quality"):
        read_lines(path, "quality")


# -- what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["measure=nonsense"], "measure=nonsense: .*; give quality"),
        (["measure=os.system"], "measure=os.system: it is no Measure; give quality"),
        (["rows=[some]"], "rows=some: give full"),
        (["variants=none.yaml"], "variants=none.yaml cannot be read"),
        (["models=1e30"], "data, model and other groups take the name of one of their choices"),
        (["models=[robust_classifier]"], "robust_classifier makes no samples"),
        (["measure=classification", "models=[vae]"], "vae cannot be measured so; give robust_classifier"),
        (["measure=benchmarks.measures.Completion", "models=[smote]"], "smote cannot be measured so"),
        (["measure=benchmarks.measures.Reconstruction", "models=[gan]"], "gan cannot be measured so"),
        (["report=true"], "holds no result"),
    ],
)
def test_what_cannot_be_compared_ends_with_a_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MmganError, match=said):
        compare(compose("compare", words))
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize("text", ["", "[a, b]", "a: 1", "a: {b: c}", "a: b: c"])
def test_a_file_of_variants_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(MmganError, match=r"^variants=.*give "):
        read_variants(str(tmp_path / "v.yaml"))


def test_a_report_alone_computes_nothing_and_says_what_stands(tmp_path, capsys):
    lines = [line(model, fold) for model in ("real", "smote") for fold in (1, 2)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    page = compare(compose("compare", ["report=true", f"out={tmp_path}/x.jsonl"]))
    assert page == tmp_path / "x.md" and "| smote |" in page.read_text() and "\n| smote |" in capsys.readouterr().out


# -- tables --------------------------------------------------------------------------------------------------------------
def test_seeds_are_averaged_within_a_fold_before_the_interval():
    values = {(1, 0): 0.80, (1, 1): 0.90, (2, 0): 0.70, (2, 1): 0.70, (3, 0): 0.75, (3, 1): 0.77}
    lines = [line("real", fold) for fold in (1, 2, 3)]
    lines += [line("net", fold, seed, tstr=value) for (fold, seed), value in values.items()]
    expected = interval([0.85, 0.70, 0.76], 80, 20)
    page, reach = tables_page(measure_of(), lines, []), expected.high - expected.mean
    row = next(text for text in page.splitlines() if text.startswith("| net"))
    assert row.split("|")[2].strip() == f"{expected.mean:.3f} ± {reach:.3f}".replace("0.", ".")
    assert page.startswith("# toy, draw 0\n") and "net against" not in page  # there is no baseline to compare it with
    lines = [each | {"variant": "b" if each["model"] == "net" else ""} for each in lines]
    assert f"| b | {expected.mean:.3f} ± {reach:.3f} |" in tables_page(measure_of(), lines, [])


def test_variants_stand_in_the_order_asked_for_beside_the_real_row_of_the_fold():
    lines = [line("real", fold, coverage=0.9 + fold / 100) for fold in (1, 2)]
    lines += [line("net", fold, variant=name, coverage=0.5, gain=0.018) for name in ("b", "a") for fold in (1, 2)]
    rows = tables_page(measure_of(), lines, ["real", "a", "b"]).splitlines()[-3:]
    assert [row.split("|")[1].strip() for row in rows] == ["real", "a", "b"]
    assert rows[1].startswith(f"| a | 0.800 | 1.000 | +1.8 | 0.500 | {(0.5 / 0.91 + 0.5 / 0.92) / 2:.3f} | 0.700 |")


def test_utility_is_what_each_adds_and_what_share_of_more_real_samples_that_is():
    few = {"rows": "5", "baseline": 0.6, "members_baseline": 0.5, "members_gain": 0.2, "log_loss_gain": 0.1}
    lines = [line("real", fold, gain=0.10 + 0.01 * fold, **few) for fold in range(5)]
    lines += [line("smote", fold, gain=0.03 + 0.001 * fold, **few) for fold in range(5)]
    lines += [line("real", fold, **few | {"rows": "20", "gain": 0.001 * (-1) ** fold}) for fold in range(5)]
    lines += [line("smote", fold, **few | {"rows": "20"}) for fold in range(5)]
    curve = curve_of(lines)
    assert curve["smote"]["5"].mean == pytest.approx(0.032) and curve["real"]["5"].mean == pytest.approx(0.12)
    vote, single, loss = tables_page(measure_of("utility"), lines, []).split("## ")[1:]
    (shown,) = (text.split("|") for text in vote.splitlines() if text.startswith("| smote"))
    assert "+3.2" in shown[2] and "(27 %)" in shown[2] and "%" not in shown[3]  # nothing is captured by the ceiling
    assert "| none: macro-F1 | .600 | .600 |" in vote and "| none: macro-F1 | .500 | .500 |" in single
    assert "+20.0 ± 0.0 (100 %)" in single and ".100 ± .000 (100 %)" in loss


def test_draws_of_one_data_set_stand_apart_and_together():
    lines = [line("net", 1, gain=0.01 * draw) | {"draw": draw, "rows": "5"} for draw in (0, 1, 4)]
    for each in lines:
        each["metrics"] |= {"baseline": 0.5}
    first, together = tables_page(measure_of("utility"), lines, []).split("# toy")[1:]
    assert first.startswith(", draw 0\n") and "| net | +0.0 |" in first
    assert together.startswith(", draws 0, 1, 4 together\n") and "| net | +1.7 ± " in together


def test_a_table_without_columns_of_its_own_shows_each_metric_and_leaves_what_is_missing_empty():
    lines = [line("net", 1, variant="a") | {"metrics": {"all": 0.95, "calibration error": 0.02}}]
    lines += [line("svc", 1) | {"metrics": {"all": 0.7}}]
    rows = tables_page(measure_of("ensemble"), lines, ["a", "svc"]).splitlines()
    assert rows[-4:] == [
        "|  | all | calibration error |", "| --- | ---: | ---: |", "| a | 0.950 | 0.020 |", "| svc | 0.700 |  |",
    ]  # fmt: skip


# -- measures ------------------------------------------------------------------------------------------------------------
def test_extra_rows_fill_up_to_the_largest_class_or_to_five_times_the_rows():
    assert real_per_class(np.array([10, 10]), np.array([90, 25])).tolist() == [40, 25]
    assert real_per_class(np.array([80, 20, 8]), np.array([0, 50, 72])).tolist() == [0, 50, 72]
    assert synthetic_per_class(np.array([80, 20, 8])).tolist() == [400, 460, 472]
    assert synthetic_per_class(np.array([80, 20, 8]), unlabelled=10).tolist() == [33, 93, 105]


def test_augmentation_is_the_gain_over_the_training_rows_alone():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = {"a": (rng.normal(size=(600, 6)) + 1.2 * np.eye(6)[y]).astype(np.float32)}
    few, more, test = np.arange(12), np.arange(12, 200), np.arange(200, 600)
    judge = Augmentation((take(x, few), y[few]), (take(x, test), y[test]))
    real = judge.samples((take(x, more), y[more]))
    wrong = judge.samples((take(x, more), (y[more] + 1) % 3))
    assert real["gain"] > 0.05 > 0 > wrong["gain"] and real["log_loss_gain"] > 0 > wrong["log_loss_gain"]
    assert real["f1"] == pytest.approx(real["baseline"] + real["gain"])
    assert abs(judge.class_weights()["gain"]) < 0.02  # classes of equal size weigh the same
    assert judge.mixup(30)["f1"] > 0.3
    members = {name.partition("/")[2] for name in real if "/" in name}
    gains = [real[f"f1/{name}"] - real[f"baseline/{name}"] for name in members]
    assert len(members) == 5 and real["members_gain"] == pytest.approx(np.mean(gains))
    # By hand: the vote's F1 after standardising by the few samples.
    from mmgan.evaluation.utility import train_and_test

    space = FeatureSpace(take(x, few))
    both = np.concatenate([few, more])
    assert real["f1"] == train_and_test(space.flat(take(x, both)), y[both], space.flat(take(x, test)), y[test])


def test_noise_is_in_deviations_of_the_training_rows_and_keeps_what_is_never_negative_so():
    rng = np.random.default_rng(0)
    train = {"a": rng.normal(size=(500, 3)) * [1, 5, 10], "b": rng.exponential(size=(500, 2))}
    x = {"a": np.zeros((4000, 3)), "b": np.full((4000, 2), 9.0)}
    found = conditions(x, train, (0.5, 1.0))
    assert list(found) == ["all", "no a", "no b", "a + 0.5", "a + 1", "b + 0.5", "b + 1"]
    np.testing.assert_allclose(found["a + 0.5"]["a"].std(0), 0.5 * train["a"].std(0), rtol=0.05)
    np.testing.assert_allclose(found["b + 1"]["b"].std(0), train["b"].std(0), rtol=0.05)
    assert found["a + 1"]["b"] is x["b"] and found["no a"].keys() == {"b"}
    assert conditions({"b": np.zeros((9, 2))}, train, [1.0])["b + 1"]["b"].min() == 0
    assert "no a" not in conditions({"a": x["a"]}, train, [1.0])


def test_draws_from_the_truth_cover_it_and_their_mean_beats_what_knows_the_class_alone():
    rng = np.random.default_rng(0)
    y_train, y = rng.integers(3, size=900), rng.integers(3, size=2000)
    train = 2 * y_train[:, None] + rng.normal(size=(900, 4))
    # Half of the variance within a class is explained by what is given.
    known = 2 * y[:, None] + rng.normal(size=(2000, 4)) * np.sqrt(0.5)
    true = known + rng.normal(size=(2000, 4)) * np.sqrt(0.5)
    draws = known + rng.normal(size=(16, 2000, 4)) * np.sqrt(0.5)
    found = of_docs.completion_errors(draws, true, y, train, y_train)
    # E|mean of 16 - truth|^2 = .5 + .5/16; class mean 1; a draw .5 + .5; another sample of the class 1 + 1.
    expected = {"mean": 0.53, "class_mean": 1.0, "single": 1.0, "random_row": 2.0}
    assert found == pytest.approx(expected | {"within_all": 15 / 17, "within_middle": 7 / 17}, rel=0.05)
    shifted = of_docs.completion_errors(draws + 3, true, y, train, y_train)
    assert shifted["within_all"] < 0.05 and shifted["mean"] > 8


def test_rows_of_a_few_dimensions_are_rebuilt_from_as_many_components():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(3, 20))
    train, true = rng.normal(size=(200, 3)) @ plane, rng.normal(size=(50, 3)) @ plane
    errors = [of_docs.pca_error(train, true, dimensions) for dimensions in (1, 2, 3, 500)]
    assert errors[0] > errors[1] > 0.1 and max(errors[2:]) < 1e-20


def test_errors_of_points_are_those_of_their_moments():
    rng = np.random.default_rng(0)
    points = rng.multivariate_normal(of_docs.MEAN, of_docs.COVARIANCE, size=200_000)
    assert max(of_docs.moment_errors(points).values()) < 0.02
    off = of_docs.moment_errors(np.sqrt(1.5) * (points - of_docs.MEAN) + of_docs.MEAN + [0.1, -0.3])
    assert off == pytest.approx({"mean": 0.3, "covariance": 0.5}, abs=0.02)


def test_the_energy_of_a_wave_lies_in_the_ring_of_its_frequency():
    wave = np.cos(2 * np.pi * 0.27 * np.arange(100))
    energy = of_docs.spectrum(np.broadcast_to(wave, (2, 3, 100, 100)))
    assert energy.argmax() == int(0.27 * 2 * 24) and energy.max() > 0.99 * energy.sum()


# -- whole runs ----------------------------------------------------------------------------------------------------------
RUN = "import sys; from mmgan.commands.build import compose; from mmgan.commands.compare import compare\nif __name__ == '__main__': compare(compose('compare', sys.argv[1:]))"


def run(where: Path, *words: str) -> str:
    (where / "run.py").write_text(RUN)
    python([str(where / "run.py"), *words, f"out={where}/out.jsonl"], where)
    return (where / "out.md").read_text()


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    class Killed(ProcessPoolExecutor):
        def submit(self, *job):
            raise BrokenProcessPool

    monkeypatch.setattr("mmgan.commands.compare.ProcessPoolExecutor", Killed)
    words = [*SMALL[:3], "models=[smote]", "folds=[1]", "workers=2", f"out={tmp_path}/o.jsonl", f"runs={tmp_path}"]
    with pytest.raises(MmganError, match=r"a process was killed.*the same command goes on"):
        compare(compose("compare", words))


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on(tmp_path):
    out, words = (
        tmp_path / "out.jsonl",
        [*SMALL[:4], "draws=1", f"overrides='trainer.max_epochs=1 {QUICK}'"],
    )
    page = run(tmp_path, *words, "models=[real,smote,vae]", "folds=[1,2]", "workers=2")
    assert "| vae |" in page and "vae against" in page
    whole = out.read_text()
    checkpoint = tmp_path / "runs/compare/bearing-draw0-full-vae-seed0/fold1/best.ckpt"
    trained = checkpoint.stat().st_mtime_ns
    kept = [text for text in whole.splitlines(keepends=True) if '"vae"' not in text]
    out.write_text("".join(kept) + whole[:40])  # killed in the middle of a line
    run(tmp_path, *words, "models=[real,smote,vae]", "folds=[1,2]")
    assert out.read_text().startswith("".join(kept)) and len(read_lines(out, "quality")) == 6
    assert checkpoint.stat().st_mtime_ns == trained  # found again, not trained again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words", "variants", "shown"),
    [
        ("quality", ["models=[real,vacwgan]"], {"short": f"trainer.max_epochs=1 {QUICK}"}, ["real", "short"]),
        ("quality", ["models=[real,vae]"], {"tuned": f"n_trials=1 search.epochs=1 {QUICK}"}, ["real", "tuned"]),
        ("quality", ["models=[real,smote]"], {}, ["real", "smote"]),
        ("utility", ["models=[real,smote,mixup]", "rows=[3,full]"], {}, ["real", "smote", "mixup"]),
        (
            "utility",
            ["models=[real,pseudo_labels,smote,vae]", "rows=[3]", "data.unlabelled=rest"],
            {"short": f"trainer.max_epochs=1 {QUICK}"},
            ["real", "pseudo_labels", "smote", "vae"],
        ),
        ("ensemble", ["folds=[1,2]"], {"one": "model.members=1"}, ["one", "svc"]),
        (
            "measures.Sampling",
            ["models=[diffusion]", "overrides='trainer.max_epochs=1 model.steps=4'"],
            {"2": QUICK},
            ["2"],
        ),
        ("measures.Lengths", [], {"1": "final=false"}, ["1"]),
        ("measures.Origins", [], {}, ["vacwgan, posterior", "vacwgan, density", "vacwgan, prior"]),
        ("sizes.Sizes", ["rows=[4]", "models=[real,neighbour_combinations]"], {}, ["real", "neighbour_combinations"]),
        ("measures.ClassifierGain", ["rows=[10,full]", "models=[real,smote]"], {}, ["real", "smote"]),
        ("measures.Completion", ["models=[vae]", f"overrides='{NARROW}'"], {}, ["spec", "env"]),
        ("measures.Reconstruction", [], {}, ["vae"]),
        ("measures.Limit", [], {}, ["vqgan"]),
        ("measures.Rebuilt", IMAGES, {"b": "model.weights.autoencoder.perceptual=0"}, ["b"]),
        ("measures.Drawn", [*IMAGES, "models=[real,ldm]"], {}, ["real", "ldm"]),
        ("measures.Moments", ["data=linear2d", "data.steps_per_epoch=2"], {"a": "experiment=linear_gan"}, ["a"]),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Lightning's and scikit-learn's, of trainings that are too small
def test_a_measure_is_taken(name, words, variants, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if variants:
        (tmp_path / "v.yaml").write_text("".join(f'"{key}": {options}\n' for key, options in variants.items()))
        words = [*words, f"variants={tmp_path}/v.yaml"]
    base = SMALL if not any(word.startswith("data=") for word in words) else SMALL[-1:]
    name = name if name in MEASURES else f"benchmarks.{name}"
    cfg = compose("compare", [*base, "folds=[1]", "draws=1", f"measure={name}", *words])
    measure = chosen_measure(cfg)
    cells = asked_cells(cfg, measure)
    measure.check(cells)
    lines = [{**_identity(vars(cell)), "settings": cell.settings(), **measured(cell, measure)} for cell in cells]
    assert not [each["error"] for each in lines if "error" in each]
    page = tables_page(measure, lines, [cell.name for cell in cells])
    assert not [row for row in shown if f"| {row} |" not in page]
