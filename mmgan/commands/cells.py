"""A cell of a comparison: one model on one fold of one data set, with one seed; its configuration, its trained model, its data."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from mmgan import evaluation
from mmgan.baselines import BASELINES
from mmgan.commands.build import compose, load_data, make_datamodule, plain, settings_of, train_fold, trusted
from mmgan.data.arrays import LabelledSamples, n_samples_of, take
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.folds import configured_folds, select_fold
from mmgan.data.unlabelled import unlabelled_pool
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.files import judging_samples, without_seen_test
from mmgan.evaluation.table import REAL, baseline_samples
from mmgan.report.quality import WITHOUT_SAMPLES
from mmgan.training.checkpoint import load
from mmgan.training.folder import RunFolder

CLASSICAL = ("logistic", "forest", "svc", "mlp")  # classifiers
OF_TRAINING = (
    "batch_size",
    "steps_per_epoch",
    "views_per_epoch",
    "inner_val",
)  # data options that change no real sample and no baseline


def is_trained(model: str) -> bool:
    """Say whether a model has to be trained."""
    return model not in (REAL, *WITHOUT_SAMPLES, *BASELINES, *CLASSICAL)


@dataclass(frozen=True)
class Cell:
    """What one line tells of; `runs` is where its models are trained."""

    data: str
    draw: int | None
    rows: str
    model: str
    variant: str
    fold: int
    seed: int
    words: tuple[str, ...] = field(default=(), compare=False)  # options of train.py
    shared_words: tuple[str, ...] = field(default=(), compare=False)  # without those of the variant
    runs: str = field(default="runs/compare", compare=False)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.variant or self.model

    @property
    def trained(self) -> bool:
        """Whether a model has to be trained for it."""
        return is_trained(self.model)

    @property
    def tuned(self) -> bool:
        """Whether its model is the refit of a sweep: its options are those of tune.py."""
        return self.trained and any(word.startswith("n_trials=") for word in self.words)

    @property
    def data_words(self) -> tuple[str, ...]:
        """Those options that its first stage, and what is not trained, share with it: the data's, and which samples are kept back."""
        return tuple(word for word in self.words if word.startswith(("data", "final=")))

    @property
    def folder(self) -> Path:
        """Where its model is trained."""
        draw = "" if self.draw is None else f"-draw{self.draw}"
        variant = re.sub(r"\W+", "_", f"-{self.variant}") if self.variant else ""
        name = f"{self.data}{draw}-{self.rows}-{self.model}{variant}-seed{self.seed}"
        return Path(self.runs) / name / f"fold{self.fold}"

    def config(self) -> DictConfig:
        """Return the configuration of train.py, or of tune.py, for its model; the data's alone where none is trained."""
        # Folds differ in their training seed too, so that an interval over folds holds its spread.
        words = [f"seed={1000 * self.seed + self.fold}", f"fold={self.fold}"]
        words += [f"data.imbalance_ratio={self.rows[9:]}"] if self.rows.startswith("imbalance") else []
        words += [f"data.rows_per_class={self.rows}"] if self.rows.isdecimal() else []
        words += [f"model={self.model}"] if self.trained else []
        words += [f"out_dir={self.folder}"] if self.tuned else ["final=true", "resume=true"]
        own = self.words if self.trained else self.data_words
        return compose("tune" if self.tuned else "train", [*words, *own])

    def first_stage(self) -> "Cell | None":
        """Return the cell of the first stage that its model needs, where the options give none."""
        cfg = self.config()
        if "first_stage" not in (cfg.model.get("space") or {}) or cfg.first_stage is not None:
            return None
        return replace(self, model="vqgan", variant="", words=self.data_words)

    def settings(self, **measure: Any) -> str:
        """Return a digest of all that decides its result, the judge's code included, so that no other line is taken for it."""
        cfg = plain(self.config())
        data = {key: value for key, value in cfg["data"].items() if key not in ("source", "datamodule")}
        known = {"fingerprint": _fingerprint(json.dumps(cfg["data"]))} | measure
        if self.trained:
            keys = ("final", "select_length", "n_trials", "max_epochs", "model", "search", "trainer")
            known |= {key: cfg[key] for key in keys if key in cfg}
            known["model"].pop("epochs", None)  # which may be overridden
            if (stage := self.first_stage()) is not None:
                known["first_stage"] = stage.settings()
        else:
            data = {key: value for key, value in data.items() if key not in OF_TRAINING}
        return hashlib.sha256(json.dumps(known | {"data": data}, sort_keys=True).encode()).hexdigest()[:12]

    def trained_model(self, checkpoint: str = "best.ckpt") -> Any:
        """Return its model, trained now, or by an earlier call with the same settings and data."""
        cfg = self.config()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):  # cells of one call may share a model
            if (stage := self.first_stage()) is not None:
                stage.trained_model()
                cfg.first_stage = str(stage.folder)
            if self.tuned:
                from mmgan.commands.tune import tune_folds

                tune_folds(cfg)
            else:
                train(cfg, load_data(cfg), self.fold, self.folder)
        return load(self.folder / checkpoint, trust=trusted(cfg))

    def trial_scores(self) -> dict[str, float]:
        """Return the scores of the default, which is the first complete trial of its sweep, and of the best."""
        trials = pandas.read_csv(self.folder / "trials.csv").query("state == 'COMPLETE'").value
        return {"default_score": trials.iloc[0], "best_score": trials.max()}


def train(cfg: DictConfig, dataset: Dataset, fold: int, path: Path) -> None:
    """Train a fold into its folder, or go on there, unless it holds the same run, as long."""
    folder, length = RunFolder(path), cfg.trainer.max_epochs
    done = folder.read_metrics().get("max_epochs")
    cfg.resume = not folder.holds_other_than(settings_of(cfg, dataset, fold)) and (done is None or done <= length)
    if not cfg.resume or done != length:
        train_fold(cfg, dataset, fold, path)


@functools.cache
def _judge_digest() -> str:
    sources = sorted(Path(evaluation.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@functools.cache
def _fingerprint(data: str) -> str:
    return load_data(OmegaConf.create({"data": json.loads(data)})).fingerprint()


class Work:
    """A cell's data, and what measures need of its model."""

    def __init__(self, cell: Cell, draws: int) -> None:
        self.cell, self.draws, self.cfg = cell, draws, cell.config()
        self.dataset, source = load_data(self.cfg), self.cfg.data.unlabelled
        self.fold = select_fold(configured_folds(self.dataset, self.cfg.data), max(cell.fold, 1))
        self.train = self.dataset.samples(self.fold.train_indices)
        pool = unlabelled_pool(self.dataset, self.fold, source)
        self.pool = None if pool is None else pool.x
        self.heldout, self.unseen_groups = judging_samples(without_seen_test(self.dataset, [source]), self.fold)

    def sizes(self) -> dict[str, int]:
        """Return the number of training samples, of those of the whole fold, and of its val_indices."""
        kept = len(self.fold.train_indices)
        return {"n_train": kept, "n_fold": kept + len(self.fold.extra_indices), "n_val": len(self.fold.val_indices)}

    @functools.cached_property
    def model(self) -> Any:
        """The cell's trained model."""
        return self.cell.trained_model()

    @property
    def test(self) -> LabelledSamples:
        """The test samples with their classes; raises MmganError where the data have none."""
        if self.dataset.y_test is None:
            raise MmganError(f"{self.dataset.source} has no labelled test samples, which this measure needs.")
        return self.dataset.x_test, self.dataset.y_test

    def labels(self, y: np.ndarray) -> Any:
        """Return the data's own labels of class indices."""
        return self.dataset.schema.decode(y)

    @property
    def pool_size(self) -> int | None:
        """The number of unlabelled samples; None where none are asked for."""
        return None if self.pool is None else n_samples_of(self.pool)

    def utility_test(self) -> LabelledSamples:
        """Return the samples that classifiers are tested on, of groups that no training sample is of where there are such.

        Their labels are known to nobody but the judge, also where the samples were learnt from without them.
        """
        heldout, unseen_groups = judging_samples(self.dataset, self.fold)
        return unseen_groups or heldout

    @functools.cached_property
    def _datamodule(self) -> FoldDataModule:
        return make_datamodule(self.cfg, self.dataset, self.cell.fold, final=True)

    def pseudo_labelled(self) -> LabelledSamples:
        """Return the unlabelled samples that a generator learns from, with the teacher's labels."""
        kept = self._datamodule.pseudo_labels.kept
        return take(self._datamodule.pool.x, kept), self._datamodule.pseudo_labels.labels[kept]

    def generated(self, y: np.ndarray) -> dict[str, np.ndarray]:
        """Return samples of these classes from a baseline, which learns from unlabelled samples where any are given, or from the model."""
        if not self.cell.trained:
            samples, weights = self._datamodule.training_samples()
            seed = [self.cell.seed, self.cell.fold]
            return baseline_samples(samples, self.cell.model, y, seed, weights)
        return self.model.sample(self.labels(y), seed=self.cell.seed)

    def judge(self, **samples: Any) -> Evaluator:
        """Return the judge of as many samples as there are training samples; `samples` take the place of the fold's."""
        fold = {
            "train": self.train,
            "heldout": self.heldout,
            "unseen_groups": self.unseen_groups,
            "pool": self.pool,
        } | samples
        return Evaluator([FoldSamples(self.cell.fold, **({"synthetic": fold["train"]} | fold))], self.draws)
