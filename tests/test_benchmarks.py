"""The benchmarks of the classifier and of completion: their arithmetic, their tables, and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import ablations
import cells
import classifier_gain
import completion
import diffusion
import linear_gan
import numpy as np
import pytest
import reconstruction
import robustness
import tuned
import two_stages
from cells import Cell

from mmgan.evaluation.statistics import interval
from mmgan.evaluation.table import derived

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = "overrides=data.n_train=200 data.n_test=80 trainer.max_epochs=1 data.steps_per_epoch=2"
IMAGES = [
    "data=micro_doppler",
    "folds=1",
    "overrides=data.n_train=120 data.n_test=60 data.image_size=16 trainer.max_epochs=1 data.steps_per_epoch=2 data.batch_size=8",
]
SIZES = {"n_train": 80, "n_fold": 80, "n_val": 20}


def test_draws_from_the_truth_cover_it_and_their_mean_beats_what_knows_the_class_alone():
    rng = np.random.default_rng(0)
    y_train, y = rng.integers(3, size=900), rng.integers(3, size=2000)
    train = 2 * y_train[:, None] + rng.normal(size=(900, 4))
    known = rng.normal(size=(2000, 4)) * np.sqrt(
        0.5
    )  # half of the variance within a class is explained by what is given
    true = 2 * y[:, None] + known + rng.normal(size=(2000, 4)) * np.sqrt(0.5)
    draws = 2 * y[:, None] + known + rng.normal(size=(16, 2000, 4)) * np.sqrt(0.5)
    found = completion.errors(draws, true, y, train, y_train)
    # E|mean of 16 - truth|^2 = .5 + .5/16; class mean 1; a draw .5 + .5; another row of the class 1 + 1.
    expected = {
        "mean": 0.53,
        "class_mean": 1.0,
        "single": 1.0,
        "random_row": 2.0,
        "within_all": 15 / 17,
        "within_middle": 7 / 17,
    }
    assert found == pytest.approx(expected, rel=0.05)
    shifted = completion.errors(draws + 3, true, y, train, y_train)
    assert shifted["within_all"] < 0.05 and shifted["mean"] > 8


def test_the_table_of_robustness_parts_folds_from_the_ensemble():
    lines = [
        {
            **SIZES,
            "variant": "default",
            "fold": fold,
            "metrics": {"all": f1, "no a": f1 - 0.1},
            "calibration_error": 0.02,
        }
        for fold, f1 in ((0, 0.95), (1, 0.8), (2, 0.9), (3, 0.85))
    ]
    lines += [{**SIZES, "variant": "svc", "fold": fold, "metrics": {"all": 0.7}} for fold in (1, 2, 3, 0)]
    reach = interval([0.8, 0.9, 0.85], 80, 20).high - 0.85
    shown = robustness.table(lines, "val").splitlines()
    assert shown[0] == "|  | all | no a | calibration error |" and len(shown) == 4
    assert shown[2].startswith(f"| default | 0.850 ± {reach:.3f} | 0.750 ± {reach:.3f} |")
    assert robustness.table(lines, "test").splitlines()[2:] == [
        "| default | 0.950 | 0.850 | 0.020 |",
        "| svc | 0.700 |  |  |",
    ]


def test_the_gain_is_over_real_rows_alone_and_its_ceiling_is_the_whole_fold():
    f1 = {
        ("real samples alone", "10"): 0.6,
        ("real samples alone", "full"): 0.8,
        ("smote", "10"): 0.65,
        ("smote", "full"): 0.79,
    }
    lines = [
        {**SIZES, "source": source, "rows": rows, "fold": fold, "f1": value + 0.01 * fold * (source == "smote")}
        for (source, rows), value in f1.items()
        for fold in (1, 2)
    ]
    table = classifier_gain.table(lines)
    reach = 100 * (interval([0.06, 0.07], 80, 20).high - 0.065)
    assert "|  | 10 per class | full |" in table and "| real samples alone, F1 | 0.600 | 0.800 |" in table
    assert f"| smote | +6.5 ± {reach:.1f} | +0.5 ± {reach:.1f} |" in table
    assert "| more real samples | +20.0 ± 0.0 |  |" in table


def test_rows_of_a_few_dimensions_are_rebuilt_from_as_many_components():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(3, 20))
    train, true = rng.normal(size=(200, 3)) @ plane, rng.normal(size=(50, 3)) @ plane
    errors = [reconstruction.pca_error(train, true, dimensions) for dimensions in (1, 2, 3, 500)]
    assert errors[0] > errors[1] > 0.1 and max(errors[2:]) < 1e-20


def test_errors_of_points_are_those_of_their_moments():
    rng = np.random.default_rng(0)
    points = rng.multivariate_normal(linear_gan.MEAN, linear_gan.COVARIANCE, size=200_000)
    assert max(linear_gan.errors(points).values()) < 0.02
    off = linear_gan.errors(np.sqrt(1.5) * (points - linear_gan.MEAN) + linear_gan.MEAN + [0.1, -0.3])
    assert off == pytest.approx({"mean": 0.3, "covariance": 0.5}, abs=0.02)


def test_a_variant_is_its_own_configuration():
    cell = Cell("watch", 1, "full", "robust_classifier", 1, 0)
    digests = {cell.settings(overrides) for overrides in robustness.VARIANTS.values()}
    assert len(digests) == len(robustness.VARIANTS) > 12


@pytest.mark.parametrize("module", [robustness, completion, classifier_gain], ids=lambda module: module.__name__)
@pytest.mark.parametrize("word", ["nonsense", "workers=0", "folds=some", "vriants=default", "data=nonsense"])
def test_unknown_options_end_with_a_sentence(module, word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [module.__name__, word])
    with pytest.raises(SystemExit, match=rf"^error: .*{word.partition('=')[0]}"):
        module.main()


def test_models_that_cannot_do_it_are_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for module, word in (
        (completion, "model=smote"),
        (completion, "model=robust_classifier"),
        (classifier_gain, "rows=all"),
        (reconstruction, "model=smote"),
        (reconstruction, "model=gan"),
    ):
        monkeypatch.setattr(sys, "argv", [module.__name__, word])
        with pytest.raises(SystemExit, match=r"^error: (model|rows)"):
            module.main()


def test_noise_is_in_deviations_of_the_training_rows_and_keeps_what_is_never_negative_so():
    rng = np.random.default_rng(0)
    train = {"a": rng.normal(size=(500, 3)) * [1, 5, 10], "b": rng.exponential(size=(500, 2))}
    x = {"a": np.zeros((4000, 3)), "b": np.full((4000, 2), 9.0)}
    found = robustness.conditions(x, train)
    assert list(found) == ["all", "no a", "no b", "a + 0.5", "a + 1", "b + 0.5", "b + 1"]
    np.testing.assert_allclose(found["a + 0.5"]["a"].std(0), 0.5 * train["a"].std(0), rtol=0.05)
    np.testing.assert_allclose(found["b + 1"]["b"].std(0), train["b"].std(0), rtol=0.05)
    assert found["a + 1"]["b"] is x["b"] and found["no a"].keys() == {"b"}
    assert robustness.conditions({"b": np.zeros((9, 2))}, train)["b + 1"]["b"].min() == 0
    assert "no a" not in robustness.conditions({"a": x["a"]}, train)


def test_the_latest_line_of_a_cell_counts(tmp_path):
    lines = [
        {**vars(Cell("watch", 0, "full", "vacwgan", fold, 0)), "settings": s}
        for fold, s in ((1, "a"), (2, "a"), (1, "b"))
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["settings"] for line in cells.latest(tmp_path / "x.jsonl", Cell)] == ["b", "a"]


def test_what_decides_a_result_is_in_its_settings():
    cell = Cell("watch", 1, "full", "vacwgan", 1, 0)
    different = ["", "trainer.precision=bf16-mixed", "final=false", "select_length=true", "trainer.max_epochs=3"]
    assert len({cell.settings(words) for words in different}) == len(different)
    assert cell.settings("model.epochs=3") == cell.settings("trainer.max_epochs=3")


def test_a_second_stage_needs_the_first_s_cell_and_its_settings(monkeypatch):
    cell = Cell("watch", 1, "full", "ldm", 1, 0)
    assert cell.first_stage() == Cell("watch", 1, "full", "vqgan", 1, 0)
    assert (
        cell.first_stage("first_stage=somewhere") is None
        and Cell("watch", 1, "full", "vae", 1, 0).first_stage() is None
    )
    before = cell.settings()
    assert cell.settings("data.batch_size=64") != before == cell.settings()
    theirs = Cell.settings
    monkeypatch.setattr(
        Cell,
        "settings",
        lambda self, *words, **more: "other" if self.model == "vqgan" else theirs(self, *words, **more),
    )
    assert cell.settings() != before


def test_the_energy_of_a_wave_lies_in_the_ring_of_its_frequency():
    wave = np.cos(2 * np.pi * 0.27 * np.arange(100))
    images = np.broadcast_to(wave, (2, 3, 100, 100))
    energy = two_stages.spectrum(images)
    assert energy.argmax() == int(0.27 * 2 * two_stages.BINS) and energy.max() > 0.99 * energy.sum()


@pytest.mark.slow
def test_a_model_of_another_length_is_not_taken_for_a_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell, small = Cell("bearing", 0, "full", "vacwgan", 1, 0), SMALL.removeprefix("overrides=")
    steps = [cell.model_of("runs", f"{small} trainer.max_epochs={epochs}").average.n_averaged for epochs in (1, 2, 1)]
    assert list(map(int, steps)) == [2, 4, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "shown"),
    [
        ("robustness", ["variants=default,concat", f"{SMALL} model.members=1"], ["| concat |", "| svc |", "env + 1"]),
        ("classifier_gain", ["rows=3,full", "models=smote,vacwgan"], ["| vacwgan |", "| more real samples |"]),
        ("completion", ["folds=1"], ["| spec |", "| env |"]),
        ("reconstruction", ["folds=1"], ["| bearing, vae |"]),
        ("diffusion", ["of=near", "folds=1", f"{SMALL} model.n_calibration_samples=200"], ["| 0.5 |", "| 1.0 |"]),
        ("diffusion", ["of=copies", "epochs=2", "every=1", "folds=1"], ["| bearing, 1 |"]),
        ("two_stages", [*IMAGES, "of=rebuilt"], ["| vqgan |", "| without the critic |"]),
        ("two_stages", [*IMAGES, "of=drawn", "models=real,ldm"], ["| real |", "| ldm |"]),
        ("two_stages", ["of=limit", "folds=1"], ["| vqgan |"]),
        ("ablations", ["variants=half the length", "folds=1"], ["| half the length |"]),
        ("tuned", ["trials=1", "folds=1", "draws=1"], ["| 1, real |", "| 1, vacwgan |", "| 1, vacwgan, tuned |"]),
    ],
)
def test_a_benchmark_runs(script, words, shown, tmp_path):
    given = {word.partition("=")[0] for word in words}
    words = [w for w in ("data=bearing", "folds=1,2", SMALL) if w.partition("=")[0] not in given] + words
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert not [text for text in shown if text not in ended.stdout]
    assert len(list(tmp_path.glob(f"runs/{script}/*.jsonl"))) == 1


def committed(name: str, kind: type, **wanted) -> list[dict]:
    """Return the committed lines that have these values."""
    lines = cells.latest(BENCHMARKS / "results" / f"{name}.jsonl", kind)
    return [line for line in lines if all(line[key] == value for key, value in wanted.items())]


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("results.md", lambda: reconstruction.table(committed("reconstruction", Cell))),
        ("results.md", lambda: tuned.table(committed("tuned-watch", tuned.Row))),
        ("classifier.md", lambda: robustness.table(committed("robustness-watch", robustness.Variant, draw=0), "val")),
        ("classifier.md", lambda: robustness.table(committed("robustness-watch", robustness.Variant, draw=0), "test")),
        ("classifier.md", lambda: robustness.table(committed("robustness-watch", robustness.Variant, draw=1), "val")),
        ("classifier.md", lambda: classifier_gain.table(committed("classifier_gain-watch", classifier_gain.Helped))),
        ("classifier.md", lambda: completion.table(committed("completion-watch", Cell))),
        ("classifier.md", lambda: robustness.table(committed("robustness-watch", robustness.Variant, draw=2), "val")),
        ("classifier.md", lambda: robustness.table(committed("robustness-watch", robustness.Variant, draw=2), "test")),
        ("two-stages.md", lambda: two_stages.rebuilt_table(committed("rebuilt-micro_doppler", two_stages.Variant))),
        ("two-stages.md", lambda: two_stages.judged_table(committed("limit-watch", Cell), two_stages.LIMIT)),
        ("two-stages.md", lambda: two_stages.judged_table(committed("drawn-micro_doppler", Cell), two_stages.DRAWN)),
        ("two-stages.md", lambda: diffusion.settings_table(committed("steps-watch", Cell), "steps")),
        ("two-stages.md", lambda: diffusion.settings_table(committed("near-watch", Cell), "near")),
        ("two-stages.md", lambda: diffusion.settings_table(committed("near-bearing", Cell), "near")),
        ("two-stages.md", lambda: diffusion.settings_table(committed("residual-watch", Cell), "residual")),
        ("two-stages.md", lambda: diffusion.copies_table(committed("copies-watch", Cell))),
        ("tutorial.md", lambda: linear_gan.table(committed("linear_gan", linear_gan.Variant))),
        ("vacwgan.md", lambda: ablations.table(committed("ablations-watch", ablations.Variant))),
        ("vacwgan.md", lambda: ablations.table(committed("ablations-bearing", ablations.Variant))),
    ],
)
def test_the_docs_show_the_tables_of_the_committed_lines(page, table):
    text = (BENCHMARKS.parent / "docs" / page).read_text()
    rows = table().splitlines()
    assert len(rows) > 2 and not [row for row in rows if row not in text]


def test_the_docs_show_what_tuning_brought():
    columns = (
        "tstr",
        "tstr_ratio",
        "coverage",
        "c2st",
        "novelty10",
        "novelty50",
        "novelty90",
        "close",
        "signal_autocorrelation",
    )
    known, tuned = (
        committed("bearing", Cell, model="vacwgan", fold=1, rows="full", seed=0),
        committed("tuned-bearing", Cell),
    )
    real = next(line for line in tuned if line["model"] == "real")["metrics"]
    page = (BENCHMARKS.parent / "docs" / "vacwgan.md").read_text()
    for name, lines in (("default", known), ("tuned", [line for line in tuned if line["model"] == "vacwgan"])):
        assert len(lines) == 1
        metrics = derived(lines[0]["metrics"], real)
        shown = [f"{metrics[column]:.3f}".removeprefix("0") for column in columns]
        assert f"| {name} | {' | '.join(shown)} |" in page
