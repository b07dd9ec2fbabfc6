"""Rows of what projects made through an API, with their tags and the requests that may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from outcrop.store.database import Database, DatabaseClock
from outcrop.store.projects import Project
from outcrop.store.schema import REQUEST_TOKENS, RESOURCES, TAGS


class NameTaken(Exception):
    """Something of this kind has this name already: args are the kind and the name."""


class TokenTaken(Exception):
    """Another request used this token meanwhile."""


@dataclass(frozen=True)
class Resource:
    """A row of the table `resources`; its fields are explained in store/schema.py."""

    id: str
    project_id: str
    kind: str
    name: str
    arn: str
    status: str
    model: str | None
    job_id: str | None
    created: float
    updated: float
    ended: float | None
    body: dict[str, Any]


@dataclass(frozen=True)
class RequestToken:
    """A token that makes a request repeatable, and the digest of the request."""

    operation: str
    token: str
    fingerprint: str


@dataclass(frozen=True)
class Filter:
    """Which resources of a kind to list. after, before: seconds since 1970, exclusive; model: an ARN."""

    kind: str
    name_contains: str = ""
    status: str = ""
    model: str = ""
    after: float | None = None
    before: float | None = None
    ascending: bool = False


class Position(NamedTuple):
    """Where a page ended: creation time and id of its last row."""

    created: float
    id: str


_COLUMNS = [RESOURCES.c[field.name] for field in fields(Resource)]


class ResourceTable:
    """Every statement on resources. All but `working` and `everywhere` see one project alone."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(
        self,
        project: Project,
        resources: Sequence[Mapping[str, Any]],
        *,
        token: RequestToken | None = None,
        answer: Mapping[str, Any] | None = None,
        first: Callable[[Connection], None] | None = None,
    ) -> None:
        """Make resources with their tags, and remember the answer to their request, all or nothing.

        resources: columns by name, and "tags"; first: what else is written in the same transaction, before them.
        Raises NameTaken or TokenTaken.
        """
        with self.database.transaction() as connection:
            if token is not None:
                self._remember(connection, project, token, answer or {})
            if first is not None:
                first(connection)
            for given in resources:
                values = {"created": DatabaseClock(), "updated": DatabaseClock(), **given, "project_id": project.id}
                tags = values.pop("tags", {})
                try:
                    connection.execute(insert(RESOURCES).values(**values))
                except IntegrityError:
                    raise NameTaken(given["kind"], given["name"]) from None
                rows = [{"resource_id": given["id"], "key": key, "value": value} for key, value in tags.items()]
                if rows:
                    connection.execute(insert(TAGS), rows)

    def answered(self, project: Project, operation: str, token: str) -> tuple[str, dict[str, Any]] | None:
        """The fingerprint of the request that used this token before, and its answer."""
        where = (
            REQUEST_TOKENS.c.project_id == project.id,
            REQUEST_TOKENS.c.operation == operation,
            REQUEST_TOKENS.c.token == token,
        )
        query = select(REQUEST_TOKENS.c.fingerprint, REQUEST_TOKENS.c.answer).where(*where)
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        return (row.fingerprint, row.answer) if row else None

    def find(
        self, project: Project, kinds: Collection[str], *, resource_id: str = "", name: str = "", arn: str = ""
    ) -> Resource | None:
        """The resource of an id, name or ARN, if it is of one of these kinds."""
        given = {"id": resource_id, "name": name, "arn": arn}
        conditions = [RESOURCES.c[column] == value for column, value in given.items() if value]
        assert conditions, "a resource is found by something"
        where = and_(RESOURCES.c.project_id == project.id, RESOURCES.c.kind.in_(list(kinds)), *conditions)
        with self.database.reading() as connection:
            row = connection.execute(select(*_COLUMNS).where(where).limit(1)).first()
        return Resource(**row._mapping) if row else None

    def page(self, project: Project, wanted: Filter, size: int, position: Position | None = None) -> list[Resource]:
        """The next `size` resources after a position, by creation time."""
        table = RESOURCES.c
        conditions: list[Any] = [table.project_id == project.id, table.kind == wanted.kind]
        # LIKE would ignore case on SQLite, and take % for a wildcard.
        conditions += [func.replace(table.name, wanted.name_contains, "") != table.name] if wanted.name_contains else []
        conditions += [table.status == wanted.status] if wanted.status else []
        conditions += [table.model == wanted.model] if wanted.model else []
        conditions += [table.created > wanted.after] if wanted.after is not None else []
        conditions += [table.created < wanted.before] if wanted.before is not None else []
        if position is not None:
            at, last = position
            if wanted.ascending:
                conditions.append(or_(table.created > at, and_(table.created == at, table.id > last)))
            else:
                conditions.append(or_(table.created < at, and_(table.created == at, table.id < last)))
        order = (table.created, table.id) if wanted.ascending else (table.created.desc(), table.id.desc())
        with self.database.reading() as connection:
            query = select(*_COLUMNS).where(*conditions).order_by(*order).limit(size)
            return [Resource(**row._mapping) for row in connection.execute(query)]

    def using(self, project: Project, kinds: Collection[str], model: str) -> list[Resource]:
        """Resources of these kinds that are about a model."""
        where = (RESOURCES.c.project_id == project.id, RESOURCES.c.kind.in_(list(kinds)), RESOURCES.c.model == model)
        with self.database.reading() as connection:
            return [Resource(**row._mapping) for row in connection.execute(select(*_COLUMNS).where(*where))]

    def working(self, statuses: Collection[str]) -> list[Resource]:
        """Resources of every project that a job works for, in these states, the oldest first."""
        where = (RESOURCES.c.job_id.is_not(None), RESOURCES.c.status.in_(list(statuses)))
        with self.database.reading() as connection:
            rows = connection.execute(select(*_COLUMNS).where(*where).order_by(RESOURCES.c.created)).all()
        return [Resource(**row._mapping) for row in rows]

    def everywhere(self, kind: str, statuses: Collection[str]) -> list[Resource]:
        """Resources of a kind of every project, in these states, the oldest first."""
        where = (RESOURCES.c.kind == kind, RESOURCES.c.status.in_(list(statuses)))
        with self.database.reading() as connection:
            rows = connection.execute(select(*_COLUMNS).where(*where).order_by(RESOURCES.c.created)).all()
        return [Resource(**row._mapping) for row in rows]

    def change(
        self,
        resource: Resource,
        values: Mapping[str, Any],
        *,
        only_in: Collection[str] = (),
        others: Mapping[str, Mapping[str, Any] | None] | None = None,
        ends: bool = False,
    ) -> bool:
        """Change a resource and others with it, all or nothing; returns whether it was there.

        only_in: do nothing unless its status is one of these; others: by id, what to change, None to remove them;
        ends: it ends now.
        """
        conditions = [RESOURCES.c.id == resource.id]
        conditions += [RESOURCES.c.status.in_(list(only_in))] if only_in else []
        now = {"updated": DatabaseClock()}
        if ends:
            now["ended"] = DatabaseClock()
        with self.database.transaction() as connection:
            if not connection.execute(update(RESOURCES).where(*conditions).values(**{**now, **values})).rowcount:
                return False
            for other, change in (others or {}).items():
                if change is None:
                    _remove(connection, other)
                    continue
                changed = {"updated": DatabaseClock(), **change}
                connection.execute(update(RESOURCES).where(RESOURCES.c.id == other).values(**changed))
        return True

    def delete(self, resource: Resource, only_in: Collection[str] = ()) -> bool:
        """Remove a resource with its tags; returns whether it was there, in one of these states where any are given."""
        conditions = [RESOURCES.c.id == resource.id]
        conditions += [RESOURCES.c.status.in_(list(only_in))] if only_in else []
        with self.database.transaction() as connection:
            if connection.execute(select(RESOURCES.c.id).where(*conditions)).first() is None:
                return False
            _remove(connection, resource.id)
        return True

    def tags(self, resource: Resource) -> dict[str, str]:
        """The tags of a resource, by key."""
        query = select(TAGS.c.key, TAGS.c.value).where(TAGS.c.resource_id == resource.id).order_by(TAGS.c.key)
        with self.database.reading() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def tag(self, resource: Resource, tags: Mapping[str, str], limit: int) -> bool:
        """Set tags; returns whether no more than `limit` are there then. If there were more, nothing is changed."""
        with self.database.transaction() as connection:
            mine = TAGS.c.resource_id == resource.id
            present = set(connection.execute(select(TAGS.c.key).where(mine)).scalars())
            if len(present | set(tags)) > limit:
                return False
            connection.execute(delete(TAGS).where(mine, TAGS.c.key.in_(list(tags))))
            rows = [{"resource_id": resource.id, "key": key, "value": value} for key, value in tags.items()]
            if rows:
                connection.execute(insert(TAGS), rows)
        return True

    def untag(self, resource: Resource, keys: Collection[str]) -> None:
        """Remove tags; keys that are not there are no fault."""
        with self.database.transaction() as connection:
            connection.execute(delete(TAGS).where(TAGS.c.resource_id == resource.id, TAGS.c.key.in_(list(keys))))

    def _remember(
        self, connection: Connection, project: Project, token: RequestToken, answer: Mapping[str, Any]
    ) -> None:
        values = {**vars(token), "project_id": project.id, "answer": dict(answer), "created": DatabaseClock()}
        try:
            connection.execute(insert(REQUEST_TOKENS).values(**values))
        except IntegrityError:
            raise TokenTaken(token.token) from None


def _remove(connection: Connection, resource_id: str) -> None:
    connection.execute(delete(TAGS).where(TAGS.c.resource_id == resource_id))
    connection.execute(delete(RESOURCES).where(RESOURCES.c.id == resource_id))
