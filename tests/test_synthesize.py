"""From checkpoints to a file that plain numpy reads."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import TWO, compose, content, quick_judge, rows_of
from hydra.errors import HydraException

import mmgan
from mmgan.commands import sentences
from mmgan.commands.build import train_fold
from mmgan.commands.synthesize import synthesize, wanted_labels
from mmgan.data import synthetic_file
from mmgan.data.files import read_archive, write_pickle
from mmgan.data.sources.pkl import pkl
from mmgan.errors import MmganError
from mmgan.evaluation.novelty import LeaveOneOut

GAPS = np.array([3, 7, 20, 100])  # the user's labels of the four classes
COUNTS = [50, 25, 15, 10]
ENTRY = {
    "fold", "train_indices", "val_indices", "x_synth", "y_synth", "best_params", "scores", "model", "seed", "training",
}  # fmt: skip


def trained(path, folder, fold, *overrides):
    with quick_judge():
        cfg = compose("train", "trainer.max_epochs=1", *overrides, path=path)
        return train_fold(cfg, pkl(str(path)), fold, folder / f"fold{fold}").folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file with unequal classes, integer labels with gaps, unlabelled test samples, groups and names."""
    y = np.repeat(np.arange(4), COUNTS)
    file = {
        "x_train": rows_of(TWO, y),
        "y_train": GAPS[y],
        "x_test": rows_of(TWO, np.zeros(12)),
        "groups": np.arange(100) % 20,
        "class_names": list("abcd"),
    }
    path = tmp_path_factory.mktemp("data") / "gaps.pkl"
    write_pickle(path, file)
    return path


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A folder of two trained folds."""
    folder = tmp_path_factory.mktemp("runs")
    for fold in (1, 3):
        trained(data, folder, fold)
    return folder


def export(ckpt, out, *overrides):
    return synthesize(compose("synthesize", f"ckpt={ckpt}", f"out={out}", *overrides))


# -- what the file holds ------------------------------------------------------------------------------------------------
def test_a_folder_of_folds_becomes_one_file(runs, data, tmp_path):
    path = synthesize(compose("synthesize", f"ckpt={runs}"))
    assert path == runs / "synthetic.pkl"
    shutil.move(path, tmp_path / "all.pkl")
    file, source = read_archive(tmp_path / "all.pkl"), read_archive(data)
    wanted = {
        "x_train",
        "y_train",
        "x_test",
        "groups",
        "class_names",
        "cv_splits",
        "n_splits",
        "random_state",
        "stratified",
    }
    assert file.keys() == wanted | {"folds", "meta"}
    np.testing.assert_array_equal(file["y_train"], source["y_train"])
    for name in TWO:
        np.testing.assert_array_equal(file["x_train"][name], source["x_train"][name])
        np.testing.assert_array_equal(file["x_test"][name], source["x_test"][name])
    assert file["n_splits"] == len(file["cv_splits"]) == 5 and file["stratified"] is False  # by its groups
    assert [entry["fold"] for entry in file["folds"]] == [1, 3]
    for entry in file["folds"]:
        assert entry.keys() == ENTRY and entry["model"] == "vacwgan" and entry["seed"] == 0
        split = file["cv_splits"][entry["fold"] - 1]
        for side in ("train_indices", "val_indices"):
            np.testing.assert_array_equal(entry[side], split[side])
        assert entry["y_synth"].dtype == np.int64 and entry["scores"]["score"] > 0
        for name, shape in TWO.items():
            assert entry["x_synth"][name].shape == (80, *shape) and entry["x_synth"][name].dtype == np.float32
    assert file["meta"]["format"] == 2 and {"recipe", "versions"} <= file["meta"].keys()
    pkl(str(tmp_path / "all.pkl"))  # a reader of the input reads it, too


def test_near_copies_of_a_trained_generator_are_asked_for(runs, data, tmp_path, monkeypatch):
    class Copied(LeaveOneOut):
        def __call__(self, x, y):
            real = pkl(str(data))
            return super().__call__(real.x_train, real.y_train)  # as if it drew these

    monkeypatch.setattr("mmgan.commands.synthesize.LeaveOneOut", Copied)
    with pytest.raises(
        MmganError, match=r"fold1.best\.ckpt: its samples lie at \.00 of the distance .* or give copies=true to"
    ):
        export(runs / "fold1", tmp_path / "a.pkl")
    assert not list(tmp_path.iterdir())
    assert export(runs / "fold1", tmp_path / "a.pkl", "copies=true").exists()
    copies = trained(data, tmp_path, 2, "model=duplicate")  # whose user asked for them
    assert export(copies, tmp_path / "b.pkl").exists()


def test_by_default_as_many_rows_of_a_class_as_the_fold_has(runs, tmp_path):
    file = read_archive(export(runs / "fold1", tmp_path / "a.pkl"))
    (entry,) = file["folds"]
    np.testing.assert_array_equal(np.sort(entry["y_synth"]), np.sort(file["y_train"][entry["train_indices"]]))


@pytest.mark.parametrize(
    ("overrides", "counts"),
    [
        (["ratio=2"], [80, 40, 24, 16]),
        (["ratio=0.1"], [4, 2, 1, 1]),
        (["n_per_class=3"], [3, 3, 3, 3]),
        (["balance=true"], [0, 20, 28, 32]),
    ],
    ids=str,
)
def test_counts_of_classes(runs, tmp_path, overrides, counts):
    (entry,) = read_archive(export(runs / "fold1" / "best.pth", tmp_path / "a.pkl", *overrides))["folds"]
    assert [(entry["y_synth"] == label).sum() for label in GAPS] == counts
    assert len(entry["x_synth"]["spec"]) == sum(counts)


def test_labels_stand_beside_the_rows_of_their_class(runs, tmp_path):
    (entry,) = read_archive(export(runs / "fold1", tmp_path / "a.pkl", "n_per_class=4"))["folds"]
    for label in GAPS.tolist():
        rows = mmgan.load(runs / "fold1" / "best.ckpt").sample([label] * 4, seed=0)
        for name in TWO:
            np.testing.assert_array_equal(entry["x_synth"][name][entry["y_synth"] == label], rows[name])


@pytest.mark.slow
def test_string_labels_come_back(tmp_path):
    names = np.array(["walk", "run", "rest", "jump"])
    path = tmp_path / "strings.pkl"
    write_pickle(path, content() | {"y_train": names[content()["y_train"]]})
    trained(path, tmp_path, 1)
    out = export(tmp_path / "fold1", tmp_path / "a.pkl", "n_per_class=2")
    x, y, is_synthetic = mmgan.load_augmented(out, 1)
    assert y.dtype.kind == "U" and sorted(y[is_synthetic]) == sorted([*names] * 2)
    model = mmgan.load(tmp_path / "fold1" / "best.ckpt")
    np.testing.assert_array_equal(x["env"][is_synthetic][y[is_synthetic] == "run"], model.sample(["run"] * 2)["env"])


# -- bytes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_same_seed_same_bytes(runs, tmp_path, suffix):
    files = [export(runs, tmp_path / f"{k}.{suffix}", f"seed={seed}").read_bytes() for k, seed in enumerate((0, 0, 1))]
    assert files[0] == files[1] != files[2]


def test_best_pth_and_best_ckpt_give_the_same_rows(runs, tmp_path):
    files = [export(runs / "fold1" / name, tmp_path / f"{name}.pkl").read_bytes() for name in ("best.ckpt", "best.pth")]
    assert files[0] == files[1]


def test_a_list_is_sorted_by_fold(runs, tmp_path):
    a, b = runs / "fold1", runs / "fold3" / "best.pth"
    assert (
        export(f"[{b},{a}]", tmp_path / "a.npz").read_bytes() == export(f"[{a},{b}]", tmp_path / "b.npz").read_bytes()
    )
    assert [entry["fold"] for entry in read_archive(tmp_path / "a.npz")["folds"]] == [1, 3]


def test_numpy_alone_reads_the_file(runs, tmp_path):
    out = export(runs, tmp_path / "a.pkl")
    code = (
        "import pickle, sys\n"
        "for name in ('mmgan', 'torch', 'lightning', 'omegaconf', 'scipy', 'sklearn'):\n    sys.modules[name] = None\n"
        "file = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(file['folds'][0]['x_synth']['spec'].shape, sorted(file['meta']))\n"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", code, str(out)], cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout == "(80, 3, 10) ['format', 'recipe', 'versions']\n", shown.stderr


def test_npz_holds_the_same(runs, tmp_path):
    a, b = (read_archive(export(runs, tmp_path / f"a.{suffix}")) for suffix in ("pkl", "npz"))
    assert a.keys() == b.keys()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as plain:
        np.testing.assert_array_equal(plain["folds/1/x_synth/env"], a["folds"][1]["x_synth"]["env"])
        np.testing.assert_array_equal(plain["y_train"], a["y_train"])
    assert a["meta"] == b["meta"]
    for from_pkl, from_npz in zip(a["folds"], b["folds"], strict=True):
        np.testing.assert_array_equal(from_pkl["y_synth"], from_npz["y_synth"])
        assert from_pkl["scores"] == from_npz["scores"]


def test_load_augmented(runs, data, tmp_path):
    out = export(runs, tmp_path / "a.pkl", "ratio=0.5")
    x, y, is_synthetic = mmgan.load_augmented(out, 3)
    entry = read_archive(out)["folds"][1]
    source = read_archive(data)
    assert is_synthetic.sum() == len(entry["y_synth"]) and (~is_synthetic).sum() == 80
    np.testing.assert_array_equal(x["spec"][~is_synthetic], source["x_train"]["spec"][entry["train_indices"]])
    np.testing.assert_array_equal(y[~is_synthetic], source["y_train"][entry["train_indices"]])
    np.testing.assert_array_equal(x["env"][is_synthetic], entry["x_synth"]["env"])
    with pytest.raises(MmganError, match="no fold 2; it holds 1, 3"):
        mmgan.load_augmented(out, 2)


# -- fewer training samples ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_a_limited_fold(data, tmp_path, suffix):
    folder = trained(data, tmp_path, 2, "model=smote", "data.rows_per_class=10", "final=true")
    out = export(folder, tmp_path / f"a.{suffix}", "ratio=2")
    file, (entry,) = read_archive(out), read_archive(out)["folds"]
    assert entry.keys() == ENTRY | {"extra_indices"}
    assert [(file["y_train"][entry["train_indices"]] == label).sum() for label in GAPS] == [10, 10, 10, 8]
    assert [(entry["y_synth"] == label).sum() for label in GAPS] == [20, 20, 20, 16]
    split = file["cv_splits"][1]
    assert all(each.keys() == {"fold", "train_indices", "val_indices"} for each in file["cv_splits"])
    both = np.r_[entry["train_indices"], entry["extra_indices"]]
    np.testing.assert_array_equal(np.sort(both), split["train_indices"])  # and so disjoint
    np.testing.assert_array_equal(entry["val_indices"], split["val_indices"])
    x, y, is_synthetic = mmgan.load_augmented(out, 2)
    np.testing.assert_array_equal(x["spec"][~is_synthetic], file["x_train"]["spec"][entry["train_indices"]])
    assert len(y) == 38 + 76
    model = mmgan.load(folder / "best.ckpt")
    np.testing.assert_array_equal(model.model.x["env"], file["x_train"]["env"][entry["train_indices"]])


def test_too_few_rows_for_a_score(data, tmp_path):
    folder = trained(data, tmp_path, 1, "model=smote", "data.rows_per_class=1")
    (entry,) = read_archive(export(folder, tmp_path / "a.pkl"))["folds"]
    assert entry["scores"] == {} and len(entry["train_indices"]) == 4


def test_folds_of_different_limits_in_one_file(runs, data, tmp_path):
    folder = trained(data, tmp_path, 2, "model=smote", "data.imbalance_ratio=5")
    entries = read_archive(export(f"[{runs / 'fold1'},{folder}]", tmp_path / "a.pkl"))["folds"]
    assert [("extra_indices" in entry, len(entry["train_indices"]) < 80) for entry in entries] == [
        (False, False),
        (True, True),
    ]


def test_a_checkpoint_older_than_the_limits(runs, tmp_path):
    content = torch.load(runs / "fold1" / "best.pth", weights_only=True)
    for key in ("rows_per_class", "imbalance_ratio"):
        del content["recipe"]["data"][key]
    torch.save(content, tmp_path / "old.pth")
    old, new = (read_archive(export(path, tmp_path / "a.pkl")) for path in (tmp_path / "old.pth", runs / "fold1"))
    assert old["folds"][0].keys() == ENTRY
    np.testing.assert_array_equal(old["folds"][0]["x_synth"]["env"], new["folds"][0]["x_synth"]["env"])


# -- ways to draw -------------------------------------------------------------------------------------------------------
def test_every_sampling_and_its_default(runs, tmp_path):
    drawn = {
        sampling: read_archive(export(runs / "fold1", tmp_path / f"{sampling}.pkl", f"sampling={sampling}"))["folds"][0]
        for sampling in ("null", "density", "prior", "posterior")
    }
    rows = {sampling: entry["x_synth"]["spec"].tobytes() for sampling, entry in drawn.items()}
    assert rows["null"] == rows["posterior"] and len(set(rows.values())) == 3
    assert (
        export(runs / "fold1", tmp_path / "again.pkl", "sampling=posterior").read_bytes()
        == (tmp_path / "posterior.pkl").read_bytes()
    )


def test_given_modalities_are_those_of_training_rows_of_the_class(runs, tmp_path):
    file = read_archive(export(runs / "fold1", tmp_path / "a.pkl", "given=spec", "ratio=1.5"))
    (entry,) = file["folds"]
    real = {row.tobytes(): i for i, row in enumerate(file["x_train"]["spec"])}
    rows = [real[row.tobytes()] for row in entry["x_synth"]["spec"]]
    assert set(rows) <= set(entry["train_indices"]) and (file["y_train"][rows] == entry["y_synth"]).all()
    assert not {row.tobytes() for row in entry["x_synth"]["env"]} & {row.tobytes() for row in file["x_train"]["env"]}
    with pytest.raises(MmganError, match="given=smell: the data have spec, env"):
        export(runs / "fold1", tmp_path / "b.pkl", "given=smell")
    with pytest.raises(MmganError, match="not all of them"):
        export(runs / "fold1", tmp_path / "b.pkl", "given=[spec,env]")


def test_wanted_labels():
    cfg = compose("synthesize", "ckpt=x", "balance=true")
    assert wanted_labels(np.array([0, 0, 0, 2]), 3, cfg).tolist() == [1, 1, 1, 2, 2]


# -- refusals -----------------------------------------------------------------------------------------------------------
REFUSED = {
    "no samples": (["ratio=0"], "ask for no samples"),
    "negative": (["n_per_class=-1"], "ask for no samples"),
    "sampling": (["sampling=magic"], "sampling=magic: .*prior.*density"),
    "no such file": (["ckpt=nowhere"], "ckpt=nowhere: there is no such file"),
    "no data": (["data.path=nowhere.pkl"], "there is no file nowhere.pkl"),
    "not a name": (["out=samples.csv"], "out=samples.csv: the name must end with .pkl or .npz"),
    "under a file": (["out=/dev/null/x.pkl"], "x.pkl cannot be written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said_and_nothing_written(runs, tmp_path, case):
    overrides, sentence = REFUSED[case]
    with pytest.raises((MmganError, HydraException)) as refused:  # the scripts take the sentence out of Hydra's error
        export(runs, tmp_path / "a.pkl", *overrides)
    assert re.search(sentence, sentences.sentence(refused.value))
    assert not list(tmp_path.iterdir())


def test_a_folder_as_out(runs, tmp_path):
    (tmp_path / "a.pkl").mkdir()
    with pytest.raises(MmganError, match=r"a\.pkl cannot be written: it is a folder"):
        export(runs, tmp_path / "a.pkl")


def test_the_file_of_the_data_is_never_written_over(runs, data, tmp_path):
    before = data.read_bytes()
    (tmp_path / "link.pkl").symlink_to(data)
    for out in (data, tmp_path / "link.pkl"):
        with pytest.raises(MmganError, match="this is the file of the data, which would be lost; give another name"):
            export(runs, out)
    assert data.read_bytes() == before


def test_an_existing_file_survives_a_failure(runs, tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"precious")
    with pytest.raises(MmganError, match="sampling=magic"):
        export(runs, tmp_path / "a.pkl", "sampling=magic")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
    assert (tmp_path / "a.pkl").read_bytes() == b"precious"


def test_what_is_no_checkpoint(runs, data, tmp_path):
    (tmp_path / "best.ckpt").write_text("not a checkpoint")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pth")
    for path in (tmp_path, tmp_path / "best.ckpt", tmp_path / "other.pth", data):
        with pytest.raises(MmganError, match=r"best\.ckpt or best\.pth"):
            export(path, tmp_path / "a.pkl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MmganError, match=r"no best\.ckpt there"):
        export(tmp_path / "empty", tmp_path / "a.pkl")


def test_one_fold_twice(runs, tmp_path):
    with pytest.raises(MmganError, match=r"two of the checkpoints are of one fold"):
        export(f"[{runs / 'fold1'},{runs / 'fold1' / 'best.pth'}]", tmp_path / "a.pkl")


def test_other_data_are_refused(runs, data, tiny, tmp_path):
    with pytest.raises(MmganError, match="was trained on other data"):
        export(runs, tmp_path / "a.pkl", f"data.path={tiny}")
    trained(tiny, tmp_path, 2)
    with pytest.raises(MmganError, match="other data than"):
        export(f"[{runs / 'fold1'},{tmp_path / 'fold2'}]", tmp_path / "a.pkl")
    assert not (tmp_path / "a.pkl").exists()


def test_data_that_have_moved(runs, data, tmp_path):
    shutil.copy(data, tmp_path / "moved.pkl")
    a = read_archive(export(runs / "fold1", tmp_path / "a.pkl", f"data.path={tmp_path / 'moved.pkl'}"))
    b = read_archive(export(runs / "fold1", tmp_path / "b.pkl"))
    np.testing.assert_array_equal(a["folds"][0]["x_synth"]["spec"], b["folds"][0]["x_synth"]["spec"])


# -- trainings that have not ended --------------------------------------------------------------------------------------
@pytest.mark.parametrize("left", ["no metrics", "a shorter training that goes on"])
def test_an_unfinished_training_is_exported_only_where_that_is_asked_for(runs, tmp_path, left, capsys):
    folder = shutil.copytree(runs / "fold1", tmp_path / "fold1")
    if left == "no metrics":
        (folder / "metrics.json").unlink()
    else:
        params = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(params.replace("max_epochs: 1", "max_epochs: 9"))
    with pytest.raises(MmganError, match=r"its training has not ended; .*resume=true.*unfinished=true"):
        export(folder, tmp_path / "a.pkl")
    file = read_archive(export(folder, tmp_path / "a.pkl", "unfinished=true"))
    assert file["folds"][0]["unfinished"] is True and "unfinished: the training of" in capsys.readouterr().out
    (entry,) = synthetic_file.read(tmp_path / "a.pkl").entries
    assert synthetic_file.training_of(entry)["unfinished"] is True
    alone = shutil.copy(folder / "best.pth", tmp_path / "alone.pth")  # written at the end, so that it has ended
    assert "unfinished" not in read_archive(export(alone, tmp_path / "b.pkl"))["folds"][0]
