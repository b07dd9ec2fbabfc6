"""The error tree: one file, unique codes, whole after pickling."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from outcrop.core import errors
from outcrop.core.errors import JobFailed, OutcropError, UserError
from tests.architecture.package import MODULES, load


def _tree(kind: type[OutcropError]) -> Iterator[type[OutcropError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


KINDS = list(_tree(OutcropError))


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_pickling(kind: type[OutcropError]) -> None:
    error = kind("The learning rate is 7.", "Give at most 1.", "spec.toml:3")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "spec.toml:3: The learning rate is 7. Give at most 1."
    assert copy.as_dict() == error.as_dict() == {
        "code": kind.code, "message": error.message, "remedy": error.remedy, "where": error.where,
    }  # fmt: skip


def test_pickling_keeps_the_report_of_a_data_error() -> None:
    error = errors.DataError("2 problems.", report={"problems": [1, 2]})
    assert pickle.loads(pickle.dumps(error)).as_dict() == error.as_dict()
    assert error.as_dict()["report"] == {"problems": [1, 2]}


def test_codes_are_each_class_s_own_and_unique() -> None:
    codes = [vars(kind).get("code") for kind in KINDS]
    assert None not in codes
    assert len(set(codes)) == len(codes)


def test_all_errors_are_in_the_one_file() -> None:
    for name in MODULES:
        load(name)
    elsewhere = [kind for kind in _tree(OutcropError) if kind.__module__ != errors.__name__]
    assert not elsewhere


@pytest.mark.parametrize("kind", KINDS[1:])
def test_exit_code_tells_whose_turn_it_is(kind: type[OutcropError]) -> None:
    assert issubclass(kind, UserError) != issubclass(kind, JobFailed)
    assert kind.exit_code == (2 if issubclass(kind, UserError) else 1)


def test_the_drawn_tree_names_every_class() -> None:
    drawing = errors.__doc__ or ""
    assert [line.split("── ")[-1].split()[0] for line in drawing.splitlines() if "exit" in line or "── " in line] == [
        kind.__name__ for kind in KINDS
    ]
