"""A classifier's answers to samples without labels, as a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.data.files import write_csv
from mmgan.schema import DataSchema

Members = Mapping[str, np.ndarray]  # class probabilities (n, K) by the name of a member


def write_predictions(
    path: Path,
    schema: DataSchema,
    models: Sequence[Members],
    unlabelled: str = "none",
    origin: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write a row for each of n samples: index, the columns of `origin`, label, confidence, spread, p_<class> of all classes, <member> and p_<member> of all members, unlabelled.

    `label` is the data's own; `confidence` its mean probability over the members, which themselves are means over the models, and
    `spread` that probability's standard deviation over the models, which is empty for a single model. A member's columns are its label
    and the probability of that; `unlabelled` is what the models learnt from without labels.
    """
    answers = np.stack([np.mean(list(members.values()), axis=0) for members in models])
    mean, samples = answers.mean(0), np.arange(answers.shape[1])
    best = mean.argmax(1)
    spread = answers[:, samples, best].std(0, ddof=1) if len(answers) > 1 else np.full(len(samples), np.nan)
    names = schema.class_names if len(set(schema.class_names)) == schema.n_classes else schema.labels
    origin = origin or {}
    columns = ["index", *origin, "label", "confidence", "spread", *[f"p_{name}" for name in names]]
    rows = np.column_stack([mean[samples, best], spread, mean])
    shown = [["" if np.isnan(value) else f"{value:.6f}" for value in row] for row in rows]
    for member in models[0]:
        own = np.mean([members[member] for members in models], axis=0)
        columns += [member, f"p_{member}"]
        for row, found in zip(shown, own, strict=True):
            row += [schema.labels[found.argmax()], f"{found.max():.6f}"]
    columns.append("unlabelled")
    write_csv(
        path,
        [
            columns,
            *(
                [i, *(each[i] for each in origin.values()), schema.labels[best[i]], *row, unlabelled]
                for i, row in enumerate(shown)
            ),
        ],
    )


def write_votes(path: Path, schema: DataSchema, models: Sequence[Members], files: Sequence[str]) -> None:
    """Write a row for each recording, by the file of each of n samples: file, label, windows, votes, p_<class> of all classes.

    `label` is what most of its windows are, of equally many what is more probable; `votes` their share, p_<class> the mean probability.
    """
    mean = np.mean([np.mean(list(members.values()), axis=0) for members in models], axis=0)
    best = mean.argmax(1)
    rows: list[list[Any]] = [["file", "label", "windows", "votes", *[f"p_{name}" for name in schema.class_names]]]
    for file in dict.fromkeys(files):
        own = np.array([each == file for each in files])
        votes, probability = np.bincount(best[own], minlength=schema.n_classes), mean[own].mean(0)
        winner = max(range(schema.n_classes), key=lambda k: (votes[k], probability[k]))
        share = votes[winner] / own.sum()
        rows.append([file, schema.labels[winner], own.sum(), f"{share:.4f}", *(f"{p:.6f}" for p in probability)])
    write_csv(path, rows)
