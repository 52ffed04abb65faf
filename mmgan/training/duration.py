"""How long a training will take, told before it begins: a few batches are timed, and the rest is counted."""

import math
import time
from itertools import pairwise
from statistics import median
from typing import Any

import lightning as L

from mmgan.data.datamodule import FoldDataModule
from mmgan.training.callbacks import ScoreSamples
from mmgan.training.fit import FoldRun, run_trainer
from mmgan.training.pictures import DrawSamples

MOST_BATCHES, LONG = 8, 0.5  # batches that are timed; seconds after which no further one is
SCORE, PICTURE = 1.0, 0.08  # seconds of one core, measured: of a score's classifiers, and of one picture


class _EnoughError(Exception):
    """The batches that were asked for are timed."""


class _Clock(L.Callback):
    """Notes when batches end, and ends the training after a few."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.times.append(time.perf_counter())

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > MOST_BATCHES or self.times[-1] - self.times[0] > LONG:
            raise _EnoughError


def seconds_of_epoch(trainer: L.Trainer, model: Any, data: FoldDataModule) -> float:
    """Return how long the batches of an epoch take, as the first few do; NaN where they cannot be timed.

    Give objects that are not used again: the model is trained meanwhile, and the trainer is spent.
    """
    if not model.needs_training or trainer.world_size > 1:
        return math.nan
    clock = _Clock()
    trainer.callbacks.append(clock)
    try:
        run_trainer(trainer, model, data)
    except _EnoughError:
        pass
    except Exception:  # whatever it is, the training itself will say it
        return math.nan
    steps = [after - before for before, after in pairwise(clock.times)]
    return median(steps[1:] or steps) * trainer.num_training_batches if steps else math.nan  # the first one is slower


def seconds_of_training(run: FoldRun, data: FoldDataModule, epoch: float) -> float:
    """Return how long `run` takes, given the seconds of an epoch's batches: all its epochs, scores and pictures."""
    trainings, scored = 1 + (run.final and run.select_length), len(data.inner_val_indices) > 0
    seconds = trainings * run.max_epochs * epoch
    for each in run.callbacks().values() if "samples" in run.task.offers else ():
        if isinstance(each, ScoreSamples) and scored:
            seconds += run.max_epochs * SCORE
        if isinstance(each, DrawSamples):
            due = {1, run.max_epochs, *range(each.every_n_epochs, run.max_epochs, each.every_n_epochs)}
            times = trainings * len(due) + 1  # and of the finished model
            seconds += times * PICTURE * min(data.schema.n_classes, each.classes) * (len(data.schema.modalities) + 2)
    return seconds


def seconds_of_trials(epochs: int, epoch: float) -> float:
    """Return how long trials take that train for so many epochs together, given the seconds of an epoch's batches."""
    return epochs * (epoch + SCORE)


def about(seconds: float) -> str:
    """Return a duration in words, rounded as an estimate is: 'about 6 minutes'; nothing for NaN."""
    if math.isnan(seconds):
        return ""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        whole = round(minutes) if minutes < 10 else 5 * round(minutes / 5)
        return f"about {whole} minute{'s' * (whole != 1)}"
    hours = minutes / 60
    return f"about {round(hours)} hours" if hours < 36 else f"about {round(hours / 24)} days"
