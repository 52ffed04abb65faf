"""How often the verdict tells cheats from honest samples.

`python -m benchmarks.cheats watch 15,30,60,120,285,570 10` judges every cheat and honest samples, at each number of samples in
ten random partitions of the real ones, and appends a line each to `benchmarks/results/cheats.jsonl`; what stands there is not
judged again. Names after the number of partitions choose cheats: `... watch 570 50 honest_samples`. `python -m benchmarks.cheats
table` prints the shares told, and writes those that the verdict states.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
from sklearn.datasets import load_digits

from mmgan.baselines import smoothed_bootstrap
from mmgan.data.arrays import LabelledSamples, flatten, take, unflatten
from mmgan.data.sources import watch as recordings
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.metrics import METRICS
from mmgan.evaluation.verdict import criteria_of

LINES = Path(__file__).with_name("results") / "cheats.jsonl"
POWER = Path(__file__).parents[1] / "mmgan" / "evaluation" / "power.json"

Rng = np.random.Generator
KINDS = {
    "copies": ("copies_2.5%", "copies_10%", "copies_100%"),
    "copies of unseen samples": ("heldout_10%", "heldout_100%", "false_train_indices"),
    "copied modalities": ("one_modality_copied", "partners_1", "partners_3", "partners_8"),
    "near-copies": ("noise_.05", "noise_.3", "bootstrap_.3", "neighbours_5", "convex"),
    "repeats": ("four_times",),
    "wrong labels": ("labels_10%", "labels_100%"),
    "smoothed bootstrap": ("bootstrap_.8",),
    "noise": ("gaussian_5%",),
    "modalities that do not fit": ("shuffled_modalities",),
    "wrong shapes": ("sign_flips", "permuted_bins"),
    "missing variety": ("class_means", "easy_half"),
}
OF_FAITHFUL = (
    "wrong labels",
    "smoothed bootstrap",
    "noise",
    "modalities that do not fit",
    "wrong shapes",
    "missing variety",
)


JUDGED = [metric for metric in METRICS.values() if metric.limit]
CHEAP = [metric for metric in JUDGED if metric.cost == "cheap"]
COSTLY = [metric for metric in JUDGED if metric.cost != "cheap"]
NEEDS_AXIS_OR_PAIR = ("one_modality_copied", "partners_1", "partners_3", "partners_8", "shuffled_modalities")


class Cheats:
    """Makes n samples of each cheat from training, unseen and other real samples; a method per cheat."""

    def __init__(
        self, train: LabelledSamples, heldout: LabelledSamples, other: LabelledSamples, n: int, rng: Rng
    ) -> None:
        self.train, self.unseen, self.rng, self.n = train, heldout, rng, n
        self.spare, self.hidden = other, taken(train, np.arange(len(train[1])) % 2 == 1)
        self.honest = taken(other, np.arange(n))
        self.names = tuple(train[0])

    def make(self, name: str) -> LabelledSamples:
        """Return the samples of a cheat, by its name: `kind_strength`."""
        kind, _, strength = name.rpartition("_")
        if not strength.strip("%.").replace(".", "").isdecimal():
            return getattr(self, name)()
        return getattr(self, kind)(float(strength[:-1]) / 100 if strength.endswith("%") else float(strength))

    def _mixed(self, source: LabelledSamples, share: float) -> LabelledSamples:
        count = max(1, round(share * self.n))
        chosen = taken(source, self.rng.permutation(len(source[1]))[:count])
        rest = taken(self.honest, np.arange(self.n - len(chosen[1])))
        return {k: np.concatenate([chosen[0][k], v]) for k, v in rest[0].items()}, np.append(chosen[1], rest[1])

    def _flat(self, samples: LabelledSamples) -> np.ndarray:
        return (flatten(samples[0]) - self.mean) / self.deviation

    @property
    def mean(self) -> np.ndarray:
        return flatten(self.train[0]).mean(0)

    @property
    def deviation(self) -> np.ndarray:
        found = flatten(self.train[0]).std(0)
        return np.where(found > 0, found, 1)

    def _unflat(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        return unflatten(flat * self.deviation + self.mean, self.train[0])

    def _drawn(self) -> LabelledSamples:
        return taken(self.train, self.rng.choice(len(self.train[1]), self.n, replace=self.n > len(self.train[1])))

    def _nearest(self, samples: LabelledSamples, k: int, of: LabelledSamples | None = None) -> np.ndarray:
        """Return for each sample the indices (n, k) of its nearest training samples of the class, nearest first."""
        source = of or self.train
        flat, own = self._flat(samples), self._flat(source)
        index = np.empty((len(flat), k), int)
        for label in np.unique(samples[1]):
            members, wanted = np.flatnonzero(source[1] == label), np.flatnonzero(samples[1] == label)
            distance = ((flat[wanted][:, None] - own[members][None]) ** 2).sum(-1)
            order = np.argsort(distance, axis=1)
            index[wanted] = members[order[:, np.minimum(np.arange(k), len(members) - 1)]]
        return index

    def honest_samples(self) -> LabelledSamples:
        return self.honest

    def copies(self, share: float) -> LabelledSamples:
        return self._mixed(self.train, share)

    def heldout(self, share: float) -> LabelledSamples:
        return self._mixed(self.unseen, share)

    def false_train_indices(self) -> LabelledSamples:
        """Copies of training samples that the file does not list."""
        return taken(self.hidden, np.resize(self.rng.permutation(len(self.hidden[1])), self.n))

    def one_modality_copied(self) -> LabelledSamples:
        x, y = self.honest
        chosen = self._nearest(self.honest, 1)[:, 0]
        return {**x, self.names[0]: self.train[0][self.names[0]][chosen]}, y

    def partners(self, k: float) -> LabelledSamples:
        """One modality of a training sample, the other of its k-th neighbour."""
        x, y = self._drawn()
        chosen = self._nearest((x, y), int(k) + 1)[:, int(k)]
        return {**x, self.names[0]: self.train[0][self.names[0]][chosen]}, y

    def noise(self, scale: float) -> LabelledSamples:
        flat, y = self._flat(samples := self._drawn()), samples[1]
        return self._unflat(flat + scale * self.rng.standard_normal(flat.shape)), y

    def bootstrap(self, h: float) -> LabelledSamples:
        y = self._drawn()[1]
        return smoothed_bootstrap(*self.train, y, self.rng, h=h), y

    def neighbours(self, k: float) -> LabelledSamples:
        """Random combinations of a training sample's k nearest."""
        samples = self._drawn()
        near = self._flat(self.train)[self._nearest(samples, int(k) + 1)[:, 1:]]  # (n, k, F)
        centre = near.mean(1)
        weights = self.rng.standard_normal((self.n, int(k), 1)) / np.sqrt(k)
        return self._unflat(
            0.5 * self._flat(samples) + 0.5 * centre + 0.8 * (weights * (near - centre[:, None])).sum(1)
        ), samples[1]

    def convex(self) -> LabelledSamples:
        """Points between two training samples of a class."""
        samples = self._drawn()
        partner = self._flat(self.train)[[self.rng.choice(np.flatnonzero(self.train[1] == k)) for k in samples[1]]]
        weight = self.rng.uniform(0.2, 0.8, (self.n, 1))
        return self._unflat(weight * self._flat(samples) + (1 - weight) * partner), samples[1]

    def four_times(self) -> LabelledSamples:
        return taken(self.spare, np.resize(np.arange(-(-self.n // 4)), self.n))

    def labels(self, share: float) -> LabelledSamples:
        x, y = self.honest
        wrong = self.rng.permutation(self.n)[: max(1, round(share * self.n))]
        classes, y = np.unique(self.train[1]), y.copy()
        y[wrong] = [self.rng.choice(classes[classes != k]) for k in y[wrong]]
        return x, y

    def gaussian(self, share: float) -> LabelledSamples:
        flat = self._flat(self.honest)
        wrong = self.rng.permutation(self.n)[: max(1, round(share * self.n))]
        flat[wrong] = self.rng.standard_normal((len(wrong), flat.shape[1]))
        return self._unflat(flat), self.honest[1]

    def shuffled_modalities(self) -> LabelledSamples:
        x, y = self.honest
        order = np.arange(self.n)
        for label in np.unique(y):
            order[y == label] = self.rng.permutation(order[y == label])
        return {**x, self.names[0]: x[self.names[0]][order]}, y

    def sign_flips(self) -> LabelledSamples:
        return self._unflat(-self._flat(self.honest)), self.honest[1]

    def permuted_bins(self) -> LabelledSamples:
        x, y = self.honest
        return {name: v[..., self.rng.permutation(v.shape[-1])] for name, v in x.items()}, y

    def class_means(self) -> LabelledSamples:
        y = self._drawn()[1]
        flat, own = self._flat(self.train), self.train[1]
        mean = np.stack([flat[own == k].mean(0) for k in y])
        return self._unflat(mean + 1e-3 * self.rng.standard_normal(mean.shape)), y

    def easy_half(self) -> LabelledSamples:
        """Of each class the half of honest samples that is nearer to its mean."""
        flat, y = self._flat(self.spare), self.spare[1]
        mean = {k: self._flat(self.train)[self.train[1] == k].mean(0) for k in np.unique(y)}
        distance = np.array([np.linalg.norm(row - mean[k]) for row, k in zip(flat, y, strict=True)])
        near = np.concatenate(
            [own[np.argsort(distance[own])[: -(-len(own) // 2)]] for own in (np.flatnonzero(y == k) for k in mean)]
        )
        return taken(self.spare, self.rng.permutation(near)[: self.n])


def taken(samples: LabelledSamples, index: np.ndarray) -> LabelledSamples:
    """Return these samples with their labels."""
    return take(samples[0], index), samples[1][index]


def real_samples(data: str) -> tuple[LabelledSamples, int]:
    """Return all real samples of `watch` draw 1 or of the digits (a vector), and how many of them train."""
    if data == "digits":
        digits = load_digits()
        return ({"pixels": digits.data.astype(np.float32)}, digits.target.astype(np.int64)), 600
    first, *more = [recordings.watch(draw=draw) for draw in range(1, 9)]
    x = {
        name: np.concatenate([v for each in (first, *more) for v in (each.x_train[name], each.x_test[name])])
        for name in first.x_train
    }
    y = np.concatenate([v for each in (first, *more) for v in (each.y_train, each.y_test)])
    return taken((x, y), np.sort(np.unique(flatten(x), axis=0, return_index=True)[1])), 688  # draws share windows


def judged(data: str, names: list[str], n: int, partition: int) -> Iterator[dict]:
    """Yield a line for each cheat: the first three figures that fail, of `faithful` and of `new`, in one random partition."""
    (x, y), n_train = real_samples(data)
    train = np.arange(n_train) if data == "watch" else np.random.default_rng(0).permutation(len(y))[:n_train]
    rng = np.random.default_rng([partition, n])
    rest = rng.permutation(np.setdiff1d(np.arange(len(y)), train))
    sets = [taken((x, y), index) for index in (train, rest[: 2 * n], rest[2 * n :])]
    cheats = Cheats(*sets, n, rng)
    judges: dict[tuple[bool, int], tuple[Evaluator, dict]] = {}
    for name in names:
        false = name == "false_train_indices"
        listed = taken(sets[0], np.arange(n_train) % 2 == 0) if false else sets[0]
        samples = cheats.make(name)
        fold = FoldSamples(0, listed, sets[1], samples, others=cheats.hidden if false else None)
        if (kind := (false, len(samples[1]))) not in judges:
            judge = Evaluator([fold], draws=1)
            judges[kind] = judge, judge.real(CHEAP + COSTLY)
        judge, real = judges[kind]
        failed = []
        for metrics in (CHEAP, COSTLY):  # classifiers are only fitted where nothing else tells
            found = judge([samples], metrics)["metrics"] if not failed else {}
            failed += [c for c in criteria_of(found, real["metrics"], real["deviation"]) if not c.met]
        line = {"data": data, "n": n, "partition": partition, "cheat": name}
        yield line | {q: [c.key for c in failed if c.limit.question == q][:3] for q in ("faithful", "new")}


def main() -> None:
    """Judge, or print the table."""
    if sys.argv[1:] == ["table"]:
        return table()
    data, sizes, partitions = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], int(sys.argv[3])
    names = sys.argv[4:] or ["honest_samples", *(name for kind in KINDS.values() for name in kind)]
    if data == "digits":
        names = [name for name in names if name not in NEEDS_AXIS_OR_PAIR]
    known = {(each["data"], each["n"], each["partition"], each["cheat"]) for each in lines()}
    for n in sizes:
        for partition in range(partitions):
            wanted = [name for name in names if (data, n, partition, name) not in known]
            with LINES.open("a", encoding="utf-8") as file:
                for line in judged(data, wanted, n, partition):
                    file.write(json.dumps(line) + "\n")
                    file.flush()


def lines() -> list[dict]:
    """Return the lines of results."""
    return [json.loads(text) for text in LINES.read_text().splitlines()] if LINES.exists() else []


def table() -> None:
    """Print the share told of each cheat by n, and write what the verdict states."""
    found = pandas.DataFrame(lines())
    found["told"] = [bool(f or n) for f, n in zip(found.faithful, found.new, strict=True)]
    for data, own in found.groupby("data"):
        shares = own.pivot_table(index="cheat", columns="n", values="told", sort=False).sort_index(axis=1)
        print(
            f"\n{data}: share told (honest samples: called a cheat), mean over partitions\n{shares.round(2).to_string(na_rep='')}"
        )
    # A kind is told as often as the cheat of it that is told least.
    watch = found[found.data == "watch"].pivot_table(index="n", columns="cheat", values="told")
    power = {
        int(n): {
            question: {
                kind: round(float(own[list(names)].min()), 2)
                for kind, names in KINDS.items()
                if (kind in OF_FAITHFUL) == (question == "faithful")
            }
            for question in ("faithful", "new")
        }
        | {"honest": round(1 - float(own["honest_samples"]), 2)}
        for n, own in watch.iterrows()
    }
    POWER.write_text(json.dumps(power, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
