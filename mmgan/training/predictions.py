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
    mean = answers.mean(0)
    best = mean.argmax(1)
    rows = np.arange(len(best))
    spread = answers[:, rows, best].std(0, ddof=1) if len(answers) > 1 else None
    names = schema.class_names if len(set(schema.class_names)) == schema.n_classes else schema.labels
    columns = ["index", "label", "confidence", "spread", *[f"p_{name}" for name in names]]
    lines = [
        [
            i,
            schema.labels[best[i]],
            _six(mean[i, best[i]]),
            "" if spread is None else _six(spread[i]),
            *map(_six, mean[i]),
        ]
        for i in rows
    ]
    write_csv(path, [columns, *lines])


def _six(value: float) -> str:
    return f"{value:.6f}"
