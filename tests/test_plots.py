"""Pictures: all classes, names in any script, every channel, scales with numbers."""

import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmgan.plots import overview, style, sweeps
from mmgan.plots.channels import log_power, mean_and_spread
from mmgan.plots.samples import beside_nearest, scale_of
from mmgan.plots.style import legible
from mmgan.training.class_pictures import image_of
from mmgan.training.pictures import _hand_over


def samples(shapes, classes, each=3):
    rng, y = np.random.default_rng(0), np.repeat(np.arange(classes), each)
    return {name: rng.random((len(y), *shape)) for name, shape in shapes.items()}, y


def texts(figure):
    """Return what is written in a figure, those of its axes included."""
    return {text.get_text() for text in figure.texts} | {axis.get_ylabel() for axis in figure.axes}


def drawn(figure, kind):
    return [each for each in figure.artists if isinstance(each, kind)]


def assert_apart(figure):
    """Assert that all that is written in a figure lies inside of it, and nothing on anything else."""
    boxes = [text.get_window_extent() for text in figure.texts]
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


# -- all classes --------------------------------------------------------------------------------------------------------
def test_the_overview_shows_three_real_and_three_synthetic_samples_of_every_class():
    x, y = samples({"spec": (3, 40), "v": (5,)}, classes=4)
    figure = overview.overview(x, y, x, y, ["$_$", "a_b", "λ", "d" * 40])
    assert len(figure.axes[0].images) == len(drawn(figure, Line2D)) == 4 * 6
    assert {"$_$", "a_b", "λ", "d" * 19 + "…", "real", "synthetic", "spec", "v", "value, in the data's units"} <= texts(
        figure
    )
    assert any("place, 1 to 40; down: channel, 1 to 3" in text for text in texts(figure))
    figure.canvas.draw()  # with warnings as errors: no glyph is missing, no mathematics


def test_the_overview_takes_few_samples_many_classes_and_images(monkeypatch):
    monkeypatch.setattr(overview, "MOST_CLASSES", 3)
    x, y = samples({"image": (3, 8, 8)}, classes=5, each=1)
    some = y != 1
    figure = overview.overview(x, y, {"image": x["image"][some]}, y[some], [f"c{k}" for k in range(len(y))])
    assert {"no sample", "the first 3 of 5 classes"} <= texts(figure)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2, 3), (1, 2, 3)])
def test_the_first_row_of_a_map_and_of_an_image_stands_above(shape):
    x = np.zeros((3, *shape))
    x[..., 0, :] = 1
    figure = beside_nearest(x, x, x, np.ones(3), (0.0, 1.0))
    pixels = np.asarray(image_of(figure).convert("L"))
    for image in figure.axes[0].images:
        box = image.get_window_extent()
        above, below = (pixels[int(len(pixels) - y), int(box.x0) + 5] for y in (box.y1 - 5, box.y0 + 5))
        assert above > 200 and below < 50


# -- names --------------------------------------------------------------------------------------------------------------
def test_names_without_letters_in_any_font_become_numbers(monkeypatch):
    monkeypatch.setattr(style, "_glyphs", lambda: set(map(ord, "abcß$_ ")))
    monkeypatch.setattr(style, "_found_more", lambda: False)
    assert legible(["a b", "ß$_"]) == ("a b", "ß$_")
    assert legible(["内圈故障", "a"]) == ("class 1", "class 2")
    assert legible(["a\x07"], "modality") == ("modality 1",)


def test_fonts_are_asked_for_that_are_installed():
    known = {font.name for font in font_manager.fontManager.ttflist}
    assert style.STYLE["font.family"] and set(style.STYLE["font.family"]) <= known | {"sans-serif"}
    wanted = "内圈故障"
    if legible([wanted]) == (wanted,):  # where a font has them, they are drawn
        x, y = samples({"v": (4,)}, classes=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            overview.overview(x, y, x, y, [wanted]).canvas.draw()


# -- channels, spectra, sweeps ------------------------------------------------------------------------------------------
def test_every_channel_has_a_panel_of_its_own_length():
    x, _ = samples({"spec": (7, 48), "env": (5, 32)}, classes=1)
    for lines in drawn(mean_and_spread(x, x, "a"), LineCollection)[:3:2]:  # beside those of the legend
        assert [len(line) for line in lines.get_segments()] == [48] * 7 + [32] * 5


def test_the_numbers_of_a_panel_have_room_and_their_power_of_ten_stands_in_the_title():
    x = {
        "large": 1e7 * np.eye(4),
        "odd": 12345 + np.random.default_rng(0).normal(size=(4, 9, 20)),
        "small": -1e-6 * np.eye(4),
    }
    figure = mean_and_spread(x, x, "a" * 40)
    figure.canvas.draw()
    assert {"large, 1e6", "odd 9/9", "small, 1e\N{MINUS SIGN}7", "real", "class " + "a" * 21 + "…"} <= texts(figure)
    assert_apart(figure)


def test_a_channel_without_samples_or_spread_and_one_of_a_single_value_are_drawn():
    x = {"scalar": np.ones((4, 1)), "flat": np.zeros((4, 3)), "none": np.full((4, 2), np.nan)}
    none = {name: values[:0] for name, values in x.items()}
    for pair in ((x, none), (none, none)):
        figure = mean_and_spread(*pair)
        figure.canvas.draw()  # with warnings as errors
        assert {"scalar", "flat", "none", "0"} <= texts(figure)


@pytest.mark.parametrize("shape", [(1,), (30,), (3, 30), (3, 8, 20), (1, 20, 8)])
def test_samples_beside_their_nearest_have_numbers_that_stand_apart(shape):
    x = 1e6 * np.random.default_rng(0).normal(size=(3, *shape))
    figure = beside_nearest(x, x, x, np.array([0.1, 1.234, 12]), scale_of(x))
    figure.canvas.draw()
    assert {"real", "synthetic", "nearest", "1.2 \N{MULTIPLICATION SIGN}", "0"} <= texts(figure)
    assert_apart(figure)


def test_numbers_below_neighbouring_samples_do_not_touch():
    x = np.random.default_rng(0).random((3, 7, 1500))
    figure = beside_nearest(x, x, x, np.ones(3), (0.0, 1.0))
    renderer = FigureCanvasAgg(figure).get_renderer()
    below = [text.get_window_extent(renderer) for text in figure.texts if text.get_text() in ("0", "1499")]
    lowest = min(box.y0 for box in below)
    line = sorted((box for box in below if box.y0 < lowest + 3), key=lambda box: box.x0)
    assert len(line) == 6 and all(a.x1 < b.x0 for a, b in pairwise(line))


def test_the_power_of_a_sine_lies_at_its_cycles():
    wave = np.sin(2 * np.pi * 5 * np.arange(64) / 64) + 3
    power = log_power(wave[None, None])
    assert power.shape == (1, 1, 32) and power.argmax() == 4  # the first is one cycle
    assert log_power(np.ones((1, 1, 32))).max() < -10


def test_a_sweep_s_pictures_write_names_in_full():
    names = ["model.lr.generator", "model.weights.generator.feature_matching", "model.sampling"]
    params = {names[0]: [1e-5, 1e-2, 1e-3], names[1]: [1, 2, 3], names[2]: ["prior", "density", "prior"]}
    figure = sweeps.by_parameter(params, [0.1, 0.2, 0.3], {names[0]})
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["lr.\ngenerator", "weights.generator.\nfeature_matching", "sampling"]
    assert [axis.get_xscale() for axis in figure.axes[:3]] == ["log", "linear", "linear"]
    axis = sweeps.history({"fold 1": {0: 0.5}}, maximize=True).axes[0]
    assert axis.get_xlim() == (-0.5, 0.5)
    line = sweeps.history({"fold 1": {0: 0.5, 2: 0.4, 5: 0.2}}, maximize=False).axes[0].lines[0]
    assert line.get_ydata().tolist() == [0.5, 0.4, 0.2] and line.get_xdata().tolist() == [0, 2, 5]


@pytest.mark.parametrize("epochs", [None, 3])
def test_the_bar_of_a_sweep_follows_the_epochs_of_a_refit(tmp_path, epochs):
    from types import SimpleNamespace

    from mmgan.training.callbacks import TellEpoch
    from mmgan.tuning.view import place

    settings = SimpleNamespace(n_trials=9, refit_epochs=12)
    study = SimpleNamespace(fold=2, path=tmp_path, settings=settings, finished=lambda: [1] * 9)
    if epochs is None:
        assert place(study) == {"description": "fold 2", "completed": 9, "total": 9}
        return
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), current_epoch=epochs - 1)
    TellEpoch().on_train_epoch_end(trainer, None)
    assert place(study) == {"description": "fold 2 refit", "completed": 3, "total": 12}
    TellEpoch().on_train_end(trainer, None)
    assert TellEpoch.read(tmp_path) is None


def test_a_picture_reaches_tensorboard(tmp_path):
    logger = TensorBoardLogger(str(tmp_path))
    _hand_over(logger, "samples", Image.new("RGB", (4, 4)), 1)
    logger.experiment.flush()
    assert EventAccumulator(logger.log_dir).Reload().Tags()["images"] == ["samples"]
