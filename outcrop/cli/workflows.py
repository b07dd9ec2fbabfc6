"""The verbs behind the commands: one lazy table, so that help needs neither torch nor numpy."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from typing import Any

from outcrop.cli.console import Output, message_console, print_json, result_console
from outcrop.cli.progress import progress
from outcrop.cli.results import render
from outcrop.core import settings
from outcrop.core.catalog import Catalog
from outcrop.core.errors import MissingDependency
from outcrop.core.events import Listener

Workflow = Callable[..., Any]

JOB_VERBS = ("tune", "pretrain", "distill", "batch")
"""Verbs that are jobs: queued with --detach, recorded otherwise."""
API_VERBS = ("customize", "invoke-batch", "evaluation-job", "import")
"""Verbs that are jobs of the service: whoever made them through its API was told their end."""
EXTRAS = {
    "psycopg": "postgres", "obstore": "s3", **dict.fromkeys(
        ("sqlalchemy", "alembic", "starlette", "uvicorn", "botocore", "cryptography", "prometheus_client"), "server"
    ),
}  # fmt: skip
"""The extra that brings a package, where it is not train."""

WORKFLOWS: Catalog[Workflow] = Catalog(
    "workflow",
    {
        "demo": "outcrop.workflows.demo:demo",
        "tune": "outcrop.workflows.fine_tune:tune",
        "pretrain": "outcrop.workflows.pretrain:pretrain",
        "distill": "outcrop.workflows.distill:distill",
        "terms-question": "outcrop.workflows.teacher_terms:question_of",
        "answer-terms": "outcrop.workflows.teacher_terms:answer",
        "evaluate": "outcrop.workflows.evaluate:evaluate",
        "generate": "outcrop.workflows.generate:generate",
        "batch": "outcrop.workflows.batch_infer:batch",
        "stream": "outcrop.workflows.generate:stream",
        "classify": "outcrop.workflows.classify:classify",
        "anonymise": "outcrop.workflows.anonymise:anonymise",
        "restore": "outcrop.workflows.anonymise:restore",
        "synthesise": "outcrop.workflows.synthesise:synthesise",
        "entity-model": "outcrop.models.entities:EntityModel",
        "show-mask": "outcrop.workflows.show_mask:show_mask",
        "record": "outcrop.workflows.recorded:record",
        "submit": "outcrop.workflows.recorded:submit",
        "create-keys": "outcrop.service.administration:create_keys",
        "list-keys": "outcrop.service.administration:list_keys",
        "revoke-key": "outcrop.service.administration:revoke_key",
        "serve": "outcrop.service.server:serve",
        "serve-spec": "outcrop.service.spec:serve_spec",
    },
)


def load(name: str) -> Workflow:
    """The workflow of a name. Raises MissingDependency where a library it needs is not installed."""
    try:
        return _imported(WORKFLOWS, name)
    except ModuleNotFoundError as error:
        raise missing_dependency(error, f"outcrop {name}") from error


@cache
def _imported(workflows: Catalog[Workflow], name: str) -> Workflow:
    """The workflow, its libraries kept out of garbage collection: they stay to the end, and looking through them takes
    half a second, in pieces while they are imported and once more at the end."""
    gc.disable()
    try:
        return workflows.load(name)
    finally:
        gc.freeze()
        gc.enable()


def missing_dependency(error: ModuleNotFoundError, purpose: str) -> Exception:
    """What is to be raised for a module that is missing: a MissingDependency, or the error where it is ours."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "outcrop"):
        return error
    return MissingDependency.of(package, EXTRAS.get(package, "train"), purpose)


def run(name: str, output: Output, verbose: bool, *, detach: bool = False, **arguments: Any) -> None:
    """Call a workflow with progress on stderr, and print its result on stdout.

    detach: queue it as a job instead. Where there is a database of jobs, a verb of jobs is recorded in it.
    """
    if detach:
        result = load("submit")(name, arguments)
    else:
        with progress(message_console(), verbose=verbose) as listener:
            listener({"event": "stage", "title": "Loading the libraries"})
            result = _performed(name, arguments, listener)
    if output == "json":
        print_json(result.as_dict())
    else:
        result_console().print(render(result))


def _performed(name: str, arguments: dict[str, Any], listener: Listener) -> Any:
    workflow = load(name)
    if name not in JOB_VERBS or not settings.has_database():
        return workflow(**arguments, listener=listener)
    try:
        record = load("record")
    except MissingDependency as error:
        listener({"event": "warning", "code": "not-recorded", "message": f"This run is not recorded. {error}"})
        return workflow(**arguments, listener=listener)
    return record(name, workflow, arguments, listener)
