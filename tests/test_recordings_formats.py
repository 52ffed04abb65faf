"""Each format of recordings, read back from files that the tests write."""

import importlib.util
import io
import struct
import wave
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat, wavfile

from mmgan.data.recordings import formats, matlab, text
from mmgan.data.recordings.faults import Faults
from mmgan.data.recordings.formats import READERS, read_recording
from mmgan.data.recordings.listing import labelled_items, list_items
from mmgan.data.recordings.recording import Recording
from mmgan.data.recordings.windows import Recipe, windows_of
from mmgan.errors import MmganError

SIGNAL = np.round(np.sin(np.arange(40) / 3), 4)


def values(recording: Recording) -> dict[str, np.ndarray]:
    return {name: (channel - recording.offset) * recording.scale for name, channel in recording.channels.items()}


def check(recording: Recording, **expected: np.ndarray) -> None:
    found = values(recording)
    assert list(found) == list(expected)
    for name, signal in expected.items():
        np.testing.assert_allclose(found[name], signal, atol=1e-4)


# -- text ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "encoding", "separator", "decimal", "header", "names"),
    [
        ("a.csv", "utf-8", ",", ".", ["x", "y"], ["x", "y"]),
        ("a.csv", "utf-8-sig", ";", ",", ["x", "y"], ["x", "y"]),
        ("a.csv", "gb18030", ",", ".", ["振动", "转速"], ["振动", "转速"]),
        ("a.csv", "utf-16", ";", ",", ["Länge", "Höhe"], ["Länge", "Höhe"]),
        ("a.csv", "utf-16-le", ";", ",", ["x", "y"], ["x", "y"]),
        ("a.tsv", "utf-8", "\t", ",", ["x", "y"], ["x", "y"]),
        ("a.txt", "utf-8", "  ", ".", None, ["ch0", "ch1"]),
        ("a.csv", "utf-8", ",", ".", None, ["ch0", "ch1"]),
    ],
)
def test_tables_of_any_spelling(tmp_path, name, encoding, separator, decimal, header, names):
    lines = [separator.join(f"{v:.4f}".replace(".", decimal) for v in row) for row in zip(SIGNAL, -SIGNAL, strict=True)]
    lines = ["made by a device", "", separator.join(header), *lines] if header else lines
    (tmp_path / name).write_bytes("\r\n".join(lines).encode(encoding))
    recording = read_recording(tmp_path / name)
    check(recording, **dict(zip(names, (SIGNAL, -SIGNAL), strict=True)))
    assert recording.note == ("" if encoding.startswith("utf-8") else f"encoding {encoding}") and recording.rate is None


def test_one_column_with_decimal_commas_and_one_of_times(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"{v:.4f}".replace(".", ",") for v in SIGNAL[1:]) + "\n-1,5e-1\n")
    with pytest.raises(MmganError, match=r"a\.txt: its commas could be decimal signs or part two columns"):
        read_recording(tmp_path / "a.txt")
    pd.DataFrame({"time [s]": np.arange(40) / 500, "x": SIGNAL}).to_csv(tmp_path / "t.csv", index=False)
    recording = read_recording(tmp_path / "t.csv")
    check(recording, x=SIGNAL)
    assert recording.rate == 500


ROWS = "".join(f"{k * 0.5:.1f},{k}.5\n" for k in range(40))


@pytest.mark.parametrize(
    ("head", "names", "rate"),
    [
        ("t,x\n[s],[g]\n", ["x [g]"], 2.0),
        ("time,x\n[ms],\n", ["x"], 2000.0),
        ('"time [µs]","x, y"\n', ["x, y"], 2e6),
        ('"t","two\nlines"\n', ['lines"'], None),
        ("uneven,\n", ["uneven", "ch1"], None),
    ],
)
def test_names_with_units_quotes_and_line_breaks(tmp_path, head, names, rate):
    (tmp_path / "a.csv").write_text(head + ROWS, encoding="utf-8")
    recording = read_recording(tmp_path / "a.csv")
    assert all(len(channel) == 40 for channel in recording.channels.values())
    if "\n" not in head[:-1] or head.startswith("t"):
        assert list(recording.channels) == names and recording.rate == rate


def test_the_index_of_a_frame_is_no_channel_and_what_is_odd_is_noted(tmp_path):
    table = pd.DataFrame({"t": SIGNAL, "x": -SIGNAL, "off": np.nan})
    table.to_csv(tmp_path / "a.csv")
    recording = read_recording(tmp_path / "a.csv")
    assert list(recording.channels) == ["t", "x"]
    assert (
        recording.note
        == "without off, where all cells are empty, times in t that are not evenly spaced, so it is a channel"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x,y\n1,2\n3,abc\n", r"a\.csv: column 'y' holds text \('abc' in line 3\)"),
        ("hello\nworld\n", r"a\.csv: it has no line of numbers"),
        ("", r"a\.csv: it has no line of numbers"),
        ("1.0,2.0\n1.0,2.0,3.0\n", r"a\.csv cannot be read as \.csv .*saw 3"),
        ("x,x\n1.5,2\n", r"a\.csv: two of its columns have one name"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, said):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(MmganError, match=said):
        read_recording(tmp_path / "a.csv")


def test_text_of_any_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MOST_TEXT", 10)
    (tmp_path / "a.csv").write_text("1.5,2\n" * 10)
    with pytest.raises(MmganError, match=r"a\.csv: it has 60 bytes of text, which cannot be read in parts"):
        read_recording(tmp_path / "a.csv")


# -- sound --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_wav_in_stereo(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(formats, "LARGE", 0)
    full = {"uint8": 127, "int16": 2**15 - 1, "int32": 2**31 - 1, "float32": 1}[dtype]
    both = np.stack([SIGNAL, -SIGNAL], axis=1)
    wavfile.write(tmp_path / "a.wav", 8000, (both * full + (128 if dtype == "uint8" else 0)).astype(dtype))
    recording = read_recording(tmp_path / "a.wav")
    assert recording.rate == 8000 and list(recording.channels) == ["ch0", "ch1"]
    for found, signal in zip(values(recording).values(), (SIGNAL, -SIGNAL), strict=True):
        np.testing.assert_allclose(found, signal, atol=0.02 if dtype == "uint8" else 1e-4)
    assert isinstance(recording.channels["ch0"].base, np.memmap) or dtype == "uint8"


def test_wav_of_24_bits(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(int(v * (2**23 - 1)).to_bytes(3, "little", signed=True) for v in SIGNAL))
    check(read_recording(tmp_path / "a.wav"), ch0=SIGNAL)


# -- arrays -------------------------------------------------------------------------------------------------------------
def test_numpy_arrays(tmp_path):
    np.save(tmp_path / "one.npy", SIGNAL)
    check(read_recording(tmp_path / "one.npy"), ch=SIGNAL)
    np.save(tmp_path / "iq.npy", SIGNAL + 2j)
    check(read_recording(tmp_path / "iq.npy"), **{"ch.real": SIGNAL, "ch.imag": np.full(40, 2.0)})
    np.savez(tmp_path / "b.npz", acc=np.stack([SIGNAL, -SIGNAL]), fs=100, rpm=1797.0, who=np.array("me"))
    recording = read_recording(tmp_path / "b.npz")
    check(recording, acc0=SIGNAL, acc1=-SIGNAL)
    assert recording.rate == 100 and recording.scalars == {"fs": 100, "rpm": 1797}


def test_matlab_arrays_and_structs(tmp_path):
    savemat(tmp_path / "a.mat", {"X097_DE_time": SIGNAL[:, None], "X097RPM": [[1796]], "who": "me"})
    recording = read_recording(tmp_path / "a.mat")
    check(recording, X097_DE_time=SIGNAL)
    assert recording.scalars == {"X097RPM": 1796} and recording.rate is None
    nested = {"bearing": {"sr": 97656.0, "gs": SIGNAL, "of": {"load": 270, "name": "me"}}}
    savemat(tmp_path / "b.mat", nested, do_compression=True)
    recording = read_recording(tmp_path / "b.mat")
    check(recording, **{"bearing.gs": SIGNAL})
    assert recording.rate == 97656 and recording.scalars["bearing.of.load"] == 270


needs = {name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}") for name in
         ("h5py", "openpyxl", "pyarrow")}  # fmt: skip


@needs["h5py"]
def test_matlab_7_3(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["x/acc"], file["x/fs"] = np.stack([SIGNAL, -SIGNAL]), [[100.0]]
    recording = read_recording(tmp_path / "a.mat")
    check(recording, **{"x.acc0": SIGNAL, "x.acc1": -SIGNAL})
    assert recording.rate == 100


@needs["openpyxl"]
def test_spreadsheets(tmp_path):
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame({"x": SIGNAL, "y": -SIGNAL}).to_excel(book, sheet_name="first", index=False)
        pd.DataFrame({"z": [1]}).to_excel(book, sheet_name="second")
    recording = read_recording(tmp_path / "a.xlsx")
    check(recording, x=SIGNAL, y=-SIGNAL)
    assert recording.note == "sheet 'first' of 2"


@needs["openpyxl"]
def test_a_hidden_sheet_is_passed_over_and_a_vast_one_refused(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    book.active.sheet_state = "hidden"
    shown = book.create_sheet("shown")
    for row in [("made by hand",), ("t", "x", "sum"), *((k / 10, v, "=A1") for k, v in enumerate(SIGNAL.tolist()))]:
        shown.append(row)
    book.save(tmp_path / "a.xlsx")
    recording = read_recording(tmp_path / "a.xlsx")
    check(recording, x=SIGNAL)
    assert recording.rate == 10 and recording.note == "without sum, where all cells are empty"
    shown.cell(1_048_576, 16_384, 1.0)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(MmganError, match=r"reaches over 1,048,576 x 16,384 cells; save what is in it as \.csv"):
        read_recording(tmp_path / "a.xlsx")


@needs["h5py"]
def test_an_hdf5_file_reads_no_other_file_and_claims_no_memory(tmp_path):
    import h5py

    (tmp_path / "secret").write_text("0123456789")
    for case, said in (("elsewhere", "lies in another file"), ("claims", r"claims \d+ MB in a file far smaller")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            if case == "elsewhere":
                file.create_dataset("x", (10,), "u1", external=[(str(tmp_path / "secret"), 0, 10)])
            else:
                for number in range(6):
                    file.create_dataset(f"x{number}", (2**23,), "f8", chunks=True)
        with pytest.raises(MmganError, match=said):
            read_recording(tmp_path / "a.h5")


def test_a_wav_without_channels_and_a_rate_without_end_are_told(tmp_path):
    wavfile.write(tmp_path / "a.wav", 1000, SIGNAL)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[22:24] = b"\0\0"  # the number of channels
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MmganError, match=r"a\.wav cannot be read as \.wav"):
        read_recording(tmp_path / "a.wav")
    savemat(tmp_path / "a.mat", {"x": SIGNAL, "fs": np.inf})
    assert read_recording(tmp_path / "a.mat").rate is None


@needs["pyarrow"]
def test_parquet(tmp_path):
    pd.DataFrame({"time": np.arange(40) / 50, "x": SIGNAL}).to_parquet(tmp_path / "a.parquet")
    recording = read_recording(tmp_path / "a.parquet")
    check(recording, x=SIGNAL)
    assert recording.rate == 50


@pytest.mark.parametrize(
    ("name", "package"), [("a.mat", "h5py"), ("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow"), ("a.flac", "soundfile")]
)
def test_a_format_whose_package_is_missing_names_the_extra(tmp_path, monkeypatch, name, package):
    monkeypatch.setattr("mmgan.errors.find_spec", lambda _: None)
    (tmp_path / name).write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(MmganError, match=rf"needs the package {package}: .*\[recordings\]"):
        read_recording(tmp_path / name)


# -- what is broken, or hostile -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("ending", sorted(set(READERS) - {".csv", ".txt", ".tsv"}))
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x00\x01 noise" * 50])
def test_a_broken_file_is_one_sentence(tmp_path, ending, content):
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(MmganError, match=rf"a{ending}\b") as refused:
        read_recording(tmp_path / f"a{ending}")
    assert "\n" not in str(refused.value)


def test_pickles_are_never_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(MmganError, match=r"a\.npy cannot be read as \.npy \(.*Python objects"):
        read_recording(tmp_path / "a.npy")


def test_sizes_are_known_before_the_data_are_read(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    savemat(tmp_path / "a.mat", {"x": SIGNAL})
    content = bytearray((tmp_path / "a.mat").read_bytes())
    place = content.index(struct.pack("<ii", 1, 40))
    content[place : place + 8] = struct.pack("<ii", 2**15, 2**20)
    (tmp_path / "a.mat").write_bytes(content)
    for name in ("a.npz", "a.mat"):
        with pytest.raises(MmganError, match=rf"{name}: it holds .* values, more than the 2\.68e\+08"):
            read_recording(tmp_path / name)


def test_structs_that_claim_or_unpack_to_too_much_are_not_read(tmp_path, monkeypatch):
    savemat(tmp_path / "a.mat", {"s": {"cells": np.array([1, "x", 2, "y", 3], dtype=object), "x": SIGNAL}})
    content = (tmp_path / "a.mat").read_bytes()
    place = content.index(struct.pack("<ii", 1, 5))
    (tmp_path / "b.mat").write_bytes(content[:place] + struct.pack("<ii", 2**15, 2**15) + content[place + 8 :])
    savemat(tmp_path / "c.mat", {"s": {"x": np.zeros(10**5)}}, do_compression=True)
    monkeypatch.setattr(matlab, "MOST_STRUCT", 10**5)
    check(read_recording(tmp_path / "a.mat"), **{"s.x": SIGNAL})
    for name in ("b.mat", "c.mat"):
        with pytest.raises(MmganError, match=rf"{name}: it keeps its signals in structs that are too large"):
            read_recording(tmp_path / name)


def test_a_spreadsheet_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MOST_XML", 10)
    monkeypatch.setattr("mmgan.errors.find_spec", lambda _: True)
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sheet.xml", bytes(1000))
    with pytest.raises(MmganError, match=r"a\.xlsx: it is 1e\+03 bytes when unpacked; save its sheet as \.csv"):
        read_recording(tmp_path / "a.xlsx")


# -- channels -----------------------------------------------------------------------------------------------------------
def test_channels_by_name_end_or_pattern():
    recording = Recording({"X097_DE_time": SIGNAL, "X097_FE_time": -SIGNAL, "other": SIGNAL[:3]})
    assert list(recording.chosen(["X097_DE_time"])) == ["X097_DE_time"]
    assert recording.chosen(["FE_time"])["FE_time"][1] == -SIGNAL[1]
    assert recording.chosen(["^X.*DE"])["^X.*DE"][1] == SIGNAL[1]
    for words, said in [
        (["time"], "time could mean X097_DE_time, X097_FE_time"),
        (["BA"], r"no channel BA \(it has X097_DE_time, X097_FE_time, other\)"),
        ([], "its signals differ in length"),
        (["("], "no regular expression"),
    ]:
        with pytest.raises(MmganError, match=said):
            recording.chosen(words)


# -- many recordings in a file ------------------------------------------------------------------------------------------
SERIES = "# made by a test\n@problemName X\n@univariate false\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n\n1,2:3,?:b\n7,8,9,1:1,2,3,4:?\n"


def test_series_of_unequal_lengths(tmp_path):
    (tmp_path / "a.ts").write_text(SERIES)
    items = list_items(tmp_path, "**/*", None, None)
    assert [(item.name, item.label, item.number) for item in items] == [
        ("a.ts#1", "a", 0),
        ("a.ts#2", "b", 1),
        ("a.ts#3", None, 2),
    ]
    check(read_recording(tmp_path / "a.ts", 0), ch0=[1, 2, 3], ch1=[4, 5, 6])
    check(read_recording(tmp_path / "a.ts", 1), ch0=[1, 2], ch1=[3, np.nan])
    with pytest.raises(MmganError, match=r"a\.ts: it holds 3 recordings"):
        read_recording(tmp_path / "a.ts")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.ts").rename(tmp_path / "sub" / "b.ts")
    (tmp_path / "sub" / "b.ts").write_text(
        SERIES.replace("true a b", "false").replace(":a", "").replace(":b", "").replace(":?", "")
    )
    assert [item.label for item in list_items(tmp_path, "**/*", None, None)] == ["sub"] * 3
    check(read_recording(tmp_path / "sub" / "b.ts", 2), ch0=[7, 8, 9, 1], ch1=[1, 2, 3, 4])
    for content, said in (("1,2\n", "no line @data"), (SERIES.replace("1,2,3:", "(0,1),(1,2):"), "time stamps")):
        (tmp_path / "sub" / "b.ts").write_text(content)
        with pytest.raises(MmganError, match=rf"b\.ts: .*{said}"):
            list_items(tmp_path, "**/*", None, None)


@pytest.mark.skipif(importlib.util.find_spec("soundfile") is None, reason="needs soundfile")
def test_flac_in_stereo(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.flac", np.stack([SIGNAL, -SIGNAL], axis=1), 8000)
    recording = read_recording(tmp_path / "a.flac")
    assert recording.rate == 8000
    check(recording, ch0=SIGNAL, ch1=-SIGNAL)


# -- what is doubtful ---------------------------------------------------------------------------------------------------
def test_faults_are_found_over_windows():
    rng = np.random.default_rng(0)
    good = rng.standard_normal(4000)
    signals = {"good": good, "clipped": good.clip(-0.5, 9), "constant": np.full(4000, 2.0), "off": good + 3}
    faults = Faults(list(signals))
    for part in np.split(np.stack([*signals.values()]).reshape(4, 40, 100).swapaxes(0, 1), 8):  # (5 windows, C, 100)
        faults.see(part)
    assert faults.said() == [
        "clipped is clipped at -0.5",
        "constant is constant",
        "off has a mean of 2.98 beside a deviation of 0.998",
    ]


# -- more than fits into memory ---------------------------------------------------------------------------------------------
@needs["h5py"]
@pytest.mark.parametrize("shape", [(2**30,), (1, 2**30), (2**29, 2)])
def test_large_signals_of_matlab_7_3_stay_on_the_disk(tmp_path, shape):
    import h5py

    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:  # 8 GB, of which one piece is written
        node = file.create_dataset("x", shape, "f8", chunks=True)
        place = (
            (slice(-40, None),)
            if len(shape) == 1
            else (0, slice(-40, None))
            if shape[0] == 1
            else (slice(-40, None), 1)
        )
        node[place] = SIGNAL
    (item,) = labelled_items([tmp_path / "a.mat"], ["one/a.mat"], None)
    windows = windows_of(item, Recipe(("raw",), 2**10, max(shape) - 2**10, 1000.0))
    assert windows.x["raw"].shape == (2, len(windows.channels), 2**10)
    np.testing.assert_allclose(windows.x["raw"][-1, -1, -40:], SIGNAL, rtol=1e-6)
