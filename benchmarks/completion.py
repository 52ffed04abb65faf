"""How well one modality can be drawn for another: test samples of which one modality is given, the other drawn by a trained VACWGAN.

Mean squared errors are in scaled units, per value, over all test samples. For each row 16 others are drawn: their mean stands
against the mean of the row's class in the training samples, a single draw against the modality of a random training row of the class.
The last columns are the shares of true values between the lowest and the highest of the draws, and between the fifth and the twelfth:
where draws and truth have one distribution, 15/17 and 7/17.

    python benchmarks/completion.py data=watch workers=2
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import (
    Cell,
    Line,
    OptionsOfOneGenerator,
    check_encoders,
    completed,
    labelled_test_samples,
    markdown,
    read_options,
    stamped,
)

from mmgan.errors import MmganError
from mmgan.evaluation.statistics import interval

DRAWS = 16
COLUMNS = {
    "mean of 16": "mean",
    "class mean": "class_mean",
    "single": "single",
    "random row": "random_row",
    "within the draws (.88)": "within_all",
    "within their middle (.41)": "within_middle",
}


@dataclass
class Options(OptionsOfOneGenerator):
    """The command line."""

    out: str = "runs/completion/completion.jsonl"


def main() -> None:
    """Do the missing folds in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    wanted = stamped(options.cells(), lambda key: key.settings(options.overrides, draws=DRAWS))
    check_encoders(wanted, options.overrides)
    log = Path("runs/completion/log.txt")
    work = partial(measured, runs=options.runs, overrides=options.overrides)
    known = completed(wanted, work, Path(options.out), options.workers, log=log)
    print(table(list(known.values())))


def measured(cell: Cell, runs: str, overrides: str) -> Line:
    """Return the errors of each direction on a fold's test samples."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold

    cfg = cell.config(overrides)
    dataset = load_data(cfg)
    fold = select_fold(configured_folds(dataset, cfg.data), cell.fold)
    model = cell.model_of(runs, overrides)
    train, test = dataset.samples(fold.train_indices), labelled_test_samples(dataset)
    if len(test[0]) < 2:
        raise MmganError(f"{dataset.source} has a single modality; there is none to be drawn for another.")
    metrics = {}
    for wanted in dataset.schema.modalities:
        given = {name: rows for name, rows in test[0].items() if name != wanted}
        labels = dataset.schema.decode(test[1])
        drawn = np.stack(
            [
                scaled(model, {**test[0], wanted: model.complete(given, labels, seed=seed)[wanted]}, wanted)
                for seed in range(DRAWS)
            ]
        )
        metrics[wanted] = errors(
            drawn, scaled(model, test[0], wanted), test[1], scaled(model, train[0], wanted), train[1]
        )
    return {"n_train": len(train[1]), "n_val": len(fold.val_indices), "metrics": metrics}


def scaled(model: Any, x: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return one modality of samples in scaled units, (n, values)."""
    import torch

    rows = model.scaler({key: torch.from_numpy(value) for key, value in x.items()})[name]
    return rows.flatten(1).double().numpy()


def errors(
    drawn: np.ndarray, true: np.ndarray, y: np.ndarray, train: np.ndarray, y_train: np.ndarray
) -> dict[str, float]:
    """Return what `COLUMNS` show, of draws (16, n, values) for true rows (n, values) of classes `y` (n,)."""
    rng = np.random.default_rng(0)
    means = np.stack([train[y_train == k].mean(0) for k in range(y.max() + 1)])
    own = [np.flatnonzero(y_train == k) for k in range(y.max() + 1)]
    others = np.stack([[train[rng.choice(own[k])] for k in y] for _ in drawn])
    low, lower_middle, upper_middle, high = np.sort(drawn, axis=0)[[0, 4, 11, 15]]
    found = {
        "mean": np.mean((drawn.mean(0) - true) ** 2),
        "class_mean": np.mean((means[y] - true) ** 2),
        "single": np.mean((drawn - true) ** 2),
        "random_row": np.mean((others - true) ** 2),
        "within_all": np.mean((low <= true) & (true <= high)),
        "within_middle": np.mean((lower_middle <= true) & (true <= upper_middle)),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def table(lines: list[Line]) -> str:
    """Return the means over folds with their intervals as Markdown, a row for each direction."""
    rows = [["drawn for the rest of the row", *COLUMNS]]
    for name in lines[0]["metrics"]:
        shown = []
        for column in COLUMNS.values():
            found = interval([line["metrics"][name][column] for line in lines], lines[0]["n_train"], lines[0]["n_val"])
            reach = "" if len(lines) == 1 else f" ± {found.high - found.mean:.3f}"
            shown.append(f"{found.mean:.3f}{reach}")
        rows.append([name, *shown])
    return markdown(rows)


if __name__ == "__main__":
    main()
