"""Measures of `python -m mmgan compare` for single pages of the docs: `measure=benchmarks.measures.Completion`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import process_time
from typing import Any, ClassVar

import numpy as np
import pandas
import torch
from sklearn.decomposition import PCA

from mmgan.baselines import BASELINES
from mmgan.commands.build import make_datamodule
from mmgan.commands.cells import Cell, Work
from mmgan.commands.measures import Line, Measure
from mmgan.data.arrays import LabelledSamples
from mmgan.data.files import write_pickle
from mmgan.data.sources.linear2d import COVARIANCE, MEAN
from mmgan.evaluation.classifiers import macro_f1
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.gain import TIMES
from mmgan.evaluation.novelty import novelty
from mmgan.evaluation.reconstruction import scores
from mmgan.evaluation.table import REAL
from mmgan.report.content import Table
from mmgan.report.quality import gain_table
from mmgan.report.tables import Correction
from mmgan.schema import Arrays


class ClassifierGain(Measure):
    """Macro-F1 on test samples that synthetic samples add to the robust classifier; `real`: the rest of the fold in their place."""

    models = (REAL, "jitter", "smote", "vacwgan")
    classifier = "model.members=1"
    note = "Points of macro-F1 on the test samples; in brackets the share of what more real samples add (row real)."

    def wants(self, cell: Cell) -> bool:
        return (cell.model, cell.rows) != (REAL, "full")  # there is no rest of the fold

    def metrics(self, work: Work) -> dict[str, Any]:
        alone = self.f1(work, work.cell.rows, "alone")
        if work.cell.model == REAL:
            helped = self.f1(work, "full", "alone")
        else:
            y = np.repeat(work.train[1], TIMES)
            entry = {"fold": work.cell.fold, "x_synth": work.generated(y), "y_synth": work.labels(y)}
            path = work.cell.folder.with_suffix(".pkl")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_pickle(path, {"folds": [entry | {"train_indices": work.fold.train_indices}]})
            helped = self.f1(work, work.cell.rows, work.cell.name, f"data.synthetic={path}")
        return {"baseline": alone, "f1": helped, "gain": helped - alone}

    def f1(self, work: Work, rows: str, helper: str, *more: str) -> float:
        """Return the score of a classifier of these samples."""
        words = (*work.cell.shared_words, self.classifier, *more)
        cell = replace(work.cell, rows=rows, model="robust_classifier", variant=helper, words=words)
        x, y = work.test
        return macro_f1(y, cell.trained_model().predict_probabilities(x).argmax(1))

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        return [gain_table("Gain of the robust classifier", lines, self.note)]


class Sampling(Measure):
    """Quality of samples by the options of their sampling, and the processor's time for them over that without these options."""

    columns: ClassVar = {
        "TSTR / TRTR": "tstr_ratio",
        "coverage / real": "coverage_ratio",
        "C2ST": "c2st",
        "recall": "recall",
        "novelty 50 %": "novelty50",
        "close": "close",
        "time": "time",
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        rows, seconds = timed_samples(work)
        usual = timed_samples(Work(replace(work.cell, variant="", words=work.cell.shared_words), work.draws))[1]
        return self.judged(work.judge(), (rows, work.train[1])) | {"time": seconds / usual}

    def _cell(self, values: pandas.Series, key: str, correction: Correction) -> str:
        if key != "time":
            return super()._cell(values, key, correction)
        return f"{values.median():.1f}"


class Origins(Measure):
    """Quality and membership of samples by where a trained generator takes them from, its `sampling`."""

    columns: ClassVar = {
        **{"TSTR / TRTR": "tstr_ratio", "coverage / real": "coverage_ratio", "recall": "recall", "C2ST": "c2st"},
        **{"axis C2ST": "axis_c2st", "novelty 50 %": "novelty50", "close": "close", "membership": "membership"},
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        y, judge = work.train[1], work.judge()
        return {
            f"{origin}/{key}": value
            for origin in work.model.model.samplings
            for key, value in self.judged(
                judge, (work.model.sample(work.labels(y), seed=work.cell.seed, sampling=origin), y)
            ).items()
        }

    def parts(self, line: Line) -> Iterator[tuple[str, Line]]:
        yield from ((f"{line['model']}, {origin}", found) for origin, found in by_first_part(line["metrics"]))


def timed_samples(work: Work) -> tuple[Arrays, float]:
    """Return a sample for each training sample, and the processor's seconds for them."""
    work.generated(work.train[1][:1])  # what only a first call pays for
    started = process_time()
    return work.generated(work.train[1]), process_time() - started


class Lengths(Measure):
    """Held-out error of a diffusion model, and novelty of its samples, at the end of a training with an inner split."""

    models = suits = ("diffusion",)
    columns: ClassVar = {"held-out error": "error", "novelty 50 %": "novelty50", "close": "close"}

    def metrics(self, work: Work) -> dict[str, Any]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        model = work.cell.trained_model("last.ckpt")
        events = EventAccumulator(str(work.cell.folder))
        events.Reload()
        data = make_datamodule(work.cfg, work.dataset, work.cell.fold, final=False)
        train, y = data.samples(data.training_indices)
        space = FeatureSpace(train)
        flat, *others = (space.flat(x) for x in (train, work.test[0], model.sample(work.labels(y))))
        found = novelty(*(nearest(flat, each)[:, 0] for each in others))
        return found | {"error": events.Scalars("val/denoising")[-1].value}


def by_first_part(metrics: Line) -> Iterator[tuple[str, Line]]:
    """Yield the metrics by what stands before their names' first `/`."""
    for first in dict.fromkeys(key.partition("/")[0] for key in metrics):
        yield first, {k.partition("/")[2]: v for k, v in metrics.items() if k.startswith(f"{first}/")}


class Completion(Measure):
    """One modality of test samples drawn for the others: squared errors in scaled units, and the spread of 16 draws."""

    suits = ("vacwgan", "vae")
    columns: ClassVar = {
        "mean of 16": "mean",
        "class mean": "class_mean",
        "single": "single",
        "random row": "random_row",
        "within the draws (.88)": "within_all",
        "within their middle (.41)": "within_middle",
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        (x, y), found = work.test, {}
        train, true = scaled(work, work.train[0]), scaled(work, x)
        for wanted in x:
            given = {name: value for name, value in x.items() if name != wanted}
            draws = [work.model.complete(given, work.labels(y), seed=seed) for seed in range(16)]
            drawn = np.stack([scaled(work, each)[wanted] for each in draws])
            errors = completion_errors(drawn, true[wanted], y, train[wanted], work.train[1])
            found |= {f"{wanted}/{name}": value for name, value in errors.items()}
        return found

    def parts(self, line: Line) -> Iterator[tuple[str, Line]]:
        yield from by_first_part(line["metrics"])


def completion_errors(
    drawn: np.ndarray, true: np.ndarray, y: np.ndarray, train: np.ndarray, y_train: np.ndarray
) -> dict[str, float]:
    """Return the metrics of draws (16, n, values) for true samples (n, values) of classes `y` (n,)."""
    rng = np.random.default_rng(0)
    own = [np.flatnonzero(y_train == k) for k in range(y.max() + 1)]
    means = np.stack([train[each].mean(0) for each in own])
    others = np.stack([[train[rng.choice(own[k])] for k in y] for _ in drawn])
    low, lower_middle, upper_middle, high = np.sort(drawn, axis=0)[[0, 4, 11, 15]]
    return {
        "mean": np.mean((drawn.mean(0) - true) ** 2),
        "class_mean": np.mean((means[y] - true) ** 2),
        "single": np.mean((drawn - true) ** 2),
        "random_row": np.mean((others - true) ** 2),
        "within_all": np.mean((low <= true) & (true <= high)),
        "within_middle": np.mean((lower_middle <= true) & (true <= upper_middle)),
    }


def scaled(work: Work, x: Arrays) -> dict[str, np.ndarray]:
    """Return samples in the model's scaled units, {name: (n, values)}."""
    found = work.model.model.from_arrays(x)
    return {name: value.flatten(1).double().numpy() for name, value in found.items()}


class Reconstruction(Measure):
    """Test samples encoded and rebuilt, beside PCA with as many dimensions: squared errors in scaled units."""

    models = ("vae",)
    suits = ("vacwgan", "vae")
    whole = ("latent_dim", "active_units")
    columns: ClassVar = {
        "latent dimensions": "latent_dim",
        "active units": "active_units",
        "rebuilt": "rebuilt",
        "PCA": "pca",
        "PCA, as many as are active": "pca_active",
        "class mean": "class_mean",
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        (x, y), labels = work.test, work.train[1]
        samples = (work.train[0], x, work.model.reconstruct(x, work.labels(y)))
        train, true, rebuilt = (np.hstack(list(scaled(work, each).values())) for each in samples)
        means = np.stack([train[labels == k].mean(0) for k in range(labels.max() + 1)])
        dimensions, active = work.cfg.model.latent_dim, work.model.model.latents.active_units()
        return {
            "latent_dim": dimensions,
            "active_units": active,
            "rebuilt": np.mean((rebuilt - true) ** 2),
            "pca": pca_error(train, true, dimensions),
            "pca_active": pca_error(train, true, max(1, active)),
            "class_mean": np.mean((means[y] - true) ** 2),
        }


def pca_error(train: np.ndarray, true: np.ndarray, dimensions: int) -> float:
    """Return the mean squared error of samples (n, values) rebuilt from so many principal components of `train`."""
    pca = PCA(min(dimensions, *train.shape), random_state=0).fit(train)
    return float(np.mean((pca.inverse_transform(pca.transform(true)) - true) ** 2))


class Rebuilt(Measure):
    """Test images as a first stage rebuilds them: PSNR, use of the codebook, and energy by spatial frequency over the true one."""

    models = suits = ("vqgan",)
    digits = 2
    columns: ClassVar = {"PSNR": "psnr", "perplexity": "perplexity", "codes used": "used"} | {
        name: name for name in ("low", "middle", "high")
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        x = work.test[0]
        rebuilt, codes = work.model.reconstruct(x)
        true, ours = (spectrum(images["image"]).reshape(3, -1).sum(1) for images in (x, rebuilt))
        bands = dict(zip(("low", "middle", "high"), ours / true, strict=True))
        return scores(x, rebuilt, codes, work.model.quantizers.size) | bands


def spectrum(images: np.ndarray, bins: int = 24) -> np.ndarray:
    """Return the mean energy of images (n, C, H, W) in rings of spatial frequency, from 0 to half a cycle per pixel."""
    centred = images - images.mean((2, 3), keepdims=True)
    energy = (np.abs(np.fft.fft2(centred)) ** 2).mean((0, 1))
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in images.shape[2:]), indexing="ij"))
    ring = np.minimum((radius * 2 * bins).astype(int), bins)  # the corners, beyond half a cycle, are left out
    return np.bincount(ring.ravel(), energy.ravel(), bins + 1)[:bins]


class Limit(Measure):
    """Training samples as a first stage rebuilds them, judged like drawn ones: no second stage on it can be expected to draw better."""

    models = suits = ("vqgan",)
    columns: ClassVar = {"TSTR / TRTR": "tstr_ratio", "coverage / real": "coverage_ratio", "C2ST": "c2st"}

    def metrics(self, work: Work) -> dict[str, Any]:
        x, y = work.train
        return self.judged(work.judge(), (work.model.reconstruct(x)[0], y))


class Drawn(Measure):
    """Drawn images, judged in the features that the classifier of the fold's first stage learnt."""

    models = (REAL, "duplicate", "diffusion", "ldm")
    suits = (REAL, *BASELINES, "diffusion", "ldm")
    columns: ClassVar = {"TSTR": "tstr", "TSTR / TRTR": "tstr_ratio", "coverage": "coverage", "C2ST": "c2st"} | {
        "novelty 50 %": "novelty50",
        "close": "close",
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        stage = replace(work.cell, model="vqgan", variant="", words=work.cell.data_words).trained_model()
        y = work.train[1]
        rows = None if work.cell.model == REAL else in_features(stage, (work.generated(y), y))
        sides = {"train": in_features(stage, work.train), "heldout": in_features(stage, work.test)}
        return self.judged(work.judge(**sides, unseen_groups=None), rows)


def in_features(stage: Any, rows: LabelledSamples) -> LabelledSamples:
    """Return images as the means of their feature maps, modality `features`, (n, channels of all maps)."""
    x, y = rows
    parts = []
    with stage.evaluating():
        for start in range(0, len(y), 64):
            given = stage.from_arrays({name: value[start : start + 64] for name, value in x.items()})
            maps = [h.flatten(2).mean(2) for each in stage.classifier.features(given).values() for h in each]
            parts.append(torch.cat(maps, dim=1).numpy())
    return {"features": np.concatenate(parts)}, y


class Moments(Measure):
    """How near the tutorial's linear GAN comes to the truth: the larger error of the mean, and that of the covariance, relative."""

    models = suits = ("gan",)
    aims: ClassVar = {"mean": 0.15, "covariance": 0.2}

    def metrics(self, work: Work) -> dict[str, Any]:
        return moment_errors(work.model.sample([0] * 10_000)["xy"])

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        rows = []
        for name in sorted({line["variant"] for line in lines}, key=list(order).index):
            own = [line["metrics"] for line in lines if line["variant"] == name]
            within = sum(all(metrics[key] <= aim for key, aim in self.aims.items()) for metrics in own)
            shown = [", ".join(f"{metrics[key]:.2f}" for metrics in own) for key in self.aims]
            rows.append([name, *shown, f"{within} of {len(own)}"])
        heads = [f"error of the {key}, seed by seed" for key in self.aims]
        return [Table("Errors", ["", *heads, "seeds within both aims"], rows)]


def moment_errors(points: np.ndarray) -> dict[str, float]:
    """Return the errors of points (n, 2): of the mean, its larger one; of the covariance, in the Frobenius norm, relative."""
    off = np.linalg.norm(np.cov(points.T) - COVARIANCE) / np.linalg.norm(COVARIANCE)
    return {"mean": float(np.abs(points.mean(0) - MEAN).max()), "covariance": float(off)}
