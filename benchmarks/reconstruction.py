"""What an encoder's latents keep of a row: test samples encoded and rebuilt, beside PCA with as many dimensions.

Mean squared errors per value, in the model's scaled units, over all test samples. PCA is fitted on the same training samples, scaled alike; it
is linear and not told the class, which the model is, so that the class means stand beside it too.

    python benchmarks/reconstruction.py data=watch workers=2
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
from sklearn.decomposition import PCA

from mmgan.evaluation.statistics import interval

COLUMNS = {
    "latent dimensions": "latent_dim",
    "active units": "active_units",
    "rebuilt": "rebuilt",
    "PCA": "pca",
    "PCA, as many as are active": "pca_active",
    "class mean": "class_mean",
}


@dataclass
class Options(OptionsOfOneGenerator):
    """The command line."""

    model: str = "vae"
    out: str = "runs/reconstruction/reconstruction.jsonl"


def main() -> None:
    """Do the missing folds in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    wanted = stamped(options.cells(), lambda key: key.settings(options.overrides))
    check_encoders(wanted, options.overrides)
    log = Path("runs/reconstruction/log.txt")
    work = partial(measured, runs=options.runs, overrides=options.overrides)
    print(table(list(completed(wanted, work, Path(options.out), options.workers, log=log).values())))


def measured(cell: Cell, runs: str, overrides: str) -> Line:
    """Return the errors on the test samples of a model trained on a fold's samples."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold

    cfg = cell.config(overrides)
    dataset = load_data(cfg)
    fold = select_fold(configured_folds(dataset, cfg.data), cell.fold)
    model = cell.model_of(runs, overrides)
    (x, y), (x_test, y_test) = dataset.samples(fold.train_indices), labelled_test_samples(dataset)
    train, true = flat(model, x), flat(model, x_test)
    means = np.stack([train[y == k].mean(0) for k in range(dataset.schema.n_classes)])
    rebuilt = flat(model, model.reconstruct(x_test, dataset.schema.decode(y_test)))
    found = {
        "latent_dim": model.latent_dim,
        "active_units": model.active_units(),
        "rebuilt": np.mean((rebuilt - true) ** 2),
        "pca": pca_error(train, true, model.latent_dim),
        "pca_active": pca_error(train, true, max(1, model.active_units())),
        "class_mean": np.mean((means[y_test] - true) ** 2),
    }
    metrics = {name: round(float(value), 4) for name, value in found.items()}
    return {"n_train": len(y), "n_val": len(fold.val_indices), "metrics": metrics}


def flat(model: Any, x: dict[str, np.ndarray]) -> np.ndarray:
    """Return samples in the model's scaled units, all modalities side by side, (n, values)."""
    import torch

    scaled = model.scaler({name: torch.from_numpy(value) for name, value in x.items()})
    return np.hstack([value.flatten(1).double().numpy() for value in scaled.values()])


def pca_error(train: np.ndarray, true: np.ndarray, dimensions: int) -> float:
    """Return the mean squared error of samples (n, values) rebuilt from so many principal components of `train`."""
    pca = PCA(min(dimensions, *train.shape), random_state=0).fit(train)
    return float(np.mean((pca.inverse_transform(pca.transform(true)) - true) ** 2))


def table(lines: list[Line]) -> str:
    """Return the means over folds with their intervals as Markdown, a row for each data set and model."""
    rows = [["data, model", *COLUMNS]]
    for name in dict.fromkeys((line["data"], line["model"]) for line in lines):
        own = [line for line in lines if (line["data"], line["model"]) == name]
        shown = []
        for column in COLUMNS.values():
            found = interval([line["metrics"][column] for line in own], own[0]["n_train"], own[0]["n_val"])
            exact = column in ("latent_dim", "active_units")
            reach = "" if exact or len(own) == 1 else f" ± {found.high - found.mean:.3f}"
            shown.append(f"{found.mean:.0f}" if exact else f"{found.mean:.3f}{reach}")
        rows.append([", ".join(name), *shown])
    return markdown(rows)


if __name__ == "__main__":
    main()
