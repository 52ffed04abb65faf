"""Who works on a study: the mark of a process, by which others tell whether it still runs."""

import functools
import os
import socket
from pathlib import Path


def worker_id() -> str:
    """Return this process's mark, machine:pid:when it began."""
    return f"{_machine()}:{os.getpid()}:{_begun(os.getpid())}"


def is_near(mark: str) -> bool:
    """Say whether a marked process is of this machine."""
    return mark.startswith(f"{_machine()}:")


def may_be_alive(mark: str | None) -> bool:
    """Say whether a marked process may be alive: of another machine, its signs of life decide; without a mark there is none."""
    if mark is None:
        return False
    machine, pid, begun = mark.rsplit(":", 2)
    if machine != _machine():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _begun(int(pid)) == begun  # else another process has its number now


@functools.cache
def _machine() -> str:
    """Return a name for what shares process numbers: a host since it was started, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{space}"


def _begun(pid: int) -> str:
    """Return when a process began, in ticks since the machine did; nothing where that is not told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
