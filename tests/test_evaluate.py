"""A file of synthetic samples, ours or another tool's: who judges it, what the report holds, and what is refused."""

import functools
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CONF, TWO, compose, content, quick_judge, rows_of
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mmgan.baselines import BASELINES
from mmgan.commands.build import fold_run
from mmgan.commands.checks import check_there
from mmgan.commands.evaluate import _print, judge_file, read_judged
from mmgan.commands.synthesize import synthesize
from mmgan.data.files import write_npz, write_pickle
from mmgan.data.folds import make_folds
from mmgan.data.sources.pkl import pkl
from mmgan.data.sources.watch import watch
from mmgan.errors import MmganError
from mmgan.evaluation.files import VAL
from mmgan.evaluation.verdict import Answer, Verdict
from mmgan.report.content import Table

LABELS = {
    "integers": np.array([3, 7, 20, 100]),
    "whole floats": np.array([3.0, 7.0, 20.0, 100.0]),
    "strings": np.array(["walk", "run", "rest", "jump"]),
}
BEARING = ["data=bearing", "data.n_train=100", "data.n_test=60"]
FILES = {"report.html", "report.md", "report.json", "figures"}
ROWS = content(seed=1)
X, Y = ROWS["x_train"], ROWS["y_train"]


def entry(n=100, **changes):
    """What another tool writes: samples of the four classes in turn."""
    return {"x_synth": {name: values[:n] for name, values in X.items()}, "y_synth": Y[:n]} | changes


@functools.cache
def composed(*overrides):
    return compose("evaluate", "quick=true", "workers=1", *overrides)


def options(path, *overrides, data=None):
    base = composed("data=pkl") if data else composed(*[word for word in overrides if word.startswith("data")])
    own = [f"synthetic={path}", *overrides, *([f"data.path={data}"] if data else [])]
    return OmegaConf.merge(base, OmegaConf.from_dotlist([word for word in own if not word.startswith("data=")]))


def read(path, *overrides, data=None):
    return read_judged(options(path, *overrides, data=data))


def written(folder, content, name="rows.pkl"):
    (write_npz if name.endswith("npz") else write_pickle)(folder / name, content)
    return folder / name


def numbers(folder):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "report.json").read_text(), parse_constant=refuse)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr("mmgan.report.judgement.pictures", lambda *shown: [])


@pytest.fixture(scope="module")
def ours(tiny, tmp_path_factory):
    """A file of synthesize.py: smote's samples of folds 1 and 3 of the user's file, which has no test samples."""
    folder = tmp_path_factory.mktemp("smote")
    with quick_judge():
        for fold in (1, 3):
            fold_run(compose("train", "model=smote", path=tiny), pkl(str(tiny)), fold).run(folder / f"fold{fold}")
    return synthesize(compose("synthesize", f"ckpt={folder}"))


# -- who judges whom ----------------------------------------------------------------------------------------------------
def same(rows, expected):
    np.testing.assert_array_equal(rows[1], expected[1])
    for name, values in expected[0].items():
        np.testing.assert_array_equal(rows[0][name], values)


@pytest.mark.parametrize("by", ["the file's recipe", "data="])
def test_each_fold_of_our_file_is_judged_by_its_val_indices(ours, tiny, by):
    file, dataset = read(ours, data=tiny if by == "data=" else None), pkl(str(tiny))
    folds = {fold.fold: fold for fold in make_folds(dataset, "file")}
    assert [rows.fold for rows in file.folds] == [1, 3] and file.has_folds and file.n_val == 20
    for rows in file.folds:
        same(rows.train, dataset.samples(folds[rows.fold].train_indices))
        same(rows.heldout, dataset.samples(folds[rows.fold].val_indices))
    assert [rows.fold for rows in read(ours, "fold=3").folds] == [3]


@pytest.mark.parametrize("suffix", ["pkl", "npz"])
@pytest.mark.parametrize("kind", LABELS)
def test_another_tool_s_samples_are_read_with_the_labels_it_gives(kind, suffix, tmp_path):
    theirs = LABELS["integers"] if kind == "whole floats" else LABELS[kind]
    data = written(tmp_path, content() | {"y_train": theirs[content()["y_train"]]}, "data.pkl")
    wide = {name: values.astype(np.float64) for name, values in X.items()}
    path = written(tmp_path, entry(x_synth=wide, y_synth=LABELS[kind][Y]), f"rows.{suffix}")
    file = read(path, "fold=2", data=data)
    (rows,) = file.folds
    assert rows.fold == 2 and file.name == "rows"
    assert file.dataset.schema.decode(rows.synthetic[1]) == theirs[Y].tolist()
    for name in TWO:
        assert rows.synthetic[0][name].dtype == np.float32
        np.testing.assert_array_equal(rows.synthetic[0][name], X[name])


def test_the_samples_that_the_tool_saw_are_the_training_samples(tiny, tmp_path):
    seen = make_folds(pkl(str(tiny)), "file")[3].train_indices[:30]
    path = written(tmp_path, {"folds": [entry(fold=4, train_indices=seen)]})
    same(read(path, data=tiny).folds[0].train, pkl(str(tiny)).samples(seen))


@pytest.mark.parametrize(("fold", "fold_number", "trained"), [("null", 0, 100), ("2", 2, 80)])
def test_labelled_test_samples_judge_a_file_without_folds(fold, fold_number, trained, tmp_path):
    y = np.arange(50) % 10
    path = written(tmp_path, {"x_synth": rows_of({"spec": (7, 48), "env": (5, 32)}, y), "y_synth": y})
    file = read(path, *BEARING, "data.split=stratified", f"fold={fold}")
    (rows,) = file.folds
    assert (rows.fold, file.has_folds, len(rows.train[1])) == (fold_number, fold != "null", trained)
    same(rows.heldout, (file.dataset.x_test, file.dataset.y_test))


def test_a_file_has_nothing_run(tmp_path):
    made = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    for source in (made, {"_target_": "mmgan.data.sources.pkl.pkl", "path": made}):
        recipe = {"fingerprint": "", "data": {"source": source, "split": "file", "n_splits": 5}}
        with pytest.raises((MmganError, HydraException)):
            read(written(tmp_path, entry(fold=1, meta={"recipe": recipe})))
    assert not (tmp_path / "made").exists()


# -- the report ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def report(ours, tmp_path_factory):
    curve = tmp_path_factory.mktemp("curve") / "curve.jsonl"
    line = {"data": "data", "draw": None, "seed": 0, "n_fold": 80, "n_val": 20, "settings": {}}
    lines = [
        line
        | {
            "rows": rows,
            "model": model,
            "fold": fold,
            "measure": "utility",
            "metrics": {"gain": 0.01 * fold, "baseline": 0.5},
        }
        for rows in ("5", "full")
        for model in ("real", "smote")
        for fold in (1, 2)
    ]
    curve.write_text("\n".join(map(json.dumps, lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmgan.report.judgement.pictures", lambda *shown: [])
        return judge_file(options(ours, f"curve={curve}"))


def test_the_report_stands_beside_the_file_and_is_whole(report, ours):
    assert report == ours.with_name("synthetic-report") and {path.name for path in report.iterdir()} == FILES
    assert "Curve" in (report / "report.html").read_text() and len(list((report / "figures").iterdir())) == 1


def test_the_file_s_row_stands_beside_real_samples_and_baselines(report):
    rows = numbers(report)["rows"]
    # Both folds have few held-out samples: they are judged together, under 0.
    assert list(rows) == ["real", "smote", "smote (file)"] and all(list(folds) == ["0"] for folds in rows.values())
    assert {found["n"] for folds in rows.values() for found in folds.values()} == {20}


def test_the_report_says_its_verdict_and_who_judged(report):
    text, data = (report / "report.md").read_text(), numbers(report)
    assert list(data["verdict"]) == ["faithful", "new", "useful", "findings"]
    assert all(
        f"**{question}: {data['verdict'][question]['answer']}**" in text for question in ("faithful", "new", "useful")
    )
    assert data["facts"]["folds"] == "1, 3" and data["facts"]["held-out samples"].startswith(
        "each fold's own val_indices"
    )
    assert data["facts"]["training samples"] == "80 each" and "val_indices" in text


@pytest.mark.slow
def test_a_class_without_samples_is_no_error_but_a_finding(tmp_path, undrawn, capsys):
    y = np.r_[np.arange(84) % 3, [3] * 16]
    # Only the first fold has held-out samples of the last class.
    first, second = np.r_[0:12, 84:94], np.arange(12, 34)
    splits = [
        {"fold": k, "train_indices": np.setdiff1d(np.arange(100), val), "val_indices": val}
        for k, val in ((1, first), (2, second))
    ]
    user = {"x_train": rows_of(TWO, y), "y_train": y, "cv_splits": splits, "class_names": ["a", "b", "c", "the lost"]}
    data = written(tmp_path, user, "data.pkl")
    lost = {"x_synth": {name: values[Y < 3] for name, values in X.items()}, "y_synth": Y[Y < 3], "model": "[b]x[/y]"}
    path = written(tmp_path, {"folds": [lost | {"fold": 1}, lost | {"fold": 2}]})
    findings = numbers(judge_file(options(path, data=data)))["verdict"]["findings"]
    assert any("the lost" in sentence for sentence in findings)
    assert "[b]x[/y]" in capsys.readouterr().out  # a name is no markup


def user_file(folder, shapes, n, seed=1):
    """Write a user's data of 4 classes, of noise with a mean of its class, and return its path and its folds."""
    rng, y = np.random.default_rng(seed), np.arange(n) % 4
    x = {name: rng.standard_normal((n, *shape)) + y.reshape(-1, *[1] * len(shape)) for name, shape in shapes.items()}
    path = written(folder, {"x_train": x, "y_train": y}, "data.pkl")
    return path, make_folds(pkl(str(path)), "stratified"), x, y


@pytest.mark.slow
def test_forty_samples_get_a_report_of_all_folds_together(tmp_path, undrawn):
    data, folds_, x, y = user_file(tmp_path, {"x": (3, 20), "rpm": (1,)}, 40)
    fresh = [np.random.default_rng(k) for k in range(5)]
    entries = [
        {
            "fold": fold.fold,
            "x_synth": {name: v[fold.train_indices] + rng.standard_normal(v[fold.train_indices].shape) for name, v in x.items()},
            "y_synth": y[fold.train_indices],
        }
        for fold, rng in zip(folds_, fresh, strict=True)
    ]  # fmt: skip
    path = written(tmp_path, {"folds": entries})
    found = numbers(judge_file(options(path, data=data)))
    assert {row["0"]["n"] for row in found["rows"].values()} == {20}
    assert found["verdict"]["useful"]["answer"] == "too few samples to tell"
    assert all(found["verdict"][question]["reason"] for question in ("faithful", "new"))


def test_names_that_look_like_markup_are_printed_as_they_are(capsys):
    row = ("[/x]", "\x1b[31m", "[b]1")
    verdict = Verdict((Answer("faithful", "[no]", "[/bold] \x1b[31m"),), ("[/y] \x1b[2J",))
    _print(verdict, Table("<b>s[/x].pkl", ("a", "[/b]", "c"), (row,)), Path("[r]"))
    said = capsys.readouterr().out
    assert all(text in said for text in ("[/x]", "[b]1", "<b>s[/x].pkl", "[/b]", "[no]", "[/bold]", "[/y]", "[r]"))
    assert "\x1b" not in said


@pytest.mark.slow
def test_copies_of_samples_that_a_file_does_not_list_say_so(tmp_path, undrawn):
    data, (fold, *_), x, y = user_file(tmp_path, {"x": (1, 16)}, 100)
    listed, hidden = fold.train_indices[::2], fold.train_indices[1::2]
    copied = {"x_synth": {"x": x["x"][hidden]}, "y_synth": y[hidden], "fold": 1, "train_indices": listed}
    verdict = numbers(judge_file(options(written(tmp_path, copied), data=data)))["verdict"]
    assert verdict["new"]["answer"] == "no"
    assert any("Its train_indices are not what the generator saw." in sentence for sentence in verdict["findings"])


@pytest.mark.slow
def test_held_out_samples_that_repeat_are_said(tmp_path, undrawn):
    data, (fold, *_), x, y = user_file(tmp_path, {"x": (1, 16)}, 100)
    x["x"][fold.val_indices[:3]] = x["x"][fold.train_indices[0]]
    data = written(tmp_path, {"x_train": x, "y_train": y}, "data.pkl")
    made = {
        "x_synth": {"x": np.random.default_rng(0).standard_normal((80, 1, 16))},
        "y_synth": np.arange(80) % 4,
        "fold": 1,
    }
    folder = judge_file(options(written(tmp_path, made), data=data))
    assert "3 held-out samples equal a training sample or each other" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(ours, tmp_path):
    for workers in (1, 2):
        cfg = options(
            ours, "quick=false", "draws=1", "fold=1", f"workers={workers}", f"out_dir={tmp_path / str(workers)}"
        )
        judge_file(cfg)
    one, two = ([path for path in sorted((tmp_path / k).rglob("*")) if path.is_file()] for k in "12")
    assert [path.name for path in one] == [path.name for path in two] and len(one) > 10
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert list(numbers(tmp_path / "1")["rows"]) == ["real", *BASELINES, "smote (file)"]


# -- refusals -----------------------------------------------------------------------------------------------------------
def changed(name, values):
    return entry(x_synth=X | {name: values})


def spoilt(value):
    values = X["env"].copy()
    values[:3, 0, 0] = value
    return changed("env", values)


def folds(*entries):
    return {"folds": list(entries)}


ALONE = ["fold=1"]
FOLD = r"rows\.pkl, fold 1: "
NOT_ROWS = FOLD + "train_indices are not samples of .*; leave"
EMPTY = r"rows\.pkl .*\(folds is no list, or empty\); give"
UNKNOWN = ".*are none of the data's labels"
REFUSED = {
    "other shapes": (changed("spec", X["spec"][:, :2]), ALONE, FOLD + r".*'spec' have shape \(2, 10\), expected"),
    "no array": (changed("spec", 3.0), ALONE, FOLD + ".*'spec' have shape"),
    "missing modality": (entry(x_synth={"env": X["env"]}), ALONE, FOLD + r".*modalities \['env'\], expected"),
    "extra modality": (changed("more", X["env"]), ALONE, FOLD + r".*modalities \['env', 'more', 'spec'\]"),
    "named by a number": (changed(3, X["env"]), ALONE, FOLD + r".*modalities \['3', 'env', 'spec'\]"),
    "unknown class": (entry(y_synth=Y + 1), ALONE, FOLD + r".*\['4'\] are none of"),
    "class as text": (entry(y_synth=Y.astype(str)), ALONE, FOLD + UNKNOWN),
    "class between": (entry(y_synth=Y + 0.5), ALONE, FOLD + UNKNOWN),
    "NaN": (spoilt(np.nan), ALONE, FOLD + "3 .*'env' hold NaN or infinite values; leave"),
    "infinite": (spoilt(np.inf), ALONE, FOLD + "3 .*'env' hold NaN or infinite values; leave"),
    "beyond float32": (changed("env", np.full(X["env"].shape, 1e300)), ALONE, FOLD + "100 .*'env' hold"),
    "text": (changed("env", X["env"].astype(str)), ALONE, FOLD + r"x_synth\['env'\] holds <U.*; give"),
    "objects": (changed("env", X["env"].astype(object)), ALONE, r"rows\.pkl: x_synth/env is an object array; save"),
    "ragged": (changed("env", [[1.0], [1.0, 2.0]]), ALONE, FOLD + r"x_synth\['env'\] is ragged; give"),
    "one array": (entry(x_synth=X["spec"]), ALONE, r"rows\.pkl: x_synth is no dict.*; give"),
    "no x_synth": ({"y_synth": Y}, ALONE, r"rows\.pkl .*no key 'x_synth'\); give"),
    "no y_synth": ({"x_synth": X}, ALONE, r"rows\.pkl .*no key 'y_synth'\); give"),
    "fold without samples": (folds(entry(fold=1), {"fold": 2}), [], r"rows\.pkl .*no key 'x_synth'\); give"),
    "no dict": ([X, Y], ALONE, r"rows\.pkl holds a list"),
    "no folds": (folds(), [], EMPTY),
    "folds as dict": ({"folds": {"a": entry()}}, [], EMPTY),
    "folds as array": ({"folds": np.arange(3)}, [], EMPTY),
    "a fold twice": (folds(entry(fold=1), entry(fold=1)), [], r"rows\.pkl: .*numbers \[1, 1\]; give"),
    "a fold twice, asked for": (folds(entry(fold=1), entry(fold=1)), ALONE, r"rows\.pkl: .*numbers \[1, 1\]; give"),
    "folds without numbers": (folds(entry(), entry()), ALONE, r"rows\.pkl: .*numbers \[None, None\]; give"),
    "unknown fold": (folds(entry(fold=9)), [], r"rows\.pkl: there is no fold 9; .* 1, 2, 3, 4, 5"),
    "a list as fold": (folds(entry(fold=[1])), [], r"rows\.pkl: its fold is \[1\]; give the number of a fold"),
    "an unknown modality": (
        entry(fold=1),
        ["data.ordered=[foo]"],
        "data.ordered: .* has no modality foo; give some of",
    ),
    "fold=9": (entry(), ["fold=9"], "there is no fold=9; .* 1, 2, 3, 4, 5"),
    "fold=three": (entry(), ["fold=three"], "there is no fold=three; .* 1, 2, 3, 4, 5"),
    "fold that the file lacks": (folds(entry(fold=2)), ALONE, r"rows\.pkl has no fold=1; it holds 2"),
    "nothing to judge by": (entry(), [], r"rows\.pkl says no fold, .*; give fold="),
    "too few samples": (entry(5), ALONE, FOLD + "only 5 samples .*; give more synthetic samples"),
    "zero samples": (entry(0), ALONE, FOLD + "there are no synthetic samples; give some"),
    "one label a pair": (entry(y_synth=np.c_[Y, Y]), ALONE, FOLD + r"y_synth is int64 of shape \(100, 2\); give"),
    "fewer labels": (entry(y_synth=Y[:90]), ALONE, FOLD + ".*100 of 'spec' but 90 labels; give"),
    "samples beyond the data": (entry(fold=1, train_indices=[0, 100]), [], NOT_ROWS),
    "samples before the data": (entry(fold=1, train_indices=[0, -1]), [], NOT_ROWS),
    "samples by floats": (entry(fold=1, train_indices=[0.0, 1.0]), [], NOT_ROWS),
    "samples that judge": (
        entry(fold=1, train_indices=np.arange(100)),
        [],
        FOLD + "the generator saw samples .*; give",
    ),
    "curve": (entry(), [*ALONE, "curve=pyproject.toml"], r"pyproject\.toml holds no result of .*; give"),
    "no curve": (entry(), [*ALONE, "curve=nowhere.jsonl"], r"nowhere\.jsonl holds no result of .*; give"),
    "curve of other data": (
        entry(),
        [*ALONE, "curve=benchmarks/results/utility-watch.jsonl"],
        r"utility-watch\.jsonl has no lines of data; give",
    ),
    "out_dir under a file": (entry(), [*ALONE, "out_dir=/dev/null"], r"report\.html cannot be written: /dev/null: "),
    "no such file": (entry(), ["synthetic=nowhere.pkl"], r"there is no file nowhere\.pkl; check"),
    "a folder": (entry(), ["synthetic=tests"], "tests cannot be read: Is a directory; give"),
    "no file": (entry(), ["synthetic=null"], "give synthetic=FILE"),
    "a number": (entry(), ["synthetic=3"], "there is no file 3; check"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_said_and_nothing_written(case, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(CONF.parent)
    content, overrides, sentence = REFUSED[case]
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(MmganError) as refused:
        judge_file(options(tmp_path / "rows.pkl", *overrides, data=tiny))
    assert re.search(sentence, str(refused.value)) and "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.pkl"]


def test_other_data_than_the_file_was_made_from(ours, write_data):
    with pytest.raises(MmganError, match=r"synthetic\.pkl was made from other data than .*; give the data="):
        read(ours, data=write_data(seed=2))


@pytest.mark.parametrize("meta", [None, "text", {"recipe": None}, {"recipe": {"data": {}}}])
def test_a_file_that_does_not_say_its_data(meta, tmp_path):
    with pytest.raises(MmganError, match=r"rows\.pkl does not say what data .*; give data=watch, or data=pkl"):
        read(written(tmp_path, entry(fold=1, meta=meta)))


def test_a_file_that_is_not_there_is_told_before_the_imports_that_take_seconds():
    with pytest.raises(MmganError, match=r"^there is no file nothing\.pkl; check the path\.$"):
        check_there(compose("evaluate", "synthetic=nothing.pkl"))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["synthetic", "nothing"])
def test_the_script_ends_with_one_line_and_status_1(given, tiny, tmp_path):
    path = written(tmp_path, spoilt(np.nan))
    arguments = [f"synthetic={path}", "data=pkl", f"data.path={tiny}", "fold=1"] if given == "synthetic" else []
    command = [sys.executable, str(CONF.parent / "evaluate.py"), *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1 and not ended.stdout
    assert re.fullmatch(r"error: (.*'env' hold NaN .*|give synthetic=.*)\n", ended.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.pkl"]


def test_new_groups_are_only_those_that_the_generator_never_saw(tmp_path):
    y = np.arange(50) % 10
    entry = {"x_synth": rows_of({"spec": (7, 48), "env": (5, 32)}, y), "y_synth": y, "fold": 1}
    (rows,) = read(written(tmp_path, entry), *BEARING).folds
    assert len(rows.heldout[1]) < 60 and len(rows.unseen_groups[1]) > 60 - len(rows.heldout[1])  # and val_indices
    (rows,) = read(written(tmp_path, {**entry, "train_indices": np.arange(100)}), *BEARING).folds
    assert len(rows.heldout[1]) == 60 and rows.unseen_groups is None


def test_new_subjects_judge_utility_and_val_indices_all_else(tmp_path):
    y = np.arange(35) % 7
    entry = {"x_synth": rows_of({"spec": (7, 48), "env": (5, 32)}, y), "y_synth": y}
    path, data = written(tmp_path, {**entry, "fold": 2}), ["data=watch", "data.test=group"]
    file = read(path, *data)
    (rows,) = file.folds
    fold = make_folds(file.dataset, "stratified")[1]
    same(rows.heldout, file.dataset.samples(fold.val_indices))
    same(rows.unseen_groups, (file.dataset.x_test, file.dataset.y_test))
    assert file.heldout == VAL and not set(file.dataset.groups[fold.val_indices]) & set(file.dataset.test_groups)
    same(read(path, "data=watch").folds[0].heldout, (watch().x_test, watch().y_test))
    with pytest.raises(MmganError, match="the generator saw samples that would judge it"):
        read(written(tmp_path, {**entry, "fold": 2, "train_indices": np.arange(860)}, "all.pkl"), *data)
    with pytest.raises(MmganError, match="has test samples of new groups only; give fold="):
        read(written(tmp_path, entry, "none.pkl"), *data)
