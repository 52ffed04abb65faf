"""A command as a job of Hydra's: its configuration is composed and checked, then the job runs."""

import errno
import functools
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmgan.commands import JOBS
from mmgan.commands.arguments import CONF, as_hydra_reads
from mmgan.commands.checks import check_options, check_there, refuse_renamed
from mmgan.commands.endings import fault, leave_at_once
from mmgan.commands.help import help_text
from mmgan.commands.names import GROUPS, about_groups
from mmgan.commands.options import COMMANDS, register_options
from mmgan.commands.sentences import refuse_words, sentence
from mmgan.data.trust import named_targets
from mmgan.errors import MmganError

USERS = (MmganError, HydraException, OmegaConfBaseException)  # what the user can mend
NOT_OURS = (  # nor mmgan's fault: no room, no right, no such name
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EMFILE,
)  # fmt: skip
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "can't start new thread",
)  # as torch and Python say it
LEAST = 2**31  # bytes of addresses: a little less than is needed, and OpenBLAS asks for its buffer for ever
PACKAGES = ("mmgan", "lightning", "optuna", "torch")  # of the targets in conf/


def run_command(command: str, words: list[str]) -> None:
    """Run a command with these options; what the user can mend ends with one sentence and status 1."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and `sentence` words the error
    os.environ["MPLBACKEND"] = "agg"  # pictures are files; of a notebook's backend matplotlib may know nothing here
    register_options()
    sys.argv[1:] = as_hydra_reads(words)
    told(command, lambda: _run(command, sys.argv[1:]), sys.argv[1:])


def told(command: str, run: Callable[[], Any], words: Sequence[str] = ()) -> None:
    """Run it; what the user can mend ends with one sentence and status 1."""
    try:
        run()
    except USERS as error:
        sys.exit(f"error: {sentence(error, command, words)}")
    except OSError as error:  # of a choice, which Hydra looks for among its files
        if error.errno != errno.ENAMETOOLONG:
            raise
        sys.exit("error: a name among the options is too long for any file; correct it.")
    except (ValueError, TypeError) as error:
        if not about_groups(error):
            raise
        sys.exit(f"error: {GROUPS}")


def _run(command: str, words: list[str]) -> None:
    if {"--help", "-h"} & set(words):
        print(help_text(command))
        return
    _refuse_little_memory()
    refuse_words(command, words)
    refuse_renamed(words)
    module = f"mmgan.commands.{command}"

    def job(cfg: Any) -> None:
        check_there(cfg)
        run = getattr(import_module(module), JOBS[command])
        gc.enable()
        gc.freeze()  # what is imported stays: no later look for garbage goes through it
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on there is something to save
        run(cfg)

    job.__module__ = module  # by which Hydra names the job
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(script(job))()


def _refuse_little_memory() -> None:
    """Raise MmganError where this process may have too few addresses to begin with."""
    import psutil

    if hasattr(psutil, "RLIMIT_AS"):  # Linux and FreeBSD
        limit, _ = psutil.Process().rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY and limit < LEAST:
            raise MmganError(
                f"a process may have {limit >> 20} MB here (ulimit -v); give it {2 * LEAST >> 20} MB or more."
            )


def script(job: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap the function under `@hydra.main`: what the user can mend ends with one sentence on stderr and status 1."""

    @functools.wraps(job)
    def wrapped(cfg: Any) -> None:
        # Inside the job: what leaves it, but for SystemExit, Hydra announces in words of its own.
        try:
            # Before anything imports torch and numpy, whose pools of threads are sized once.
            for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                if not re.fullmatch(r"0*[1-9]\d*(,\d+)*", os.environ.get(pool, "")):  # not there, or no number
                    os.environ[pool] = str(cfg.threads)
            logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Hydra shows all: of fonts, say
            check_options(cfg)
            job(cfg)
        except USERS as error:
            sys.exit(f"error: {sentence(error, command_of(cfg))}")
        except (
            KeyboardInterrupt,
            SystemExit,
        ) as error:  # Lightning turns Ctrl-C into the latter, rich a reader that has gone
            if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
                leave_at_once()
            if type(error).__name__ == "SIGTERMException":  # Lightning's, after a batch; its status would be 0
                leave_at_once(signal.SIGTERM)
            raise
        except BrokenPipeError:
            raise
        except Exception as error:
            if said := _not_ours(error):
                sys.exit(f"error: {said}")
            fault(error, ", ".join(_foreign(cfg)))

    return wrapped


def _not_ours(error: Exception) -> str:
    """Return the sentence for an exception that is no fault of mmgan's, nor of its options; else ''."""
    if isinstance(error, OSError):
        given = error.filename2 or error.filename  # bytes where it is TensorBoard's, a number of what is open
        name = os.fsdecode(given) if isinstance(given, str | bytes) else ""
        if error.errno in NOT_OURS:
            where = f"{name or 'a file'} cannot be read or written ({error.strerror})"
            return f"{where}; make room, or give another place, and give the same command again."
        # TensorBoard tells it late: a checkpoint may have made the folder again.
        if error.errno == errno.ENOENT and name and (isinstance(given, bytes) or not Path(name).parent.exists()):
            return f"{Path(name).parent} has been removed meanwhile; give the same command again."
    said = f"{error} {error.__context__}"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in said for words in NO_MEMORY)
    ):
        return "the memory is too small for this; give a smaller data.batch_size=, or shorter samples."
    return ""


def _foreign(cfg: Any) -> list[str]:
    """Return the targets that are the user's: typed on the command line, or of packages that mmgan's own configuration does not name."""
    typed = [word for word in sys.argv[1:] if "_target_=" in word]
    named = named_targets(OmegaConf.to_container(cfg, resolve=False))
    return typed or [name for name in named if name.partition(".")[0] not in PACKAGES]


def command_of(cfg: Any) -> str:
    """Return the name of the command that a configuration is of."""
    kind = OmegaConf.get_type(cfg)
    return next((name for name, each in COMMANDS.items() if each is kind), "train")
