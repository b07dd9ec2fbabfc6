"""The table of states, walked on a real database: every allowed move happens, every other one changes nothing."""

from __future__ import annotations

from itertools import product

import pytest

from outcrop.jobs.states import HELD, LIVE, TRANSITIONS, Action, State, moves
from outcrop.store.database import Database
from outcrop.store.jobs import JobTable


@pytest.fixture
def table(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield JobTable(database, held=HELD, live=LIVE)
    database.close()


@pytest.mark.parametrize(("action", "state"), list(product(Action, State)))
def test_every_move(table: JobTable, action: Action, state: State) -> None:
    values = {"verb": "tune", "arguments": {}, "target": "t", "directory": "/", "device": "cpu", "foreground": False}
    held = {"owner": {"pid": 1}, "lease_until": 5.0}
    table.add({**values, **(held if state in HELD else {}), "id": "a" * 12, "state": state})
    before = table.get("a" * 12)
    after = TRANSITIONS[action].get(state)
    assert table.move("a" * 12, moves(action), {}) == after
    found = table.get("a" * 12)
    assert found is not None
    assert before is not None
    if after is None:
        assert found.state == state
        assert (found.owner, found.ended, found.event_count) == (before.owner, before.ended, 0)
        return
    assert found.state == after
    assert (found.owner is not None) == (state in HELD and after in HELD)
    assert (found.lease_until is not None) == (state in HELD and after in HELD)
    assert (found.ended is not None) == (after not in LIVE)
    assert [event.event["state"] for event in table.events("a" * 12)] == [after]


def test_every_action_has_moves_and_every_state_is_reached() -> None:
    assert set(TRANSITIONS) == set(Action)
    assert {after for table in TRANSITIONS.values() for after in table.values()} == set(State)
    ways_out = {state: {action for action in Action if state in TRANSITIONS[action]} for state in State}
    assert ways_out[State.SUCCEEDED] == set()
    assert all(ways_out[state] for state in State if state is not State.SUCCEEDED)


def test_the_drawing_names_every_state_and_action() -> None:
    from outcrop.jobs import states

    drawing = states.__doc__ or ""
    assert all(word.value in drawing for word in (*State, *Action))
