"""Unlabelled samples: accuracy of pseudo-labels, pools that do not fit, and the teacher's cost.

python -m benchmarks.unlabelled accuracy         accuracy of the pseudo-labels on `watch`, by labelled samples of a class
python -m benchmarks.unlabelled harm             points of macro-F1 that samples add where the pool has other shares, another domain, ten samples
python -m benchmarks.unlabelled cost             seconds and peak memory of the teacher by the size of the pool
"""

import resource
import sys
import time

import numpy as np

from mmgan.baselines import smoothed_bootstrap
from mmgan.commands.build import compose, load_data
from mmgan.data.arrays import take
from mmgan.data.dataset import Dataset
from mmgan.data.folds import configured_folds
from mmgan.errors import MmganError
from mmgan.evaluation.gain import Augmentation, synthetic_per_class
from mmgan.labelling.teacher import Teacher
from mmgan.schema import Arrays

ROWS = ("data.rows_per_class=10", "data.unlabelled=rest")


def watch(draw: int, *words: str) -> Dataset:
    """Return a draw of `watch`, or of other data that the words name."""
    return load_data(compose("train", [f"data.draw={draw}", *words]))


def accuracy(draws: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    """Print the accuracy of pseudo-labels over draws and folds: of all, and of those that a generator learns from."""
    for limit in ("rows_per_class=5", "rows_per_class=10", "rows_per_class=20", "imbalance_ratio=10"):
        found = []
        for draw in draws:
            cfg = compose("train", [f"data.draw={draw}", f"data.{limit}"])
            dataset = load_data(cfg)
            for fold in configured_folds(dataset, cfg.data):
                pool, hidden = dataset.samples(fold.extra_indices)
                labels = Teacher().label(*dataset.samples(fold.train_indices), pool)
                right = labels.labels == hidden
                found.append((right.mean(), right[labels.kept].mean()))
        print(f"{limit:20} all {np.mean(found, axis=0)[0]:.3f}, kept {np.mean(found, axis=0)[1]:.3f}", flush=True)


def pools(x: Arrays, y: np.ndarray, draw: int, rng: np.random.Generator) -> dict[str, Arrays]:
    """Return pools that do not fit labelled samples of equal shares; `y` are the true labels of x."""
    frequent = np.repeat(np.arange(len(y)), np.where(y == 2, 5, 1))
    thin = rng.random(len(y)) < np.where(y == 2, 1, 0.2)  # five times as frequent, none twice
    return {
        "as it is": x,
        "a class missing": take(x, y != 2),
        "a class five times as frequent": take(x, thin),
        "the same, by copies": take(x, frequent),
        "another domain": watch(draw, "data=bearing").x_train,
        "ten samples": take(x, rng.permutation(len(y))[:10]),
    }


def harm(draws: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    """Print by pool what smoothed samples of the labelled and the pool add to ten labelled samples of each class, on the test samples."""
    gains: dict[str, list[float]] = {}
    said: dict[str, set[str]] = {}
    for draw in draws:
        cfg = compose("train", [f"data.draw={draw}", *ROWS])
        dataset = load_data(cfg)
        fold = configured_folds(dataset, cfg.data)[0]
        (x, y), (others, hidden) = dataset.samples(fold.train_indices), dataset.samples(fold.extra_indices)
        judge = Augmentation((x, y), (dataset.x_test, dataset.y_test))
        for name, pool in pools(others, hidden, draw, np.random.default_rng(draw)).items():
            try:
                found = Teacher().label(x, y, pool)
            except MmganError:
                said.setdefault(name, set()).add("refused")
                gains.setdefault(name, []).append(0.0)  # nothing is learnt
                continue
            wanted = np.repeat(np.arange(7), synthetic_per_class(np.bincount(y), len(found.kept)))
            kept, weights = found.kept, np.append(np.full(len(y), found.labelled_weight), found.confidence[found.kept])
            both = {key: np.concatenate([x[key], pool[key][kept]]) for key in x}
            made = smoothed_bootstrap(
                both, np.append(y, found.labels[kept]), wanted, np.random.default_rng(draw), weights=weights
            )
            gains.setdefault(name, []).append(judge.samples((made, wanted))["gain"])
            warned = [line for line in found.summary(dataset.schema, "rest") if line.startswith("warning")]
            said.setdefault(name, set()).add(f"{len(warned)} warnings")
    for name, values in gains.items():
        error = 100 * np.std(values, ddof=1) / np.sqrt(len(values))
        print(f"{name:32} {100 * np.mean(values):+.1f} +- {2 * error:.1f} points  ({', '.join(sorted(said[name]))})")


def cost(sizes: tuple[int, ...] = (500, 1000, 2000, 5000, 10_000, 20_000)) -> None:
    """Print the teacher's processor time and the process's peak memory, on a simulated bearing."""
    for size in sizes:
        dataset = watch(0, "data=bearing", f"data.n_train={size + 700}", "data.n_test=10")
        known, rest = np.split(np.random.default_rng(0).permutation(len(dataset)), [700])
        started = time.process_time()
        Teacher().fit(*dataset.samples(known), dataset.samples(rest)[0])
        spent, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{size:6} unlabelled samples: {spent:5.1f} s, {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    {"accuracy": accuracy, "harm": harm, "cost": cost}[sys.argv[1]]()
