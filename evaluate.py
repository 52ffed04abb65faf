"""Judge synthetic samples against unseen real ones, beside the baselines: python evaluate.py synthetic=FILE."""

import hydra
from omegaconf import DictConfig

from mmgan.commands.options import run, script


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@script
def main(cfg: DictConfig) -> None:
    from mmgan.commands.evaluate import judge_file

    judge_file(cfg)


if __name__ == "__main__":
    run(main)
