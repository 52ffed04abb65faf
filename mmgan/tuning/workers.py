"""The processes of a sweep: how they begin, what happens when one dies, and how they end."""

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from lightning.pytorch.utilities.exceptions import SIGTERMException

from mmgan.errors import MmganError
from mmgan.training.quiet import quiet_lightning
from mmgan.tuning.study import MOST_RETRIES
from mmgan.tuning.sweep import Sweep

LOOK = 1.0  # seconds between two looks at the workers
STOPPING = 10  # seconds that a worker has to end when it is told to
# Of workers at one place without anything done between: one trial alone does not end a sweep.
MOST_DEATHS = MOST_RETRIES + 2


class _Place:
    """One worker after another, each of which replaces one that was killed."""

    def __init__(self, sweep: Sweep, number: int):
        self.sweep, self.number, self.deaths = sweep, number, 0
        self.begin()

    def begin(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.told, send = context.Pipe(duplex=False)
        self.process = context.Process(target=_worker, args=(self.sweep, self.number, send), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C reaches all, and we see to it
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        send.close()

    def look(self) -> bool:
        """Hear what the worker says, replace it if it was killed, and return whether it is done; raises what it ended with."""
        ended = not self.process.is_alive()  # before its last words are read
        while word := self._word():
            if isinstance(word, Exception):
                raise word
            self.deaths = 0
        if not ended:
            return False
        if self.process.exitcode > 0:
            raise MmganError("a worker process failed; what it said stands above.")
        if self.process.exitcode < 0:  # killed; its trial is queued again by who looks next
            self._replace()
        return self.process.exitcode == 0

    def _word(self) -> str | Exception | None:
        with suppress(EOFError, OSError):
            return self.told.recv() if self.told.poll() else None
        return None

    def _replace(self) -> None:
        self.deaths += 1
        if self.deaths >= MOST_DEATHS:
            raise MmganError(
                f"a worker was killed {self.deaths} times on end (exit status {self.process.exitcode}), for want of memory"
                " perhaps; give fewer workers=."
            )
        self.begin()


def run_workers(sweep: Sweep, count: int) -> None:
    """Let `count` processes work until all is done; one that is killed is replaced.

    Raises the error of a worker that met what it could not go on with.
    """
    places: list[_Place] = []
    try:
        for number in range(count):
            places.append(_Place(sweep, number))
        working = list(places)
        while working:
            wait([place.process.sentinel for place in working], timeout=LOOK)
            working = [place for place in working if not place.look()]
    finally:
        for place in places:
            place.process.terminate()
        for place in places:
            place.process.join(STOPPING)
            if place.process.is_alive():
                place.process.kill()
                place.process.join()


def _worker(sweep: Sweep, number: int, say: Connection) -> None:
    end_with_parent()
    quiet_lightning()
    try:
        studies = sweep.studies(patient=True)
        sweep.work(studies, number, progress=lambda: say.send("progress"))
    except (MmganError, OSError) as error:
        say.send(error)
        sys.exit(1)
    except SIGTERMException:  # Lightning's, after a batch: a status of 0 would say that all is done
        signal.raise_signal(signal.SIGTERM)


def end_with_parent() -> None:
    """End this process when the one that started it is gone, killed say."""

    def wait_for_it() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()
