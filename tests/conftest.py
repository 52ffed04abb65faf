"""Tiny data sets and tiny configurations that the tests share."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads beside any busy neighbour are tens of times slower

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from mmgan.commands import arguments, build
from mmgan.data.files import write_pickle
from mmgan.data.sources.pkl import pkl

CONF = arguments.CONF

# What makes a model small, by the names that conf/model/ uses; a test's own overrides come after.
SMALL = {
    "width": 16,
    "members": 2,
    "depth": 1,
    "channels": 4,
    "stages": 1,
    "class_dim": 4,
    "latent_dim": 4,
    "kl_warmup": 2,
    "ema_decay": 0.5,
    "n_calibration_samples": 200,
    "steps": 4,
}
TINY_RUN = [
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "data.steps_per_epoch=2",
    "data.batch_size=16",
    "~callbacks.traversals",
    "~callbacks.pictures",  # drawing takes longer than all the rest of a tiny run
]
TWO = {"spec": (3, 10), "env": (2, 8)}
THREE = {"features": (7,), "spec": (3, 9), "image": (2, 4, 5)}


# Those that take longest; at the end one of them would keep a lone process busy.
FIRST = (
    "test_every_command_runs",
    "test_a_short_training_makes_good_samples",
    "test_the_benchmark_of_sweeps_runs",
    "test_processes_on_one_database",
    "test_workers_share_one_study",
    "test_the_commands_run_without_it",
    "test_an_interrupted_comparison_goes_on",
    "test_a_launcher_trains_folds_as_jobs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, in turn for the two processes, each of which is given a half of the list."""
    long = [item for name in FIRST for item in items if f"::{name}" in item.nodeid]
    others = [item for item in items if item not in long]
    middle = len(others) // 2
    items[:] = [*long[::2], *others[:middle], *long[1::2], *others[middle:]]


def pytest_configure() -> None:
    torch.set_num_threads(1)


def rows_of(shapes: dict[str, tuple[int, ...]], y: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Non-negative samples, float32, whose mean and spread differ from class to class and from modality to modality."""
    rng = np.random.default_rng(seed)
    level = 1.0 + y.astype(float)
    return {
        name: rng.gamma(2.0, level.reshape(-1, *[1] * len(shape)) * (k + 1.0), (len(y), *shape)).astype(np.float32)
        for k, (name, shape) in enumerate(shapes.items())
    }


def content(
    shapes: dict[str, tuple[int, ...]] | None = None, rows: int = 100, classes: int = 4, seed: int = 0, **more: Any
) -> dict[str, Any]:
    """What a user's file holds: x_train and y_train, the classes in turn."""
    y = np.arange(rows) % classes
    return {"x_train": rows_of(shapes or TWO, y, seed), "y_train": y, **more}


@pytest.fixture(scope="session")
def write_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a user's file of `content(...)` and return where."""

    def write(**options: Any) -> Path:
        path = tmp_path_factory.mktemp("data") / "data.pkl"
        write_pickle(path, content(**options))
        return path

    return write


@pytest.fixture(scope="session")
def tiny(write_data: Callable[..., Path]) -> Path:
    """A file of 100 samples, two modalities of rank 2, 4 classes: 80 training samples a fold, 64 of them beside the monitor."""
    return write_data()


@pytest.fixture(scope="session")
def dataset(tiny: Path):
    return pkl(str(tiny))


class QuickJudge:
    """Stands in for `CheapScore`, whose forests take longer than a tiny run; a function of the samples alone, as that is."""

    def __init__(self, train_x, train_y, monitor_x, monitor_y, seed: int = 0, pool=None):
        self.means = {name: value.mean() for name, value in monitor_x.items()}

    def __call__(self, x: dict[str, np.ndarray], y: np.ndarray) -> dict[str, float]:
        distance = sum(abs(float(x[name].mean()) - float(mean)) for name, mean in self.means.items())
        return {"score": 1 / (1 + distance), "utility": 0.5}


@contextmanager
def quick_judge() -> Iterator[None]:
    """Score with `QuickJudge` and leave the overview's picture empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmgan.training.callbacks.CheapScore", QuickJudge)
        patch.setattr("mmgan.plots.overview.overview", lambda *samples, **options: Figure(figsize=(1, 1)))
        patch.setattr("mmgan.training.class_pictures.class_figures", lambda *samples: [])
        yield


@pytest.fixture
def quick() -> Iterator[None]:
    with quick_judge():
        yield


def compose(config: str = "train", *overrides: str, path: Path | str | None = None, small: bool = True) -> DictConfig:
    """Compose conf/<config>.yaml as the script does, for two epochs of two batches of a small model on the file `path`."""
    trains = config in ("train", "tune")
    words = [*(TINY_RUN if trains else []), *([] if path is None else ["data=pkl", f"data.path={path}"]), *overrides]
    cfg = build.compose(config, words)
    if trains and small:
        _shrink(cfg.model, {override.split("=")[0] for override in overrides})
    return cfg


def _shrink(node: DictConfig, keep: set[str], prefix: str = "model") -> None:
    for key, value in node.items():
        if OmegaConf.is_dict(value):
            _shrink(value, keep, f"{prefix}.{key}")
        elif key in SMALL and f"{prefix}.{key}" not in keep:
            node[key] = SMALL[key]
