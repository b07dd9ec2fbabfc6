"""The database: an SQLite file by default, PostgreSQL by URL; transactions, its clock, its failures as our errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Double, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from outcrop.core.errors import MissingDependency, StoreUnavailable, UsageError
from outcrop.store.migrating import migrate
from outcrop.store.write_ahead import write_ahead

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
UNAVAILABLE = (OperationalError, InterfaceError, DatabaseError)
"""The classes of failures of the server or the file; their subclasses are faults of a statement."""
WAIT_S = 30.0
"""How long a lock or a connection is waited for."""


class DatabaseClock(FunctionElement[float]):
    """Seconds since 1970 by the clock of the database, so that leases compare on many machines."""

    name = "database_clock"
    type = Double()
    inherit_cache = True


@compiles(DatabaseClock, "sqlite")
def _sqlite_clock(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseClock, "postgresql")
def _postgresql_clock(element: Any, compiler: Any, **options: Any) -> str:
    # Not now(), which stands still within a transaction.
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """Connections to one database whose tables are up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str, *, wait_s: float = WAIT_S) -> Database:
        """Connect, make or migrate the tables. url: sqlite:///PATH or postgresql://…; wait_s: patience with locks.

        Raises UsageError for a URL that names no database, StoreUnavailable where it cannot be reached.
        """
        database = cls(_engine(_parse(url), wait_s))
        try:
            with database.transaction() as connection:
                migrate(connection)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it waits for the only writer. Raises StoreUnavailable."""
        with _our_errors(self._engine.url), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, and waits for nobody on SQLite. Raises StoreUnavailable."""
        with _our_errors(self._engine.url), self._engine.connect() as connection:
            connection.execution_options(reading=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        name = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise _wrong_url() from None
    if name not in DRIVERS or (name == "sqlite" and url.database in (None, "", ":memory:")):
        raise _wrong_url()
    return url.set(drivername=DRIVERS[name])


def _wrong_url() -> UsageError:
    # The URL may hold a password: it is not repeated.
    allowed = "Allowed: sqlite:///PATH, postgresql://USER@HOST:PORT/NAME."
    return UsageError("OUTCROP_DATABASE does not name a database that Outcrop can use.", allowed)


def _engine(url: URL, wait_s: float) -> Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return sqlalchemy.create_engine(
                url, pool_pre_ping=True, connect_args={"connect_timeout": max(1, round(wait_s))}
            )
        except ModuleNotFoundError:
            raise MissingDependency.of("psycopg", "postgres", "A PostgreSQL database") from None
    assert url.database is not None, "checked when the URL was parsed"
    _make_private(Path(url.database))
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": wait_s})
    event.listen(engine, "connect", lambda connection, _: _set_up_sqlite(connection, wait_s))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private(file: Path) -> None:
    """Make the file for its owner alone; SQLite gives its other files the same rights."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"The database cannot be opened: {error.strerror}.", "Check the rights and the free space there.", str(file)
        ) from None


def _set_up_sqlite(connection: Any, wait_s: float) -> None:
    connection.isolation_level = None  # the hook on "begin" begins transactions, not the driver
    write_ahead(connection, wait_s)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes would fail at once where another one wrote in between.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")


@contextmanager
def _our_errors(url: URL) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if type(error) not in UNAVAILABLE:
            raise
        said = str(error.orig).strip().partition("\n")[0].rstrip(".")
        remedy = "Outcrop tries again where it can; see that the database runs and has room."
        raise StoreUnavailable(f"The database does not answer: {said}.", remedy, _shown(url)) from error
    except sqlalchemy.exc.TimeoutError as error:
        raise StoreUnavailable("The database has no free connection.", "Try again.", _shown(url)) from error


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)
