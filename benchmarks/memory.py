"""Peak memory of `python train.py` on a large data set, beside its limit: python benchmarks/memory.py [--samples 200000]."""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mmgan.data.sources.bearing import bearing

ROOT = Path(__file__).resolve().parents[1]
TEST_ROWS = 1140
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000, help="training samples of the simulated bearing")
    rows = parser.parse_args().rows
    shapes = bearing(n_train=10, n_test=0).schema.modalities.values()
    arrays = (rows + TEST_ROWS) * sum(int(np.prod(shape)) for shape in shapes) * np.dtype(np.float32).itemsize / MB
    limit = 2.5 * arrays + 700
    peak, seconds = peak_of_training(rows)
    print(f"{rows} training and {TEST_ROWS} test samples, one epoch, {seconds:.0f} s")
    print(f"arrays (x_train and x_test, float32)  {arrays:7.0f} MB")
    print(f"peak resident memory of train.py      {peak:7.0f} MB")
    print(f"limit, 2.5 x arrays + 700 MB          {limit:7.0f} MB  {'kept' if peak <= limit else 'EXCEEDED'}")


def peak_of_training(rows: int) -> tuple[float, float]:
    """Return the largest resident memory of a child that trains one epoch, in MB, and its seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        options = ["data=bearing", f"data.n_train={rows}", f"data.n_test={TEST_ROWS}", "trainer.max_epochs=1"]
        command = [sys.executable, "train.py", *options, f"out_dir={folder}/run"]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
    if done.returncode:
        sys.exit(f"train.py failed:\n{done.stdout}{done.stderr}")
    # The largest of this process's children, of which the training is the only one; Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / MB, time.monotonic() - started


if __name__ == "__main__":
    main()
