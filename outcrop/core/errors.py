"""The error tree. Every error a user can cause or meet has a code, a message and a remedy.

    OutcropError                 exit 1   base; never raised itself
    ├── UserError                exit 2   the request or its input is wrong; no traceback is printed
    │   ├── UsageError                    a flag, parameter or combination that is not allowed
    │   ├── DataError                     records that cannot be used; carries every problem found
    │   ├── ModelError                    a model folder that is missing, unsafe or does not fit
    │   └── MissingDependency             an optional package is needed and not installed
    └── JobFailed                exit 1   the work started and could not be finished
        ├── Diverged                      the loss became NaN or exploded
        ├── Unavailable                   an engine that takes no requests now: too many wait, or it is stopping
        │   └── NotReady                  a model that is still being loaded
        ├── StoreUnavailable              the database cannot be reached, or another process keeps it locked
        └── LeaseLost                     another attempt of the job has taken over, or its time ran out

To add one: derive from the nearest class, set `code`, keep the constructor, raise it with a remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class OutcropError(Exception):
    """Base of all errors of this package; picklable, with a stable `code`."""

    code = "outcrop-error"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "", where: str = "") -> None:
        super().__init__(message, remedy, where)
        self.message = message
        self.remedy = remedy
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}" + (f" {self.remedy}" if self.remedy else "")

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready fields, the same for `--output json` and the APIs."""
        fields = {"code": self.code, "message": self.message, "remedy": self.remedy, "where": self.where}
        return {name: value for name, value in fields.items() if value}


class UserError(OutcropError):
    """The request or its input is wrong; the user can mend it."""

    code = "user-error"
    exit_code = 2


class UsageError(UserError):
    """A parameter, or a combination of parameters, that is not allowed."""

    code = "usage"


class DataError(UserError):
    """Records that cannot be used. `report` is the JSON-ready account of every problem, where one was made."""

    code = "data"

    def __init__(self, message: str, remedy: str = "", where: str = "", report: dict[str, Any] | None = None) -> None:
        super().__init__(message, remedy, where)
        self.args = (message, remedy, where, report)
        self.report = report

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | ({"report": self.report} if self.report else {})


class ModelError(UserError):
    """A model that is missing, unsafe to load, or does not fit what is asked of it."""

    code = "model"


class MissingDependency(UserError):
    """An optional package is needed for this."""

    code = "missing-dependency"

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingDependency:
        """The error for a package that one of our extras brings. purpose: what needs it, the subject of a sentence."""
        return cls(
            f"{purpose} needs the package {package}, which is not installed.",
            f"Install it: pip install 'outcrop[{extra}]' -c constraints.txt",
        )


class JobFailed(OutcropError):
    """The work started and could not be finished."""

    code = "job-failed"


class Diverged(JobFailed):
    """Training stopped because the loss became NaN or exploded."""

    code = "diverged"


class Unavailable(JobFailed):
    """An engine takes no requests now: too many wait, or it is stopping. The same request may succeed later."""

    code = "unavailable"


class NotReady(Unavailable):
    """The model is still being loaded. The same request will succeed once it is."""

    code = "not-ready"


class StoreUnavailable(JobFailed):
    """The database cannot be reached, or another process keeps it locked; trying again may help."""

    code = "store-unavailable"


class LeaseLost(JobFailed):
    """This process no longer owns the job that it works on: another attempt does, or its lease ran out."""

    code = "lease-lost"


def did_you_mean(given: str, allowed: Iterable[str], title: str = "Allowed") -> str:
    """A sentence naming the nearest allowed word, or all of them after the title: for the remedy of an error."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"Did you mean: {near[0]}?" if near else f"{title}: {', '.join(names)}."
