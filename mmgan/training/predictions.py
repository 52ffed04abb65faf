"""A classifier's answers to samples without labels, as a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmgan.data.files import write_csv
from mmgan.schema import DataSchema

Members = Mapping[str, np.ndarray]  # class probabilities (n, K) by the name of a member


def write_predictions(path: Path, schema: DataSchema, models: Sequence[Members], unlabelled: str = "none") -> None:
    """Write a row for each of n samples: index, label, confidence, spread, p_<class> of all classes, <member> and p_<member> of all members, unlabelled.

    `label` is the data's own; `confidence` its mean probability over the members, which themselves are means over the models, and
    `spread` that probability's standard deviation over the models, which is empty for a single model. A member's columns are its label
    and the probability of that; `unlabelled` is what the models learnt from without labels.
    """
    answers = np.stack([np.mean(list(members.values()), axis=0) for members in models])
    mean, samples = answers.mean(0), np.arange(answers.shape[1])
    best = mean.argmax(1)
    spread = answers[:, samples, best].std(0, ddof=1) if len(answers) > 1 else np.full(len(samples), np.nan)
    names = schema.class_names if len(set(schema.class_names)) == schema.n_classes else schema.labels
    columns = ["index", "label", "confidence", "spread", *[f"p_{name}" for name in names]]
    rows = np.column_stack([mean[samples, best], spread, mean])
    shown = [["" if np.isnan(value) else f"{value:.6f}" for value in row] for row in rows]
    for member in models[0]:
        own = np.mean([members[member] for members in models], axis=0)
        columns += [member, f"p_{member}"]
        for row, found in zip(shown, own, strict=True):
            row += [schema.labels[found.argmax()], f"{found.max():.6f}"]
    columns.append("unlabelled")
    write_csv(path, [columns, *([i, schema.labels[best[i]], *row, unlabelled] for i, row in enumerate(shown))])
