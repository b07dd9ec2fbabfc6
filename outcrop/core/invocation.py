"""How the work that runs now was asked for, in words that ask for it again: a command line, or a call from Python."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_RUNNING: ContextVar[str] = ContextVar("invocation", default="")


def running() -> str:
    """The outermost command line or call that is at work, empty where there is none."""
    return _RUNNING.get()


@contextmanager
def command_line(words: Sequence[str]) -> Iterator[None]:
    """Work that a command line asks for, quoted so that a shell reads it as the same words."""
    token = _RUNNING.set(shlex.join(words))
    try:
        yield
    finally:
        _RUNNING.reset(token)


def repeatable(function: Callable[P, R]) -> Callable[P, R]:
    """A verb of the package whose call is remembered while it runs, unless a command or another verb asks for it."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if running():
            return function(*args, **kwargs)
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        given = ", ".join(f"{name}={value!r}" for name, value in bound.items() if name != "listener")
        token = _RUNNING.set(f"outcrop.{function.__name__}({given})")
        try:
            return function(*args, **kwargs)
        finally:
            _RUNNING.reset(token)

    return called
