"""Tune the generator of one cross-validation fold with Optuna: python tune.py fold=3 n_trials=50."""

import hydra
from omegaconf import DictConfig

from mmgan.commands.options import run, script


@hydra.main(version_base="1.3", config_path="conf", config_name="tune")
@script
def main(cfg: DictConfig) -> None:
    from mmgan.commands.tune import tune_folds

    tune_folds(cfg)


if __name__ == "__main__":
    run(main)
