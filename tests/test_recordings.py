"""A folder of recordings becomes a data set: windows, labels, groups, folds without leaks, and a file that data=pkl reads."""

import csv
import pickle
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import CONF
from scipy.io import savemat, wavfile
from scipy.signal import resample_poly

from mmgan.commands.arguments import as_hydra_reads
from mmgan.commands.build import compose, load_data, make_datamodule, plain
from mmgan.commands.checks import check_options
from mmgan.commands.synthesize import synthesize
from mmgan.commands.train import train_folds
from mmgan.data import features
from mmgan.data.recordings import reading as module
from mmgan.data.recordings.formats import read_recording
from mmgan.data.recordings.listing import list_items
from mmgan.data.recordings.splits import leakless_splits
from mmgan.data.recordings.waveforms import waveforms_of
from mmgan.data.recordings.windows import Broken
from mmgan.data.sources.pkl import pkl
from mmgan.data.sources.recordings import recordings
from mmgan.data.trust import build, build_source
from mmgan.errors import MmganError
from mmgan.training.tasks import Classification

RATE, WINDOW = 1000, 100
SMALL = {"window": WINDOW, "spec": {"bands": 3, "points": 8}, "env": {"bands": 2, "points": 5, "max_hz": 60.0}}


def signal(label: int, number: int, length: int = 1000) -> np.ndarray:
    rng = np.random.default_rng([label, number])
    return (0.1 * rng.standard_normal(length) + 0.3 * np.sin(np.arange(length) * (0.2 + label))).clip(-1, 1)


def write(file: Path, values: np.ndarray, rate: int = RATE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(file, rate, values.astype(np.float32))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmgan" / "recordings"


@pytest.fixture
def folder(tmp_path, cache):
    """Three classes with 3, 3 and 2 recordings of 10 windows, and an unlabelled one."""
    for label, name in enumerate(("good", "inner race", "外圈")):
        for number in range(3 if label < 2 else 2):
            write(tmp_path / "data" / name / f"{name}{number}.wav", signal(label, number))
    write(tmp_path / "data" / "unlabelled" / "x.wav", signal(0, 9, 350))
    return tmp_path / "data"


# -- windows and labels -------------------------------------------------------------------------------------------------
def test_a_folder_becomes_a_file_that_pkl_reads(folder, cache, capsys):
    data = recordings(folder, **SMALL)
    assert data.schema.labels == ("good", "inner race", "外圈") and len(data) == 80
    assert data.schema.modalities == {"spec": (3, 8), "env": (2, 5)}
    windows = signal(1, 2).astype(np.float32).reshape(10, 1, WINDOW)  # the sixth recording in the order of the names
    for name, options in (("spec", SMALL["spec"]), ("env", SMALL["env"])):
        expected = getattr(features, name)(windows, RATE, **options)[:, 0]
        np.testing.assert_array_equal(data.x_train[name][50:60], expected)
    np.testing.assert_array_equal(data.groups, np.repeat(np.arange(8), 10))
    assert len(data.splits) == 2
    for split in data.splits:
        assert not set(data.groups[split["train_indices"]]) & set(data.groups[split["val_indices"]])
        for group in set(
            data.groups[split["train_indices"]]
        ):  # of ten windows seven train, and after a gap the last two judge
            own = [split[key] - 10 * group for key in ("train_indices", "judge_indices")]
            assert [set(each) & set(range(10)) for each in own] == [set(range(7)), {8, 9}]
        assert set(data.groups[split["judge_indices"]]) == set(data.groups[split["train_indices"]])
        assert all(set(data.y_train[split[side]]) == {0, 1, 2} for side in ("train_indices", "val_indices"))
    (file,) = cache.glob("*/dataset.pkl")
    content = pickle.loads(file.read_bytes())
    assert content["x_unlabelled"]["spec"].shape == (3, 3, 8)
    assert content["meta"]["recordings"][5]["file"] == "inner race/inner race2.wav"
    np.testing.assert_allclose(content["meta"]["samples"]["start"][50:60], np.arange(10) / 10)
    assert pkl(file).fingerprint() == data.fingerprint()
    told = capsys.readouterr().out
    assert "8 recordings of 3 classes: good 3, inner race 3, 外圈 2; 1 unlabelled" in told and str(file) in told
    assert (
        "80 of 100 samples (0.1 s at 1000 Hz)" in told
        and "2 folds, no recording on both sides\n" in told
        and "judging:  fidelity and novelty: the last 20 %" in told
    )


def test_files_are_read_once_for_the_same_content_and_options(folder, cache, monkeypatch):
    first = recordings(folder, **SMALL).fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(module, "windows_of", lambda *given: pytest.fail("read again"))
        assert recordings(folder, **SMALL).fingerprint() == first
    assert recordings(folder, **SMALL | {"hop": 50}).fingerprint() != first
    write(folder / "good" / "good0.wav", signal(5, 5))
    assert recordings(folder, **SMALL).fingerprint() != first
    assert len(list(cache.iterdir())) == 3


@pytest.mark.slow
def test_two_processes_read_the_same(folder, tmp_path):
    alone = recordings(folder, **SMALL)
    assert recordings(folder, workers=2, cache=tmp_path / "two", **SMALL).fingerprint() == alone.fingerprint()
    (folder / "good" / "good0.wav").write_bytes(b"RIFF")
    with pytest.raises(Broken, match=r"good0\.wav cannot be read"):
        recordings(folder, workers=2, **SMALL)


def test_a_checkpoint_knows_where_its_data_set_is_kept_and_writes_nothing_there(folder, cache, tmp_path):
    """As `synthesize` and `evaluate` build it; a file may say where to read, not where to write."""
    there = tmp_path / "there"
    first = recordings(folder, cache=there, **SMALL)
    source = {"_target_": "mmgan.data.sources.recordings.recordings", "path": str(folder), **SMALL, "cache": str(there)}
    kept = build_source(source, "a.ckpt")
    assert kept.fingerprint() == first.fingerprint() and not cache.exists()
    shutil.rmtree(there)
    there.mkdir()
    assert build_source(source, "a.ckpt").fingerprint() == first.fingerprint()
    assert list(cache.glob("*/dataset.pkl")) and not list(there.iterdir())


def test_an_interrupted_start_goes_on(folder, cache, monkeypatch):
    read = []

    def interrupted(item, recipe):
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(item.name)
        return windows_of(item, recipe)

    windows_of = module.windows_of
    monkeypatch.setattr(module, "windows_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recordings(folder, **SMALL)
    assert not list(cache.glob("*/dataset.pkl"))
    torn = next(iter(cache.glob("*/parts/*.part")))
    torn.write_bytes(torn.read_bytes()[:100])
    monkeypatch.setattr(module, "windows_of", lambda item, recipe: read.append(item.name) or windows_of(item, recipe))
    recordings(folder, **SMALL)
    assert len(read) == 10 and len(set(read)) == 9 and [file.name for file in cache.glob("*/[!.]*")] == ["dataset.pkl"]


def test_labels_by_a_table(folder, tmp_path):
    rows = ["file;label;group;rate;start;stop", "good/good0.wav;a;one;;0;0.5", "good/good0.wav;b;two;;0.5;",
            "good/good1.wav;a;two;;;", "good/good2.wav;b;one;2000;;", "unlabelled/x.wav;;;;;"]  # fmt: skip
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows))
    data = recordings(folder, labels_file=table, rate=1000.0, **SMALL)
    assert data.y_train.tolist() == [0] * 5 + [1] * 5 + [0] * 10 + [1] * 5
    assert data.groups.tolist() == [0] * 5 + [1] * 15 + [0] * 5
    half = resample_poly(signal(0, 2).astype(np.float32).astype(float), 1, 2).reshape(5, WINDOW)
    np.testing.assert_allclose(data.x_train["spec"][20:], features.spec(half, RATE, bands=3, points=8), rtol=1e-5)
    assert data.passthrough["x_unlabelled"]["spec"].shape == (3, 3, 8)
    for wrong, said in (("label\na", "has no column 'file'"), ("file,label\nno.wav,a", "line 2: no.wav is not there"),
                        ("file,label,rate\ngood/good0.wav,a,fast", "line 2: rate is 'fast'")):  # fmt: skip
        table.write_text(wrong)
        with pytest.raises(MmganError, match=said):
            recordings(folder, labels_file=table, **SMALL)


def test_labels_and_channels_by_patterns_through_hydra(tmp_path, cache):
    for label, name in enumerate(("IR007_0_105.mat", "IR014_1_169.mat", "B007_0_118.mat", "B014_0_185.mat")):
        (tmp_path / "flat").mkdir(exist_ok=True)
        number = name[:-4].split("_")[-1]
        both = {f"X{number}_DE_time": signal(label, 0), f"X{number}_FE_time": signal(label, 1), f"X{number}RPM": 1797.0}
        savemat(tmp_path / "flat" / name, both)
    words = ["data=recordings", f"data.path={tmp_path / 'flat'}", r"data.label_from=^(?P<label>[A-Z]+)\d+", "data.rate=1000",
             "data.files=**/*.mat", "data.channels=[DE_time,FE_time]", "data.window=0.1s", "data.features=[raw,stats,stft]",
             "data.stft.size=10"]  # fmt: skip
    assert r"data.label_from='^(?P<label>[A-Z]+)\d+'" in as_hydra_reads(words)
    cfg = compose("train", words)
    check_options(cfg)
    data = load_data(cfg)
    assert data.schema.labels == ("B", "IR") and data.y_train.tolist() == [0] * 20 + [1] * 20
    assert data.schema.modalities == {"raw": (2, 100), "stats": (16,), "stft": (2, 10, 9)}
    np.testing.assert_allclose(data.x_train["raw"][0, 1], signal(2, 1)[:100], rtol=1e-6)
    module = make_datamodule(cfg, data, 1, final=False)  # with one recording of a class to train on, none stands in
    assert len(module.training_indices) == len(module.fold.train_indices) == 14


# -- folds --------------------------------------------------------------------------------------------------------------
def test_a_class_with_one_recording_is_parted_by_time_with_a_gap(folder):
    (folder / "外圈" / "外圈1.wav").unlink()
    data = recordings(folder, **SMALL)
    assert len(data.splits) == 3
    for split in data.splits:
        train, val = split["train_indices"], split["val_indices"]
        assert not set(data.groups[train]) & set(data.groups[val])
        own = [set(side[data.y_train[side] == 2] - 60) for side in (train, val)]  # the last recording's windows
        assert own[0] and own[1] and min(abs(a - b) for a in own[0] for b in own[1]) >= 2  # one lies between
    assert sorted(np.concatenate([split["val_indices"] for split in data.splits])) == list(range(70))


@pytest.mark.parametrize("hop", [30, 100, 170])
def test_blocks_of_time_are_a_window_apart_whatever_the_hop(hop):
    start = np.tile(np.arange(40) * hop, 2)
    y = np.repeat(["a", "b"], 40)
    splits = leakless_splits(y, y, np.repeat([0, 1], 40), start, 100, 5)
    assert len(splits.entries) == 5 and "since each class has one recording" in splits.said
    for entry in splits.entries:
        for label in "ab":
            train, val = (start[side[y[side] == label]] for side in (entry["train_indices"], entry["val_indices"]))
            assert (
                np.abs(train[:, None] - val).min() >= 200 and len(val) == 8
            )  # the one ends a window before the other begins
        judge = entry["judge_indices"]
        for label in range(2):
            own = [start[side[side // 40 == label]] for side in (entry["train_indices"], judge)]
            assert own[1].min() - own[0].max() >= 200 and len(own[1]) >= 4


def test_too_few_windows_to_part(folder):
    for file in (folder / "外圈").iterdir():
        file.unlink()
    write(folder / "外圈" / "a.wav", signal(0, 0, 300))
    with pytest.raises(MmganError, match=r"class '外圈' has one recording of 3 window\(s\), too few for 3 blocks"):
        recordings(folder, **SMALL)


# -- what cannot be used ------------------------------------------------------------------------------------------------
def replaced(folder: Path, **options):
    return SMALL | {"path": folder} | options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": None}, r"give data\.path=FOLDER"),
        ({"path": "nowhere"}, r"nowhere: there is no such folder"),
        ({"files": "**/*.mat"}, r"no file that matches data\.files=\*\*/\*\.mat ends with"),
        ({"files": "/*"}, r"data\.files=/\*: "),
        ({"files": "good/*"}, r"has one class, good"),
        ({"label_from": "("}, r"data\.label_from=\( is no regular expression"),
        ({"label_from": "good"}, r"mark the label, as in"),
        ({"label_from": "^(good)"}, r"finds no label in inner race/inner race0\.wav"),
        ({"channels": ["x"]}, r"good0\.wav: it has no channel x \(it has ch0\)"),
        ({"window": 2000}, r"good0\.wav: 1000 samples are less than a window of 2000"),
        ({"window": "x"}, r"data\.window=x: expected samples, such as 4096, or seconds"),
        ({"window": 40}, r"data\.window: 40 samples have 20 frequencies"),
        ({"hop": "0"}, r"data\.hop=0: expected samples"),
        ({"spec": {"bands": 0}}, r"spec\.bands=0: expected an integer >= 1"),
        ({"cache": __file__}, r"the data set cannot be kept there \(.*give data\.cache= a folder with room"),
        ({"features": ["spec", "spec"]}, r"data\.features=\[spec,spec\] names one twice"),
        ({"rate": 1e-30}, r"data\.rate= is 1e\+33 times below the files' own"),
        (
            {"scale": 1e38, "features": ["raw"]},
            r"good0\.wav: its values, up to .*, are too large for raw; give data\.scale=",
        ),
        ({"features": ["spam"]}, r"features=spam: expected one of spec, env, raw, stats, stft"),
        ({"labels_file": "no.csv"}, r"there is no file no\.csv"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(folder, cache, options, said):
    with pytest.raises(MmganError, match=said) as refused:
        recordings(**replaced(folder, **options))
    assert "\n" not in str(refused.value) and (not cache.exists() or not list(cache.iterdir()))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["good/good0.wav,a", "good/good1.wav,b", "good/good0.wav,b"],
            r"line 4: good/good0\.wav stands in line 2 already",
        ),
        (["good/good0.wav,a,0.5,0.2"], r"line 2: stop is 0\.2, and start 0\.5; give a stop after the start"),
        (["good/good0.wav,a", "good/good1.wav,b,7"], r"good1\.wav is 1 s long, and its part is to start at 7 s"),
    ],
)
def test_lines_of_a_table_that_cannot_be(folder, tmp_path, lines, said):
    rows = [line + "," * (3 - line.count(",")) for line in ["file,label,start,stop", *lines]]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    with pytest.raises(MmganError, match=said):
        recordings(folder, labels_file=tmp_path / "l.csv", **SMALL)
    (tmp_path / "l.csv").write_text("file,label,Label\ngood/good0.wav,a,b\n")
    with pytest.raises(MmganError, match=r"l\.csv has two columns called 'label'; name each once"):
        recordings(folder, labels_file=tmp_path / "l.csv", **SMALL)


def test_a_class_of_which_nothing_is_left_and_labels_that_move_a_cursor(folder, tmp_path, capsys):
    table = tmp_path / "l.csv"
    table.write_text("file,label\ngood/good0.wav,\x1b[31ma\ngood/good1.wav,b\n")
    recordings(folder, labels_file=table, **SMALL)
    told = capsys.readouterr().out
    assert "\x1b" not in told and r"\x1b[31ma 1" in told
    for file in folder.glob("[!g]*/*.wav"):
        file.write_bytes(b"RIFF")
    with pytest.raises(MmganError, match=r"no file of class .* could be read; repair one of them"):
        recordings(folder, skip_broken=True, **SMALL)


def test_bad_files_are_named_and_can_be_left_out(folder, cache, capsys):
    gap = signal(0, 0)
    gap[123] = np.nan
    write(folder / "good" / "gap.wav", gap)
    with pytest.raises(Broken, match=r"gap\.wav: channel ch0 has NaN or infinite values, the first at sample 123"):
        recordings(folder, **SMALL)
    (folder / "good" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(Broken, match=r"broken\.wav cannot be read as \.wav"):
        recordings(folder, **SMALL)
    assert len(recordings(folder, skip_broken=True, **SMALL)) == 80
    told = capsys.readouterr().out
    assert told.count("left out: ") == 2 and "gap.wav" in told and "broken.wav" in told
    write(folder / "good" / "short.wav", signal(0, 0, 50))
    recordings(folder, skip_broken=True, **SMALL)
    assert "shorter than a window: good/short.wav" in capsys.readouterr().out


def test_files_that_differ_in_rate_or_channels(folder, capsys):
    write(folder / "good" / "good3.wav", signal(0, 3, 2000), 2 * RATE)
    with pytest.raises(MmganError, match=r"good3\.wav has a rate of 2000\.0 Hz, .* give data\.rate=1000,"):
        recordings(folder, **SMALL)
    assert len(recordings(folder, rate=1000.0, **SMALL)) == 90
    assert "resampled from 2000 Hz, in 1 file(s)" in capsys.readouterr().out
    write(folder / "good" / "good3.wav", np.stack([signal(0, 3)] * 2, axis=1))
    with pytest.raises(
        MmganError, match=r"good3\.wav has the channels ch0, ch1, good/good0\.wav has ch0; give data\.channels="
    ):
        recordings(folder, **SMALL)
    (folder / "good" / "good3.wav").unlink()
    np.save(folder / "good" / "good3.npy", signal(0, 3))
    with pytest.raises(
        MmganError, match=r"good3\.npy does not say its sampling rate, which spec needs; give data\.rate="
    ):
        recordings(folder, **SMALL)


def test_pkl_names_the_source_of_recordings(folder):
    for path, kind in ((folder, "a folder"), (folder / "good" / "good0.wav", "a .wav file")):
        with pytest.raises(MmganError, match=rf"is {kind}, no data set; .* give data=recordings data\.path=FOLDER"):
            pkl(path)


def test_the_configuration_gives_the_users_shapes(tmp_path, cache):
    for label in range(2):
        for number in range(2):
            write(tmp_path / "d" / f"c{label}" / f"{number}.wav", signal(label, number, 41_000), 20_480)
    data = load_data(compose("train", ["data=recordings", f"data.path={tmp_path / 'd'}"]))
    assert data.schema.modalities == {"spec": (7, 48), "env": (5, 32)} and len(data) == 40
    assert (CONF / "data" / "recordings.yaml").is_file()


# -- several sensors ----------------------------------------------------------------------------------------------------
SENSORS = {
    "vib": {"files": "vib/**/*.wav", "features": ["raw", "stats"]},
    "mic": {"files": "**/*_mic.wav", "features": ["raw"]},
}


@pytest.fixture
def sensors(tmp_path, cache):
    """Two classes with two recordings of 1 s by two sensors, at 1000 and 441 Hz, whose values are the time in s."""
    for name in ("a/one", "a/two", "b/one", "b/two"):
        write(tmp_path / "s" / "vib" / f"{name}.wav", np.arange(1000) / 1000)
        write(tmp_path / "s" / f"{name}_mic.wav", np.arange(441) / 441, 441)
    return tmp_path / "s"


def test_sensors_in_files_of_their_own_become_modalities_of_the_same_times(sensors, cache):
    data = recordings(sensors, modalities=SENSORS, window="0.07s")
    assert data.schema.modalities == {"vib_raw": (1, 70), "vib_stats": (8,), "mic": (1, 31)} and len(data) == 4 * 14
    begins = data.x_train["vib_raw"][:, 0, 0]
    np.testing.assert_allclose(begins[:14], np.arange(14) * 0.07, atol=1e-6)
    np.testing.assert_allclose(data.x_train["mic"][:, 0, 0], begins, atol=0.5 / 441 + 1e-6)
    (file,) = cache.glob("*/dataset.pkl")
    meta = pickle.loads(file.read_bytes())["meta"]
    assert [each["file"] for each in meta["recordings"]] == ["a/one", "a/two", "b/one", "b/two"]
    assert meta["sensors"]["mic"]["rate"] == 441 and meta["channels"] == ["vib.ch0", "mic.ch0"]


def test_sensors_that_cannot_be_joined(sensors, capsys):
    with pytest.raises(MmganError, match=r"data\.window: a/one has windows of 0\.05 s of vib and of 0\.113 s of mic"):
        recordings(sensors, modalities=SENSORS, window=50)
    with pytest.raises(MmganError, match=r"modalities\.mic\.files=a/one_mic\.wav: no star stands for one_mic\.wav"):
        recordings(sensors, modalities=SENSORS | {"mic": {"files": "a/one_mic.wav"}})
    for wrong in ({"a.b": {"files": "*"}}, {"mic": {}}):
        with pytest.raises(MmganError, match=r"give a word, and its files=, as in"):
            recordings(sensors, modalities=wrong)
    with pytest.raises(MmganError, match=r"modalities\.mic\.fils"):
        recordings(sensors, modalities={"mic": {"fils": "x"}})
    (sensors / "a" / "one_mic.wav").unlink()
    with pytest.raises(
        MmganError, match=r"recording a/one has no file of data\.modalities\.mic \(\*\*/\*_mic\.wav, whose"
    ):
        recordings(sensors, modalities=SENSORS, window="0.07s")
    assert len(recordings(sensors, modalities=SENSORS, window="0.07s", skip_broken=True)) == 3 * 14
    assert "left out: not of all sensors: a/one\n" in capsys.readouterr().out


def test_short_recordings_are_padded_on_request(folder, capsys):
    write(folder / "good" / "short.wav", signal(0, 0, 60))
    data = recordings(folder, pad=True, **SMALL | {"features": ["raw"]})
    assert len(data) == 81 and "padded with zeros to a window, in 1 file(s)" in capsys.readouterr().out
    np.testing.assert_array_equal(
        data.x_train["raw"][30, 0], np.append(signal(0, 0, 60).astype(np.float32), np.zeros(40))
    )


def test_doubtful_recordings_are_named(folder, cache, capsys):
    write(folder / "good" / "good3.wav", signal(0, 0).clip(-0.2, 0.2))
    write(folder / "good" / "good4.wav", signal(0, 0))
    recordings(folder, **SMALL)
    told = capsys.readouterr().out
    for said in ("good/good3.wav: ch0 is clipped at 0.2\n", "good/good4.wav holds the same as good/good0.wav\n"):
        assert f"warning:  {said}" in told


def test_the_page_shows_what_was_read(folder, cache):
    write(folder / "good" / "<b>.wav", signal(0, 0).clip(-0.2, 0.2))
    words = ["data=recordings", f"data.path={folder}", "data.window=100", "data.spec.bands=3", "data.spec.points=8", "data.env.bands=2",
             "data.env.max_hz=60"]  # fmt: skip
    data = load_data(compose("train", words))
    page = Path(data.source).with_suffix(".html").read_text()
    for said in (
        "good/&lt;b&gt;.wav: ch0 is clipped at 0.2",
        "外圈/外圈0.wav",
        '<th scope="row">unlabelled</th>',
        "1000 Hz",
    ):
        assert said in page, said
    assert page.count("<img ") == 3 + 2 + 1  # a window of each class, the means of two features, the PCA
    assert "frequency in Hz" in next(Path(data.source).parent.glob("figures/*good*.svg")).read_text()


# -- waveforms out of the samples -----------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["wav", "csv"])
def test_synthetic_waveforms_are_files_that_are_read_back(folder, tmp_path, ending):
    words = ["data=recordings", f"data.path={folder}", "data.window=100", "data.features=[raw]", "data.scale=9.81", "model=duplicate",
             f"out_dir={tmp_path / 'run'}"]  # fmt: skip
    train_folds(compose("train", words))
    out = synthesize(compose("synthesize", [f"ckpt={tmp_path / 'run'}", "n_per_class=3", f"format={ending}"]))
    made = out.parent / f"synthetic-{ending}"
    (entry,) = pickle.loads(out.read_bytes())["folds"]
    back = list_items(made, "**/*", None, str(made / "samples.csv"))
    assert [item.label for item in back] == entry["y_synth"].tolist() and len(back) == 9
    for item, sample in zip(back, entry["x_synth"]["raw"], strict=True):
        recording = read_recording(item.path)
        np.testing.assert_allclose(recording.channels["ch0"], sample[0] / 9.81, rtol=1e-5, atol=1e-6)
        assert recording.rate == RATE
    (made / "mine.txt").write_text("x")
    (made / "samples.csv").unlink()
    with pytest.raises(MmganError, match=r"is there already, and no folder of waveforms; give another out="):
        synthesize(compose("synthesize", [f"ckpt={tmp_path / 'run'}", f"format={ending}"]))
    with pytest.raises(MmganError, match=r"format: .* has no waveforms, and samples of features cannot become any"):
        waveforms_of(recordings(folder, **SMALL).passthrough["recordings"], "data")


# -- answers --------------------------------------------------------------------------------------------------------------
class Says:
    """A model that says class 1 of the first, 0 of the second and third, and is sure of class 2 of the fourth window."""

    recipe: ClassVar = {}

    def predict_members(self, x):
        answers = np.array([[0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
        return {"only": np.tile(answers, (len(x["spec"]) // 4, 1))}


def test_answers_per_window_and_per_recording(folder, tmp_path):
    write(folder / "unlabelled" / "x.wav", signal(0, 9, 400))
    write(folder / "unlabelled" / "y.wav", signal(0, 8, 400))
    data = recordings(folder, **SMALL)
    found = Classification().after_folds(iter([Says()]), data, tmp_path)
    lines = list(csv.DictReader(found["window"].read_text(encoding="utf-8").splitlines()))
    assert [(line["file"], line["start"]) for line in lines[3:5]] == [
        ("unlabelled/x.wav", "0.3"),
        ("unlabelled/y.wav", "0"),
    ]
    assert [line["label"] for line in lines[:4]] == ["inner race", "good", "good", "外圈"]
    (first, second) = csv.DictReader(found["votes"].read_text(encoding="utf-8").splitlines())
    assert first | {"file": ""} == second | {"file": ""} and second["file"] == "unlabelled/y.wav"
    assert (first["label"], first["windows"], first["votes"], first["p_外圈"]) == ("good", "4", "0.5000", "0.400000")


# -- names and links ------------------------------------------------------------------------------------------------------
def test_links_in_a_circle_and_names_of_any_script(folder, capsys):
    (folder / "good" / "round").symlink_to(folder)
    (folder / "good" / "itself.wav").symlink_to(folder / "good" / "itself.wav")
    write(folder / "ضجيج [red]" / "a b, ${c}='%s'.wav", signal(3, 0))
    write(folder / "ضجيج [red]" / "\u202fö😀.wav".strip("\u202f"), signal(3, 1))
    data = recordings(folder, **SMALL)
    assert len(data) == 100 and data.schema.labels[2] == "ضجيج [red]"
    assert "ضجيج [red] 2" in capsys.readouterr().out
    write(folder / "good" / "a\nb.wav", signal(0, 0))
    with pytest.raises(
        MmganError, match=r"good/a\\nb\.wav': its name holds what cannot be printed; rename it"
    ) as refused:
        recordings(folder, **SMALL)
    assert "\n" not in str(refused.value)


def test_a_table_of_5_gb_is_refused_unread_by_its_size(folder):
    with open(folder / "good" / "large.csv", "wb") as stream:
        stream.truncate(5 * 10**9)  # all of it a hole
    with pytest.raises(MmganError, match=r"large\.csv: it has 5e\+09 bytes of text, which cannot be read in parts"):
        recordings(folder, **SMALL)
    (folder / "good" / "large.csv").unlink()
    np.savez(folder / "good" / "two.npz", one=signal(0, 0), two=signal(0, 1, 900), fs=RATE)
    with pytest.raises(
        MmganError, match=r"two\.npz: its signals differ in length \(one 1000, two 900\); choose by data\.channels"
    ):
        recordings(folder, **SMALL)


def test_a_channel_that_some_files_lack(folder):
    write(folder / "good" / "good0.wav", np.stack([signal(0, 0), signal(0, 1)], axis=1))
    with pytest.raises(
        Broken, match=r"good1\.wav: it has no channel ch1 \(it has ch0\); give data\.channels= what all files have"
    ):
        recordings(folder, channels=["ch1"], **SMALL)


LARGE = """
import resource, sys
from mmgan.data.recordings.listing import Item
from mmgan.data.recordings.windows import Recipe, windows_of
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = windows_of(Item(Path(sys.argv[1]), "a", "a", "a"), Recipe(("spec",), 4096, 2**20))
print(len(found.start), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_stays_flat_for_a_wav_of_3_gb(tmp_path):
    write(tmp_path / "a.wav", np.zeros((10, 2)))
    head = bytearray((tmp_path / "a.wav").read_bytes()[:-80])
    size = 3 * 2**30
    head[4:8], head[-4:] = (len(head) + size - 8).to_bytes(4, "little"), size.to_bytes(4, "little")
    with open(tmp_path / "a.wav", "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)
    run = subprocess.run([sys.executable, "-c", LARGE, tmp_path / "a.wav"], capture_output=True, text=True, check=True)
    windows, grown = map(int, run.stdout.split())
    assert windows == 384 and grown < 300_000  # kB: pages of the file that were looked at, and windows


KILLED = """
import os, signal, sys, time
from pathlib import Path
from mmgan.data.sources.recordings import recordings

folder, whole, cut = map(Path, sys.argv[1:])
options = {"window": 100, "features": ["raw", "stats"]}
expected = recordings(folder, cache=whole, **options).fingerprint()
read = lambda: {part.name: part.stat().st_mtime_ns for part in cut.glob("*/parts/*.part")}
kept, again = {}, 0
for k in range(20):
    if not (child := os.fork()):
        recordings(folder, cache=cut, **options)
        os._exit(0)
    while len(read()) <= len(kept) + k % 3:  # however slow the machine is: after one to three more files
        time.sleep(0.0005)
    time.sleep(0.0003 * k)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    now = read()
    again += sum(now.get(name) != time for name, time in kept.items())
    kept = now
    print(len(kept), file=sys.stderr)
assert recordings(folder, cache=cut, **options).fingerprint() == expected
print(again, len(kept), sorted(file.name for file in cut.glob("*/*")))
"""


@pytest.mark.slow
def test_killed_at_twenty_moments_it_goes_on_where_it_was(tmp_path):
    for number in range(400):
        write(tmp_path / "d" / f"c{number % 2}" / f"{number}.wav", signal(number % 2, number))
    words = [sys.executable, "-c", KILLED, *(tmp_path / name for name in ("d", "whole", "cut"))]
    run = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    again, kept, files = run.stdout.splitlines()[-1].split(" ", 2)
    assert int(again) == 0 and 20 <= int(kept) < 400 and files == "['.lock', 'dataset.pkl']", run.stderr


# -- the page of the docs ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("section", ["Your .mat files", "Your spreadsheets", "Your .wav files"])
def test_an_example_of_the_docs_prints_what_stands_below_it(section, tmp_path, monkeypatch, capsys, cache):
    page = (CONF.parent / "docs" / "recordings.md").read_text(encoding="utf-8")
    text = page.split(f"## {section}\n")[1].split("\n## ")[0]
    made, command, printed = (block.partition("\n")[2] for block in text.split("```")[1:6:2])
    monkeypatch.chdir(tmp_path)
    exec(made, {})
    _, script, *words = shlex.split(command)
    assert script == "train.py"
    cfg = compose("train", words)
    check_options(cfg)
    build(plain(cfg.data.source))
    assert capsys.readouterr().out.lstrip().startswith(printed)  # Rich 13 leaves a line of its bar
