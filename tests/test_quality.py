"""The benchmark of quality: its cells, its lines, and the tables that the docs show."""

import json
import subprocess
import sys
from pathlib import Path

import ablations
import cells
import numpy as np
import pytest
import quality

from mmgan.data.arrays import take
from mmgan.errors import MmganError
from mmgan.evaluation.features import FeatureSpace
from mmgan.evaluation.gain import Augmentation, extra_per_class
from mmgan.evaluation.statistics import interval
from mmgan.report.quality import curve_of, quality_page, read_lines

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "quality.py"
SMALL = "data.n_train=200 data.n_test=80 trainer.max_epochs=1 data.steps_per_epoch=2"


def test_every_ablation_changes_the_configuration_to_one_of_its_own():
    cell = cells.Cell("watch", 1, "full", "vacwgan", 1, 0)
    digests = [cell.settings(overrides) for overrides in ablations.VARIANTS.values()]
    assert len(set(digests)) == len(ablations.VARIANTS) > 20
    assert not any("," in name for name in ablations.VARIANTS)  # variants= is a list


def test_the_table_of_ablations_is_of_means_over_folds():
    metrics = dict.fromkeys(ablations.COLUMNS.values(), 0.5) | {"trtr": 1.0, "mmd": 1, "mmd_null": 2}
    metrics["signal_autocorrelation"] = 10.25
    lines = [
        {"variant": name, "fold": fold, "metrics": {**metrics, "coverage": coverage, "tstr": tstr}}
        for name, coverage in (("real", 1.0), ("default", 0.9))
        for fold, tstr in ((1, 0.7), (2, 0.9))
    ]
    table = ablations.table(lines).splitlines()
    assert table[3].startswith("| default | 0.800 | 0.800 | 0.500 | 0.900 | 0.900 | 0.500 |")
    assert table[3].endswith(" 10.250 |") and len({row.count("|") for row in table}) == 1


def line(model: str, fold: int, seed: int = 0, rows: str = "full", **metrics: float) -> dict:
    cell = {
        "data": "toy",
        "draw": 0,
        "rows": rows,
        "model": model,
        "fold": fold,
        "seed": seed,
        "trained": model == "net",
    }
    known = {
        "tstr": 0.8,
        "trtr": 0.9,
        "coverage": 0.9,
        "mmd": 0.1,
        "mmd_null": 0.2,
        "c2st": 0.7,
        "gain": 0.01,
        "close": 0.0,
    }
    return {**cell, "n_train": 80, "n_fold": 80, "n_val": 20, "metrics": {**known, **metrics}}


def test_seeds_are_averaged_within_a_fold_before_the_interval():
    values = {(1, 0): 0.80, (1, 1): 0.90, (2, 0): 0.70, (2, 1): 0.70, (3, 0): 0.75, (3, 1): 0.77}
    lines = [line("real", fold) for fold in (1, 2, 3)]
    lines += [line("net", fold, seed, tstr=value) for (fold, seed), value in values.items()]
    expected = interval([0.85, 0.70, 0.76], 80, 20)
    page = quality_page(lines, "python benchmarks/quality.py")
    row = next(text for text in page.splitlines() if text.startswith("| net"))
    assert row.split("|")[2].strip() == f"{expected.mean:.3f} ± {(expected.high - expected.mean):.3f}".replace(
        "0.", "."
    )
    assert "net against" not in page  # there is no baseline to compare it with
    assert page.endswith("```\npython benchmarks/quality.py\n```\n")


def test_the_curve_gives_gains_and_what_share_of_real_rows_they_are():
    lines = [line("real", fold, rows="5", gain=0.10 + 0.01 * fold, baseline=0.6) for fold in range(5)]
    lines += [line("smote", fold, rows="5", gain=0.03 + 0.001 * fold, baseline=0.6) for fold in range(5)]
    lines += [line("real", fold, gain=0.001 * (-1) ** fold) for fold in range(5)]
    curve = curve_of(lines)
    assert curve["smote"]["5"].mean == pytest.approx(0.032) and curve["real"]["5"].mean == pytest.approx(0.12)
    page = quality_page(lines, "")
    assert "(27 %)" in next(text for text in page.splitlines() if text.startswith("| smote | +3.2"))
    assert "%" not in page.split("Utility")[1].split("| real |")[1].split("\n")[0]  # nothing is captured by the ceiling


def test_of_several_lines_of_a_cell_the_latest_counts(tmp_path):
    old = [{**line("net", fold, tstr=0.1), "settings": "old"} for fold in (1, 2)]
    new = [{**line("net", 1, tstr=value), "settings": "new"} for value in (0.5, 0.6)]
    other = {**line("real", 1), "settings": "old"}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*old, other, *new]))
    assert read_lines(tmp_path / "x.jsonl") == [other, new[1]]  # real samples first


def test_a_file_that_is_no_result_is_refused(tmp_path):
    for text in ("", "{}", "[1, 2]", '{"model": "real"}', "no json"):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(MmganError, match="holds no result of benchmarks"):
            read_lines(tmp_path / "x.jsonl")
    with pytest.raises(MmganError, match="holds no result"):
        read_lines(tmp_path / "none.jsonl")


def test_extra_rows_fill_up_to_the_largest_class_or_to_five_times_the_rows():
    assert extra_per_class(np.array([10, 10]), np.array([90, 25])).tolist() == [40, 25]
    assert extra_per_class(np.array([80, 20, 8]), np.array([0, 50, 72])).tolist() == [0, 50, 72]


def test_augmentation_is_the_gain_over_the_training_rows_alone():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = {"a": (rng.normal(size=(600, 6)) + 1.2 * np.eye(6)[y]).astype(np.float32)}
    few, more, test = np.arange(12), np.arange(12, 200), np.arange(200, 600)
    judge = Augmentation((take(x, few), y[few]), (take(x, test), y[test]), seeds=1)
    real = judge.rows((take(x, more), y[more]))
    wrong = judge.rows((take(x, more), (y[more] + 1) % 3))
    assert real.gain > 0.05 > 0 > wrong.gain
    assert real.f1 == pytest.approx(judge.baseline[0] + real.gain)
    assert abs(judge.class_weights().gain) < 0.02  # classes of equal size weigh the same
    assert judge.mixup(30).f1 > 0.3
    # By hand: the panel's F1 after standardising by the few samples.
    from mmgan.evaluation.utility import train_and_test

    space = FeatureSpace(take(x, few))
    both = np.concatenate([few, more])
    assert real.f1 == train_and_test(space.flat(take(x, both)), y[both], space.flat(take(x, test)), y[test])


def test_cells_and_what_makes_a_line_another(tmp_path):
    words = ["data=bearing", "models=real,vacwgan", "folds=1,2", "seeds=2", "rows=full,10"]
    found = list(quality.cells(cells.read_options(quality.Options, words)))
    assert len(found) == 16 and sum(cell.trained for cell in found) == 8
    wanted = {cell: cell.settings(SMALL) for cell in found[:2]}
    out = tmp_path / "out.jsonl"
    kept = {**vars(found[0]), "settings": wanted[found[0]], "metrics": {}}
    other = {**vars(found[1]), "settings": "of another model", "metrics": {}}
    out.write_text(json.dumps(kept) + "\n" + json.dumps(other) + "\n" + json.dumps(kept)[:30])
    assert set(cells.finished(out, wanted)) == {found[0]}
    trained = next(cell for cell in found if cell.trained)
    longer = SMALL.replace("max_epochs=1", "max_epochs=2")
    assert trained.settings(longer) != trained.settings(SMALL) != trained.settings(SMALL, draws=2)
    assert found[0].settings(longer) == found[0].settings(SMALL)  # nothing is trained for it
    assert trained.config(SMALL).final
    few = next(cell for cell in found if cell.rows == "10")
    assert few.config("").data.rows_per_class == 10


@pytest.mark.parametrize(
    "word", ["folds", "fold=1", "rows=some", "workers=two", "workers=0", "folds=1,x", "models=gam"]
)
def test_unknown_options_end_with_a_sentence(word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["quality.py", word])
    with pytest.raises(SystemExit, match=r"^error: "):
        quality.main()


RESULTS = [ROOT / "benchmarks" / "results" / f"{data}.jsonl" for data in ("watch", "bearing")]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_docs_show_the_tables_of_the_committed_lines(path):
    page = (ROOT / "docs" / "results.md").read_text()
    shown = [text for text in quality_page(read_lines(path), "").splitlines() if text.startswith("|")]
    assert len(shown) > 5 and not [text for text in shown if text not in page]


def test_the_readme_shows_lines_of_the_results():
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs" / "results.md").read_text()
    shown = [text for text in readme.partition("## How good is it?")[2].splitlines() if text.startswith("| ")]
    assert len(shown) > 3 and not [text for text in shown if text not in page]


@pytest.mark.slow
def test_an_interrupted_benchmark_goes_on(tmp_path):
    def run(*words: str) -> str:
        command = [
            sys.executable,
            str(SCRIPT),
            "data=bearing",
            "draws=1",
            f"overrides={SMALL}",
            "out=out.jsonl",
            *words,
        ]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-2000:]
        return ended.stdout

    run("models=real,smote", "folds=1")
    first = (tmp_path / "out.jsonl").read_text()
    assert len(first.splitlines()) == 2
    (tmp_path / "out.jsonl").write_text(first + first[:40])  # killed in the middle of a line
    page = run("models=real,smote,vacwgan", "folds=1,2", "workers=2")
    assert "| vacwgan |" in page and "vacwgan against" in page
    assert (tmp_path / "out.jsonl").read_text().startswith(first) and len(read_lines(tmp_path / "out.jsonl")) == 6
    checkpoint = tmp_path / "runs/quality/bearing-draw0-full-vacwgan-seed0/fold1/best.ckpt"
    trained = checkpoint.stat().st_mtime_ns
    (tmp_path / "out.jsonl").unlink()
    run("models=real,smote,vacwgan", "folds=1")
    assert checkpoint.stat().st_mtime_ns == trained  # found again, not trained again
