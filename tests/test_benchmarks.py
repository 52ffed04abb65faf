"""The benchmarks of the classifier and of completion: their arithmetic, their tables, and what they refuse."""

import subprocess
import sys
from pathlib import Path

import classifier_gain
import completion
import numpy as np
import pytest
import robustness
from cells import Cell

from mmgan.evaluation.statistics import interval

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = "overrides=data.n_train=200 data.n_test=80 trainer.max_epochs=1 data.steps_per_epoch=2"
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
        for fold, f1 in ((1, 0.8), (2, 0.9), (0, 0.95))
    ]
    lines += [{**SIZES, "variant": "svc", "fold": fold, "metrics": {"all": 0.7}} for fold in (1, 2, 0)]
    reach = interval([0.8, 0.9], 80, 20).high - 0.85
    shown = robustness.table(lines, "val").splitlines()
    assert shown[0] == "|  | all | no a | calibration error |" and len(shown) == 4
    assert shown[2].startswith(f"| default | 0.850 ± {reach:.3f} | 0.750 ± {reach:.3f} |")
    assert robustness.table(lines, "test").splitlines()[2:] == [
        "| default | 0.950 | 0.850 | 0.020 |",
        "| svc | 0.700 |  |  |",
    ]


def test_the_gain_is_over_real_rows_alone_and_its_ceiling_is_the_whole_fold():
    f1 = {
        ("real rows alone", "10"): 0.6,
        ("real rows alone", "full"): 0.8,
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
    assert "|  | 10 per class | full |" in table and "| real rows alone, F1 | 0.600 | 0.800 |" in table
    assert f"| smote | +6.5 ± {reach:.1f} | +0.5 ± {reach:.1f} |" in table
    assert "| more real rows | +20.0 ± 0.0 |  |" in table


def test_a_variant_is_its_own_configuration():
    cell = Cell("watch", 1, "full", "robust_classifier", 1, 0)
    digests = {cell.settings(overrides) for overrides in robustness.VARIANTS.values()}
    assert len(digests) == len(robustness.VARIANTS) > 12


@pytest.mark.parametrize("module", [robustness, completion, classifier_gain], ids=lambda module: module.__name__)
@pytest.mark.parametrize("word", ["nonsense", "workers=0", "folds=some", "vriants=default"])
def test_unknown_options_end_with_a_sentence(module, word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [module.__name__, word])
    with pytest.raises(SystemExit, match=rf"^error: .*{word.partition('=')[0]}"):
        module.main()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "shown"),
    [
        ("robustness", ["variants=default,concat"], ["| concat |", "| svc |", "env + 1"]),
        ("classifier_gain", ["rows=3,full", "models=smote,vacwgan"], ["| vacwgan |", "| more real rows |"]),
        ("completion", ["folds=1"], ["| spec |", "| env |"]),
        ("ablations", ["variants=default,half the length", "folds=1"], ["| half the length |"]),
    ],
)
def test_a_benchmark_runs_and_finds_its_lines_again(script, words, shown, tmp_path):
    words = ["data=bearing", "folds=1,2", *words, SMALL]
    words = [word for word in words if not (word == "folds=1,2" and "folds=1" in words)]

    def run() -> str:
        command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-2000:]
        return ended.stdout

    first = run()
    assert not [text for text in shown if text not in first]
    written = [path.read_text() for path in sorted(tmp_path.glob(f"runs/{script}/*.jsonl"))]
    assert len(written) == 1
    assert run().split("|", 1)[1] == first.split("|", 1)[1]
    assert written == [path.read_text() for path in sorted(tmp_path.glob(f"runs/{script}/*.jsonl"))]
