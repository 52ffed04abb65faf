"""While a model trains: score its samples on the inner validation samples, and keep its best moment."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar

from mmgan.data.datamodule import FoldDataModule
from mmgan.errors import PositiveInt, checked
from mmgan.evaluation.score import MAX_REFERENCE, MAX_TRAINED, CheapScore
from mmgan.models.synthesizer import Synthesizer
from mmgan.training.folder import RunFolder


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
    """A ModelCheckpoint that still knows its best after its folder was renamed or moved; several differ by their file's name."""

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.filename})"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = state_dict["dirpath"], str(self.dirpath)
        moved = {key: value.replace(old, new, 1) for key, value in state_dict.items() if isinstance(value, str)}
        scores = {path.replace(old, new, 1): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": scores})
