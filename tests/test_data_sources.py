import dataclasses
import importlib.util
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from scipy.spatial.distance import cdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

from mmgan.data.dataset import Dataset
from mmgan.data.description import description, oddities
from mmgan.data.files import read_archive, write_npz, write_pickle
from mmgan.data.folds import Fold, make_folds
from mmgan.data.pickles import read_npy_dict
from mmgan.data.sources.bearing import CLASS_NAMES, bearing, class_counts, envelope_spectrum, fault_orders
from mmgan.data.sources.linear2d import COVARIANCE, linear2d
from mmgan.data.sources.pkl import pkl
from mmgan.data.sources.watch import watch
from mmgan.errors import MmganError
from mmgan.schema import DataSchema


@pytest.fixture(scope="module")
def recorded():
    return watch()


@pytest.fixture(scope="module")
def simulated():
    return bearing()


def check_dataset(data):
    assert data.schema.check_samples(data.x_train) == len(data) == len(data.y_train)
    assert data.y_train.dtype == np.int64
    assert set(data.y_train) == set(range(data.schema.n_classes))
    for x in filter(None, (data.x_train, data.x_test)):
        data.schema.check_samples(x)
        assert list(x) == list(data.schema.modalities)
        assert all(rows.dtype == np.float32 and np.isfinite(rows).all() for rows in x.values())


# --- linear2d


def test_points_of_a_plane_have_the_mean_and_the_covariance_that_the_map_gives_them():
    data = linear2d(n_train=200_000, n_test=10)
    check_dataset(data)
    points = data.x_train["xy"].astype(float)
    np.testing.assert_allclose(points.mean(0), [1, 2], atol=0.02)
    # Of z A: columns of A are (1, -.1) and (2, .5).
    np.testing.assert_allclose(np.cov(points.T), [[1.01, 1.95], [1.95, 4.25]], atol=0.05)
    np.testing.assert_allclose(COVARIANCE, [[1.01, 1.95], [1.95, 4.25]])
    assert data.x_test["xy"].shape == (10, 2) and linear2d(n_test=0).x_test is None


def test_points_repeat_and_draws_differ():
    assert linear2d().fingerprint() == linear2d().fingerprint() != linear2d(draw=1).fingerprint()
    with pytest.raises(MmganError, match="n_train=0"):
        linear2d(n_train=0)


# --- watch


def test_watch_has_the_users_shapes(recorded):
    check_dataset(recorded)
    assert recorded.schema.modalities == {"spec": (7, 48), "env": (5, 32)}
    assert recorded.schema.class_names == ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
    assert len(recorded) == 860 and len(recorded.y_test) == len(recorded.x_test["env"]) == 1140
    assert set(recorded.groups) == set(range(1, 11))


def test_watch_follows_the_recipe(recorded):
    """Derive one window's features again, by definition and by hand."""
    file = os.path.join(os.path.dirname(importlib.util.find_spec("seglearn").origin), "data", "watch_dataset.npy")
    raw = read_npy_dict(file)
    window = raw["X"][5][96:192]  # (96, 6): the second window of a recording
    signals = np.column_stack([window, np.sqrt((window[:, :3] ** 2).sum(1))])
    centred = signals - signals.mean(0)
    time = np.arange(96)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / 95)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(1, 49), time) / 96)
    spec = np.log1p(np.abs(basis @ (centred * hann[:, None]))).T
    gyro = np.sqrt((window[:, 3:] ** 2).sum(1))
    five = np.column_stack([centred[:, :3], centred[:, 6], gyro - gyro.mean()])
    spectrum = np.fft.fft(five, axis=0)
    spectrum[1:48] *= 2
    spectrum[49:] = 0
    env = np.abs(np.fft.ifft(spectrum, axis=0)).reshape(32, 3, 5).mean(1).T
    both = [np.concatenate([recorded.x_train[name], recorded.x_test[name]]) for name in ("spec", "env")]
    labels = np.concatenate([recorded.y_train, recorded.y_test])
    for data in (watch(1), watch(2), watch(3)):  # one draw leaves every fifth window out
        both = [
            np.concatenate([b, data.x_train[n], data.x_test[n]]) for b, n in zip(both, ("spec", "env"), strict=True)
        ]
        labels = np.concatenate([labels, data.y_train, data.y_test])
    at = np.abs(both[0] - spec).max((1, 2)).argmin()
    np.testing.assert_allclose(both[0][at], spec, atol=1e-4)
    np.testing.assert_allclose(both[1][at], env, atol=1e-4)
    assert labels[at] == raw["y"][5]


def test_watch_draws_differ_and_repeat(recorded):
    assert watch(0).fingerprint() == recorded.fingerprint() != watch(1).fingerprint()
    train = {row.tobytes() for row in recorded.x_train["spec"]}
    assert len(train) == 860 and not train & {row.tobytes() for row in recorded.x_test["spec"]}


@pytest.mark.slow
def test_watch_may_be_tested_on_subjects_that_do_not_train(recorded):
    held_out = []
    for draw in range(5):
        data, recordings = watch(draw, test="group"), watch(draw, "recording", test="group")
        check_dataset(data)
        assert len(data) == 860 and len(set(data.groups)) == 6 and 800 < len(data.y_test) <= 1140
        held_out.append(set(data.test_groups))
        assert len(held_out[-1]) == 4 and not held_out[-1] & set(data.groups)
        assert not set(recordings.test_groups) & set(recordings.groups)
        assert np.abs(np.bincount(data.y_train) / 860 - np.bincount(recorded.y_train) / 860).max() < 0.02
        np.testing.assert_array_equal(data.x_test["env"], recordings.x_test["env"])
    assert sorted(subject for four in held_out for subject in four) == sorted([*range(1, 11)] * 2)
    everything = {row.tobytes() for values in (data.x_train["spec"], data.x_test["spec"]) for row in values}
    assert len(everything) == 860 + len(data.y_test)
    assert watch(7, test="group").fingerprint() != watch(2, test="group").fingerprint() != watch(2).fingerprint()


@pytest.mark.slow
def test_watch_does_not_import_seglearn_and_says_where_to_get_it(monkeypatch):
    code = "import sys; from mmgan.data.sources.watch import watch; watch()"
    code += "; assert 'seglearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setattr("mmgan.data.sources.watch.find_spec", lambda name: None)
    with pytest.raises(MmganError, match="pip install seglearn"):
        watch()


# --- bearing


def test_bearing_has_the_users_shapes_and_overlapping_classes(simulated):
    check_dataset(simulated)
    assert simulated.schema.modalities == {"spec": (7, 48), "env": (5, 32)}
    assert simulated.schema.class_names == CLASS_NAMES and len(CLASS_NAMES) == 10
    assert all((rows >= 0).all() for rows in simulated.x_train.values())
    train, test = (
        np.hstack([rows.reshape(len(rows), -1) for rows in x.values()]) for x in (simulated.x_train, simulated.x_test)
    )
    forest = RandomForestClassifier(100, random_state=0).fit(train, simulated.y_train)
    assert 0.75 < f1_score(simulated.y_test, forest.predict(test), average="macro") < 0.97


def test_bearing_windows_of_a_recording_are_near_duplicates(simulated):
    rows = simulated.x_train["spec"].reshape(860, -1)
    distance = cdist(rows, rows)
    same_class = simulated.y_train[:, None] == simulated.y_train
    same_group = simulated.groups[:, None] == simulated.groups
    assert not (same_group & ~same_class).any()
    np.fill_diagonal(same_group, False)
    assert np.median(distance[same_group]) < 0.6 * np.median(distance[same_class & ~same_group])


def test_bearing_repeats_and_draws_differ():
    one, same, other = bearing(60, 0), bearing(60, 0), bearing(60, 0, draw=1)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert one.x_test is None and one.y_test is None


def test_fault_frequencies_obey_the_geometry():
    orders = fault_orders()
    assert orders["inner"] + orders["outer"] == pytest.approx(13)  # rollers that pass a ring or the other in a turn
    assert orders["outer"] == pytest.approx(13 * orders["cage"])
    spin = (38.5 + 7.5) / 7.5 * orders["cage"]  # a roller rolls off the outer raceway without slip
    assert orders["roller"] == pytest.approx(2 * spin)


def test_envelope_spectrum_finds_the_modulation():
    """A carrier of 3 kHz, modulated by 50 Hz, has one line in the second band, at 50 Hz."""
    time = np.arange(4096) / 20480
    signal = (1 + 0.5 * np.cos(2 * np.pi * 50 * time)) * np.cos(2 * np.pi * 3000 * time)
    env = envelope_spectrum(np.fft.rfft(signal)[None])[0]
    assert env.shape == (5, 32)
    band, point = np.unravel_index(env.argmax(), env.shape)
    assert band == 1 and 5 + point * 195 / 31 == pytest.approx(50, abs=6.3)
    assert env[[0, 2, 3, 4]].max() < 1e-3


@pytest.mark.parametrize(("n", "imbalance"), [(860, 1), (1000, 10), (10, 50), (11, 1)])
def test_class_counts(n, imbalance):
    counts = class_counts(n, imbalance)
    assert counts.sum() == n and counts.min() >= 1
    if n == 1000:
        assert counts[0] / counts[-1] == pytest.approx(10, rel=0.05)
        np.testing.assert_allclose(counts[1:] / counts[:-1], 10 ** (-1 / 9), rtol=0.05)


def test_bearing_imbalance_and_impossible_numbers():
    data = bearing(200, 100, imbalance=5.0)
    np.testing.assert_array_equal(np.bincount(data.y_train), class_counts(200, 5.0))
    for name, value in (("n_train", 9), ("n_test", -1), ("imbalance", 0.5)):
        with pytest.raises(MmganError, match=f"^{name}={value}: expected an? "):
            bearing(**{name: value})


# --- pkl


def good(n=30, **changes):
    rng = np.random.default_rng(0)
    x = {"spec": rng.random((n, 7, 4)), "env": rng.random((n, 3))}
    data = {"x_train": x, "y_train": np.arange(n) % 3, "x_test": {k: v[:4] for k, v in x.items()}}
    return {key: value for key, value in {**data, **changes}.items() if value is not None}


def saved(tmp_path, data):
    file = tmp_path / "data.pkl"
    file.write_bytes(pickle.dumps(data))
    return file


def test_pkl_reads_any_modalities(tmp_path):
    data = good(groups=np.repeat(["u", "v", "w"], 10), n_splits=5, random_state=1024, stratified=True)
    data["cv_splits"] = [{"train_indices": np.arange(20), "val_indices": np.arange(20, 30), "fold": 1}]
    data["class_names"] = ["good", "fair", "bad"]
    read = pkl(saved(tmp_path, data))
    check_dataset(read)
    assert read.schema.modalities == {"spec": (7, 4), "env": (3,)}
    np.testing.assert_array_equal(read.x_train["spec"], data["x_train"]["spec"].astype(np.float32))
    assert read.schema.labels == (0, 1, 2) and read.schema.class_names == ("good", "fair", "bad")
    assert read.groups.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert read.passthrough["n_splits"] == 5 and len(make_folds(read, "file")) == 1


def test_pkl_reads_a_bare_array_and_optional_keys_may_be_none(tmp_path):
    data = {"x_train": np.ones((6, 5), np.int16), "y_train": [0, 1] * 3, "x_test": None, "cv_splits": None}
    read = pkl(saved(tmp_path, data))
    check_dataset(read)
    assert read.schema.modalities == {"x": (5,)} and read.x_test is None and read.splits is None


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([2, 7, 7, 5] * 5), (2, 5, 7)),
        (np.array(["ok", "bad", "ok", "worn"] * 5), ("bad", "ok", "worn")),
        (np.array([0, 1, 1, 2] * 5, np.uint8), (0, 1, 2)),
    ],
)
def test_pkl_maps_labels_and_back(tmp_path, labels, names):
    read = pkl(saved(tmp_path, {"x_train": np.ones((20, 2)), "y_train": labels}))
    check_dataset(read)
    assert read.schema.labels == names and all(type(label) in (int, str) for label in read.schema.labels)
    np.testing.assert_array_equal(np.array(read.schema.labels)[read.y_train], labels)


@pytest.mark.parametrize("write", [write_pickle, write_npz])
def test_pkl_reads_an_export(tmp_path, write):
    data = good(y_train=np.array(["a", "b", "c"] * 10))
    fold = {"fold": 2, "train_indices": np.arange(20), "val_indices": np.arange(20, 30)}
    exported = {
        **data,
        "cv_splits": [fold],
        "folds": [{**fold, "x_synth": data["x_test"]}],
        "meta": {"format": 1},
    }
    write(tmp_path / "export", exported)
    assert "folds" in read_archive(tmp_path / "export")
    read, original = pkl(tmp_path / "export"), pkl(saved(tmp_path, {**data, "cv_splits": [fold]}))
    assert read.fingerprint() == original.fingerprint() and read.schema == original.schema
    edited = {**fold, "train_indices": np.arange(19)}
    assert pkl(saved(tmp_path, {**data, "cv_splits": [edited]})).fingerprint() != original.fingerprint()
    assert [entry["fold"] for entry in read.splits] == [2]


def with_value(value, modality="spec", key="x_train"):
    data = good()
    data[key][modality] = data[key][modality].copy()
    data[key][modality][[1, 3]] = value
    return data


def with_rows(rows, modality="spec"):
    data = good()
    data["x_train"][modality] = rows
    return data


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (good(x_train=None), r"has no key 'x_train'.*has x_test, y_train\."),
        (good(y_train=None), r"has no key 'y_train'.*data\.labelled=false"),
        (good(x_train={}), "x_train is no dict of arrays"),
        (good(x_train=[1]), "x_train is no dict of arrays"),
        (with_rows(np.ones((30, 2)), "a.b"), "modality called 'a.b'"),
        (with_rows(np.ones((29, 2))), r"x_train and y_train differ .*\(spec 29, env 30, y_train 30\)"),
        (good(y_train=np.zeros(31, int)), "spec 30, env 30, y_train 31"),
        (
            with_value(np.nan),
            "x_train modality 'spec' has NaN or infinite values in 2 of 30 samples, the first in sample 1",
        ),
        (with_value(-np.inf, "env"), "x_train modality 'env' has NaN or infinite values in 2 of 30 samples"),
        (with_value(np.nan, "env", "x_test"), "x_test modality 'env' has NaN"),
        (with_value(1e39), "'spec' has values beyond the range of float32 in 2 of 30 samples.*rescale"),
        (with_rows(np.ones((30, 2), complex)), "'spec' holds complex128 values"),
        (with_rows(np.ones(30)), r"'spec' has shape \(30,\)"),
        (with_rows(np.ones((30, 2, 2, 2, 2))), r"'spec' has shape \(30, 2, 2, 2, 2\)"),
        (with_rows(np.ones((0, 7, 4))), r"'spec' is empty, of shape \(0, 7, 4\)"),
        (with_rows(np.ones((30, 0, 4))), r"'spec' is empty, of shape \(30, 0, 4\)"),
        (with_rows([[1.0], [1.0, 2.0]]), "'spec' is ragged"),
        (
            good(y_train=np.arange(30) / 4),
            "y_train holds numbers that are not whole, such as 0.25: mmgan takes classes",
        ),
        (good(y_train=[1, "a", 2] * 10), "y_train has the label 1 among texts, which numpy would change"),
        (good(y_train=["a", "a\0", "b"] * 10), r"y_train has the label 'a\\x00' among texts"),
        (good(y_train=np.full(30, np.nan)), "y_train holds 30 missing or infinite label"),
        (good(y_train=np.tile([[1, 1, 0], [0, 1, 0]], (15, 1))), "samples of several labels.*one label a sample"),
        (
            good(y_train=np.arange(60).reshape(30, 2)),
            r"y_train has shape \(30, 2\); give one label a sample, \(samples,\)\.",
        ),
        (
            with_rows(1e5 + 1e-3 * np.arange(60.0).reshape(30, 2)),
            r"'spec' has 2 of 2 values that vary little .* subtract a constant",
        ),
        (with_rows(10**9 + np.arange(60).reshape(30, 2)), "float32 keeps 1 steps: subtract a constant .*1000000000"),
        (good(y_train=np.arange(30) % 3 - 1), "y_train has 10 negative label.*such as -1"),
        (good(y_train=np.array([b"a"] * 30)), r"y_train holds .*\.astype\(str\)"),
        (good(y_train=np.eye(30)), r"y_train has shape \(30, 30\).*argmax"),
        (good(y_train=np.array(["a"] * 30, object)), r"y_train is an object array.*astype\(str\)"),
        (good(class_names=["a", "b"]), "class_names has 2 name.*3 different labels"),
        (good(groups=np.arange(29)), r"groups is int64 of shape \(29,\).*\(30,\)"),
        (good(groups=np.ones(30)), "groups is float64"),
        (good(x_test={"spec": np.ones((2, 7, 4))}), "x_test has .* where x_train has"),
        (
            good(x_test={"spec": np.ones((2, 7, 5)), "env": np.ones((2, 3))}),
            "x_test has .* where x_train has",
        ),
        (good(x_test={"spec": np.ones((2, 7, 4)), "env": np.ones((3, 3))}), "modalities of x_test differ"),
        (
            good(cv_splits=[{"train_indices": [0], "val_indices": [99], "fold": 1}]),
            "val_indices points outside",
        ),
    ],
)
def test_pkl_says_what_is_wrong(tmp_path, data, sentence):
    with pytest.raises(MmganError, match=sentence) as caught:
        pkl(saved(tmp_path, data))
    assert str(caught.value).startswith(str(tmp_path / "data.pkl")) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels", [(np.arange(30) % 3)[:, None], np.arange(30) % 3 * 1.0, (np.arange(30) % 3).astype("float32")[:, None]]
)
def test_labels_as_people_have_them_are_read(tmp_path, labels):
    assert (pkl(saved(tmp_path, good(y_train=labels))).y_train == np.arange(30) % 3).all()


def test_keys_are_read_in_any_case(tmp_path):
    data = good()
    np.savez(tmp_path / "data.npz", X_train=data["x_train"]["env"], Y_TRAIN=data["y_train"])
    assert pkl(tmp_path / "data.npz").schema.modalities == {"x": (3,)}


def test_a_large_offset_of_single_values_does_no_harm_where_float32_keeps_it(tmp_path):
    for rows in (
        np.arange(60).reshape(30, 2),
        1e-13 * np.arange(60.0).reshape(30, 2),
        1e3 + np.arange(60.0).reshape(30, 2),
    ):
        assert len(pkl(saved(tmp_path, with_rows(rows) | {"x_test": None}))) == 30


# -- what is told of a data set -----------------------------------------------------------------------------------------
def described(x, y=None, groups=None):
    x = {name: np.asarray(values, np.float32) for name, values in x.items()}
    n = len(next(iter(x.values())))
    y = np.arange(n) % 2 if y is None else y
    k = int(y.max()) + 1
    schema = DataSchema(
        {name: values.shape[1:] for name, values in x.items()}, tuple(range(k)), tuple("abcdefghij"[:k])
    )
    return Dataset(schema, x, y, groups=groups)


def test_what_was_read_is_one_line():
    rng = np.random.default_rng(0)
    data = described({"spec": rng.random((30, 7, 48)), "rpm": rng.random((30, 1)), "image": rng.random((30, 3, 8, 9))})
    assert (
        description(data)
        == "30 samples, 2 classes (15 each), spec 7 channels x 48, rpm 1 value, image 3 channels x 8 x 9"
    )
    assert oddities(data, Fold(1, np.arange(20), np.arange(20, 30))) == []


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((100, 6), r"acc \(100, 6\) is read as 100 channels of 6 places: .*transpose\(0, 2, 1\)"),
        ((7, 48, 1), r"one value along its last axis: .*array\[..., 0\].*7 channels x 48"),
        ((32, 32, 3), r"colours come last .*transpose\(0, 3, 1, 2\)"),
        ((1, 100_000), "100000 values a sample: shorter windows"),
    ],
)
def test_an_odd_shape_is_told(shape, said):
    x = np.random.default_rng(0).random((22, *shape), np.float32)
    (told,) = oddities(described({"acc": x}), Fold(1, np.arange(11), np.arange(11, 22)))
    assert re.search(said, told)


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("=1+1", True), ("@SUM(1)", True), ("-2+cmd|' /C calc'!A0", True), ("-5dB", False), ("+g", False)],
)
def test_a_class_that_is_a_formula_to_a_spreadsheet_is_told(name, is_told):
    data = described({"x": np.random.default_rng(0).random((30, 3))})
    data = dataclasses.replace(data, schema=dataclasses.replace(data.schema, class_names=("a", name)))
    assert ["formula" in each for each in oddities(data, Fold(1, np.arange(20), np.arange(20, 30)))] == [True] * is_told


@pytest.mark.parametrize(
    ("names", "alike"), [(("e\u0301", "\xe9"), True), (("Run", "run"), True), (("run", "rung"), False)]
)
def test_class_names_that_look_alike_are_told(names, alike):
    data = described({"acc": np.random.default_rng(0).random((30, 4))})
    data = dataclasses.replace(data, schema=dataclasses.replace(data.schema, class_names=names))
    told = oddities(data, Fold(1, np.arange(20), np.arange(20, 30)))
    assert ["look alike: if they are one" in each for each in told] == [True] * alike


def test_small_classes_copies_constants_and_shared_groups_are_told():
    x, y = np.random.default_rng(0).random((40, 3)), np.repeat([0, 1], [35, 5])
    x[30:] = x[:10]
    data = described({"x": x, "one": np.ones((40, 2))}, y, np.arange(40) // 4)
    told = "\n".join(oddities(data, Fold(2, np.arange(30), np.arange(30, 40))))
    for said in (
        "one is the same in all",
        "class b (5)",
        "10 samples of 40 equal",
        "10 equal samples have different",
        "1 group of 10 lie",
    ):
        assert said in told


def test_rows_without_labels_are_of_one_class(tmp_path):
    write_pickle(tmp_path / "bare.pkl", {"x_train": {"spec": np.ones((30, 2, 3))}})
    data = pkl(tmp_path / "bare.pkl", labelled=False)
    assert data.schema.labels == (0,) and not data.y_train.any() and len(data.y_train) == 30
    write_pickle(tmp_path / "both.pkl", good(class_names=None))
    assert pkl(tmp_path / "both.pkl", labelled=False).schema.n_classes == 1


def test_pkl_needs_a_path(tmp_path):
    with pytest.raises(MmganError, match=r"give data\.path=FILE"):
        pkl()
    with pytest.raises(MmganError, match="there is no file"):
        pkl(tmp_path / "nothing.pkl")


# --- configs


@pytest.mark.parametrize("name", ["watch", "bearing", "pkl"])
def test_configs_make_their_data(tmp_path, name):
    folder = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "conf"))
    changes = {
        "pkl": [f"data.path={saved(tmp_path, good())}"],
        "bearing": ["data.n_train=40", "data.n_test=20"],
    }
    with initialize_config_dir(folder, version_base=None):
        config = compose(overrides=[f"+data={name}", *changes.get(name, [])]).data
    assert {"split", "n_splits", "inner_val", "batch_size", "steps_per_epoch"} <= set(config)
    assert config.split == {"watch": "stratified", "bearing": "group", "pkl": "file"}[name]
    check_dataset(instantiate(config.source))
