"""What a training says before its first bar: what was read, how a fold is divided, what computes, and what looks odd."""

from collections.abc import Sequence

import lightning as L
from omegaconf import DictConfig

from mmgan.commands.arguments import tell
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.description import description, oddities
from mmgan.plots.style import legible
from mmgan.training.duration import about

WORDS = ("no", "one", "two", "three", "four")


def tell_opening(
    cfg: DictConfig, dataset: Dataset, folds: Sequence[FoldDataModule], trainer: L.Trainer, seconds: float
) -> None:
    """Print one line of what was read and what comes, how long it takes, and a line for each thing that looks odd."""
    first, *others = folds
    threads = f"{WORDS[cfg.threads] if cfg.threads < len(WORDS) else cfg.threads} thread{'s' * (cfg.threads != 1)}"
    device = trainer.strategy.root_device.type
    machine = f"cpu, {threads}" if device == "cpu" else f"{trainer.num_devices} {device}"
    several = f" and {len(others)} more" if others else ""
    which = f"fold {first.fold.fold}{several}" if first.fold.fold else "no folds"
    parts = [description(dataset), f"{which}: {_division(first)}", machine, about(seconds)]
    tell("; ".join(filter(None, parts)))
    for sentence in [*oddities(dataset, first.fold), *_illegible(dataset.schema.class_names)]:
        tell(f"note: {sentence}")


def _division(data: FoldDataModule) -> str:
    inner, held, alike = len(data.inner_val_indices), len(data.fold.val_indices), len(data.fold.judge_indices)
    parts = [f"{len(data.training_indices)} to train", f"{inner} to choose the checkpoint" if inner else ""]
    parts += [
        f"{len(data.pool.indices)} unlabelled" if data.pool is not None else "",
        f"{held} held out" if held else "",
        f"{alike} more of the training groups" if alike else "",
    ]
    return ", ".join(filter(None, parts))


def _illegible(class_names: tuple[str, ...]) -> list[str]:
    """Say what pictures call the classes where no installed font has their names' letters."""
    if (drawn := legible(class_names)) == class_names:
        return []
    pairs = ", ".join(f"{short}: {name}" for short, name in list(zip(drawn, class_names, strict=True))[:20])
    return [
        f"no installed font has all letters of the class names, so that pictures number them ({pairs}); install one, such as Noto CJK."
    ]
