"""Train the generator of one cross-validation fold: python train.py [fold=3|all] [data=...] [model=...]."""

import hydra
from omegaconf import DictConfig

from mmgan.commands.options import run, script


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@script
def main(cfg: DictConfig) -> None:
    from mmgan.commands.train import train_folds

    train_folds(cfg)


if __name__ == "__main__":
    run(main)
