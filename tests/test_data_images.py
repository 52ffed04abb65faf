"""Images: a folder of them, and the radar that is simulated."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.signal import stft

from mmgan.data.datamodule import FoldDataModule
from mmgan.data.files import read_archive, write_pickle
from mmgan.data.sources.images import images
from mmgan.data.sources.micro_doppler import MOTIONS, RATE, WAVELENGTH, WINDOW, echo, micro_doppler, spectrogram
from mmgan.errors import MmganError

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmgan" / "images"


@pytest.fixture
def folder(tmp_path):
    """Two classes: red 20x20 PNGs, blue 30x10 JPEGs and one that is grey; and what is no image."""
    root = tmp_path / "set"
    for name in ("red", "blue"):
        (root / name).mkdir(parents=True)
    for k in range(3):
        Image.new("RGB", (20, 20), (250 - k, 0, 0)).save(root / "red" / f"{k}.png")
        Image.new("RGB", (30, 10), (0, 0, 200)).save(root / "blue" / f"{k}.JPEG")
    Image.new("L", (16, 16), 90).save(root / "red" / "grey.png")
    (root / "red" / ".hidden.png").write_text("no image")
    (root / "red" / "notes.txt").write_text("no image")
    (root / ".git").mkdir()
    return root


def test_a_folder_is_read_class_by_class_in_the_order_of_names(folder):
    data = images(str(folder), image_size=16)
    x = data.x_train["image"]
    assert data.schema.modalities == {"image": (3, 16, 16)} and data.schema.labels == ("blue", "red")
    assert data.y_train.tolist() == [0, 0, 0, 1, 1, 1, 1] and x.dtype == np.uint8
    assert x[3:6, 0, 5, 5].tolist() == [250, 249, 248] and not x[3:6, 1:].any()
    assert (np.abs(x[:3, 2].astype(int) - 200) <= 2).all()
    assert (x[6] == 90).all()  # grey in three channels


def test_images_are_decoded_once_and_mapped_ever_after(folder, cache, monkeypatch):
    first = images(str(folder), image_size=16)
    (kept,) = cache.iterdir()
    assert isinstance(first.x_train["image"].base, np.memmap)
    monkeypatch.setattr("mmgan.data.sources.images._pixels", lambda *file: pytest.fail("decoded again"))
    again = images(str(folder), image_size=16)
    assert again.fingerprint() == first.fingerprint() and list(cache.iterdir()) == [kept]


def test_a_changed_folder_or_size_is_decoded_anew(folder, cache):
    before = images(str(folder), image_size=16)
    Image.new("RGB", (20, 20), (9, 9, 9)).save(folder / "red" / "0.png")
    after = images(str(folder), image_size=16)
    assert before.x_train["image"][3, 0, 0, 0] == 250 and after.x_train["image"][3, 0, 0, 0] == 9
    images(str(folder), image_size=20)
    assert len(list(cache.iterdir())) == 3


def test_rows_reach_a_model_as_floats_and_a_file_as_plain_arrays(folder, tmp_path):
    data = images(str(folder), image_size=16)
    module = FoldDataModule(data, 1, n_splits=2, batch_size=2, steps_per_epoch=1, final=True)
    module.setup()
    x, y = next(iter(module.train_dataloader()))
    assert x.dtype.is_floating_point and x.max() > 1 and y.dtype.is_floating_point is False
    assert module.samples(module.training_indices)[0]["image"].dtype == np.float32
    write_pickle(tmp_path / "x.pkl", {"x_train": data.x_train, "y_train": data.y_train})
    assert np.array_equal(read_archive(tmp_path / "x.pkl")["x_train"]["image"], data.x_train["image"])
    with (tmp_path / "x.pkl").open("rb") as file:
        assert type(pickle.load(file)["x_train"]["image"]) is np.ndarray


def broken(folder):
    (folder / "red" / "0.png").write_bytes(b"\x89PNG\r\n but no more")


def empty_class(folder):
    (folder / "green").mkdir()


def sixteen_bits(folder):
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(folder / "red" / "deep.png")


def no_classes(folder):
    for sub in ("red", "blue"):
        for file in (folder / sub).iterdir():
            file.unlink()
        (folder / sub).rmdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (broken, r"red/0\.png cannot be read as an image; repair or remove it"),
        (empty_class, r"green holds no image \(\.png, \.jpg, \.jpeg\)"),
        (sixteen_bits, r"deep\.png has more than 8 bits a channel"),
        (no_classes, "has no sub-folders; give each class one of its own"),
    ],
)
def test_what_cannot_be_read_is_named_and_leaves_no_cache(folder, cache, spoil, words):
    spoil(folder)
    with pytest.raises(MmganError, match=words):
        images(str(folder), image_size=16)
    assert not cache.exists() or not list(cache.iterdir())


def test_no_folder_no_size_no_room(folder, tmp_path):
    with pytest.raises(MmganError, match=r"give data\.path=FOLDER"):
        images()
    with pytest.raises(MmganError, match="no such folder"):
        images(str(tmp_path / "nowhere"))
    with pytest.raises(MmganError, match="image_size=4"):
        images(str(folder), image_size=4)
    (tmp_path / "file").write_text("")
    with pytest.raises(MmganError, match=r"cannot be kept there .*data\.cache="):
        images(str(folder), cache=str(tmp_path / "file"))


# -- the radar ----------------------------------------------------------------------------------------------------------
def test_images_of_six_activities_that_depend_on_draw_and_number_alone():
    one, more = micro_doppler(12, 6, 32), micro_doppler(18, 0, 32)
    assert one.schema.class_names == tuple(MOTIONS) and np.bincount(one.y_train).tolist() == [2] * 6
    assert one.x_train["image"].shape == (12, 3, 32, 32) and one.x_train["image"].dtype == np.uint8
    assert np.array_equal(np.concatenate([one.x_train["image"], one.x_test["image"]]), more.x_train["image"])
    assert not np.array_equal(more.x_train["image"], micro_doppler(18, 0, 32, draw=1).x_train["image"])


def test_a_point_that_comes_nearer_is_above_the_middle_at_its_velocity():
    velocity = 3.0
    pulses = int(RATE * 3)
    signal = echo(np.full((1, pulses), velocity), np.ones(1), np.random.default_rng(1))
    power = spectrogram(signal, 64)
    row = np.bincount(power.argmax(0)).argmax()
    # The angle to the line of sight makes it slower, by the same draw as in `echo`.
    seen = velocity * np.exp(np.random.default_rng(1).uniform(np.log(0.6), 0))
    expected = 32 - seen / (RATE * WAVELENGTH / 4) * 32
    assert abs(row - expected) <= 1.5


def test_the_spectrogram_is_that_of_scipy():
    signal = np.random.default_rng(0).normal(size=(2, int(RATE * 3)))
    signal = signal[0] + 1j * signal[1]
    power = spectrogram(signal, WINDOW)[::-1].T  # (time, velocity)
    # Hops of whole pulses: the first frame and the last.
    _, _, theirs = stft(signal - signal.mean(), window=np.hanning(WINDOW), nperseg=WINDOW, noverlap=0, boundary=None,
                        padded=False, return_onesided=False, scaling="spectrum")  # fmt: skip
    first = np.fft.fftshift(np.abs(theirs[:, 0] * np.hanning(WINDOW).sum()) ** 2)
    floor = 2 * 0.05**2 * (np.hanning(WINDOW) ** 2).sum()
    assert np.allclose(power[0], 10 * np.log10(first / floor + 1e-12), atol=1e-6)


def test_activities_differ_as_they_should():
    data = micro_doppler(60, 0, 64, colour_map="gray")
    grey = data.x_train["image"][:, 0].astype(float)  # (n, velocity, time)
    reach = (grey > 100).any(2).sum(1)  # velocities that are seen at all
    mean = {name: reach[data.y_train == k].mean() for k, name in enumerate(MOTIONS)}
    assert mean["running"] > mean["walking"] > mean["sitting_down"] > mean["empty_room"]
    moving = (grey[:, :28].max(1) > 100) | (grey[:, 37:].max(1) > 100)  # (n, time), off the middle
    share = {name: moving[data.y_train == k].mean() for k, name in enumerate(MOTIONS)}
    assert share["walking"] > 0.9 > share["falling"] > 0.1 and share["empty_room"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_train": 3}, "n_train=3"),
        ({"image_size": 4}, "image_size=4"),
        ({"colour_map": "nothing"}, "colour_map=nothing"),
    ],
)
def test_what_the_radar_cannot_do_is_refused(options, words):
    with pytest.raises(MmganError, match=words):
        micro_doppler(**options)


def test_the_radar_writes_the_folder_that_is_read(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mmgan.data.sources.micro_doppler",
        str(tmp_path / "radar"),
        "--n",
        "12",
        "--image-size",
        "16",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "12 images in" in done.stdout
    read, made = images(str(tmp_path / "radar"), image_size=16), micro_doppler(12, 0, 16)
    for name in MOTIONS:
        theirs = read.x_train["image"][read.y_train == read.schema.labels.index(name)]
        assert np.array_equal(theirs, made.x_train["image"][made.y_train == list(MOTIONS).index(name)])
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert refused.returncode == 1 and "is there already and not empty" in refused.stderr
