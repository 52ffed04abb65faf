"""Where studies are kept: in a file that processes of one machine share, or in a PostgreSQL database that any number of machines do."""

import functools
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from mmgan.errors import MmganError, require
from mmgan.training.folder import RunFolder, file_lock

HEARTBEAT = 20  # seconds between two signs of life of a trial in a database
STALE_AFTER = 90  # seconds without one until another machine gives the trial up
PATIENCE = 600  # seconds that a database may be away
PAUSE = 2.0  # seconds between two attempts to reach it
# A machine that loses its power would otherwise hold its locks for hours, and a server that does be waited for as long. Optuna keeps
# the times of signs of life without their zone.
SESSION = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "options": "-c timezone=UTC -c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}


WHILE_WORKING = "the study cannot be read or written ({}); what is finished is kept, and the same command goes on."
# What Optuna raises where a cell of a table holds what it did not write.
DAMAGED = (AssertionError, AttributeError, LookupError, TypeError, ValueError)


class StorageError(MmganError):
    """The studies cannot be read or written."""


class Storage(RDBStorage):
    """Optuna's storage in a database, whose calls wait while it is away, and a lock over all processes that use it.

    With `patient`, opening waits too. Raises StorageError if it cannot be opened or written, or stays away for PATIENCE seconds.
    """

    def __init__(self, url: str, *, patient: bool = False):
        self.file = _sqlite_file(url)
        self.leaving = not patient  # set where nothing is waited for: before there is a sweep, and as the program ends
        self._shown = str(self.file) if self.file else f"storage={shown_url(url)}"
        self._calls = threading.local()
        options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": SESSION}
        if self.file:  # who shares a machine can be asked whether he lives
            # A file is opened for each call: connections that are kept would have to be closed by whoever has a study.
            options = {"connect_args": {"timeout": PATIENCE}, "poolclass": NullPool}
            RunFolder(self.file.parent).make()
        self._open(url, options)
        self.leaving = False
        self.heartbeat_interval, self.grace_period = HEARTBEAT, STALE_AFTER
        self._away_until = time.monotonic()  # as far as is known

    def _open(self, url: str, options: dict[str, Any]) -> None:
        self.engine = create_engine(url, **options)
        with self.lock("tables"):  # let one process after the other make them
            try:
                super().__init__(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=options)  # Optuna formats it
            except RuntimeError as error:  # another version of Optuna wrote it
                raise StorageInternalError(str(error)) from error

    def get_heartbeat_interval(self) -> None:
        """Tell Optuna's own loops to give no signs of life: `heartbeat` does."""

    @contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], bool]]:
        """Hold the study of that name: whoever counts and begins its trials does so alone. It ends with the process.

        Gives a function that says whether it is still held: a server that restarted has let go of it.
        """
        if self.file:
            with file_lock(Path(f"{self.file}.lock"), self.file, blocking=True):
                yield lambda: True
            return
        connection = self._locked(name)
        try:
            yield lambda: _answers(connection)
        finally:
            connection.invalidate()  # ends the session, and with it the lock
            with suppress(SQLAlchemyError):
                connection.close()

    def _locked(self, name: str) -> Connection:
        connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": zlib.crc32(name.encode())})
        return connection

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise StorageError where Optuna stumbles over what it reads in the block."""
        try:
            yield
        except MmganError:
            raise
        except DAMAGED as error:
            raise StorageError(
                f"{self._shown}: the study there is damaged ({_reason(error)}); put a copy of it back, or give another out_dir="
                " (with storage=, another study=)."
            ) from error

    def stale_trials(self, study: optuna.Study) -> set[int]:
        """Return the numbers of running trials that have given no sign of life for STALE_AFTER seconds; none of a file."""
        # Behind an outage, others may not yet have had the time for one.
        if self.file or time.monotonic() < self._away_until + STALE_AFTER:
            return set()
        stale = set(self._get_stale_trial_ids(study._study_id))
        return {trial.number for trial in study.get_trials(deepcopy=False) if trial._trial_id in stale}

    @contextmanager
    def heartbeat(self, trial: optuna.Trial) -> Iterator[None]:
        """Give signs of life of a trial while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with suppress(StorageError):
                    self.record_heartbeat(trial._trial_id)

        if not self.file:
            threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            over.set()


def _patient(method: Callable[..., Any], told: str = WHILE_WORKING) -> Callable[..., Any]:
    """Return the method of a storage so that it is tried again while the database does not answer.

    Of calls within calls only the outermost is: within a broken transaction nothing can be repeated.
    """

    @functools.wraps(method)
    def tried(self: Storage, *args: Any, **kwargs: Any) -> Any:
        if getattr(self._calls, "within", False):
            return method(self, *args, **kwargs)
        until = time.monotonic() + PATIENCE
        while True:
            self._calls.within = True
            try:
                return method(self, *args, **kwargs)
            except (StorageInternalError, SQLAlchemyError) as error:
                if hasattr(self, "scoped_session"):  # once it is open
                    self.scoped_session.remove()
                if not _is_away(error) or self.file or self.leaving or time.monotonic() > until:
                    raise StorageError(f"{self._shown}: {told.format(_reason(error))}") from error
                self._away_until = time.monotonic()
                time.sleep(PAUSE)
            finally:
                self._calls.within = False

    return tried


Storage._open = _patient(Storage._open, "cannot be opened ({}).")
_OPTUNAS = {name: method for name, method in vars(RDBStorage).items() if name not in vars(Storage)}
for _name, _method in {**_OPTUNAS, "_locked": Storage._locked}.items():
    if callable(_method) and not _name.startswith("__") and not isinstance(_method, staticmethod | classmethod):
        setattr(Storage, _name, _patient(_method))


def shown_url(url: str) -> str:
    """Return the URL without its password."""
    parsed = _parsed(url)
    if parsed is None:
        return "***"
    if "@" in (parsed.host or ""):  # of a password that is not quoted
        return "***"
    secret = [key for key in parsed.query if "pass" in key.lower()]
    parsed = parsed.update_query_dict(dict.fromkeys(secret, "***"))
    return parsed.render_as_string(hide_password=True)


def _parsed(url: str) -> URL | None:
    with suppress(ArgumentError, ValueError):
        return make_url(url)
    return None


def _sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, None for a PostgreSQL one; raises MmganError for any other."""
    parsed = _parsed(url)
    if parsed and parsed.drivername == "sqlite" and parsed.database:
        return Path(parsed.database)
    if not parsed or parsed.drivername != "postgresql+psycopg":
        raise MmganError(
            f"storage={shown_url(url)}: give postgresql+psycopg://USER@HOST/DATABASE, or leave it out for a file beside"
            " the folds."
        )
    if "@" in (parsed.host or ""):
        raise MmganError("storage=***: its password holds an @; write %40 for it.")
    require("psycopg", "storage=postgresql+psycopg://...", extra="cluster")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_away(error: BaseException) -> bool:
    """Say whether a database did not answer, rather than refuse."""
    kinds = (OperationalError, PendingRollbackError)
    return any(isinstance(each, kinds) or getattr(each, "connection_invalidated", False) for each in _causes(error))


def _answers(connection: Connection) -> bool:
    with suppress(SQLAlchemyError):
        connection.execute(text("select 1"))
        return True
    return False


def _reason(error: BaseException) -> str:
    """Return the first line of what the database itself says."""
    told = [str(cause.orig) for cause in _causes(error) if isinstance(cause, DBAPIError)] or [str(error)]
    return (told[-1].strip().splitlines() or [type(error).__name__])[0]
