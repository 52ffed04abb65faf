"""A finished model of a fold, scored once against the fold's `val_indices`, with a picture beside."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmgan.data.datamodule import FoldDataModule
from mmgan.evaluation import prediction, reconstruction, utility
from mmgan.evaluation.score import MIN_SAMPLES
from mmgan.models.robust_classifier import RobustClassifier
from mmgan.models.synthesizer import Synthesizer
from mmgan.models.vqgan import VQGAN
from mmgan.plots import drawings
from mmgan.plots import samples as plots
from mmgan.training.callbacks import draw_like, fold_judge

Scores = dict[str, float]


def score_fold(model: Synthesizer | RobustClassifier | VQGAN, data: FoldDataModule, folder: Path) -> Scores:
    """Score what the model makes (samples, answers, samples rebuilt) of a fold whose training samples are all to fit; leave a picture in `folder`."""
    by_kind = {RobustClassifier: _answers, VQGAN: _reconstructions}
    scores, name, picture = by_kind.get(type(model), _rows)(model, data)
    if picture is not None:
        picture.savefig(folder / name, dpi=110)
    return {name: round(float(value), 4) for name, value in scores.items()}


def _rows(model: Synthesizer, data: FoldDataModule) -> tuple[Scores, str, Figure]:
    x, y = data.rows(data.training_indices, most=1000)  # enough for a picture
    classes = np.unique(y)
    picture = plots.overview(x, y, draw_like(model, classes), classes, model.schema.class_names)
    enough = min(len(data.training_indices), len(data.fold.val_indices)) >= MIN_SAMPLES
    return (fold_judge(data, data.fold.val_indices, seed=0)(model) if enough else {}), "samples.png", picture


def _answers(model: RobustClassifier, data: FoldDataModule) -> tuple[Scores, str, Figure | None]:
    x, y = data.rows(data.fold.val_indices)
    if not len(y):
        return {}, "", None
    answers = model.predict_probabilities(x)
    matrix = utility.confusion(y, answers.argmax(1), model.schema.n_classes)
    return prediction.scores(y, answers), "confusion.png", drawings.confusion(matrix, model.schema.class_names)


def _reconstructions(model: VQGAN, data: FoldDataModule) -> tuple[Scores, str, Figure | None]:
    x, y = data.rows(data.fold.val_indices)
    if not len(y):
        return {}, "", None
    rebuilt, codes = model.reconstruct(x)
    picture = plots.overview(x, y, rebuilt, y, model.schema.class_names, kinds=("held out", "rebuilt"))
    return reconstruction.scores(x, rebuilt, codes, model.quantizers.size), "rebuilt.png", picture
