"""The processes of a sweep: how they begin, what happens when one dies, and how they end."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from mmgan.errors import MmganError
from mmgan.sweep.work import Sweep
from mmgan.training import quiet_lightning

LOOK = 1.0  # seconds between two looks at the workers
STOPPING = 10  # seconds that a worker has to end when it is told to


def run_workers(sweep: Sweep, count: int) -> None:
    """Let `count` processes work until all is done; one that is killed is replaced.

    Raises the error of a worker that met what it could not go on with.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    working: dict[BaseProcess, tuple[int, Connection]] = {}

    def begin(place: int) -> None:
        sentences, send = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(sweep, place, send), daemon=True)
        process.start()
        send.close()
        working[process] = place, sentences

    try:
        for place in range(count):
            begin(place)
        while working:
            wait([process.sentinel for process in working], timeout=LOOK)
            for process in [process for process in working if not process.is_alive()]:
                place, sentences = working.pop(process)
                if process.exitcode is not None and process.exitcode < 0:
                    begin(place)  # it was killed; its trial is queued again by who looks next
                elif process.exitcode:
                    raise _told(sentences)
    finally:
        for process in working:
            process.terminate()
        for process in working:
            process.join(STOPPING)
            process.kill()
            process.join()


def _told(sentences: Connection) -> Exception:
    """Return the error that a worker ended with."""
    try:
        return sentences.recv()
    except EOFError:
        return MmganError("a worker process failed; what it said stands above.")


def _worker(sweep: Sweep, place: int, sentences: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent sees to it
    end_with_parent()
    quiet_lightning()
    try:
        sweep.work(place)
    except (MmganError, OSError) as error:
        sentences.send(error)
        raise


def end_with_parent() -> None:
    """End this process when the one that started it is gone, killed say."""

    def wait_for_it() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()
