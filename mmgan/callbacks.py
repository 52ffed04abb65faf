"""While a model trains: score its samples on the monitored rows, and draw them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA

from mmgan import plots
from mmgan.data.datamodule import FoldDataModule
from mmgan.errors import MmganError
from mmgan.evaluation.score import MAX_REFERENCE, MAX_TRAINED, CheapScore
from mmgan.models.base import Synthesizer
from mmgan.models.latent import VariationalSynthesizer


def draw_like(model: Synthesizer, y: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw one synthetic row for each class index of `y`."""
    return model.sample(model.schema.decode(y), seed=seed)


def fold_judge(data: FoldDataModule, heldout: np.ndarray, seed: int) -> Callable[[Synthesizer], dict[str, float]]:
    """Return a function that scores a model's samples against the rows numbered `heldout`, as `CheapScore` does."""
    reference = data.rows(data.fit_indices, most=MAX_REFERENCE)
    judge = CheapScore(*reference, *data.rows(heldout, most=MAX_REFERENCE), seed=seed)
    _, labels = data.rows(data.fit_indices, most=MAX_TRAINED)
    return lambda model: judge(draw_like(model, labels), labels)


class SampleCallback(L.Callback):
    """A callback that looks at samples: left out where the model that trains makes none."""


class ScoreSamples(SampleCallback):
    """Log `val/score` after every validation: the mean of the last `window` scores of samples, and the parts of the last.

    The samples are compared with the monitored rows of the datamodule (see `mmgan.evaluation.score`).
    """

    def __init__(self, window: int = 3):
        self.window = window
        self.recent: list[float] = []
        self._judge: Callable[[Synthesizer], dict[str, float]] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"recent": self.recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.recent = list(state_dict["recent"])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._judge is None:
            data = trainer.datamodule
            self._judge = fold_judge(data, data.monitor_indices, pl_module.seed)
        parts = self._judge(pl_module)
        self.recent = [*self.recent, parts["score"]][-self.window :]
        pl_module.log("val/score", math.fsum(self.recent) / len(self.recent), prog_bar=True)
        pl_module.log("val/score_now", parts.pop("score"))
        pl_module.log_dict({f"val/{name}": value for name, value in parts.items()})


class FolderCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows its best after its folder was renamed or moved; several differ by their file's name."""

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.filename})"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict["dirpath"], str(self.dirpath)
        moved = {key: value.replace(old, new, 1) for key, value in state_dict.items() if isinstance(value, str)}
        scores = {path.replace(old, new, 1): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": scores})


class DrawSamples(SampleCallback):
    """Hand pictures of real and synthetic rows to the logger every `every_n_epochs` epochs, and after the last."""

    def __init__(self, every_n_epochs: int = 5, classes: int = 12):
        self.every_n_epochs = every_n_epochs
        self.classes = classes

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not _is_due(trainer, self.every_n_epochs):
            return
        x, y = trainer.datamodule.rows(trainer.datamodule.fit_indices, most=2000)  # enough for any picture
        synthetic = draw_like(pl_module, y)
        for tag, figure in self._figures(pl_module, x, y, synthetic):
            _hand_over(trainer.logger, tag, figure, trainer.global_step)

    def _figures(self, model: L.LightningModule, x: dict, y: np.ndarray, synthetic: dict):
        for k in np.unique(y)[: self.classes]:
            of_class = {name: value[y == k] for name, value in x.items()}
            drawn = {name: value[y == k] for name, value in synthetic.items()}
            class_name = model.schema.class_names[k]
            for name in x:
                yield f"samples/{name}/{class_name}", plots.real_and_synthetic(of_class, drawn, name, class_name)
            yield f"mean_and_spread/{class_name}", plots.mean_and_spread(of_class, drawn, class_name)
        if (plane := Plane(x)).exists:
            yield "plane", plots.scatter(plane(x), plane(synthetic), plane.title)


class Plane:
    """Rows {name: (n, *shape)} as points of a plane (n, 2): as they are where they have two values, otherwise their first two
    principal components, fitted on `x`.
    """

    def __init__(self, x: dict[str, np.ndarray]):
        flat = _flat(x)
        self.exists = min(flat.shape) >= 2
        self.is_plain = flat.shape[1] == 2
        self.title = "the two values of a row" if self.is_plain else "first two principal components"
        if self.exists and not self.is_plain:
            self._pca = PCA(2, random_state=0).fit(flat)

    def __call__(self, x: dict[str, np.ndarray]) -> np.ndarray:
        return _flat(x) if self.is_plain else self._pca.transform(_flat(x))


class DrawTraversals(SampleCallback):
    """Every `every_n_epochs` epochs, and after the last: what the `dimensions` latent dimensions that vary most do to a row.

    One picture for each modality of each of the first `classes` classes; nothing for a model without an encoder.
    """

    values = np.linspace(-2, 2, 7)

    def __init__(self, every_n_epochs: int = 6, classes: int = 1, dimensions: int = 5):
        self.every_n_epochs = every_n_epochs
        self.classes = classes
        self.dimensions = dimensions

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, VariationalSynthesizer) or not _is_due(trainer, self.every_n_epochs):
            return
        for label, class_name in enumerate(pl_module.schema.class_names[: self.classes]):
            chosen, drawn = pl_module.traverse(label, self.values, self.dimensions)
            for name in pl_module.schema.modalities if chosen else ():
                figure = plots.traversal([rows[name] for rows in drawn], chosen, self.values, name, class_name)
                _hand_over(trainer.logger, f"traversal/{name}/{class_name}", figure, trainer.global_step)


class FilmSamples(SampleCallback):
    """After every epoch a picture of the adversarial losses so far, and of real and generated rows as points of a plane.

    They go to the logger, and at the end, one after another, into `film.gif` in the run's folder. Rows of more than two values are
    shown by their first two principal components; `points` of either kind. Raises MmganError, before anything is trained, for
    rows that make no plane.
    """

    def __init__(self, points: int = 500, milliseconds: int = 200):
        self.points = points
        self.milliseconds = milliseconds
        self.losses: dict[str, list[float]] = {}
        self.drawn: list[np.ndarray] = []
        self._frames: dict[int, Image.Image] = {}  # by epoch

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "drawn": [torch.from_numpy(points) for points in self.drawn]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses, self.drawn = state_dict["losses"], [points.numpy() for points in state_dict["drawn"]]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        x, self._labels = trainer.datamodule.rows(trainer.datamodule.fit_indices, most=self.points)
        self._plane = Plane(x)
        if not self._plane.exists:
            raise MmganError("callbacks=film draws two or more rows of two or more values; leave callbacks=film out.")
        self._real, self._epochs = self._plane(x), trainer.max_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, value in pl_module.epoch_means().items():
            if name.endswith("/adversarial"):
                self.losses.setdefault(name, []).append(float(value))
        self.drawn.append(self._plane(draw_like(pl_module, self._labels)).astype(np.float32))
        _hand_over(trainer.logger, "film", self._frame(len(self.drawn)), trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        frames = [
            self._frame(epoch) for epoch in range(1, len(self.drawn) + 1)
        ]  # also those before the run was resumed
        if frames:
            path = Path(trainer.default_root_dir) / "film.gif"
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=self.milliseconds, loop=0)

    def _frame(self, epoch: int) -> Image.Image:
        if epoch not in self._frames:
            until = {name: values[:epoch] for name, values in self.losses.items()}
            figure = plots.game(until, self._epochs, self._real, self.drawn[epoch - 1], self._plane.title)
            self._frames[epoch] = _image(figure)
        return self._frames[epoch]


@contextmanager
def logged(trainer: L.Trainer) -> Iterator[None]:
    """End the logger's run with the block, also where a trial is pruned: wandb would go on with it in the next one."""
    try:
        yield
    finally:
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.experiment.finish()


def _is_due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    """Say whether this epoch, which ends, is one of every so many, or the last."""
    epoch = trainer.current_epoch + 1
    return epoch % every_n_epochs == 0 or epoch == trainer.max_epochs


def _flat(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.hstack([value.reshape(len(value), -1) for value in x.values()])


def _image(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _hand_over(logger: Logger | None, tag: str, picture: Figure | Image.Image, step: int) -> None:
    """Give a picture to a logger that takes pictures; the others have no place for it."""
    if not isinstance(logger, TensorBoardLogger | WandbLogger):
        return
    image = _image(picture) if isinstance(picture, Figure) else picture
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(tag, np.asarray(image), step, dataformats="HWC")
    else:
        logger.log_image(tag, [image], step)
