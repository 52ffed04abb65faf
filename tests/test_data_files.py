import io
import os
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest

from mmgan import load_augmented
from mmgan.data.files import read_archive, write_npz, write_pickle
from mmgan.data.pickles import read_npy_dict
from mmgan.errors import MmganError


def content():
    x = {"spec": np.arange(24, dtype=np.float32).reshape(4, 2, 3), "env": np.ones((4, 5), np.float32)}
    fold = {
        "fold": 3,
        "train_indices": np.array([0, 2, 3]),
        "val_indices": np.array([1]),
        "x_synth": {name: rows[:2] + 100 for name, rows in x.items()},
        "y_synth": np.array(["b", "long"]),
        "best_params": {},
        "scores": {"val/score": 0.5},
    }
    y = np.array(["a", "b", "a", "b"])
    meta = {"format": 1, "recipe": {"shape": [2, 3], "name": "vacwgan", "final": True}, "none": None}
    return {"x_train": x, "y_train": y, "x_test": None, "cv_splits": [fold], "folds": [fold], "meta": meta}


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_reads_all_protocols_and_both_numpy_names(tmp_path, protocol, core):
    data = {
        "x_train": {"a": np.ones((2, 3)), "f": np.asfortranarray(np.eye(3)), "e": np.empty((0, 2))},
        "y_train": np.array(["ab", "c"]),
        "n_splits": np.int64(5),
        "scale": np.float32(0.5),
        "plain": [1, (2, None), {"s": {1, 2}}, b"", b"\xff", True],
    }  # fmt: skip
    raw = pickle.dumps(data, protocol)
    written = np.zeros(1).__reduce__()[0].__module__.removesuffix(".multiarray").encode()  # by this numpy
    if protocol < 4:  # later protocols put lengths before names
        raw = raw.replace(written, core)
    elif core != written:
        raw = pickletools.optimize(raw)
        for module in (b".multiarray", b".numeric"):
            old, new = written + module, core + module
            raw = raw.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
        raw = drop_frames(raw)
    assert core + b"." in raw
    file = tmp_path / "data.pkl"
    file.write_bytes(raw)
    read = read_archive(file)
    assert_same(read["x_train"], data["x_train"])
    assert_same(read["y_train"], data["y_train"])
    assert read["n_splits"] == 5 and read["scale"] == np.float32(0.5) and read["plain"] == data["plain"]


def drop_frames(raw):
    """Remove the FRAME opcodes, whose lengths no longer hold after names were replaced."""
    out, position = b"", 0
    while (at := raw.find(b"\x95", position)) >= 0:
        out, position = out + raw[position:at], at + 9
    return out + raw[position:]


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refuses_code_by_name_and_runs_nothing(tmp_path, protocol):
    target = tmp_path / "ran"
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"x_train": Evil(os.system, f"touch {target}")}, protocol))
    with pytest.raises(MmganError, match=rf"evil\.pkl refers to '{os.system.__module__}\.system'.*nothing was run"):
        read_archive(file)
    assert not target.exists()


@pytest.mark.parametrize("name", [b"builtins\neval", b"numpy\nload", b"builtins\ngetattr", b"numpy.core\nmultiarray"])
def test_refuses_other_names_of_allowed_modules(tmp_path, name):
    file = tmp_path / "evil.pkl"
    file.write_bytes(b"c" + name + b"\n.")
    with pytest.raises(MmganError, match="refers to '" + name.decode().replace("\n", ".")):
        read_archive(file)


def raw(**data):
    return pickle.dumps(data)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (None, "there is no file .*data.pkl"),
        (b"", "truncated or empty"),
        (raw(x=np.zeros(999))[:-900], "truncated or empty"),
        (b"hello, world", "no readable pickle"),
        (pickle.dumps([1, 2]), "holds a list, not a dict"),
        (raw(y_train=np.array(["a", None])), r"y_train is an object array; save it with \.astype\(str\)"),
        (raw(x=[{"b": np.array([[], 1], object)}]), "x/0/b is an object array"),
        (b"PK\x03\x04" + b"0" * 99, "not a .npz of arrays"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, written, sentence):
    file = tmp_path / "data.pkl"
    if written is not None:
        file.write_bytes(written)
    with pytest.raises(MmganError, match=sentence):
        read_archive(file)


def test_any_damage_is_a_sentence(tmp_path):
    """Cut a file everywhere and change single bytes: it may read as other data, but never crash."""
    whole = raw(x_train=np.eye(4), y_train=np.array(["a", "b"] * 2), n=np.int64(3))
    damaged = [whole[:end] for end in range(len(whole))]
    rng = np.random.default_rng(0)
    for place, value in zip(rng.integers(0, len(whole), 1000), rng.integers(0, 256, 1000), strict=True):
        damaged.append(whole[:place] + bytes([value]) + whole[place + 1 :])
    file = tmp_path / "data.pkl"
    for number, written in enumerate(damaged):
        file.write_bytes(written)
        try:
            repr(read_archive(file))
        except MmganError as error:
            assert "\n" not in str(error)
        else:
            assert number >= len(whole), "a truncated file was read"


def test_arrays_are_writable_and_keep_order_and_type(tmp_path):
    arrays = {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "be": np.arange(3, dtype=">i2")}
    arrays |= {
        "t": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        "b": np.array([True]),
        "u": np.array(["é", ""]),
    }
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol))
        read = read_archive(tmp_path / "a.pkl")
        assert_same(read, arrays)
        assert all(array.flags.writeable for array in read.values())


def test_refuses_a_folder_and_objects_in_npz(tmp_path):
    with pytest.raises(MmganError, match="cannot be read"):
        read_archive(tmp_path)
    np.savez(tmp_path / "o.npz", y_train=np.array(["a", None]))
    with pytest.raises(MmganError, match=r"y_train is an object array.*astype\(str\)"):
        read_archive(tmp_path / "o.npz")


def test_npy_dict(tmp_path):
    np.save(tmp_path / "d.npy", np.array({"a": [np.ones(3)], "b": ["x"]}, dtype=object))
    assert read_npy_dict(tmp_path / "d.npy")["b"] == ["x"]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    evil = header.getvalue() + pickle.dumps(Evil(os.system, f"touch {tmp_path}/ran"))
    (tmp_path / "e.npy").write_bytes(evil)
    with pytest.raises(MmganError, match="refers to"):
        read_npy_dict(tmp_path / "e.npy")
    np.save(tmp_path / "f.npy", np.ones(3))
    (tmp_path / "g.npy").write_bytes(b"nothing like it")
    for name, sentence in (("f.npy", "does not hold a dict"), ("g.npy", "is not a .npy file")):
        with pytest.raises(MmganError, match=sentence):
            read_npy_dict(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("write", "name"), [(write_pickle, "out.pkl"), (write_npz, "out.npz")])
def test_written_files_read_back_and_are_reproducible(tmp_path, write, name):
    file = tmp_path / "new" / "folder" / name
    write(file, content())
    assert_same(read_archive(file), content())
    first = file.read_bytes()
    write(file, content())
    assert file.read_bytes() == first
    assert os.listdir(file.parent) == [name]


def test_pickle_needs_numpy_only(tmp_path):
    write_pickle(tmp_path / "out.pkl", {**content(), "n_splits": np.int64(5)})
    code = "import pickle, sys; d = pickle.load(open(sys.argv[1], 'rb')); assert type(d['n_splits']) is int; "
    code += "assert not any(m.split('.')[0] in ('mmgan', 'torch', 'omegaconf') for m in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, tmp_path / "out.pkl"], check=True, cwd=tmp_path)


def test_npz_keys(tmp_path):
    write_npz(tmp_path / "out.npz", content())
    with np.load(tmp_path / "out.npz") as members:
        assert {"x_train/spec", "folds/0/x_synth/spec", "meta:json", "y_train"} <= set(members.files)
    with pytest.raises(MmganError, match="cannot hold the key 'a/b' of x_train"):
        write_npz(tmp_path / "bad.npz", {"x_train": {"a/b": np.ones(2)}})


@pytest.mark.parametrize("write", [write_pickle, write_npz])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write):
    file = tmp_path / "out.pkl"
    file.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MmganError, match=r"out\.pkl cannot be written: No space left"):
        write(file, content())
    with pytest.raises(TypeError, match="x_train/spec is a set"):
        write(file, {"x_train": {"spec": {1}}})
    assert os.listdir(tmp_path) == ["out.pkl"] and file.read_bytes() == b"old"


@pytest.mark.parametrize("write", [write_pickle, write_npz])
def test_load_augmented(tmp_path, write):
    write(tmp_path / "out", content())
    x, y, is_synthetic = load_augmented(tmp_path / "out", 3)
    assert y.tolist() == ["a", "a", "b", "b", "long"]
    assert is_synthetic.tolist() == [False] * 3 + [True] * 2
    np.testing.assert_array_equal(x["spec"][:3], content()["x_train"]["spec"][[0, 2, 3]])
    assert x["env"].shape == (5, 5) and (x["env"][3:] == 101).all()
    with pytest.raises(MmganError, match="has no fold 9; it holds 3"):
        load_augmented(tmp_path / "out", 9)
    write(tmp_path / "out", {"x_train": content()["x_train"]})
    with pytest.raises(MmganError, match="holds no synthetic samples"):
        load_augmented(tmp_path / "out", 3)
    write(tmp_path / "out", {"x_synth": content()["x_train"], "y_synth": np.arange(4), "fold": 3})
    with pytest.raises(MmganError, match="has no train_indices, which tells the real samples; give a file of synth"):
        load_augmented(tmp_path / "out", 3)
