"""Time and peak memory of judging many samples: python benchmarks/judge_scale.py [--samples 20000].

As many synthetic as held-out and training samples of the simulated bearing; the synthetic ones are jittered training samples.
"""

import argparse
import os
import resource
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from mmgan.baselines import jitter
from mmgan.data.sources.bearing import bearing
from mmgan.evaluation.evaluator import FoldSamples
from mmgan.evaluation.table import REAL, judged_row

SECONDS, GIB = 300, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    rows = parser.parse_args().samples
    data = bearing(n_train=rows, n_test=rows)
    train = data.x_train, data.y_train
    synthetic = jitter(*train, train[1], np.random.default_rng(0)), train[1]
    fold = FoldSamples(1, train, (data.x_test, data.y_test), synthetic)
    started, worked = time.monotonic(), time.process_time()
    found = {name: judged_row([fold], name) for name in ("synthetic", REAL)}
    seconds, processor = time.monotonic() - started, time.process_time() - worked
    # The largest of this process's life, its data included; Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    print(f"{rows} synthetic samples and the real row, {rows} held-out and {rows} training samples, one thread")
    print(f"compared in each of 5 draws  {found[REAL]['n']} of either kind")
    print(f"seconds           {seconds:7.0f} of the {SECONDS} aimed at ({processor:.0f} of one processor)")
    print(f"peak memory, GiB  {peak:7.2f} of the {GIB} aimed at")


if __name__ == "__main__":
    main()
