"""The Python API: it trains as the commands do, takes what users have, and says in one sentence what it cannot use."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from conftest import TWO, compose, content, quick_judge

import mmgan
from mmgan.commands import build
from mmgan.commands.evaluate import judge_file
from mmgan.commands.synthesize import synthesize
from mmgan.commands.train import train_folds
from mmgan.data.files import read_archive, write_pickle
from mmgan.errors import MmganError

NAMES = np.array(["slow", "walk", "run"])
FAST = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "data.steps_per_epoch=2", "data.batch_size=16"]
FAST += ["model.n_calibration_samples=200", "~callbacks.pictures", "~callbacks.traversals"]


def samples(n=90, seed=0):
    made = content(rows=n, classes=3, seed=seed)
    return made["x_train"], NAMES[made["y_train"]]


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a model of `mmgan.fit`, that of the same training by command, and the data's file."""
    where = tmp_path_factory.mktemp("api")
    x, y = samples()
    write_pickle(where / "data.pkl", {"x_train": x, "y_train": y})
    with quick_judge():
        mmgan.fit(x, y, "vae", overrides=FAST, seed=3, out_dir=where / "fitted", progress=False)
        words = ["data=pkl", f"data.path={where / 'data.pkl'}", "model=vae", "seed=3", *FAST]
        train_folds(build.compose("train", [*words, "fold=none", f"out_dir={where / 'typed'}", "callbacks.bar=null"]))
    return where


@pytest.fixture(scope="module")
def classical():
    """A generator of three named classes that takes no training."""
    x, y = samples()
    return mmgan.fit(x, (y == "run").astype(int), "smote", class_names=["other", "run"])


# -- the package ----------------------------------------------------------------------------------------------------------
def test_the_import_is_light_and_every_name_is_there():
    code = (
        "import time; begin = time.perf_counter(); import mmgan; took = time.perf_counter() - begin; import sys;"
        " heavy = {'torch', 'numpy', 'sklearn', 'pandas', 'hydra'} & set(sys.modules); print(took, sorted(heavy))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(said[0]) < 0.5 and said[1] == "[]"
    assert {*mmgan.__all__} <= {*dir(mmgan)}
    for name in mmgan.__all__:
        assert getattr(mmgan, name).__module__.startswith("mmgan.")
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        mmgan.fitt  # noqa: B018


# -- training -------------------------------------------------------------------------------------------------------------
def test_fit_gives_the_figures_of_the_command(trained):
    one, other = (mmgan.load(trained / name) for name in ("fitted", "typed"))
    assert same(one.sample(n_per_class=5, seed=1), other.sample(n_per_class=5, seed=1))
    recipe, typed = one.recipe, other.recipe
    assert recipe["fold"] == typed["fold"] == 0 and recipe["final"] is typed["final"] is True
    assert {name for name in recipe if recipe[name] != typed[name]} == {"data"}  # where the samples lie
    assert {path.name for path in (trained / "fitted").iterdir()} >= {
        "best.pth",
        "params.yaml",
        "metrics.json",
        "samples.png",
    }


def test_fit_leaves_nothing_behind(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads, x, y = torch.get_num_threads(), *samples()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        model = mmgan.fit(x, y, model="vae", overrides=FAST, seed=3, progress=False)
        assert torch.get_num_threads() == 2 and torch.equal(torch.rand(3), expected)
    finally:
        torch.set_num_threads(threads)
    assert not [*tmp_path.iterdir()]
    assert same(model.sample(n_per_class=2), mmgan.load(trained / "fitted").sample(n_per_class=2))


def test_a_model_of_all_samples_is_exported_and_judged_by_nobody(trained, tmp_path):
    options = [f"ckpt={trained / 'fitted'}", f"data.path={trained / 'data.pkl'}", f"out={tmp_path / 'a.npz'}"]
    out = synthesize(build.compose("synthesize", options))
    x, y, is_synthetic = mmgan.load_augmented(out)
    assert len(y) == 180 and is_synthetic.sum() == 90 and same({k: v[:90] for k, v in x.items()}, samples()[0])
    assert read_archive(out)["folds"][0]["fold"] is None and "cv_splits" not in read_archive(out)
    with pytest.raises(MmganError, match=r"trained on all samples .fold=none., so that there are no others"):
        mmgan.load_augmented(out, part="val")
    with pytest.raises(
        MmganError, match=r"generator saw all samples .fold=none., .* judge a file of generators of folds"
    ):
        judge_file(build.compose("evaluate", [f"synthetic={out}"]))
    with pytest.raises(MmganError, match="the generator saw samples that would judge it"):
        judge_file(build.compose("evaluate", [f"synthetic={out}", "fold=1"]))


def test_unlabelled_samples_and_groups(quick, tmp_path):
    x, y = samples()
    groups = np.arange(90) // 9
    model = mmgan.fit(
        x, y, "smote", unlabelled=samples(20, seed=1)[0], groups=groups, overrides="data.teacher.drop=0.5"
    )
    assert model.recipe["unlabelled"]["source"] == "x_unlabelled" and len(model.recipe["unlabelled"]["indices"]) == 20


# -- what a generator is given --------------------------------------------------------------------------------------------
def test_labels_class_names_and_numbers_of_each(classical):
    by_name, by_label = classical.sample(["run", "other", "run"], seed=2), classical.sample([1, 0, 1], seed=2)
    assert same(by_name, by_label)
    assert same(classical.sample({"run": 2, "other": 1}), classical.sample([1, 1, 0]))
    assert same(classical.sample(n_per_class=2), classical.sample(np.array([0, 0, 1, 1])))
    assert classical.labels_for({"run": 2, 0: 1}).tolist() == [1, 1, 0]
    assert classical.sample("run")["spec"].shape == (1, *TWO["spec"])
    assert classical.labels_for({"run": np.int64(2)}).tolist() == [1, 1] == classical.labels_for(torch.ones(2)).tolist()
    assert classical.labels_for(np.int64(1)).tolist() == [1]
    assert same(classical.sample("run", seed=np.int64(3)), classical.sample("run", seed=3))
    for wrong, said in (
        ({}, "one of them"),
        ({"labels": {"run": 10**9}}, r"1,000,000,000 samples need \d+ GB of memory, .* ask for fewer"),
        ({"labels": [["run"], "run"]}, r"\[\"\['run'\]\"\] are none of the data's labels"),
        ({"labels": object()}, "a object holds no labels; give a label for each sample"),
        ({"labels": map(str, range(10**4))}, r"'1014', \.\.\.\] are none of the data's labels \[0, 1\]"),
        ({"labels": [1], "seed": None}, "seed=null: expected an integer >= 0"),
        ({"labels": [0], "n_per_class": 1}, "one of them"),
        ({"n_per_class": 0}, "n_per_class=0: expected an integer >= 1"),
        ({"labels": {"run": -1}}, "number of run=-1: expected an integer >= 0"),
        ({"labels": ["runs"]}, r"\['runs'\] are none of the data's labels"),
        ({"labels": [[0, 1]]}, r"the labels have shape \(1, 2\)"),
        ({"labels": []}, "no labels were given"),
    ):
        with pytest.raises(MmganError, match=said):
            classical.sample(**wrong)


def test_a_number_that_is_another_class_is_no_name():
    """Class 0 is called 1, and 1 is a label."""
    x, y = samples()
    model = mmgan.fit(x, (y == "run").astype(int), "smote", class_names=["1", "2"])
    assert model.labels_for([1]).tolist() == [1] and model.labels_for(["2"]).tolist() == [1]
    with pytest.raises(MmganError, match="none of the data's labels"):
        model.labels_for(["1"])


def test_a_model_is_saved_loaded_and_pickled(trained, classical, tmp_path):
    for model in (mmgan.load(trained / "fitted" / "best.pth"), classical):
        saved = model.save(tmp_path / "deep" / "model.pth")
        for again in (
            mmgan.load(saved),
            mmgan.load(tmp_path / "deep" / "model.pth", fold=0),
            pickle.loads(pickle.dumps(model)),
        ):
            assert same(again.sample(n_per_class=3), model.sample(n_per_class=3))
    given = samples()[0]["spec"][:3]
    assert model.save(tmp_path / "deep" / "model.pth").exists()
    with pytest.raises(MmganError, match="the samples have no modalities"):
        mmgan.load(trained / "fitted").resample(given, ["run"] * 3)
    with pytest.raises(MmganError, match="hold <U"):
        mmgan.load(trained / "fitted").complete({"spec": given.astype(str)}, ["run"] * 3)
    assert mmgan.load(trained / "fitted").complete({"spec": given.tolist()}, ["run"] * 3)["env"].shape == (
        3,
        *TWO["env"],
    )


def test_load_finds_a_fold(tiny, tmp_path, quick):
    for fold in (1, 2):
        cfg = compose("train", "model=smote", f"fold={fold}", path=tiny)
        build.train_fold(cfg, build.load_data(cfg), fold, tmp_path / f"fold{fold}")
    assert mmgan.load(tmp_path, fold=2).recipe["fold"] == 2
    assert mmgan.load(tmp_path / "fold1").recipe["fold"] == 1
    with pytest.raises(MmganError, match="holds models of several folds; give one of them, fold=1, 2"):
        mmgan.load(tmp_path)
    with pytest.raises(MmganError, match="has no model of fold 3; it has fold 1, 2"):
        mmgan.load(tmp_path, fold=3)
    out = synthesize(build.compose("synthesize", [f"ckpt={tmp_path}", f"out={tmp_path / 'a.pkl'}"]))
    with pytest.raises(MmganError, match=r"holds several folds; give one of them, fold=1\|2"):
        mmgan.load_augmented(out)
    x, y, is_synthetic = mmgan.load_augmented(out, 2, part="val")
    entry = read_archive(out)["folds"][1]
    assert not is_synthetic.any() and len(y) == 20
    np.testing.assert_array_equal(x["spec"], read_archive(tiny)["x_train"]["spec"][entry["val_indices"]])
    with pytest.raises(MmganError, match="has no x_test"):
        mmgan.load_augmented(out, 2, part="test")
    with pytest.raises(MmganError, match="part=tset: expected one of train, val, test"):
        mmgan.load_augmented(out, 2, part="tset")
    _check_dataset(out)


def _check_dataset(file: Path):
    data = mmgan.AugmentedDataset(file, fold=1)
    batch, labels, is_synthetic = next(iter(torch.utils.data.DataLoader(data, batch_size=8)))
    assert batch["spec"].shape == (8, *TWO["spec"]) and batch["spec"].dtype == torch.float32
    assert labels.dtype == torch.int64 and is_synthetic.dtype == torch.bool and not is_synthetic.any()
    x, y, _ = mmgan.load_augmented(file, 1)
    assert len(data) == 160 and data[159][2] is True and data.labels == [0, 1, 2, 3]
    assert data[159][1] == y[159] and torch.equal(data[159][0]["env"], torch.from_numpy(x["env"][159]))
    assert len(mmgan.AugmentedDataset(file, fold=1, part="val")) == 20


def test_test_samples_with_and_without_labels(tmp_path):
    x, y = samples(12)
    fold = {"fold": 1, "train_indices": np.arange(8), "val_indices": np.arange(8, 12), "x_synth": x, "y_synth": y}
    file = {"x_train": x, "y_train": y, "x_test": x, "folds": [fold]}
    write_pickle(tmp_path / "without.pkl", file)
    write_pickle(tmp_path / "with.pkl", file | {"y_test": y})
    assert mmgan.load_augmented(tmp_path / "without.pkl", part="test")[1] is None
    found, labels, is_synthetic = mmgan.load_augmented(tmp_path / "with.pkl", part="test")
    assert same(found, x) and np.array_equal(labels, y) and not is_synthetic.any()
    assert mmgan.AugmentedDataset(tmp_path / "with.pkl", part="test").labels == sorted(NAMES)
    with pytest.raises(MmganError, match="does not say the labels of its test samples"):
        mmgan.AugmentedDataset(tmp_path / "without.pkl", part="test")


# -- what users have ------------------------------------------------------------------------------------------------------
def test_a_frame_keeps_its_columns(tmp_path):
    x, y = samples(30)
    frame = pandas.DataFrame(x["env"].reshape(30, -1)[:, :3], columns=["mean", "rms", 7])
    model = mmgan.fit(frame, pandas.Series(y), "smote")
    drawn = model.to_frame(model.sample({"run": 4}))
    assert list(drawn.columns) == ["mean", "rms", "7"] and len(drawn) == 4
    assert list(mmgan.load(model.save(tmp_path / "m.pth")).to_frame(model.sample("run")).columns) == [
        "mean",
        "rms",
        "7",
    ]
    assert model.to_frame(frame).shape == (30, 3)
    other = mmgan.fit(x, pandas.Categorical(y), "smote")
    assert list(other.to_frame(other.sample("run")).columns[[0, 10, 30]]) == ["spec/0/0", "spec/1/0", "env/0/0"]


def test_columns_have_one_order_and_titles_that_tell_them_apart():
    x, y = samples(30)
    frame = pandas.DataFrame(x["env"].reshape(30, -1)[:, :3], columns=["mean", "rms", "mean"])
    model = mmgan.fit({"a": frame, "b": frame, "c": x["env"]}, y, "smote")
    drawn = model.to_frame(model.sample("run"))
    assert list(drawn.columns[:7]) == ["a/mean", "a/rms", "a/mean", "b/mean", "b/rms", "b/mean", "c/0/0"]
    alone = mmgan.fit(frame, pandas.DataFrame({"label": y}), "smote")
    assert list(alone.to_frame(alone.sample("run")).columns) == ["mean", "rms", "mean"]
    assert alone.to_frame(frame.iloc[:0]).shape == (0, 3)
    turned = frame.set_axis(["rms", "mean", "mean"], axis=1)
    for ask in (
        lambda: mmgan.fit(frame, y, "smote", unlabelled=turned),
        lambda: alone.to_frame(turned),
        lambda: mmgan.evaluate((frame, y), (turned, y), (frame, y)),
    ):
        with pytest.raises(MmganError, match=r"has the columns \['rms', .*give the same columns in the same order"):
            ask()


def test_trainings_of_threads_are_those_of_one():
    x, y = samples(30)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(mmgan.fit, x["env"], y, "vae", overrides=FAST, progress=False) for _ in range(3)]
    first, *others = (job.result().sample("run")["x"] for job in jobs)
    assert all((first == other).all() for other in others)


@pytest.mark.parametrize("form", ["list", "tensor", "object labels"])
def test_lists_and_tensors(form):
    x, y = samples(30)
    given = {"list": (x["env"].tolist(), y.tolist()), "tensor": (torch.from_numpy(x["env"]), torch.arange(30) % 3)}
    found = mmgan.fit(*given.get(form, (x["env"], y.astype(object))), "smote")
    assert found.schema.modalities == {"x": TWO["env"]} and found.schema.n_classes == 3


def bad_samples():
    x, y = samples(30)
    broken = x["spec"].copy()
    broken[4, 0, 0] = np.nan
    return {
        "NaN": (broken, y, "x modality 'x' has NaN or infinite values in 1 of 30 samples, the first in sample 4"),
        "unequal": (
            {"a": x["spec"], "b": x["env"][:3]},
            y,
            r"x and y differ in their number of samples \(a 30, b 3, y 30\)",
        ),
        "too few labels": (x, y[:9], "x and y differ in their number of samples"),
        "strings": (x["spec"].astype(str), y, "holds <U.* values; give real numbers"),
        "objects": (x["spec"].astype(object), y, "holds object values; give real numbers"),
        "ragged": ([[1, 2], [3]], [0, 1], "x is no array .* give samples of one shape"),
        "one number each": (np.arange(30), y, r"x modality 'x' has shape \(30,\)"),
        "nothing": ({}, y, "x is no dict of arrays"),
        "text column": (
            pandas.DataFrame({"a": [1.0] * 30, "b": ["u"] * 30}),
            y,
            r"the columns \['b'\] hold no numbers",
        ),
        "labels in columns": (
            x,
            np.eye(30),
            r"y has shape \(30, 30\), one column for each class; give one label a sample",
        ),
        "real labels": (x, np.linspace(0, 1, 30), "y holds numbers that are not whole"),
        "mixed labels": (x, [0, "a"] * 15, "y holds values of the types int, str"),
        "masked": (np.ma.masked_greater(x["spec"], 1.0), y, r"x has \d+ masked value\(s\); leave such samples out"),
        "largest of float32": (np.sign(x["env"]) * np.float32(3e38), y, "has values beyond the range of float32"),
        "less than float32": (
            x["env"].astype(float) * 1e-310,
            y,
            "values that are too small for float32, .* rescale them",
        ),
        "more than float64": (np.arange(60, dtype=np.uint64).reshape(30, 2) + 2**63, y, "which float32 keeps 0 steps"),
        "infinite labels": (
            x,
            np.where(np.arange(30) % 3 == 1, np.inf, 0),
            r"10 missing or infinite label\(s\), the first in sample 1",
        ),
        "no number of a label": (
            x,
            np.where(np.arange(30) % 3 == 1, 1e300, 0),
            r"holds numbers up to 1e\+300, which are no labels",
        ),
        "unsigned labels": (
            x,
            np.arange(30, dtype=np.uint64) % 3 + 2**63,
            "labels beyond those of int64, such as 9223372036854775",
        ),
        "large labels": (x, [10**30 + k % 3 for k in range(30)], "labels beyond those of int64, such as 10000"),
        "null character": (x, ["a", "a\0"] * 15, r"ends with a null character, 'a\\x00'"),
        "missing labels": (x, [None, "a"] * 15, "y holds values of the types NoneType, str"),
        "negative labels": (x, np.arange(30) % 3 - 1, r"y has 10 negative label\(s\)"),
        "one class": (x, ["run"] * 30, "y holds one class, run"),
        "one sample": (x, ["run"] * 29 + ["walk"], "class walk has one sample"),
    }


@pytest.mark.parametrize("case", bad_samples())
def test_samples_that_cannot_be_used(case):
    x, y, said = bad_samples()[case]
    with pytest.raises(ValueError, match=said) as refused:
        mmgan.fit(x, y, "smote")
    assert isinstance(refused.value, MmganError) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "wgan"}, "model=wgan: there is no such choice; choose cgan"),
        ({"model": "robust_classifier"}, "this model makes no samples"),
        ({"overrides": ["model.latent_dim=-3"]}, r"model\.latent_dim=-3: expected an integer >= 1"),
        ({"overrides": ["model.latentdim=3"]}, r"there is no option 'model\.latentdim'"),
        ({"overrides": ["epochs=3"]}, "there is no option 'epochs'"),
        ({"overrides": ["model.sampler.near=3"]}, r"is called 'model\.strength' now"),
        ({"overrides": ["fold=2"]}, "trains on all samples that it is given; leave fold= out"),
        ({"overrides": "seed=2"}, "seed is an argument of fit; give seed= instead"),
        ({"overrides": ["data.path=a.pkl"]}, r"data\.path is an argument of fit; give x and y instead"),
        ({"overrides": ["data.source._target_=os.getcwd"]}, "data.source._target_ is an argument of fit; give x and y"),
        ({"overrides": ["trainer=5"]}, "data, model and other groups take the name of one of their choices"),
        (
            {"overrides": ["model.encoder._target_=os.getcwd"]},
            "_target_=os.getcwd: this does not serve here .TypeError",
        ),
        ({"overrides": None}, "overrides=null cannot be read .* give a list of options"),
        ({"overrides": "'a"}, "overrides='a cannot be read .No closing quotation.; give a list of options"),
        ({"model": None}, "model=null: give the name of one of conf/model/"),
        ({"model": "smote,vae"}, "model=smote,vae: give the name of one of conf/model/"),
        ({"overrides": [3]}, "overrides: 3 is no option"),
        ({"seed": -1}, "seed=-1: expected an integer >= 0"),
        ({"groups": [1, 2]}, r"groups is int64 of shape \(2,\)"),
        ({"unlabelled": np.zeros((4, 3, 10))}, "unlabelled has .* where x has .*; give the same to both"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_that_cannot_be_used(options, said, tmp_path):
    x, y = samples(30)
    with pytest.raises(MmganError, match=said) as refused:
        mmgan.fit(x, y, out_dir=tmp_path / "run", **options)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_a_program_of_hydra_keeps_its_own_configuration():
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().hydra = outer = object()
    try:
        build.compose("train")
        assert GlobalHydra.instance().hydra is outer
    finally:
        GlobalHydra.instance().hydra = None


# -- judging --------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_report_says_what_evaluate_says(tmp_path, monkeypatch):
    monkeypatch.setattr("mmgan.report.judgement.pictures", lambda *shown: [])
    (x, y), heldout = samples(60), samples(80, seed=1)
    options = {"quick": True, "workers": 1, "progress": False}
    report = mmgan.evaluate((x, y), heldout, (x, y), name="copies", **options)
    assert report.verdict.keys() == {"faithful", "new", "useful"} and report.verdict["new"] == "no"
    frame = report.to_frame()
    assert list(frame.index) == ["real", "smote", "copies"] and frame.loc["copies", "novelty50"] == 0
    assert any(finding.startswith("Copies:") for finding in report.findings)
    assert "copies" in str(report) and "new: no" in str(report) and "<b>new: no</b>" in report._repr_html_()
    written = report.save(tmp_path / "sub" / "report.html").read_text()
    assert written.startswith("<!doctype html>") and "mmgan.evaluate: copies" in written
    with pytest.raises(MmganError, match="the report is a page"):
        report.save(tmp_path / "report.pdf")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda pair, x, y: (pair, [pair], [pair, pair]), "differ in their number of folds"),
        (lambda pair, x, y: (x, pair, pair), "the training samples are no pair"),
        (lambda pair, x, y: (pair, pair, (x, ["jump"] * 30)), r"\['jump'\] are none of the data's labels"),
        (lambda pair, x, y: (pair, pair, ({"spec": x["spec"]}, y)), "synthetic has .* where x has .*; give the same"),
        (lambda pair, x, y: (pair, pair, (x, y[:9])), "have 30 of 'spec' but 9 labels"),
    ],
)
def test_samples_that_cannot_be_judged(given, said):
    x, y = samples(30)
    with pytest.raises(MmganError, match=said):
        mmgan.evaluate(*given((x, y), x, y), progress=False)
    with pytest.raises(MmganError, match="ordered: the samples have no modality wave"):
        mmgan.evaluate((x, y), (x, y), (x, y), ordered=["wave"])


def test_an_interrupt_reaches_the_caller_who_can_interrupt_again(monkeypatch):
    """Lightning answers Ctrl-C by ignoring the next one, and by leaving."""
    import signal

    def interrupted(*args, **options):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(1)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("mmgan.training.fit.FoldRun.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mmgan.fit(*samples(), "vae", overrides=FAST, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
