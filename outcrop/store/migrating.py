"""Brings a database to the newest tables, under a lock, so that many processes may start at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from outcrop.core.errors import UsageError
from outcrop.store.schema import REVISION

SCRIPTS = Path(__file__).parent / "migrations"
LOCK = 0x6F7574
"""The key of PostgreSQL's advisory lock; in SQLite the write transaction is the lock."""


def migrate(connection: Connection) -> list[str]:
    """Run every migration that the database lacks, in the transaction of `connection`; returns their names.

    Raises UsageError for a database that a newer Outcrop made.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    made = inspect(connection).has_table("alembic_version")
    if made and connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == REVISION:
        return []
    return _run_missing(connection)


def _run_missing(connection: Connection) -> list[str]:
    # Heavy, and needed once in the life of a database.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    scripts = ScriptDirectory(str(SCRIPTS))
    context = MigrationContext.configure(connection, opts={"render_as_batch": True})
    current = context.get_current_revision()
    try:
        missing = [script for script in scripts.iterate_revisions("head", current or "base") if script is not None]
    except RevisionError:
        raise UsageError(
            f"The database was made by a newer Outcrop: its tables are of revision {current}.",
            "Upgrade Outcrop, or name another database in OUTCROP_DATABASE.",
        ) from None
    done = []
    with Operations.context(context):
        for script in reversed(missing):
            script.module.upgrade()
            done.append(script.revision)
    if done:
        context.stamp(scripts, "head")
    return done
