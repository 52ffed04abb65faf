"""What differs by kind of model once it trains: what can be looked at, how a finished fold is scored, and what comes next.

A model's configuration names its task; a new kind of model is a task, a model, and YAML.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from mmgan.baselines import BASELINES
from mmgan.data.datamodule import FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.data.unlabelled import KEY, NONE, samples_of
from mmgan.data.writing import replacing
from mmgan.evaluation import prediction, reconstruction, utility
from mmgan.evaluation.metrics import number
from mmgan.evaluation.score import MIN_SAMPLES
from mmgan.models.classical import ClassicalGenerator
from mmgan.models.synthesizer import Synthesizer
from mmgan.plots import drawings, overview
from mmgan.plots.style import legible
from mmgan.training.callbacks import fold_judge
from mmgan.training.class_pictures import DPI, draw_pictures
from mmgan.training.predictions import write_predictions, write_votes

Scores = dict[str, float]
# A model and what it is compared with meet the same judge, which is gone with the fold's data.
_judges: WeakKeyDictionary[FoldDataModule, Callable[[Synthesizer], Scores] | None] = WeakKeyDictionary()
LEAST_NOVELTY = 0.8  # of a finished fold that is not doubted; other real samples have 1


class Task:
    """What a kind of model is for; the class itself scores nothing.

    `title` heads the table of a finished fold's scores; callbacks run whose `needs` are among `offers`. Options that begin with one of
    `repeats` are said again in the next command.
    """

    title = "scores"
    offers: frozenset[str] = frozenset()
    repeats: tuple[str, ...] = ()

    def finished(self, model: Any) -> Any:
        """Return what `mmgan.load` gives of a trained model."""
        return model

    def inner_score(self, model: Any, data: FoldDataModule) -> float | None:
        """Return the score on the inner validation samples of a model that is not trained by batches; None without one."""
        return None

    def score(self, model: Any, data: FoldDataModule, folder: Path) -> Scores:
        """Return the scores of a finished model on the fold's `val_indices`, and leave a picture in `folder`."""
        return {}

    def references(self, data: FoldDataModule) -> dict[str, Scores]:
        """Return, by name, what `score` gives of samples to compare a model's with."""
        return {}

    def doubts(self, scores: Mapping[int, Scores]) -> list[str]:
        """Return what is wrong with finished folds, by their scores: sentences with a remedy."""
        return []

    def after_folds(self, models: Iterable[Any], dataset: Dataset, folder: Path) -> Mapping[str, Path]:
        """Write what the models of all folds say together; return the files by what they hold."""
        return {}

    def next_command(self, folder: Path) -> Sequence[str]:
        """Return the command that a user would give next, word by word; nothing where there is none."""
        return ()


class Generation(Task):
    """A generator: its samples are scored beside the fold's own held-out samples."""

    title = "samples against the fold's own held-out samples (real samples: 1)"
    offers = frozenset({"samples", "latents"})

    def finished(self, model: Any) -> Synthesizer:
        return Synthesizer(model)

    def inner_score(self, model: Synthesizer, data: FoldDataModule) -> float | None:
        if not len(data.inner_val_indices):
            return None
        return fold_judge(data, data.inner_val_indices, data.seed)(model)["score"]

    def score(self, model: Synthesizer, data: FoldDataModule, folder: Path) -> Scores:
        draw_pictures(model, data, folder)
        return _scored(model, data)

    def references(self, data: FoldDataModule) -> dict[str, Scores]:
        classical = ClassicalGenerator(data.schema, baseline=BASELINES["smote"][0])
        classical.fit_data(*data.samples(data.training_indices))
        scores = _scored(Synthesizer(classical), data)
        return (
            {"smote": scores, "real": dict.fromkeys(scores, 1.0)} if scores else {}
        )  # real: by which all parts are measured

    def doubts(self, scores: Mapping[int, Scores]) -> list[str]:
        near = {fold: found["novelty"] for fold, found in scores.items() if found.get("novelty", 1.0) < LEAST_NOVELTY}
        if not near:
            return []
        listed = ", ".join(f"{number(novelty)} of fold {fold}" for fold, novelty in near.items())
        return [
            f"novelty is {listed}: samples lie nearer to training samples than unseen ones do, as near-copies would. Train for fewer epochs"
            " (trainer.max_epochs=), or choose another model=; evaluate.py says which samples are near-copies."
        ]

    def next_command(self, folder: Path) -> Sequence[str]:
        return "synthesize", f"ckpt={folder}"


class Classification(Task):
    """A classifier: its answers on held-out samples, and of all folds together on those without labels."""

    title = "answers on val_indices"

    def score(self, model: Any, data: FoldDataModule, folder: Path) -> Scores:
        x, y = data.samples(data.fold.val_indices)
        if not len(y):
            return {}
        answers = model.predict_probabilities(x)
        matrix = utility.confusion(y, answers.argmax(1), model.schema.n_classes)
        with replacing(folder / "confusion.png", lasting=False) as stream:
            drawings.confusion(matrix, legible(model.schema.class_names)).savefig(stream, dpi=DPI)
        return _rounded(prediction.scores(y, answers))

    def after_folds(self, models: Iterable[Any], dataset: Dataset, folder: Path) -> Mapping[str, Path]:
        recordings = dataset.passthrough.get("recordings")
        unlabelled = dataset.passthrough.get(KEY) if recordings else None
        if dataset.x_test is None and unlabelled is None:
            return {}
        models = list(models)
        source = models[0].recipe.get("unlabelled", {}).get("source", NONE)
        x = dataset.x_test if unlabelled is None else samples_of(dataset, KEY)
        answers = [model.predict_members(x) for model in models]
        path = folder / "predictions.csv"
        if unlabelled is None:
            write_predictions(path, dataset.schema, answers, source)
            return {"x_test": path}
        samples = recordings["samples"]
        files = [recordings["recordings"][number]["file"] for number in samples["recording_unlabelled"]]
        origin = {"file": files, "start": [f"{start:g}" for start in samples["start_unlabelled"]]}
        write_predictions(path, dataset.schema, answers, source, origin)
        write_votes(folder / "recordings.csv", dataset.schema, answers, files)
        return {"window": path, "votes": folder / "recordings.csv"}


class FirstStage(Task):
    """A first stage of a two-stage model: held-out samples, rebuilt from their tokens."""

    title = "samples of val_indices, rebuilt"
    offers = frozenset({"reconstructions"})
    repeats = ("data", "fold=", "final=")

    def score(self, model: Any, data: FoldDataModule, folder: Path) -> Scores:
        x, y = data.samples(data.fold.val_indices)
        if not len(y):
            return {}
        rebuilt, codes = model.reconstruct(x)
        names, kinds = legible(model.schema.class_names), ("held out", "rebuilt")
        with replacing(folder / "rebuilt.png", lasting=False) as stream:
            overview.overview(x, y, rebuilt, y, names, kinds).savefig(stream, dpi=DPI)
        return _rounded(reconstruction.scores(x, rebuilt, codes, model.quantizers.size))

    def next_command(self, folder: Path) -> Sequence[str]:
        return "train", "model=ldm", f"first_stage={folder}"


def _scored(model: Synthesizer, data: FoldDataModule) -> Scores:
    """Return the scores on the fold's held-out samples; of other recordings, where there are such, utility only."""
    judge = _judge_of(data)
    return _rounded(judge(model)) if judge else {}


def _judge_of(data: FoldDataModule) -> Callable[[Synthesizer], Scores] | None:
    if data not in _judges:
        judge, val = data.fold.judge_indices, data.fold.val_indices
        heldout, tested = (judge, val) if len(judge) else (val, None)
        enough = min(len(data.training_indices), len(heldout)) >= MIN_SAMPLES
        _judges[data] = fold_judge(data, heldout, 0, tested) if enough else None
    return _judges[data]


def _rounded(scores: Mapping[str, float]) -> Scores:
    return {name: round(float(value), 4) for name, value in scores.items()}
