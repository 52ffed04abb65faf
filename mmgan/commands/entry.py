"""How a command starts: Hydra composes its configuration, and its job is imported once that is known to be right."""

from importlib import import_module
from typing import Any

import hydra

from mmgan.commands.arguments import CONF
from mmgan.commands.options import run, script

JOBS = {
    "train": "train_folds",
    "tune": "tune_folds",
    "synthesize": "synthesize",
    "evaluate": "judge_file",
    "compare": "compare",
}  # functions of mmgan.commands.<command>


def start(command: str) -> None:
    """Run a command with the options of the command line; what the user can mend ends with one sentence and status 1."""
    module = f"mmgan.commands.{command}"

    def job(cfg: Any) -> None:
        getattr(import_module(module), JOBS[command])(cfg)

    job.__module__ = module  # by which Hydra names the job
    run(command, hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(script(job)))
