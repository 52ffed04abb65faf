"""Files from strangers: whatever stands in them, there is data or one sentence, in little time and memory."""

import csv
import io
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmgan.data.files import read_archive
from mmgan.data.pickles import as_array
from mmgan.data.sources.images import images
from mmgan.data.sources.pkl import pkl
from mmgan.data.trust import build_source
from mmgan.errors import MmganError
from mmgan.schema import DataSchema
from mmgan.training.predictions import write_predictions

MEGABYTES, SECONDS = 700, 20  # what a file of 2 MB may cost
CHANGED = [
    b"numpy.core.multiarray\n_reconstruct",
    b"numpy.core.numeric\n_frombuffer",
    b"_codecs\nencode",
    b"builtins\nset",
]


def key(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()  # SHORT_BINUNICODE


def claimed(shape, raw, order="<", kind="f8"):
    """Return a pickle of an array whose header says `shape`, and that holds `raw`."""
    dtype = b"cnumpy\ndtype\n" + pickle.dumps((kind, False, True), 2)[2:-1] + b"R"
    dtype += pickle.dumps((3, order, None, None, None, -1, -1, 0), 2)[2:-1] + b"b"
    begun = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    rest = pickle.dumps(shape, 2)[2:-1] + dtype + b"\x89" + b"T" + struct.pack("<I", len(raw)) + raw
    return b"\x80\x02}" + key("x_train") + begun + b"(K\x01" + rest + b"tbs."


def of_one_hash(k):
    return b"\x8a\x0b" + (k * sys.hash_info.modulus).to_bytes(11, "little") + b"N"


def pickles(n):
    """Return hostile pickles of about n bytes, by what they do."""
    shared = b"\x80\x02]q\x00" + b"](h\x00h\x00h\x00eq\x00" * 40 + b"0}U\x01zh\x00s."
    many = b"(" + b"h\x00" * (n // 4) + b"l"
    return {
        "tuples in tuples as a key": b"\x80\x02})" + b"\x85" * n + b"Ns.",
        "tuples in tuples in a set": b"\x80\x04\x8f()" + b"\x85" * n + b"\x90.",
        "tuples in tuples in an older set": b"\x80\x02cbuiltins\nset\n])" + b"\x85" * n + b"a\x85R.",
        "frozensets in frozensets": b"\x80\x04" + b"(" * (n // 2) + b")" + b"\x91" * (n // 2) + b".",
        "lists in lists": b"\x80\x02}U\x01x]" + b"]" * (n // 2) + b"a" * (n // 2) + b"s.",
        "dicts in dicts": b"\x80\x02" + b"}U\x01a" * (n // 5) + b"}" + b"s" * (n // 5) + b".",
        "lists that share each other": shared,
        "a list in itself": b"\x80\x02}U\x01z]q\x00h\x00as.",
        "an array again and again": pickle.dumps(np.zeros(n // 16), 4)[:-1] + b"q\xff" + many.replace(b"h\0", b"h\xff") + b".",
        "a text again and again": b"\x80\x04X" + struct.pack("<I", n // 2) + b"a" * (n // 2) + b"q\x00" + many + b".",
        "numbers of one hash": b"\x80\x02}(" + b"".join(map(of_one_hash, range(1, n // 15))) + b"u.",
        "numbers without end as keys": b"\x80\x02}\x8b" + struct.pack("<i", n // 2) + b"\x01" * (n // 2) + b"q\x00" + b"Nsh\x00" * (n // 8) + b"Ns.",
        "a memo with gaps": b"\x80\x04}r" + struct.pack("<I", 2**31 - 1) + b"s.",
        "bytes of a number": b"\x80\x02}U\x01xc__builtin__\nbytes\nL" + str(4 * 10**9).encode() + b"L\n\x85Rs.",
        "a length that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
        "an array of nothing": claimed((10**9, 4), b""),
        "an array of no length": claimed((0, 10**12), b"", kind="U9"),
        "a type within a byte order": claimed((1,), bytes(8), "(100000000,)f8,"),
        "opening and nothing else": b"\x80\x04" + b"(" * n + b".",
        "empty lists and nothing else": b"\x80\x04" + b"]" * n + b".",
    }  # fmt: skip


@pytest.mark.parametrize("what", pickles(100))
def test_a_hostile_pickle_is_refused_in_one_sentence(tmp_path, what):
    file = tmp_path / "data.pkl"
    file.write_bytes(pickles(40_000)[what])
    with pytest.raises(MmganError, match=r"data\.pkl") as refused:
        pkl(file)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_changes_no_function_that_reads_others(tmp_path, name):
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x04c" + name + b"\nN}" + key("__defaults__") + b"K\x01\x85s\x86b.")
    with pytest.raises(MmganError, match="it changes a function"):
        read_archive(tmp_path / "bad.pkl")


@pytest.mark.parametrize("keys", [["a" * 10_000, 3, -1.5, None, True], [(1, "b"), b"c", np.int64(7), np.str_("d")]])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_keys_of_data_are_kept(tmp_path, keys, protocol):
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"x": dict.fromkeys(keys, 1), "y": set(keys)}, protocol))
    assert read_archive(tmp_path / "data.pkl") == {"x": dict.fromkeys(keys, 1), "y": set(keys)}


def test_a_long_text_among_many_is_told():
    with pytest.raises(MmganError, match=r"y_train holds a text of 100,000 characters among 1,001 values"):
        as_array(["a"] * 1000 + ["b" * 100_000], "y_train")
    assert as_array(["a", "b" * 10_000], "y_train").shape == (2,)


# -- archives -----------------------------------------------------------------------------------------------------------
def zipped(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def bomb(megabytes):
    """Return a .npz that unpacks to so much."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (megabytes, 10**6)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train/a.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(megabytes):
            member.write(bytes(10**6))
    return stream.getvalue()


GOOD = {"x_train/a.npy": npy(np.eye(20, dtype="f4")), "y_train.npy": npy(np.arange(20) % 2)}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_compressed_in_any_way_are_read_and_their_damage_is_told(tmp_path, method):
    file, whole, rng = tmp_path / "data.npz", zipped(GOOD, method), np.random.default_rng(0)
    file.write_bytes(whole)
    assert pkl(file).x_train["a"].shape == (20, 20)
    for place in rng.integers(4, len(whole), 100):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            pkl(file)
        except MmganError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("method", [1, 6, 9, 12, 98, 99])
def test_an_archive_compressed_in_an_unknown_way_is_told(tmp_path, method):
    whole = bytearray(zipped(GOOD))
    whole[8] = whole[whole.find(b"PK\x01\x02") + 10] = method
    (tmp_path / "data.npz").write_bytes(whole)
    with pytest.raises(MmganError, match=r"data\.npz is truncated or not a \.npz of arrays"):
        pkl(tmp_path / "data.npz")


@pytest.mark.parametrize(
    "more",
    [
        {"a/" * 5000 + "x.npy": GOOD["y_train.npy"]},
        {"z:json.npy": npy(np.array("[" * 100_000))},
        {"z:json.npy": npy(np.arange(3))},
        {"y_train/a.npy": GOOD["y_train.npy"]},
        {"z.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31 - 1) + b"{}"},
        {"z.npy": npy(np.eye(3))[:90].replace(b"(3, 3)", b"(3e9,)")},
    ],
)
def test_a_hostile_member_is_told(tmp_path, more):
    (tmp_path / "data.npz").write_bytes(zipped(GOOD | more))
    with pytest.raises(MmganError, match=r"data\.npz"):
        pkl(tmp_path / "data.npz")


def test_what_unpacks_to_far_more_than_its_size_is_refused_unread(tmp_path):
    (tmp_path / "data.npz").write_bytes(bomb(310))
    with pytest.raises(MmganError, match=r"holds 310 MB in a file far smaller; .*numpy\.savez\)"):
        pkl(tmp_path / "data.npz")


@pytest.mark.slow
def test_a_hostile_file_of_2_mb_costs_little_time_and_memory(tmp_path):
    for number, raw in enumerate([*pickles(2 * 10**6).values(), bomb(2000), bomb(290)]):
        (tmp_path / f"{number:02d}.pkl").write_bytes(raw)
    code = """if True:
        import re, sys, time
        from pathlib import Path
        from mmgan.data.sources.pkl import pkl
        from mmgan.errors import MmganError
        for file in sorted(Path(sys.argv[1]).iterdir()):
            begun, said = time.perf_counter(), "read"
            try:
                pkl(file)
            except MmganError as error:
                said = "refused"
            peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]  # not the parent's, as ru_maxrss
            print(file.stem, said, time.perf_counter() - begun, int(peak) / 1024)
    """
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    costs = [line.split() for line in ended.stdout.splitlines()]
    assert len(costs) == len(pickles(100)) + 2, ended.stderr
    assert all(float(seconds) < SECONDS and float(megabytes) < MEGABYTES for _, _, seconds, megabytes in costs), costs


# -- images -------------------------------------------------------------------------------------------------------------
def folder_of(tmp_path, raw):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("L", (16, 16), 90).save(tmp_path / "set" / name / "0.png")
    (tmp_path / "set" / "a" / "1.png").write_bytes(raw)
    return str(tmp_path / "set")


def png(**more):
    stream, chunks = io.BytesIO(), PngImagePlugin.PngInfo()
    chunks.add_text("Comment", "x" * 100_000, zip=True)
    Image.new("RGB", (16, 16)).save(stream, "PNG", pnginfo=chunks, **more)
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(%pipe%touch ran) (w) file\nshowpage\n"
WMF = b"\xd7\xcd\xc6\x9a" + bytes(2) + struct.pack("<4hH", 0, 0, 16, 16, 72) + bytes(6) + b"\x01\x00\t\x00" + bytes(30)


@pytest.mark.parametrize(
    "raw",
    [EPS, WMF, b"", png()[:60], png().replace(struct.pack(">II", 16, 16), struct.pack(">II", 100_000, 100_000))],
)
def test_what_is_called_an_image_and_is_none_is_told_and_starts_no_program(tmp_path, monkeypatch, raw):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: pytest.fail("a program was started"))
    with pytest.raises(MmganError, match=r"1\.png cannot be read as an image; repair or remove it"):
        images(folder_of(tmp_path, raw), image_size=16, cache=str(tmp_path / "cache"))


def test_text_in_an_image_is_passed_over_and_a_damaged_cache_is_made_anew(tmp_path):
    folder, cache = folder_of(tmp_path, png()), tmp_path / "cache"
    read = images(folder, image_size=16, cache=str(cache))
    assert (read.x_train["image"][0] == 90).all() and not read.x_train["image"][1].any()
    whole = read.fingerprint()
    (kept,) = cache.iterdir()
    for damage in (kept.read_bytes()[:200], b"", npy(np.zeros(3))):
        kept.write_bytes(damage)
        assert images(folder, image_size=16, cache=str(cache)).fingerprint() == whole


# -- what a file names as its data ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "source",
    [
        {"_target_": "mmgan.data.sources.pkl.pkl", "_partial_": True},
        {"_target_": "mmgan.data.sources.pkl.pkl", "nonsense": 1},
        {"_target_": "mmgan.data.sources.pkl.pkl", "path": 3},
        {"_target_": "mmgan.data.sources.pkl.pkl", "path": "a\0b"},
        {"_target_": "mmgan.data.sources.pkl.pkl", "path": "/dev/zero"},
        {"_target_": "mmgan.data.sources.pkl.pkl", "path": "a" * 5000},
        {},
        None,
    ],
)
def test_a_source_that_makes_no_data_set_is_told(source):
    with pytest.raises(MmganError) as refused:
        build_source(source, "it.pkl")
    assert str(refused.value).isprintable()


def test_a_table_has_names_and_labels_as_the_data_have_them(tmp_path):
    names = ("=1+1", "@SUM(1)", "-2+cmd|' /C calc'!A0", 'a,"b"\r\n', "\tx", "\x1b[31m", "'", "\r")
    schema, path = DataSchema({"x": (2,)}, names, names), tmp_path / "predictions.csv"
    write_predictions(path, schema, [{"net": np.eye(8)}], origin={"file": names})
    with open(path, newline="", encoding="utf-8") as stream:
        columns, *rows = csv.reader(stream)
    assert tuple(columns[5:13]) == tuple(f"p_{name}" for name in names)
    assert [(row[1], row[2]) for row in rows] == [(name, name) for name in names]
