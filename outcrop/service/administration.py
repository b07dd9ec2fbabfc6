"""What the command does with keys where no server needs to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from outcrop.core import settings
from outcrop.core.errors import UsageError
from outcrop.service.keys import Keys
from outcrop.store.database import Database
from outcrop.store.projects import ProjectTable


def create_keys(project: str) -> dict[str, str]:
    """Make keys for a project, which is made if it is new; the answer is all that is ever shown of them."""
    with _keys() as keys:
        found = next((each for each in keys.projects.all() if each.name == project), None)
        made = keys.create(found or keys.create_project(project))
    return {
        "project": made.project.name, "account": made.project.account, "access_key_id": made.access_key_id,
        "secret_access_key": made.secret_access_key, "bearer": made.bearer,
    }  # fmt: skip


def list_keys() -> list[dict[str, Any]]:
    """All keys, without their secrets."""
    with _keys() as keys:
        return keys.projects.keys()


def revoke_key(key_id: str) -> None:
    """End a key. Raises UsageError where there is none, or it was ended before."""
    with _keys() as keys:
        if not keys.projects.revoke(key_id):
            raise UsageError(f"There is no key {key_id} to revoke.", "outcrop keys list shows all of them.")


@contextmanager
def _keys() -> Iterator[Keys]:
    database = Database.open(settings.database())
    try:
        yield Keys(ProjectTable(database), settings.home() / "service")
    finally:
        database.close()
