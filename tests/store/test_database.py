"""The database: made once by many at a time, the same tables everywhere, failures in our words."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.store.database import Database, DatabaseClock
from outcrop.store.migrating import SCRIPTS, migrate
from outcrop.store.schema import METADATA, REVISION

OPEN = "import sys; from outcrop.store.database import Database; Database.open(sys.argv[1]).close()"


def test_migrations_leave_the_tables_of_the_schema(database_url: str) -> None:
    database = Database.open(database_url)
    with database.transaction() as connection:
        assert migrate(connection) == []
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert set(inspect(connection).get_table_names()) == {"alembic_version", *METADATA.tables}
    database.close()


def test_the_newest_revision_is_the_one_that_the_schema_names() -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == REVISION


def test_processes_that_open_a_new_database_together_all_succeed(database_url: str) -> None:
    started = [subprocess.Popen([sys.executable, "-c", OPEN, database_url]) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]


def test_a_database_of_a_newer_outcrop_is_refused(database_url: str) -> None:
    database = Database.open(database_url)
    with database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="newer Outcrop"):
        Database.open(database_url)
    database.close()


def test_the_clock_is_the_database_s_and_moves_within_a_transaction(database_url: str) -> None:
    database = Database.open(database_url)
    with database.transaction() as connection:
        first = connection.execute(DatabaseClock().select()).scalar_one()
        while (second := connection.execute(DatabaseClock().select()).scalar_one()) == first:
            pass
    assert 1.7e9 < first < second
    database.close()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    Database.open(f"sqlite:///{tmp_path / 'home' / 'jobs.db'}").close()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "jobs.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["", "mysql://host/x", "sqlite://", "sqlite:///:memory:", "nothing", "bogus:///x"])
def test_another_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="Allowed: sqlite:///PATH") as refused:
        Database.open(url)
    assert "host" not in refused.value.message


def test_no_server_is_said_without_the_password() -> None:
    with pytest.raises(StoreUnavailable, match="does not answer") as refused:
        Database.open("postgresql://app:secret@127.0.0.1:1/x", wait_s=1)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("not a database " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Database.open(f"sqlite:///{tmp_path / 'jobs.db'}")


def test_a_locked_file_is_waited_for_and_then_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    database = Database.open(url)
    with database.transaction(), pytest.raises(StoreUnavailable, match="locked"):
        Database.open(url, wait_s=0.05)
    with database.transaction(), database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0
    database.close()
