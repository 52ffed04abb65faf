"""Who works on a file or a study: the id of a process, by which others tell whether it still runs."""

import functools
import hashlib
import os
import re
import socket
from pathlib import Path

import psutil

APART = 5.0  # seconds between which two processes of one number cannot both have begun
ID = re.compile(r"[0-9a-f]{12}_\d+_-?\d+")  # what `worker_id` returns; a file's name may hold it on any system


def worker_id() -> str:
    """Return this process's id, machine_pid_when it began."""
    return f"{_machine()}_{os.getpid()}_{_begun(os.getpid()):.0f}"


def is_local(worker_id: str) -> bool:
    """Say whether a process is of this machine."""
    return worker_id.startswith(f"{_machine()}_")


def may_be_alive(worker_id: str | None) -> bool:
    """Say whether a process may be alive: of another machine nothing is known here; without an id there is none."""
    if worker_id is None:
        return False
    if not is_local(worker_id):
        return True
    _, pid, begun = worker_id.split("_")
    try:
        is_that = abs(_begun(int(pid)) - float(begun)) < APART  # else another process has its number now
        return is_that and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE  # whom nobody has buried
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


@functools.cache
def _machine() -> str:
    """Return a digest of what shares process numbers: a host since it was started, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        name = f"{socket.gethostname()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        name = socket.gethostname()
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _begun(pid: int) -> float:
    """Return when a process began, in seconds since the machine did: a clock that is set moves both."""
    return psutil.Process(pid).create_time() - psutil.boot_time()
