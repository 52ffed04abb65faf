"""A classifier of several modalities with all of them, with one missing, and with one noisy: variants, and classical ones beside them.

Each variant is the robust classifier with options changed, trained on all training rows of each fold. Its macro-F1 is that on each
fold's own val_indices (mean over folds), and that of the folds' ensemble on the test rows; the classical classifiers' that of the
fold's rows, and of all training rows. Noise is white, in scaled units, on one modality of the test rows. Trained models stay
under `runs/robustness/`, and the same command goes on where it was stopped.

    python benchmarks/robustness.py data=watch workers=2
    python benchmarks/robustness.py data=watch draw=1 folds=1,2 workers=2 'variants=default,focal exponent 0'
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of two threads each get in one another's way

import numpy as np
from quality import Cell, quiet_worker

PLAIN = "model/fusion=concat model.corruption.drop=0"
VARIANTS = {
    "default": "",
    "concatenation, no modality dropout": PLAIN,
    "concatenation": "model/fusion=concat",
    "gated uncertainty": "model/fusion=gated_uncertainty",
    "product of experts": "model/fusion=product_of_experts",
    "no contrast": "model.weights.classifier.contrastive=0",
    "contrast 1": "model.weights.classifier.contrastive=1",
    "focal exponent 0": "model.loss.gamma=0",
    "focal exponent 2": "model.loss.gamma=2",
    "no smoothing": "model.loss.smoothing=0",
    "smoothing .1": "model.loss.smoothing=0.1",
    "no modality dropout": "model.corruption.drop=0",
    "modality dropout .6": "model.corruption.drop=0.6",
    "no noise": "model.corruption.noise=0",
    "no mixup": "model.training.mixup=0",
    "no decoders": "model.weights.classifier.reconstruction=0",
}
SHOWN = "default,concatenation, no modality dropout"
LEVELS = (0.5, 1.0)


def main() -> None:
    """Train what is missing in `workers` processes, and print the tables."""
    if plain := [word for word in sys.argv[1:] if "=" not in word]:
        sys.exit(f"error: {plain[0]}: give name=value.")
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    data, draw, seed = given.pop("data", "watch"), int(given.pop("draw", 0)), int(given.pop("seed", 0))
    folds = [int(fold) for fold in given.pop("folds", "1,2,3,4,5").split(",")]
    workers = int(given.pop("workers", 1))
    names = chosen(given.pop("variants", SHOWN))
    if unknown := [*given, *(name for name in names if name not in VARIANTS)]:
        sys.exit(f"error: {unknown[0]}: there is no such option or variant; variants are {'; '.join(VARIANTS)}.")
    jobs = [(name, Cell(data, draw, "full", "robust_classifier", fold, seed)) for name in names for fold in folds]
    log = Path("runs/robustness/log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=quiet_worker, initargs=(str(log),)) as pool:
        classical = pool.submit(of_classical, jobs[0][1], folds)
        found: dict[str, list[dict]] = {name: [] for name in names}
        for (name, cell), result in zip(jobs, pool.map(trained, *zip(*jobs, strict=True)), strict=True):
            found[name].append(result)
            print(f"{name}, fold {cell.fold}", flush=True)
        print(f"On each fold's own val_indices:\n\n{table(found, classical.result(), 'val')}\n")
        print(f"On the test rows, the folds' ensemble:\n\n{table(found, classical.result(), 'test')}")


def chosen(text: str) -> list[str]:
    """Return the variants of a list with commas, of which a name may hold some itself."""
    names, rest = [], f"{text},"
    while rest:
        fits = [name for name in VARIANTS if rest.startswith(f"{name},")]
        name = max(fits, key=len) if fits else rest.split(",")[0]
        names.append(name)
        rest = rest[len(name) + 1 :]
    return names


def trained(name: str, cell: Cell) -> dict[str, Any]:
    """Train a variant on a fold, or find it, and return macro-F1 of its `val` rows and probabilities of `test` rows by condition."""
    from mmgan.data.folds import configured_folds, select_fold
    from mmgan.evaluation.classifiers import macro_f1
    from mmgan.models.checkpoint import load
    from mmgan.run import Run, fit, load_data
    from mmgan.run_folder import RunFolder

    cfg = cell.config(VARIANTS[name])
    dataset = load_data(cfg)
    folder = RunFolder(cell.folder(f"runs/robustness/{name.replace(' ', '_')}"))
    cfg.resume = not folder.holds_other_than(Run(cfg, dataset, cell.fold).params())
    if not cfg.resume or not folder.read_metrics():
        fit(cfg, dataset, cell.fold, folder.path)
    model = load(folder.best)
    x, y = dataset.rows(select_fold(configured_folds(dataset, cfg.data), cell.fold).val_indices)
    val = {
        name: macro_f1(y, model.predict_probabilities(each).argmax(1)) for name, each in conditions(model, x).items()
    }
    test = {name: model.predict_probabilities(each) for name, each in conditions(model, dataset.x_test).items()}
    return {"val": val, "test": test, "y_test": dataset.y_test}


def conditions(model, x: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the rows as they are, without each modality, and with noise on each."""
    import torch

    found = {"all": x} | {f"no {name}": {k: v for k, v in x.items() if k != name} for name in x}
    scaled = model.scaler({name: torch.from_numpy(value) for name, value in x.items()})
    for number, name in enumerate(x):
        for level in LEVELS:
            rng = np.random.default_rng([number, round(10 * level)])
            noise = torch.from_numpy(rng.normal(size=x[name].shape).astype(np.float32))
            noisy = model.scaler.inverse({**scaled, name: scaled[name] + level * noise})
            found[f"{name} + {level:g}"] = {**x, name: noisy[name].numpy()}
    return found


def of_classical(cell: Cell, folds: list[int]) -> dict[str, dict[str, float]]:
    """Return {classifier: {"val": mean macro-F1 over folds, "test": that of one trained on all rows}}."""
    from mmgan.data.folds import configured_folds, select_fold
    from mmgan.evaluation.classifiers import fit, macro_f1, task_classifiers
    from mmgan.evaluation.features import FeatureSpace
    from mmgan.run import load_data

    cfg = cell.config("")
    dataset = load_data(cfg)

    def scores(train, test) -> dict[str, float]:
        space = FeatureSpace(train[0], seed=0)
        flat, tested = (np.hstack([space.flat(x, name) for name in space.names]) for x in (train[0], test[0]))
        members = task_classifiers(flat.shape[1])
        return {
            name: macro_f1(test[1], fit(member, flat, train[1]).predict(tested)) for name, member in members.items()
        }

    chosen_folds = [select_fold(configured_folds(dataset, cfg.data), fold) for fold in folds]
    val = [scores(dataset.rows(fold.train_indices), dataset.rows(fold.val_indices)) for fold in chosen_folds]
    test = scores((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    return {name: {"val": float(np.mean([each[name] for each in val])), "test": test[name]} for name in test}


def table(found: dict[str, list[dict]], classical: dict[str, dict[str, float]], rows: str) -> str:
    """Return macro-F1 by variant and condition as Markdown: on `val` the mean over folds, on `test` that of the ensemble."""
    from mmgan.evaluation.classifiers import macro_f1

    names = list(next(iter(found.values()))[0]["val"])
    lines = [["", *names], ["---", *["---:"] * len(names)]]
    for variant, folds in found.items():
        if rows == "val":
            values = [np.mean([fold["val"][name] for fold in folds]) for name in names]
        else:
            y = folds[0]["y_test"]
            values = [macro_f1(y, np.mean([fold["test"][name] for fold in folds], axis=0).argmax(1)) for name in names]
        lines.append([variant, *[f"{value:.3f}" for value in values]])
    lines += [[name, f"{each[rows]:.3f}", *[""] * (len(names) - 1)] for name, each in classical.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
