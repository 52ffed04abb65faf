"""Speed of data=recordings on files that it makes, beside a plain loop of numpy and pandas: python benchmarks/recordings.py.

Each format has its own folder of recordings of 2 s at 20.48 kHz in two classes. The plain loop reads each file with the usual function and
computes the same features; it keeps nothing, checks nothing and finds nothing out. Every start is a process of its own, whose imports
are not counted.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat, savemat, wavfile

from mmgan.data.features import env, spec
from mmgan.data.sources.recordings import recordings

RATE, SECONDS, WINDOW = 20_480, 2, 4096
WRITE: dict[str, Callable[[Path, np.ndarray], None]] = {
    "csv": lambda path, x: pd.DataFrame({"x": x}).to_csv(path, index=False),
    "wav": lambda path, x: wavfile.write(path, RATE, x),
    "mat": lambda path, x: savemat(path, {"x": x}),
    "xlsx": lambda path, x: pd.DataFrame({"x": x}).to_excel(path, index=False),
}
READ: dict[str, Callable[[Path], np.ndarray]] = {
    "csv": lambda path: pd.read_csv(path)["x"].to_numpy(),
    "wav": lambda path: wavfile.read(path)[1],
    "mat": lambda path: loadmat(path)["x"].ravel(),
    "xlsx": lambda path: pd.read_excel(path)["x"].to_numpy(),
}
FEWER = {"xlsx": 5}  # of what is slow to write and to read, one in five


def make(folder: Path, kind: str, files: int) -> None:
    """Write recordings of one format in two classes."""
    for number in range(files):
        path = folder / kind / f"class{number % 2}" / f"{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(RATE * SECONDS)
        WRITE[kind](path, noise.astype(np.float32))


def plain(folder: Path, kind: str) -> None:
    """Read every file and compute its features, and no more."""
    for path in sorted(folder.glob(f"*/*.{kind}")):
        windows = READ[kind](path)[: RATE * SECONDS // WINDOW * WINDOW].reshape(-1, WINDOW)
        spec(windows, RATE), env(windows, RATE)


def ours(folder: Path, workers: int, cache: Path) -> None:
    """Read them as `python train.py data=recordings` does."""
    recordings(folder, rate=float(RATE), window=WINDOW, workers=workers, cache=cache)


def start(job: str, *words: object) -> tuple[float, float]:
    """Return seconds of the wall and of the processor, of its processes too, of one job in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--job", job, *map(str, words)], check=True, capture_output=True, text=True
    )
    return tuple(json.loads(run.stdout.splitlines()[-1]))


def run_job(job: str, words: list[str]) -> None:
    """Do one job and print its seconds."""
    began, before = time.perf_counter(), _processor()
    if job == "plain":
        plain(Path(words[0]), words[1])
    else:
        ours(Path(words[0]), int(words[1]), Path(words[2]))
    wall = time.perf_counter() - began
    if job != "plain" and int(words[1]) > 1:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)  # whose processes count once they have ended
    print(json.dumps([wall, _processor() - before]))


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500, help="of each format; a fifth of .xlsx")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(options.job[0], options.job[1:])
        return
    kinds = [kind for kind in WRITE if kind != "xlsx" or find_spec("openpyxl")]
    print("seconds of the wall (of the processor); ratios are of processor time\n")
    print(
        "| files | plain loop | one process | ratio | two processes | second start, < 3 s |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as where:
        for kind in kinds:
            count, folder = options.files // FEWER.get(kind, 1), Path(where)
            make(folder, kind, count)
            caches = [folder / f"{kind}-cache{number}" for number in (1, 2)]
            loop = start("plain", folder / kind, kind)
            one, two = (start("ours", folder / kind, workers, caches[workers - 1]) for workers in (1, 2))
            again = start("ours", folder / kind, 1, caches[0])
            cells = [f"{each[0]:.1f} ({each[1]:.1f})" for each in (loop, one, two, again)]
            print(
                f"| {count} .{kind} | {cells[0]} | {cells[1]} | {one[1] / loop[1]:.2f} | {cells[2]} | {cells[3]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
