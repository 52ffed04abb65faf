"""What a training costs by the number of samples and by their length: python benchmarks/scale.py [--model vacwgan] [--most 100000].

Each is trained for one epoch of 40 batches, by `train.py` on one thread; a callback of its own takes the processor's time of a batch.
The samples are those of the simulated bearing, and noisy sines of one channel.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np

from mmgan.data.files import write_pickle
from mmgan.report.content import Table
from mmgan.report.page import table_text

ROOT = Path(__file__).resolve().parents[1]
QUIET = [
    "final=true",
    "trainer.max_epochs=1",
    "callbacks.bar=null",
    "callbacks.pictures=null",
    "callbacks.traversals=null",
    "data.views_per_epoch=null",
    "data.steps_per_epoch=40",
    "+callbacks.clock._target_=benchmarks.scale.Clock",
]
SIZES, LENGTHS = (1000, 10_000, 100_000), (48, 480, 4800, 48_000)
COLUMNS = ["a batch, ms", "all but batches, s", "peak memory, MB", "weights, MB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vacwgan")
    parser.add_argument("--most", type=int, default=max(SIZES), help="samples, and points, at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        by_size = {n: ["data=bearing", f"data.n_train={n}", "data.n_test=0"] for n in SIZES}
        by_length = {n: ["data=pkl", f"data.path={sines(Path(place), n)}"] for n in LENGTHS}
        for title, asked in {"samples of 496 values": by_size, "points of 64 samples": by_length}.items():
            rows = [
                [f"{n:,}", *measured([f"model={options.model}", *words], Path(place) / f"{title[0]}{n}")]
                for n, words in asked.items()
                if n <= options.most
            ]
            print(table_text(Table(f"By {title}", [title, *COLUMNS], rows)) + "\n", flush=True)


def sines(place: Path, points: int) -> Path:
    """Write 64 noisy sines of two frequencies, a class each, of so many points."""
    rng, y = np.random.default_rng(0), np.arange(64) % 2
    turns = (5 + 5 * y[:, None]) * np.linspace(0, 1, points) + rng.random((64, 1))
    wave = np.sin(2 * np.pi * turns) + 0.3 * rng.standard_normal((64, points))
    path = place / f"sines{points}.pkl"
    write_pickle(path, {"x_train": {"wave": wave[:, None].astype(np.float32)}, "y_train": y})
    return path


class Clock(L.Callback):
    """Leaves the median of the processor's seconds of a batch in batch.txt of the run's folder."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *of_batch: object) -> None:
        self._started = time.process_time()

    def on_train_batch_end(self, *of_batch: object) -> None:
        self.seconds.append(time.process_time() - self._started)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (Path(trainer.default_root_dir) / "batch.txt").write_text(f"{np.median(self.seconds)} {sum(self.seconds)}")


def measured(words: list[str], folder: Path) -> list[str]:
    """Return the row of a data set: of what is refused, that it is."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *QUIET, *words, f"out_dir={folder}"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status and "million parameters" not in said:
        sys.exit(f"train.py failed:\n{said}")
    if status:
        return ["refused before it begins", "", "", ""]
    batch, batches = map(float, (folder / "batch.txt").read_text().split())
    rest = used.ru_utime + used.ru_stime - batches
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6  # Linux counts in KiB
    return [f"{1000 * batch:.0f}", f"{rest:.0f}", f"{peak:.0f}", f"{(folder / 'best.pth').stat().st_size / 1e6:.0f}"]


if __name__ == "__main__":
    main()
