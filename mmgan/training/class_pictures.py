"""Pictures class by class: mean and spread, power spectra, and those that a finished generator leaves in its folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmgan.data.arrays import take
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.writing import replacing
from mmgan.models.synthesizer import Synthesizer
from mmgan.plots import overview
from mmgan.plots.channels import log_power, mean_and_spread
from mmgan.plots.style import legible
from mmgan.schema import Arrays
from mmgan.training.callbacks import draw_like

DPI = 110  # of pictures beside a checkpoint
MOST_DRAWN, MOST_CLASSES = 60, 12  # samples of a class that make its mean; classes whose means are drawn
SHORTEST = 32  # signal that has a spectrum


def class_figures(real: Arrays, drawn: Arrays, class_name: str) -> Iterator[tuple[str, Figure]]:
    """Yield mean and spread of a class's real and synthetic samples, and those of their power spectra, channel by channel."""
    yield "mean_and_spread", mean_and_spread(real, drawn, class_name)
    signals = [name for name, values in real.items() if values.ndim == 3 and values.shape[-1] >= SHORTEST]
    if signals:
        pair = ({name: log_power(x[name]) for name in signals} for x in (real, drawn))
        yield "spectrum", mean_and_spread(*pair, class_name, ("cycles in a sample", "log10 of power"), first=1)


def draw_pictures(model: Synthesizer, data: FoldDataModule, folder: Path) -> None:
    """Write samples.png, means.png and spectra.png of a finished generator into `folder`."""
    classes, y = data.training_indices, data.dataset.y_train
    some = np.concatenate([classes[y[classes] == k][:MOST_DRAWN] for k in np.unique(y[classes])])
    x, y = data.samples(some)
    synthetic, names = draw_like(model, y), legible(model.schema.class_names)
    with replacing(folder / "samples.png", lasting=False) as stream:
        overview.overview(x, y, synthetic, y, names).savefig(stream, dpi=DPI)
    drawn: dict[str, list[Image.Image]] = {}
    for k in np.unique(y)[:MOST_CLASSES]:
        for name, figure in class_figures(take(x, y == k), take(synthetic, y == k), names[k]):
            drawn.setdefault({"mean_and_spread": "means"}.get(name, "spectra"), []).append(image_of(figure))
    for name, images in drawn.items():
        with replacing(folder / f"{name}.png", lasting=False) as stream:
            _sheet(images).save(stream, format="png")


def _sheet(images: list[Image.Image], across: int = 3) -> Image.Image:
    """Return images of one size beside and below each other, on white."""
    width, height = images[0].size
    sheet = Image.new("RGB", (width * min(across, len(images)), height * -(-len(images) // across)), "white")
    for number, image in enumerate(images):
        sheet.paste(image, (number % across * width, number // across * height))
    return sheet


def image_of(figure: Figure) -> Image.Image:
    """Return a figure as an image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
