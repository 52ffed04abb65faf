"""Pictures of a training, handed to the logger: samples, traversals of the latent space, samples rebuilt, a film."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA

from mmgan.data.arrays import flatten, take
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.writing import replacing
from mmgan.errors import MmganError, NonNegativeInt, PositiveInt, Range, checked
from mmgan.models.synthesizer import Synthesizer
from mmgan.plots import samples as plots
from mmgan.plots.style import legible
from mmgan.training.callbacks import draw_like
from mmgan.training.class_pictures import class_figures, image_of


class Pictures(L.Callback, ABC):
    """Hands pictures to the logger after the first epoch, every `every_n_epochs` epochs, and after the last."""

    every_n_epochs: int

    @abstractmethod
    def figures(self, data: FoldDataModule, model: Any) -> Iterator[tuple[str, Figure]]:
        """Yield pictures with their names."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch in (1, trainer.max_epochs)
        if due and isinstance(trainer.logger, TensorBoardLogger | WandbLogger):
            for name, figure in self.figures(trainer.datamodule, pl_module):
                _hand_over(trainer.logger, name, image_of(figure), trainer.global_step)


class DrawSamples(Pictures):
    """Pictures of real and synthetic samples."""

    needs = "samples"

    @checked
    def __init__(self, every_n_epochs: PositiveInt = 5, classes: NonNegativeInt = 12):
        self.every_n_epochs = every_n_epochs
        self.classes = classes

    def figures(self, data: FoldDataModule, model: Any) -> Iterator[tuple[str, Figure]]:
        # Some 60 of a class, which go through a network together.
        most = min(2000, max(400, 60 * data.schema.n_classes))
        x, y = data.samples(data.training_indices, most)
        synthetic = draw_like(Synthesizer(model), y)
        for k in np.unique(y)[: self.classes]:
            real, drawn = (take(values, y == k) for values in (x, synthetic))
            class_name = legible(model.schema.class_names)[k]
            for name in x:
                yield f"samples/{name}/{class_name}", plots.real_and_synthetic(real, drawn, name, class_name)
            for name, figure in class_figures(real, drawn, class_name):
                yield f"{name}/{class_name}", figure
        if (plane := Plane(x)).exists:
            yield "plane", plots.scatter(plane(x), plane(synthetic), *plane.names)


class Plane:
    """Arrays {name: (n, *shape)} as points of a plane (n, 2): as they are where they have two values, otherwise their first two
    principal components, fitted on `x`.
    """

    def __init__(self, x: dict[str, np.ndarray]):
        flat = flatten(x)
        self.exists = min(flat.shape) >= 2
        self.is_plain = flat.shape[1] == 2
        self.title = "the two values of a sample" if self.is_plain else "first two principal components"
        self.names = [("1st value", "2nd value")] if self.is_plain else []  # of the axes, where they are no components
        if self.exists and not self.is_plain:
            self._pca = PCA(2, random_state=0).fit(flat)

    def __call__(self, x: dict[str, np.ndarray]) -> np.ndarray:
        return flatten(x) if self.is_plain else self._pca.transform(flatten(x))


class DrawTraversals(Pictures):
    """What the `dimensions` latent dimensions that vary most do to a sample: one picture for each modality of the first `classes` classes."""

    needs = "latents"
    values = np.linspace(-2, 2, 7)

    @checked
    def __init__(
        self, every_n_epochs: PositiveInt = 6, classes: NonNegativeInt = 1, dimensions: Annotated[int, Range(1, 64)] = 5
    ):
        self.every_n_epochs = every_n_epochs
        self.classes = classes
        self.dimensions = dimensions

    def figures(self, data: FoldDataModule, model: Any) -> Iterator[tuple[str, Figure]]:
        for label, class_name in enumerate(legible(model.schema.class_names)[: self.classes]):
            chosen, drawn = traversed(model, label, self.values, self.dimensions)
            for name in model.schema.modalities if chosen else ():
                figure = plots.traversal([x[name] for x in drawn], chosen, self.values, name, class_name)
                yield f"traversal/{name}/{class_name}", figure


class DrawReconstructions(Pictures):
    """Held-out samples, or without an inner split training samples, above what a first stage rebuilds of them: `samples` of each class."""

    needs = "reconstructions"

    @checked
    def __init__(
        self, every_n_epochs: PositiveInt = 5, classes: NonNegativeInt = 12, samples: Annotated[int, Range(1, 64)] = 3
    ):
        self.every_n_epochs = every_n_epochs
        self.classes = classes
        self.samples = samples

    def figures(self, data: FoldDataModule, model: Any) -> Iterator[tuple[str, Figure]]:
        held_out = len(data.inner_val_indices) > 0
        x, y = data.samples(data.inner_val_indices if held_out else data.training_indices, most=2000)
        kinds = ("held out" if held_out else "training", "rebuilt")
        for k in np.unique(y)[: self.classes]:
            real = take(x, np.flatnonzero(y == k)[: self.samples])
            rebuilt, _ = model.reconstruct(real)
            class_name = legible(model.schema.class_names)[k]
            for name in x:
                figure = plots.real_and_synthetic(real, rebuilt, name, class_name, self.samples, kinds)
                yield f"rebuilt/{name}/{class_name}", figure


class FilmSamples(L.Callback):
    """After every epoch a picture of the adversarial losses so far, and of real and generated samples as points of a plane.

    They go to the logger, and at the end, one after another, into `film.gif` in the run's folder. Arrays of more than two values are
    shown by their first two principal components; `points` of either kind. Raises MmganError, before anything is trained, for
    samples that make no plane.
    """

    needs = "samples"

    @checked
    def __init__(
        self,
        points: Annotated[int, Range(2, 100_000)] = 500,
        milliseconds: Annotated[int, Range(10, 60_000)] = 200,
    ):
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
        x, self._labels = trainer.datamodule.samples(trainer.datamodule.training_indices, most=self.points)
        self._plane = Plane(x)
        if not self._plane.exists:
            raise MmganError(
                "callbacks=film draws two or more samples of two or more values; leave callbacks=film out."
            )
        self._real, self._epochs = self._plane(x), trainer.max_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, value in pl_module.epoch_means().items():
            if name.endswith("/adversarial"):
                self.losses.setdefault(name, []).append(float(value))
        self.drawn.append(self._plane(draw_like(Synthesizer(pl_module), self._labels)).astype(np.float32))
        _hand_over(trainer.logger, "film", self._frame(len(self.drawn)), trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Also those before the run was resumed.
        if frames := [self._frame(epoch) for epoch in range(1, len(self.drawn) + 1)]:
            with replacing(Path(trainer.default_root_dir) / "film.gif", lasting=False) as stream:
                frames[0].save(
                    stream, "gif", save_all=True, append_images=frames[1:], duration=self.milliseconds, loop=0
                )

    def _frame(self, epoch: int) -> Image.Image:
        if epoch not in self._frames:
            until = {name: values[:epoch] for name, values in self.losses.items()}
            figure = plots.losses_and_points(until, self._epochs, self._real, self.drawn[epoch - 1], self._plane.title)
            self._frames[epoch] = image_of(figure)
        return self._frames[epoch]


def traversed(
    model: Any, label: int, values: np.ndarray, dimensions: int
) -> tuple[list[int], list[dict[str, np.ndarray]]]:
    """Return the latent dimensions that vary most over the training samples, and for each the samples along it.

    They begin at the mean of the class with index `label` and go `values` standard deviations of that dimension from it; each item
    of the list holds {name: (len(values), *shape)}. Before the first epoch has ended there is no mean: no dimensions.
    """
    latents = model.latents
    of_class = latents.labels == label
    if not of_class.any():
        return [], []
    centre, deviations = latents.mu[of_class].mean(0), latents.mu.std(0, correction=0)
    chosen = deviations.argsort(descending=True)[:dimensions].tolist()
    steps = model.tensor(values)
    drawn = []
    for dimension in chosen:
        z = centre.repeat(len(steps), 1)
        z[:, dimension] += steps * deviations[dimension]
        with model.evaluating():
            drawn.append(model.to_arrays(model.averaged(z, label).mean, mapped=False))
    return chosen, drawn


def _hand_over(logger: Logger | None, name: str, image: Image.Image, step: int) -> None:
    """Give a picture to a logger that takes pictures; the others have no place for it."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [image], step)
