"""Rows of resources, on SQLite and PostgreSQL: names once, tokens once, pages without gaps, projects apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from outcrop.core.ids import new_id
from outcrop.store.database import Database
from outcrop.store.projects import Project, ProjectTable
from outcrop.store.resources import Filter, NameTaken, Position, RequestToken, ResourceTable, TokenTaken


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def project(database: Database) -> Project:
    return ProjectTable(database).add("one", "111111111111")


def _row(name: str, **values: Any) -> dict[str, Any]:
    made = new_id()
    usual = {"kind": "model", "status": "Active", "model": None, "job_id": None, "body": {}}
    return {"id": made, "name": name, "arn": f"arn:{made}", **usual, **values}


def test_a_name_and_a_token_are_good_for_one_and_nothing_is_left_of_the_other(
    database: Database, project: Project
) -> None:
    table = ResourceTable(database)
    token = RequestToken("Create", "token", "print")
    table.add(project, [_row("a", tags={"x": "y"})], token=token, answer={"arn": "first"})
    with pytest.raises(NameTaken):
        table.add(project, [_row("b"), _row("a")], token=RequestToken("Create", "other", "print"))
    with pytest.raises(TokenTaken):
        table.add(project, [_row("c")], token=token)
    assert [row.name for row in table.page(project, Filter("model"), 10)] == ["a"]
    assert table.answered(project, "Create", "token") == ("print", {"arn": "first"})
    assert table.answered(project, "Create", "other") is None
    other = ProjectTable(database).add("two", "222222222222")
    table.add(other, [_row("a")], token=token, answer={"arn": "second"})
    assert table.answered(other, "Create", "token") == ("print", {"arn": "second"})
    assert table.find(other, ["model"], arn=table.page(project, Filter("model"), 1)[0].arn) is None


def test_pages_have_no_gaps_also_among_rows_of_one_moment(database: Database, project: Project) -> None:
    table = ResourceTable(database)
    table.add(project, [_row(f"row{number}", created=1000.0 + number // 3) for number in range(10)])
    for ascending in (False, True):
        wanted = Filter("model", ascending=ascending)
        seen: list[str] = []
        position = None
        while page := table.page(project, wanted, 2, position):
            seen += [row.name for row in page]
            position = Position(page[-1].created, page[-1].id)
        assert sorted(seen) == sorted(f"row{number}" for number in range(10))
        assert seen == [row.name for row in table.page(project, wanted, 100)]
    between = Filter("model", after=1000.0, before=1002.0)
    assert {row.created for row in table.page(project, between, 100)} == {1001.0}


def test_names_are_searched_letter_by_letter(database: Database, project: Project) -> None:
    table = ResourceTable(database)
    table.add(project, [_row(name) for name in ("Red_one", "red.one", "blue")])
    found = {
        needle: {row.name for row in table.page(project, Filter("model", name_contains=needle), 9)}
        for needle in ("red", "_", "%", "e")
    }
    assert found == {"red": {"red.one"}, "_": {"Red_one"}, "%": set(), "e": {"Red_one", "red.one", "blue"}}


def test_a_change_is_made_once_and_with_all_that_belongs_to_it(database: Database, project: Project) -> None:
    table = ResourceTable(database)
    job, model, gone = _row("job", status="InProgress"), _row("model"), _row("gone", tags={"a": "b"})
    table.add(project, [job, model, gone])
    row = table.find(project, ["model"], resource_id=job["id"])
    assert row is not None
    others = {model["id"]: {"status": "Failed"}, gone["id"]: None}
    assert table.change(row, {"status": "Completed"}, only_in=("InProgress",), others=others, ends=True)
    assert not table.change(row, {"status": "Failed"}, only_in=("InProgress",), others={model["id"]: None})
    left = {each.name: each for each in table.page(project, Filter("model"), 9)}
    assert {name: each.status for name, each in left.items()} == {"job": "Completed", "model": "Failed"}
    assert left["job"].ended is not None
    assert left["model"].ended is None


def test_a_kind_is_found_in_every_project(database: Database, project: Project) -> None:
    table = ResourceTable(database)
    table.add(project, [_row("b", created=2.0), _row("failed", status="Failed"), _row("job", kind="job")])
    table.add(ProjectTable(database).add("two", "222222222222"), [_row("a", created=1.0)])
    assert [row.name for row in table.everywhere("model", ("Active", "Creating"))] == ["a", "b"]
    assert table.everywhere("model", ()) == []


def test_tags_have_a_limit_that_leaves_nothing_half_done(database: Database, project: Project) -> None:
    table = ResourceTable(database)
    table.add(project, [_row("a", tags={"x": "1"})])
    row = table.find(project, ["model"], name="a")
    assert row is not None
    assert table.tag(row, {"x": "2", "y": "3"}, limit=2)
    assert not table.tag(row, {"x": "9", "z": "4"}, limit=2)
    assert table.tags(row) == {"x": "2", "y": "3"}
    table.untag(row, ["y", "absent"])
    assert table.tags(row) == {"x": "2"}
    assert table.delete(row)
    assert not table.delete(row)
