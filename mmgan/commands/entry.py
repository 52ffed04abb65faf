"""How a command starts and ends: Hydra composes its configuration, and what the user can mend ends with one sentence and status 1."""

import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmgan.commands.arguments import CONF, as_hydra_reads
from mmgan.commands.checks import check_options, closest, refuse_renamed
from mmgan.commands.help import help_text
from mmgan.commands.options import COMMANDS, TrainOptions, register_options
from mmgan.errors import MmganError

USERS = (MmganError, HydraException, OmegaConfBaseException)  # what the user can mend
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
JOBS = {  # functions of mmgan.commands.<command>
    "train": "train_folds", "tune": "tune_folds", "synthesize": "synthesize", "evaluate": "judge_file", "compare": "compare",
}  # fmt: skip


def start(command: str) -> None:
    """Run a command with the options of the command line; what the user can mend ends with one sentence and status 1."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and `sentence` words the error
    register_options()
    sys.argv[1:] = as_hydra_reads(sys.argv[1:])
    try:
        try:
            _run(command, sys.argv[1:])
        finally:
            sys.stdout.flush()  # here: as Python ends, a reader that has gone would be an error
    except USERS as error:
        sys.exit(f"error: {sentence(error, COMMANDS[command])}")
    except ValueError as error:  # Hydra's, of a group that is given null or a number
        if "Config group override" not in str(error):
            raise
        sys.exit("error: data, model and other groups take the name of one of their choices; --help lists them.")
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
        sys.exit(1)


def _run(command: str, words: list[str]) -> None:
    refuse_renamed(words)
    if command == "tune" and any(word.startswith(("final=", "resume=")) for word in words):
        raise MmganError(
            "final= and resume= are options of train: a sweep goes on by itself, and its refit takes all samples."
        )
    if {"--help", "-h"} & set(words):
        print(help_text(command))
        return
    module = f"mmgan.commands.{command}"

    def job(cfg: Any) -> None:
        getattr(import_module(module), JOBS[command])(cfg)

    job.__module__ = module  # by which Hydra names the job
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(script(job))()


def script(job: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap the function under `@hydra.main`: what the user can mend ends with one sentence on stderr and status 1."""

    @functools.wraps(job)
    def wrapped(cfg: Any) -> None:
        # Inside the job: what leaves it, but for SystemExit, Hydra announces in words of its own.
        try:
            # Before anything imports torch and numpy, whose pools of threads are sized once.
            for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ.setdefault(pool, str(cfg.threads))
            check_options(cfg)
            job(cfg)
        except USERS as error:
            sys.exit(f"error: {sentence(error, OmegaConf.get_type(cfg))}")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            where = f"{error.filename2 or error.filename or 'a file'} cannot be written ({error.strerror})"
            sys.exit(f"error: {where}; make room, and give the same command again.")
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into the latter
            sys.exit("interrupted: a training goes on with resume=true, a sweep by the same command.")

    return wrapped


def sentence(error: BaseException, options: type = TrainOptions) -> str:
    """Return mmgan's own sentence, also from under Hydra's, or say what Hydra or OmegaConf found wrong with an option."""
    for each in (error, error.__cause__):
        if isinstance(each, MmganError):
            return str(each)
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        name = unknown[1] or unknown[2]
        return f"there is no option '{name}'{closest(name, options)}; --help lists the options."
    if wrong := re.search(r"Value '([^']*)' .*could not be converted to (\w+).*full_key: (\S+)", text):
        return f"{wrong[3]}={wrong[1]}: this option takes a value of type {wrong[2].lower()}."
    if plugin := re.search(r"Could not find 'hydra/launcher/([^']+)'", text):
        return (
            f"launcher={plugin[1].removeprefix('submitit_')} needs a plug-in of Hydra:"
            ' python -m pip install -c constraints.txt -e ".[cluster]".'
        )
    if choice := re.search(r"Could not find '([^']+)/([^']+)'", text):
        listed = re.search(r"Available options in '[^']+': (.*?)(?: Config search path|$)", text)
        choices = f"; choose {', '.join(listed[1].split())}" if listed else ""
        return f"{choice[1]}={choice[2]}: there is no such choice{choices}."
    if "mismatched input" in text and "=" in text:
        return (
            f"an option cannot be read ({text.split(' See ')[0]}); put a value with = or , in quotes: 'name=\"a=b\"'."
        )
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"give {missing[1]}=... on the command line."
    if inner := re.search(r"Error in call to target '[\w.]*?(\w+)': \w+\((['\"])(.*?)\2\)", text):
        return f"{inner[1]} refuses its options: {inner[3]}"
    return text.split(" full_key")[0]
