"""Judge synthetic rows against unseen real ones, beside the controls: python evaluate.py synthetic=FILE."""

import hydra
from omegaconf import DictConfig

from mmgan.cli import run, script


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@script
def main(cfg: DictConfig) -> None:
    from mmgan.judging import judge_file

    judge_file(cfg)


if __name__ == "__main__":
    run(main)
