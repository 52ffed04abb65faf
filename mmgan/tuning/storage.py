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
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, PendingRollbackError, SQLAlchemyError

from mmgan.errors import MmganError, require
from mmgan.training.folder import file_lock

HEARTBEAT = 20  # seconds between two signs of life of a trial in a database
SILENT = 90  # seconds without one until another machine gives the trial up
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


class StorageError(MmganError):
    """The studies cannot be read or written."""


class Storage(RDBStorage):
    """Optuna's storage in a database, whose calls wait while it is away, and a lock over all processes that use it.

    With `patient`, opening waits too. Raises StorageError if it cannot be opened or written, or stays away for PATIENCE seconds.
    """

    def __init__(self, url: str, *, patient: bool = False):
        self.file = _sqlite_file(url)
        self.leaving = False  # set where the program ends: nothing is waited for any more
        self._shown = str(self.file) if self.file else f"storage={shown_url(url)}"
        self._calls = threading.local()
        options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": SESSION}
        if self.file:  # who shares a machine can be asked whether he lives
            options = {"connect_args": {"timeout": PATIENCE}}
            _check_writable(self.file)
        template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats it
        until = time.monotonic() + (PATIENCE if patient else 0)
        while True:
            try:
                with self._creating(url, options):
                    super().__init__(template, engine_kwargs=options)
                break
            except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
                if not _is_away(error) or time.monotonic() > until:
                    raise StorageError(f"{self._shown}: cannot be opened ({_reason(error)}).") from error
                time.sleep(PAUSE)
        self.heartbeat_interval, self.grace_period = HEARTBEAT, SILENT
        self._away_until = time.monotonic()  # as far as is known

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
        key = {"key": zlib.crc32(name.encode())}
        connection = self._locked(key)
        try:
            yield lambda: _answers(connection)
        finally:
            try:
                connection.execute(text("select pg_advisory_unlock(:key)"), key)
            except BaseException:
                connection.invalidate()  # it may still hold the lock: back to the server, not to the pool
                with suppress(SQLAlchemyError):
                    connection.close()
            else:
                connection.close()

    def stale_trials(self, study: optuna.Study) -> set[int]:
        """Return the numbers of running trials that have given no sign of life for SILENT seconds; none of a file."""
        # Behind an outage, others may not yet have had the time for one.
        if self.file or time.monotonic() < self._away_until + SILENT:
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

        thread = threading.Thread(target=beat, daemon=True)
        if not self.file:
            thread.start()
        try:
            yield
        finally:
            over.set()

    def _locked(self, key: dict[str, int]) -> Any:
        connection = self.engine.connect()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("select pg_advisory_lock(:key)"), key)
        return connection

    @contextmanager
    def _creating(self, url: str, options: dict[str, Any]) -> Iterator[None]:
        """Let one process after the other make the tables."""
        if self.file:
            with self.lock("tables"):
                yield
            return
        engine = create_engine(url, **options)
        with engine.connect() as connection:  # whose end lets go
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": zlib.crc32(b"tables")})
            yield
        engine.dispose()


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
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
                self.scoped_session.remove()
                if not _is_away(error) or self.file or self.leaving or time.monotonic() > until:
                    raise StorageError(
                        f"{self._shown}: the study cannot be read or written ({_reason(error)}); what is finished is kept,"
                        " and the same command goes on."
                    ) from error
                self._away_until = time.monotonic()
                time.sleep(PAUSE)
            finally:
                self._calls.within = False

    return tried


_OPTUNAS = {name: method for name, method in vars(RDBStorage).items() if name not in vars(Storage)}
for _name, _method in {**_OPTUNAS, "_locked": Storage._locked}.items():
    if callable(_method) and not _name.startswith("__") and not isinstance(_method, staticmethod | classmethod):
        setattr(Storage, _name, _patient(_method))


def shown_url(url: str) -> str:
    """Return the URL without its password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "***"
    if "password" in parsed.query:
        parsed = parsed.update_query_dict({"password": "***"})
    return parsed.render_as_string(hide_password=True)


def _sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, None for a PostgreSQL one; raises MmganError for any other."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite" and parsed.database:
        return Path(parsed.database)
    if parsed is None or parsed.drivername != "postgresql+psycopg":
        raise MmganError(
            f"storage={shown_url(url)}: give postgresql+psycopg://USER@HOST/DATABASE, or leave it out for a file beside"
            " the folds."
        )
    require("psycopg", "storage=postgresql+psycopg://...", extra="cluster")
    return None


def _check_writable(path: Path) -> None:
    """Raise StorageError unless the file, or a new one of that name, can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab"):
            pass
    except OSError as error:
        raise StorageError(f"{path}: cannot write there ({error.strerror}); choose another out_dir=.") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_away(error: BaseException) -> bool:
    """Say whether a database did not answer, rather than refuse."""
    return any(
        isinstance(cause, OperationalError | PendingRollbackError)
        or (isinstance(cause, DBAPIError) and cause.connection_invalidated)
        for cause in _causes(error)
    )


def _answers(connection: Any) -> bool:
    try:
        connection.execute(text("select 1"))
    except SQLAlchemyError:
        return False
    return True


def _reason(error: BaseException) -> str:
    """Return the first line of what the database itself says."""
    told = [str(cause.orig) for cause in _causes(error) if isinstance(cause, DBAPIError)] or [str(error)]
    return told[-1].strip().splitlines()[0]
