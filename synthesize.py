"""Write synthetic labelled samples of trained folds into one file: python synthesize.py ckpt=FILE_OR_FOLDER."""

import hydra
from omegaconf import DictConfig

from mmgan.commands.options import run, script


@hydra.main(version_base="1.3", config_path="conf", config_name="synthesize")
@script
def main(cfg: DictConfig) -> None:
    from mmgan.commands.synthesize import synthesize

    synthesize(cfg)


if __name__ == "__main__":
    run(main)
