"""Judge one fold's generator on the data set's held-out test rows: python benchmarks/fold_quality.py BEST.CKPT.

The data set must know the labels of its test rows (watch, bearing). Everything fitted sees the fold's training rows.
"""

import argparse
import sys

import numpy as np
import torch
from hydra.utils import instantiate
from scipy import stats

import mmgan
from mmgan.data.dataset import Dataset
from mmgan.data.folds import make_folds, select_fold
from mmgan.errors import MmganError
from mmgan.evaluation.protocol import Judge
from mmgan.models.base import Synthesizer

AIMS = {"TSTR / TRTR": ">= .90", "coverage / real": ">= .75", "novelty 50 %": ".85-1.25"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", help="best.ckpt or best.pth of a run of train.py or tune.py")
    parser.add_argument("--draws", type=int, default=5, help="draws of the rows that are compared, from 2 on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        judge_fold(mmgan.load(options.ckpt), options.draws)
    except MmganError as error:
        sys.exit(f"error: {error}")


def judge_fold(model: Synthesizer, draws: int) -> None:
    """Print the table of a model beside the real row; raises MmganError where it cannot be judged."""
    recipe, dataset = model.recipe, data_of(model)
    options = recipe["data"]
    fold = select_fold(make_folds(dataset, options["split"], options["n_splits"]), recipe["fold"])
    x, y = dataset.rows(fold.train_indices)
    judge = Judge((x, y), (dataset.x_test, dataset.y_test), n=min(len(y), len(dataset.y_test) // 2), draws=draws)
    real = judge.real()
    ours = judge((model.sample(dataset.schema.decode(y), seed=0), y))
    names = f"{recipe['model']['name']} on {options['name']}, draw {options.get('draw', 0)}, fold {fold.fold}"
    print(
        f"{names}, final={str(recipe['final']).lower()}: {len(y)} synthetic rows, {ours['n']} of either kind compared,"
    )
    print(f"mean and 95 % interval over {draws} draws of the compared rows (of one training).\n")
    print("| metric | real | synthetic | aim |\n|---|---|---|---|")
    for name, real_values in values(real, real).items():
        print(f"| {name} | {cell(real_values)} | {cell(values(ours, real)[name])} | {AIMS.get(name, '')} |")


def data_of(model: Synthesizer) -> Dataset:
    """Return the data set that a model was trained on; raises MmganError if it differs, or has no labelled test rows."""
    dataset = instantiate(model.recipe["data"]["source"], _convert_="all")
    if dataset.fingerprint() != model.recipe["fingerprint"]:
        raise MmganError(f"{dataset.source}: the checkpoint was trained on other data; train again on these.")
    if dataset.x_test is None or dataset.y_test is None:
        raise MmganError(f"{dataset.source}: no labels of test rows are known; use data=watch or data=bearing.")
    return dataset


def values(result: dict, real: dict) -> dict[str, np.ndarray]:
    """Return the table's values per draw; in a draw the same held-out rows judge the real and the synthetic ones."""
    found = {key: np.asarray(each) for key, each in result["draws"].items()}
    coverage = found["coverage"] / real["draws"]["coverage"]
    novelty = {f"novelty {p} %": found[f"novelty{p}"] for p in (10, 50, 90)}
    ratios = {"TSTR / TRTR": found["tstr"] / found["trtr"], "coverage / real": coverage}
    return ratios | novelty | {"C2ST": found["c2st"], "close": found["close"]}


def cell(each: np.ndarray) -> str:
    """Return `mean [low, high]`, with the 95 % interval of Student's t."""
    reach = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return f"{each.mean():.3f} [{each.mean() - reach:.3f}, {each.mean() + reach:.3f}]"


if __name__ == "__main__":
    main()
