"""Where studies are kept: in a file that processes of one machine share, or in a PostgreSQL database that any number of machines do."""

import fcntl
import functools
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
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from mmgan.errors import MmganError
from mmgan.extras import require

HEARTBEAT = 20  # seconds between two signs of life of a trial in a database
SILENT = 90  # seconds without one until another machine gives the trial up
PATIENCE = 600  # seconds that a database may be away
PAUSE = 2.0  # seconds between two attempts to reach it


class StorageError(MmganError):
    """The studies cannot be read or written."""


class Storage(RDBStorage):
    """Optuna's storage in a database, whose calls wait while it is away, and a lock over all processes that use it.

    Raises MmganError if it cannot be opened or written, or stays away for PATIENCE seconds.
    """

    def __init__(self, url: str, *, dead: Callable[[optuna.Study, Any], None]):
        self.file = _sqlite_file(url)
        shared: dict[str, Any] = {"heartbeat_interval": HEARTBEAT, "grace_period": SILENT}
        options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
        if self.file:  # who shares a machine can be asked whether he lives
            shared, options = {}, {"connect_args": {"timeout": PATIENCE}}
            _check_writable(self.file)
        try:
            with self._creating(url, options):
                super().__init__(url, engine_kwargs=options, heartbeat_stale_trial_callback=dead, **shared)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise StorageError(f"storage={shown_url(url)}: cannot be opened ({_reason(error)}).") from error

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the study of that name: whoever counts and begins its trials does so alone. It ends with the process."""
        if self.file:
            with open(f"{self.file}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            return
        key = {"key": zlib.crc32(name.encode())}
        connection = self._locked(key)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a server that restarted has let go of it
                connection.execute(text("select pg_advisory_unlock(:key)"), key)
            connection.close()

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
    """Return the method of a storage so that it is tried again while the database does not answer."""

    @functools.wraps(method)
    def tried(self: Storage, *args: Any, **kwargs: Any) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return method(self, *args, **kwargs)
            except (StorageInternalError, OperationalError) as error:
                cause = error if isinstance(error, OperationalError) else error.__cause__
                if not isinstance(cause, OperationalError) or self.file or time.monotonic() > until:
                    where = self.file or f"storage={shown_url(self.url)}"
                    raise StorageError(
                        f"{where}: the study cannot be read or written ({_reason(cause)}); what is finished is kept,"
                        " and the same command goes on."
                    ) from error
                time.sleep(PAUSE)

    return tried


for _name, _method in {**vars(RDBStorage), "_locked": Storage._locked}.items():
    if callable(_method) and not _name.startswith("__") and not isinstance(_method, staticmethod | classmethod):
        setattr(Storage, _name, _patient(_method))


def _sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, None for a PostgreSQL one; raises MmganError for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError:
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
    """Raise MmganError unless the file, or a new one of that name, can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab"):
            pass
    except OSError as error:
        raise MmganError(f"{path}: cannot write there ({error.strerror}); choose another out_dir=.") from error


def shown_url(url: str) -> str:
    """Return the URL without its password."""
    with suppress(ArgumentError):
        return make_url(url).render_as_string(hide_password=True)
    return url


def _reason(error: BaseException | None) -> str:
    """Return the first line of what the database itself says."""
    inner = error.__cause__ if isinstance(error, StorageInternalError) else error
    return str(getattr(inner, "orig", None) or inner).strip().splitlines()[0]
