"""Where a run may live: nothing is buried, and two processes never share a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.core.events import ignore
from outcrop.core.files import staged_folder
from outcrop.workflows.job import perform
from outcrop.workflows.run_folder import JOB, RESULT, RUN, is_of_job, run_folder


def test_a_run_that_ends_well_becomes_its_target_without_the_lock(tmp_path: Path) -> None:
    with run_folder(str(tmp_path / "out"), overwrite=False, resume=False) as folder:
        (folder / "model").write_text("x")
    assert {path.name for path in tmp_path.rglob("*")} == {"out", "model", "run"}


@pytest.mark.parametrize("how", [{"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}])
def test_a_folder_at_work_is_refused_and_left_as_it_is(tmp_path: Path, how: dict[str, bool]) -> None:
    target = str(tmp_path / "out")
    with run_folder(target, overwrite=False, resume=False) as folder:
        (folder / "model").write_text("x")
        with pytest.raises(UsageError, match="at work"), run_folder(target, **how):
            pass
        assert (folder / "model").read_text() == "x"
    assert (tmp_path / "out" / "model").exists()


def test_overwrite_starts_an_unfinished_run_anew(tmp_path: Path) -> None:
    checkpoint = tmp_path / "out.partial" / "run" / "checkpoints" / "step-1"
    checkpoint.mkdir(parents=True)
    with (
        pytest.raises(UsageError, match="unfinished"),
        run_folder(str(tmp_path / "out"), overwrite=False, resume=False),
    ):
        pass
    with run_folder(str(tmp_path / "out"), overwrite=True, resume=False):
        assert not checkpoint.exists()


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_the_working_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="working folder"), run_folder(target, overwrite=True, resume=False):
        pass


def test_what_is_read_is_never_overwritten(tmp_path: Path) -> None:
    rows = tmp_path / "data" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text("{}")
    with (
        pytest.raises(UsageError, match="which is read"),
        run_folder(str(rows.parent), overwrite=True, resume=False, inputs=[str(rows)]),
    ):
        pass
    assert rows.exists()


def test_a_target_that_cannot_be_made_is_a_mistake_of_the_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UsageError, match="is a file"),
        run_folder(str(tmp_path / "file" / "out"), overwrite=False, resume=False),
    ):
        pass
    with pytest.raises(UsageError, match="cannot be made"), staged_folder(tmp_path / ("n" * 300)):
        pass


def interrupted(target: Path, checkpoint: str = "") -> str:
    """What an interrupted run says of what is kept."""

    def work() -> None:
        with run_folder(str(target), overwrite=False, resume=False) as folder:
            if checkpoint:
                (folder / RUN / "checkpoints" / checkpoint).mkdir(parents=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    return " ".join(caught.value.__notes__)


def test_an_interrupted_run_says_what_is_kept(tmp_path: Path) -> None:
    assert interrupted(tmp_path / "out") == "No checkpoint was written yet, so nothing is kept."
    assert not list(tmp_path.iterdir())
    said = interrupted(tmp_path / "out", checkpoint="step-00000012")
    assert said.startswith(f"The checkpoint of step 12 is kept in {tmp_path / 'out.partial'}: ")
    assert "--resume" in said


def test_resume_without_a_checkpoint_says_that_it_starts_from_the_beginning(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with run_folder(str(tmp_path / "out"), overwrite=False, resume=True, listener=events.append):
        pass
    assert [event["code"] for event in events] == ["nothing-to-resume"]
    interrupted(tmp_path / "other", checkpoint="step-00000012")
    with run_folder(str(tmp_path / "other"), overwrite=False, resume=True, listener=events.append):
        pass
    assert len(events) == 1


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RESULT).write_text("{}")
    with (
        pytest.raises(UsageError, match="finished: there is nothing to resume"),
        run_folder(str(tmp_path / "out"), overwrite=False, resume=True),
    ):
        pass


@contextmanager
def working_for(job_id: str) -> Iterator[None]:
    """Work in the context of a job."""
    before = JOB.set(job_id)
    yield
    JOB.reset(before)


class Ended(Exception):
    """Stands for the end of a process."""


def leave_unfinished(target: str, job_id: str) -> None:
    """What an attempt of a job leaves behind that was ended after a checkpoint."""
    with (
        working_for(job_id),
        contextlib.suppress(Ended),
        run_folder(target, overwrite=False, resume=False) as folder,
    ):
        (folder / "run" / "checkpoints" / "step-1").mkdir(parents=True)
        (folder / "run" / "checkpoints" / "step-1" / "state").write_text("1")
        raise Ended


def test_a_job_goes_on_with_its_own_unfinished_run_and_with_no_other(tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    leave_unfinished(target, "first")
    with (
        working_for("second"),
        pytest.raises(UsageError, match="unfinished"),
        run_folder(target, overwrite=False, resume=False),
    ):
        pass
    with working_for("first"), run_folder(target, overwrite=False, resume=False) as folder:
        assert (folder / "run" / "checkpoints" / "step-1").exists()
    assert is_of_job(tmp_path / "out", "first")
    assert not is_of_job(tmp_path / "out", "second")
    assert not is_of_job(tmp_path / "out", "")


def test_a_run_that_was_ended_before_it_began_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "out.partial" / "run").mkdir(parents=True)
    (tmp_path / "out.partial" / "run" / "lock").touch()
    with run_folder(str(tmp_path / "out"), overwrite=False, resume=False):
        pass


@pytest.mark.parametrize("at", ["replace", "rmtree"])
def test_a_run_killed_while_it_is_put_in_place_is_whole_on_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Wherever the kill comes, either the result is there or the checkpoint is."""
    module, target = {"replace": os, "rmtree": shutil}[at], tmp_path / "out"
    real = getattr(module, at)

    def killed(path: str | Path, *more: Any, **named: Any) -> None:
        if Path(path).is_dir():
            raise Ended
        real(path, *more, **named)

    monkeypatch.setattr(module, at, killed)
    with working_for("job"), pytest.raises(Ended):
        _run_to_the_end(target)
    checkpoint = tmp_path / "out.partial" / RUN / "checkpoints" / "step-1"
    assert is_of_job(target, "job") == (at == "rmtree")
    assert is_of_job(target, "job") or checkpoint.exists()


def _run_to_the_end(target: Path) -> None:
    with run_folder(str(target), overwrite=False, resume=False) as folder:
        (folder / RUN / "checkpoints" / "step-1").mkdir(parents=True)
        (folder / RESULT).write_text("{}")


def test_a_finished_run_is_tidied_by_the_attempt_that_finds_it(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with working_for("job"), run_folder(str(target), overwrite=False, resume=False) as folder:
        (folder / RESULT).write_text('{"steps": 3}')
    (target / RUN / "checkpoints").mkdir()
    (target / RUN / "lock").touch()
    assert perform("tune", {"to": str(target)}, "job", ignore) == {"steps": 3}
    assert {path.name for path in (target / RUN).iterdir()} == {"job"}
