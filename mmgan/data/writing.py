"""Files and folders that are written whole or not at all, also by a process that is killed.

What is written has another name until it is whole: `.<its name>.<id of the process>.tmp`, beside its place. The id tells the next process
that writes there whose it was, and whether that one still runs.
"""

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mmgan.data.presence import ID, is_local, may_be_alive, worker_id
from mmgan.errors import MmganError, shown_value

CANNOT_BE_WRITTEN = "{path} cannot be written: {reason}; choose another place."
UNCHANGED = 600  # seconds after which nobody works any more on what a process of another machine began


def check_writable(path: str | os.PathLike, sentence: str = CANNOT_BE_WRITTEN) -> None:
    """Raise MmganError, with the sentence for it, if a file cannot be written at `path`; nothing is left behind."""
    path = Path(path)
    folder = path.absolute().parent
    try:
        if path.is_dir():
            raise MmganError(f"{path} cannot be written: it is a folder; name a file in it.")
        if path.exists() and not path.is_file():  # whose place a file would take
            raise MmganError(f"{path} cannot be written: it is a pipe or a device; name a file.")
        while not folder.exists():
            folder = folder.parent
        with suppress(FileNotFoundError):
            os.lstat(folder / _temporary(path).name)  # the longest of the names
        with tempfile.TemporaryFile(dir=folder):
            pass
    except MmganError:
        raise
    except (OSError, ValueError) as error:  # the latter of a name that holds a null character
        reason = getattr(error, "strerror", None) or error
        raise MmganError(sentence.format(path=shown_value(path), reason=f"{shown_value(folder)}: {reason}")) from None


@contextmanager
def replacing(
    path: str | os.PathLike, sentence: str = CANNOT_BE_WRITTEN, *, lasting: bool = True
) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place when all is written, and vanishes if anything fails.

    One that need not be `lasting` may be torn after a loss of power. Raises MmganError, with the sentence for it, where it cannot be written.
    """
    check_writable(path, sentence)
    path = Path(os.path.realpath(path))  # what a link leads to
    try:
        with whole_file(path, lasting=lasting) as stream:
            yield stream
    except OSError as error:
        raise MmganError(sentence.format(path=path, reason=error.strerror or error)) from None


@contextmanager
def whole_file(path: Path, *, lasting: bool) -> Iterator[BinaryIO]:
    """Do what `replacing` does, for who tells of an OSError in another way."""
    temporary = _beside(path)
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # which a write that fails does not name
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Make a folder beside `path`, for what is to take its place or a place in it when it is whole; it is removed in the end."""
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Make a folder that takes the place of `path`, and of all that is in it, when all is written; it is removed if anything fails."""
    with folder_beside(path) as room:
        new, old = room / "new", room / "old"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


def _beside(path: Path) -> Path:
    """Return where this process writes what becomes `path`; its folder is made, and rid of what killed processes left in it."""
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    _remove_left_once(folder, os.getpid())
    return _temporary(path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{worker_id()}.tmp")


@functools.lru_cache(maxsize=256)
def _remove_left_once(folder: Path, pid: int) -> None:
    """Do it for a folder only once in a process: it may hold many files."""
    remove_left(folder)


def remove_left(folder: Path) -> None:
    """Remove what processes that are no more have written in part in a folder; nothing of one that may still run."""
    with suppress(OSError):
        for left in list(os.scandir(folder)):
            if left.name.startswith(".") and left.name.endswith(".tmp") and _is_left(Path(left)):
                with suppress(OSError):
                    (shutil.rmtree if left.is_dir(follow_symlinks=False) else os.unlink)(left.path)


def _is_left(path: Path) -> bool:
    owner = path.name.removesuffix(".tmp").rpartition(".")[2]
    if not ID.fullmatch(owner):
        return False  # a user's own
    if is_local(owner):
        return not may_be_alive(owner)
    with suppress(OSError):  # it has gone meanwhile
        changed = [path.lstat().st_mtime, *(each.lstat().st_mtime for each in path.rglob("*"))]
        return time.time() - max(changed) > UNCHANGED
    return False
