"""Who works on a study: the id of a process, by which others tell whether it still runs."""

import functools
import os
import socket
from pathlib import Path

import psutil

APART = 5.0  # seconds between which two processes of one number cannot both have begun


def worker_id() -> str:
    """Return this process's id, machine:pid:when it began."""
    return f"{_machine()}:{os.getpid()}:{_begun(os.getpid()):.0f}"


def is_local(worker_id: str) -> bool:
    """Say whether a process is of this machine."""
    return worker_id.startswith(f"{_machine()}:")


def may_be_alive(worker_id: str | None) -> bool:
    """Say whether a process may be alive: of another machine, its heartbeat decides; without an id there is none."""
    if worker_id is None:
        return False
    if not is_local(worker_id):
        return True
    _, pid, begun = worker_id.rsplit(":", 2)
    try:
        return abs(_begun(int(pid)) - float(begun)) < APART  # else another process has its number now
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


@functools.cache
def _machine() -> str:
    """Return a name for what shares process numbers: a host since it was started, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{space}"


def _begun(pid: int) -> float:
    """Return when a process began, in seconds since the machine did: a clock that is set moves both."""
    return psutil.Process(pid).create_time() - psutil.boot_time()
