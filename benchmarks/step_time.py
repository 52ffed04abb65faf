"""Cost of a training step under Lightning against a bare PyTorch loop, and of `--help`: python benchmarks/step_time.py.

The Trainer is the one of `python train.py` (TensorBoard, rich progress bar, all callbacks, checkpoints). A callback
stops it after every block of batches and runs as many batches of a bare loop, so that both see the same machine; a block
lies within one epoch, which leaves out the epoch's end (validation, score, pictures, checkpoints), printed by itself.
"""

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from mmgan.commands.build import compose, fold_run, load_data
from mmgan.data.datamodule import FoldDataModule
from mmgan.models.module import PhasedModel
from mmgan.training.folder import RunFolder
from mmgan.training.quiet import quiet_lightning

ROOT = Path(__file__).resolve().parents[1]


class BareLoop:
    """The phases of a model, stepped by plain PyTorch: no Trainer, no module hooks, no logs, no checks."""

    def __init__(self, model: PhasedModel, datamodule: FoldDataModule):
        self.model = model.train()
        self.phases = model.phases
        self.optimizers = model.configure_optimizers()
        self.moving = [phase.parameters for phase in self.phases]
        self.everything = list(model.parameters())
        self.clip = model.clip or torch.inf
        self.batches = self._endless(datamodule, model)

    def run(self, steps: int) -> None:
        """Train on the next batches, the same ones that the Trainer sees."""
        for _ in range(steps):
            x, labels = self.model.training_batch(next(self.batches))
            self.model.before_batch(x, labels)
            for phase, optimizer, moving in zip(self.phases, self.optimizers, self.moving, strict=True):
                for parameter in self.everything:
                    parameter.requires_grad_(False)
                for parameter in moving:
                    parameter.requires_grad_(True)
                for _ in range(phase.repeats):
                    terms = phase.terms(x, labels)
                    total = sum(self.model.weights[phase.name][name] * term for name, term in terms.items())
                    for parameter in moving:
                        parameter.grad = None
                    total.backward()
                    nn.utils.clip_grad_norm_(moving, self.clip)
                    optimizer.step()
            self.model.after_batch(x, labels)

    @staticmethod
    def _endless(datamodule: FoldDataModule, model: PhasedModel) -> Iterator[tuple[Tensor, ...]]:
        """Yield prepared batches; like the model's own, all samples are prepared anew in each epoch."""
        loader = datamodule.train_dataloader()
        for epoch in range(10**9):
            loader.sampler.set_epoch(epoch)
            if not loader.prepare(model.prepared_values):
                raise RuntimeError("these samples are not prepared at once; take a smaller data set")
            yield from loader


def clocks() -> np.ndarray:
    """Return seconds of the wall and of this process's processor; a busy neighbour lengthens the first alone."""
    return np.array([time.perf_counter(), time.process_time()])


class Alternate(L.Callback):
    """Time blocks of the Trainer's batches, and after each as many batches of a bare loop: (Trainer's, bare loop's)."""

    def __init__(self, bare: BareLoop, block: int):
        self.bare, self.block = bare, block
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.epoch_ends: list[float] = []
        self._started: np.ndarray | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._started is not None:
            self.epoch_ends.append(float((clocks() - self._started)[0]))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, index: int
    ) -> None:
        if (index + 1) % self.block:
            return
        middle = clocks()
        self.bare.run(self.block)
        end = clocks()
        # Not an epoch's first block, which has the last epoch's end in it, nor its last, which brings up to date what sampling needs.
        if self.block < index + 1 < trainer.num_training_batches:
            self.pairs.append((middle - self._started, end - middle))
        self._started = end


def measure_steps(epochs: int, block: int) -> Alternate:
    """Train for some epochs as train.py does, with the bare loop between the blocks; return the times."""
    cfg = compose("train", [f"trainer.max_epochs={epochs}"])
    quiet_lightning()
    run = fold_run(cfg, load_data(cfg), fold=1)
    clock = Alternate(BareLoop(*run.build(False)), block)
    callbacks = run.callbacks
    clocked = replace(run, callbacks=lambda: {**callbacks(), "clock": clock})
    with tempfile.TemporaryDirectory() as folder, terminal_to_nowhere():
        run_folder = RunFolder(Path(folder) / "run")
        run_folder.make()
        clocked.train(run_folder, epochs)
    return clock


@contextlib.contextmanager
def terminal_to_nowhere() -> Iterator[None]:
    """Let rich draw its bar in full, as on a terminal, and throw the drawing away."""
    os.environ |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def measure_help(repeats: int = 5) -> np.ndarray:
    """Return (repeats, 2): `python train.py --help` minus `python -c pass`, seconds of the wall and of the processor."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def seconds(*arguments: str) -> np.ndarray:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        return np.array([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])

    return np.array([seconds("train.py", "--help") - seconds("-c", "pass") for _ in range(repeats)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--block", type=int, default=5, help="batches in a block; a divisor of data.steps_per_epoch")
    options = parser.parse_args()
    clock = measure_steps(options.epochs, options.block)
    pairs = np.array(clock.pairs)  # (pairs, Trainer or bare loop, wall or processor)
    milliseconds, ratios = 1000 * pairs / options.block, pairs[:, 0] / pairs[:, 1]
    help_time = measure_help()
    print(f"{len(pairs)} pairs of blocks of {options.block} batches, one thread; medians [min, max]\n")
    print("| | wall | processor | aim |\n|---|---|---|---|")
    print(row("Trainer, ms per batch", milliseconds[:, 0], 1, ""))
    print(row("bare loop, ms per batch", milliseconds[:, 1], 1, ""))
    print(row("ratio within a pair", ratios, 3, "<= 1.05"))
    print(row("train.py --help beyond the interpreter, s", help_time, 2, "< 0.6"))
    if clock.epoch_ends:
        print(f"\nAn epoch's end (validation, score, checkpoints) took {np.median(clock.epoch_ends):.1f} s.")


def row(name: str, values: np.ndarray, digits: int, aim: str) -> str:
    """Return a table's row of values (n, 2)."""
    cells = [f"{np.median(v):.{digits}f} [{v.min():.{digits}f}, {v.max():.{digits}f}]" for v in values.T]
    return f"| {name} | {cells[0]} | {cells[1]} | {aim} |"


if __name__ == "__main__":
    main()
