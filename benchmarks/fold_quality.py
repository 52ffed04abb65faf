"""Judge one fold's generator on the data set's held-out test rows: python benchmarks/fold_quality.py BEST.CKPT.

The data set must know the labels of its test rows (watch, bearing). Everything fitted sees the fold's training rows.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before numpy: two threads beside a busy neighbour are tens of times slower

import numpy as np
import torch

import mmgan
from mmgan.errors import MmganError
from mmgan.evaluation.protocol import Judge
from mmgan.export import common_data, fold_of

AIMS = {"TSTR / TRTR": ">= .90", "coverage / real": ">= .75", "novelty 50 %": ".85-1.25"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", help="best.ckpt or best.pth of a run of train.py or tune.py")
    parser.add_argument("--draws", type=int, default=5, help="draws of the rows that are compared, from 2 on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        judge_fold(Path(options.ckpt), options.draws)
    except MmganError as error:
        sys.exit(f"error: {error}")


def judge_fold(ckpt: Path, draws: int) -> None:
    """Print the table of a checkpoint beside the real row; raises MmganError where it cannot be judged."""
    model = mmgan.load(ckpt)
    dataset = common_data([model], [ckpt])
    if dataset.x_test is None or dataset.y_test is None:
        raise MmganError(f"{dataset.source}: no labels of test rows are known; use data=watch or data=bearing.")
    recipe, fold = model.recipe, fold_of(model, dataset)
    options = recipe["data"]
    x, y = dataset.rows(fold.train_indices)
    judge = Judge((x, y), (dataset.x_test, dataset.y_test), n=min(len(y), len(dataset.y_test) // 2), draws=draws)
    real = judge.real()
    ours = judge((model.sample(dataset.schema.decode(y), seed=0), y))
    names = f"{recipe['model']['name']} on {options['name']}, draw {options.get('draw', 0)}, fold {fold.fold}"
    print(
        f"{names}, final={str(recipe['final']).lower()}: {len(y)} synthetic rows, {ours['n']} of either kind compared,"
    )
    print(f"mean [smallest, largest] over {draws} draws of the compared rows, of one training.\n")
    print("| metric | real | synthetic | aim |\n|---|---|---|---|")
    for name, real_values in values(real, real).items():
        print(f"| {name} | {cell(real_values)} | {cell(values(ours, real)[name])} | {AIMS.get(name, '')} |")


def values(result: dict, real: dict) -> dict[str, np.ndarray]:
    """Return the table's values per draw; in a draw the same held-out rows judge the real and the synthetic ones."""
    found = {key: np.asarray(each) for key, each in result["draws"].items()}
    coverage = found["coverage"] / real["draws"]["coverage"]
    novelty = {f"novelty {p} %": found[f"novelty{p}"] for p in (10, 50, 90)}
    ratios = {"TSTR / TRTR": found["tstr"] / found["trtr"], "coverage / real": coverage}
    return ratios | novelty | {"C2ST": found["c2st"], "close": found["close"]}


def cell(each: np.ndarray) -> str:
    """Return `mean [smallest, largest]`: the draws share rows, so that an interval for independent ones would flatter."""
    return f"{each.mean():.3f} [{each.min():.3f}, {each.max():.3f}]"


if __name__ == "__main__":
    main()
