"""Rows of projects, their keys and their settings. What a key's secret means is known to the service alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from outcrop.core.ids import new_id
from outcrop.store.database import Database, DatabaseClock
from outcrop.store.schema import API_KEYS, PROJECT_SETTINGS, PROJECTS


@dataclass(frozen=True)
class Project:
    """Whose things these are. account: twelve digits, as in its ARNs."""

    id: str
    name: str
    account: str


@dataclass(frozen=True)
class KeyRow:
    """A key that was not revoked, and whose it is. kind: "signature" or "bearer"."""

    id: str
    kind: str
    secret: str
    project: Project


class ProjectTable:
    """Every statement on projects, keys and settings."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> list[Project]:
        """All projects, oldest first."""
        query = select(PROJECTS.c.id, PROJECTS.c.name, PROJECTS.c.account).order_by(PROJECTS.c.created, PROJECTS.c.id)
        with self.database.reading() as connection:
            return [Project(*row) for row in connection.execute(query)]

    def add(self, name: str, account: str) -> Project:
        """Make a project."""
        project = Project(new_id(), name, account)
        with self.database.transaction() as connection:
            connection.execute(insert(PROJECTS).values(**vars(project), created=DatabaseClock()))
        return project

    def add_key(self, project: Project, key_id: str, kind: str, secret: str) -> None:
        """Give a project a key."""
        values = {"id": key_id, "project_id": project.id, "kind": kind, "secret": secret}
        with self.database.transaction() as connection:
            connection.execute(insert(API_KEYS).values(**values, created=DatabaseClock()))

    def key(self, key_id: str) -> KeyRow | None:
        """The key of an id, unless it was revoked."""
        key = (API_KEYS.c.id, API_KEYS.c.kind, API_KEYS.c.secret)
        query = (
            select(*key, PROJECTS.c.id, PROJECTS.c.name, PROJECTS.c.account)
            .join(PROJECTS, PROJECTS.c.id == API_KEYS.c.project_id)
            .where(API_KEYS.c.id == key_id, API_KEYS.c.revoked.is_(None))
        )
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        return KeyRow(row[0], row[1], row[2], Project(*row[3:])) if row else None

    def keys(self) -> list[dict[str, Any]]:
        """All keys with their projects, without secrets."""
        columns = (API_KEYS.c.id, API_KEYS.c.kind, API_KEYS.c.created, API_KEYS.c.revoked)
        query = select(*columns, PROJECTS.c.name.label("project"), PROJECTS.c.account)
        query = query.join(PROJECTS, PROJECTS.c.id == API_KEYS.c.project_id).order_by(API_KEYS.c.created, API_KEYS.c.id)
        with self.database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def revoke(self, key_id: str) -> bool:
        """End a key for ever; returns whether there was one."""
        statement = update(API_KEYS).where(API_KEYS.c.id == key_id, API_KEYS.c.revoked.is_(None))
        with self.database.transaction() as connection:
            return bool(connection.execute(statement.values(revoked=DatabaseClock())).rowcount)

    def setting(self, project: Project, name: str) -> Any:
        """A setting of a project, None where it has none."""
        where = (PROJECT_SETTINGS.c.project_id == project.id, PROJECT_SETTINGS.c.name == name)
        with self.database.reading() as connection:
            return connection.execute(select(PROJECT_SETTINGS.c.value).where(*where)).scalar()

    def set_setting(self, project: Project, name: str, value: Mapping[str, Any] | None) -> None:
        """Set a setting of a project; None removes it."""
        where = (PROJECT_SETTINGS.c.project_id == project.id, PROJECT_SETTINGS.c.name == name)
        with self.database.transaction() as connection:
            connection.execute(delete(PROJECT_SETTINGS).where(*where))
            if value is not None:
                values = {"project_id": project.id, "name": name, "value": dict(value)}
                connection.execute(insert(PROJECT_SETTINGS).values(**values))
