"""While a model trains: score its samples on the inner validation samples, and keep its best moment."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar

from mmgan.data.datamodule import FoldDataModule
from mmgan.errors import PositiveInt, Share, checked
from mmgan.evaluation.novelty import LeaveOneOut
from mmgan.evaluation.score import MAX_REFERENCE, MAX_TRAINED, CheapScore
from mmgan.models.synthesizer import Synthesizer
from mmgan.training.folder import RunFolder

MARGIN = 0.05  # of novelty; a mapping fitted on a part of the calibration samples changed it by .023 at most


def draw_like(model: Synthesizer, y: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw one synthetic sample for each class index of `y`."""
    return model.sample(model.schema.decode(y), seed=seed)


def fold_judge(
    data: FoldDataModule, heldout: np.ndarray, seed: int, tested: np.ndarray | None = None
) -> Callable[[Synthesizer], dict[str, float]]:
    """Return a function that scores a model's samples against the samples numbered `heldout`, as `CheapScore` does.

    `tested` numbers those that judge utility (None: the same).
    """
    reference = data.samples(data.training_indices, most=MAX_REFERENCE)
    more = {} if data.pool is None else {"pool": data.pool.x}
    more |= {} if tested is None else {"tested": data.samples(tested)}
    judge = CheapScore(*reference, *data.samples(heldout, most=MAX_REFERENCE), seed=seed, **more)
    _, labels = data.samples(data.training_indices, most=MAX_TRAINED)
    return lambda model: judge(draw_like(model, labels), labels)


class Bar(RichProgressBar):
    """Lightning's bar, with nothing behind it but what the model says; not the number of the logger's folder."""

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(*args).items() if name != "v_num"}


class ScoreSamples(L.Callback):
    """Log `val/score` after every validation: the mean of the last `window` scores of samples, and the parts of the last.

    The samples are compared with the inner validation samples of the datamodule (see `mmgan.evaluation.score`).

    Parameters
    ----------
    window : validations in the mean that picks the checkpoint.
    """

    needs = "samples"

    @checked
    def __init__(self, window: PositiveInt = 3):
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
            self._judge = fold_judge(data, data.inner_val_indices, pl_module.seed)
        parts = self._judge(Synthesizer(pl_module))
        self.recent = [*self.recent, parts["score"]][-self.window :]
        pl_module.log("val/score", math.fsum(self.recent) / len(self.recent), prog_bar=True, sync_dist=True)
        parts["latest"] = parts.pop("score")
        pl_module.log_dict({f"val_parts/{name}": value for name, value in parts.items()}, sync_dist=True)


class KeepNew(L.Callback):
    """Without an inner split: let best.ckpt be of the last epoch whose samples are new, and end a training that only copies.

    New are samples that lie as far from the training samples as those lie from each other (`LeaveOneOut`, logged as
    `train/novelty`). Of epochs before any with new samples the one with the newest is kept.

    Parameters
    ----------
    limit : the least novelty of new samples; those of unseen real samples is 1.
    patience : epochs in a row without new samples that end the training, after one with them.
    samples : how many are drawn after each epoch.
    """

    needs = "samples"

    @checked
    def __init__(self, limit: Share = 0.92, patience: PositiveInt = 3, samples: PositiveInt = 256):
        self.limit, self.patience, self.samples = limit, patience, samples
        self.keeps = True  # whether best.ckpt is to be of the epoch that has just ended
        self.highest, self.copying = -math.inf, 0  # novelty, up to the limit; epochs in a row
        self._novelty: Callable[[Synthesizer], float] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"highest": self.highest, "copying": self.copying}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.highest, self.copying = state_dict["highest"], state_dict["copying"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.copying >= self.patience

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._novelty is None:
            self._novelty = self._measure(trainer.datamodule, pl_module.seed)
        found = torch.tensor(self._found(pl_module, self._novelty), device=pl_module.device)
        novelty = min(self.limit, float(trainer.strategy.reduce(found, reduce_op="mean")))  # alike in all processes
        pl_module.log("train/novelty", found, sync_dist=True)
        self.keeps = novelty == self.limit or novelty > self.highest
        self.highest = max(self.highest, novelty)
        self.copying = self.copying + 1 if novelty < self.limit <= self.highest else 0
        trainer.should_stop = trainer.should_stop or self.copying >= self.patience

    def _found(self, model: Any, novelty: Callable[[Synthesizer], float]) -> float:
        """Return the novelty of a model's samples; where it is near the limit, of those that a finished training would draw."""
        found = novelty(Synthesizer(model))
        if found >= self.limit + MARGIN:
            return found
        before = copy.deepcopy(model.state_dict())
        if model.calibrate():
            found = novelty(Synthesizer(model))
            model.load_state_dict(before)  # a look changes nothing
        return found

    def _measure(self, data: FoldDataModule, seed: int) -> Callable[[Synthesizer], float]:
        x, y = data.samples(data.training_indices, most=MAX_REFERENCE)
        novelty = LeaveOneOut(x, y, None if data.pool is None else data.pool.x, seed)
        labels = np.random.default_rng(seed).permutation(np.resize(y, max(len(y), self.samples)))[: self.samples]
        return lambda model: novelty(draw_like(model, labels), labels)


class TellEpoch(L.Callback):
    """Keep the number of finished epochs in a file of the run's folder while it trains, for who watches from another process."""

    file = "progress.json"

    @classmethod
    def read(cls, folder: Path) -> int | None:
        """Return the number of finished epochs of the training that runs in a folder; None where none does."""
        try:
            return int(json.loads((folder / cls.file).read_text(encoding="utf-8"))["epochs"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        RunFolder(trainer.default_root_dir).write_json(self.file, {"epochs": trainer.current_epoch})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        RunFolder(trainer.default_root_dir).write_json(self.file, {"epochs": trainer.current_epoch + 1})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (Path(trainer.default_root_dir) / self.file).unlink(missing_ok=True)


class FolderCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows its best after its folder was renamed or moved; several differ by their file's name.

    It saves only epochs that `keeper` keeps, where there is one.
    """

    def __init__(self, folder: Path, name: str, keeper: KeepNew | None = None, **options: Any):
        super().__init__(folder, name, **options)
        self._keeper = keeper

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._keeper is None or self._keeper.keeps:
            super().on_train_epoch_end(trainer, pl_module)

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.filename})"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict["dirpath"], str(self.dirpath)
        moved = {key: value.replace(old, new, 1) for key, value in state_dict.items() if isinstance(value, str)}
        scores = {path.replace(old, new, 1): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": scores})
