"""What Lightning and its friends say of every run, and what a training changes in the process that asked for it."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

LOG = logging.getLogger("lightning.pytorch")


@dataclass(frozen=True)
class _ThreadsHook:
    """Shows exceptions of threads, but for files that cannot be written: TensorBoard's thread hands them on to the training."""

    shown: Callable[[Any], Any]

    def __call__(self, raised: Any) -> None:
        if not isinstance(raised.exc_value, OSError):
            self.shown(raised)


def quiet_lightning() -> None:
    """Silence what Lightning says of every run, and warnings that do not apply to this project's runs."""
    LOG.setLevel(logging.ERROR)
    if not isinstance(threading.excepthook, _ThreadsHook):
        threading.excepthook = _ThreadsHook(threading.excepthook)
    for message in (
        ".*Checkpoint directory .* exists and is not empty.*",  # the run's own folder, where params.yaml lies
        ".*isinstance.treespec, LeafSpec.*",  # Lightning's use of torch, not ours
        "Glyph .* missing from",  # what no font has is told once, before the training
        ".*module.s. in eval mode at the start of training.*",  # a frozen first stage
    ):
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Be quiet, and leave the caller's process as it was: torch's threads and random numbers, warnings, logs, and Ctrl-C."""
    level, threads, handler = LOG.level, torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    hook = threading.excepthook
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(range(torch.cuda.device_count())):
            quiet_lightning()
            yield
    except SystemExit as error:  # as Lightning answers Ctrl-C, which it ignores from then on
        raise KeyboardInterrupt from error
    finally:
        LOG.setLevel(level)
        threading.excepthook = hook
        torch.set_num_threads(threads)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
