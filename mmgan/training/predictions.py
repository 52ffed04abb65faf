"""A classifier's answers to samples without labels, as a file."""

from pathlib import Path

import numpy as np

from mmgan.data.files import write_csv
from mmgan.schema import DataSchema


def write_predictions(path: Path, schema: DataSchema, answers: np.ndarray) -> None:
    """Write a row for each of the n samples of `answers` (models, n, K): index, label, confidence, spread, p_<class> of all classes.

    `label` is the data's own; `confidence` its mean probability over the models, and `spread` that probability's standard
    deviation, which is empty for a single model.
    """
    mean, samples = answers.mean(0), np.arange(answers.shape[1])
    best = mean.argmax(1)
    spread = answers[:, samples, best].std(0, ddof=1) if len(answers) > 1 else np.full(len(samples), np.nan)
    names = schema.class_names if len(set(schema.class_names)) == schema.n_classes else schema.labels
    columns = ["index", "label", "confidence", "spread", *[f"p_{name}" for name in names]]
    numbers = np.column_stack([mean[samples, best], spread, mean])
    shown = [["" if np.isnan(value) else f"{value:.6f}" for value in row] for row in numbers]
    write_csv(path, [columns, *([i, schema.labels[best[i]], *row] for i, row in enumerate(shown))])
