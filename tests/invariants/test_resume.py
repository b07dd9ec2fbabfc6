"""A run that is killed, again and again, ends as one that was not: the same weights and journal, bit for bit."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from outcrop.core.errors import JobFailed, UsageError
from outcrop.core.events import Event, StopRequested
from tests.support.small_run import run, run_in_child

FULL = {"dropout": 0.1, "checkpoint_minutes": 0}
LORA = {"method": "lora", "lora_dropout": 0.1, "learning_rate": 2e-2, "checkpoint_minutes": 0}

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["tests.support.small_run"])


def attempt(folder: Path, settings: dict[str, Any], kill_after: int | None, pause: float = 0.0) -> Any:
    """Run in a process of its own; kill -9 it `pause` seconds after that many events. Returns its last message."""
    receiver, sender = forkserver.Pipe(duplex=False)
    child = forkserver.Process(target=run_in_child, args=(str(folder), sender, settings))
    child.start()
    sender.close()
    message, count = None, 0
    try:
        while kill_after is None or count < kill_after:
            message, count = receiver.recv(), count + 1
    except EOFError:
        kill_after = None
    if kill_after is not None:
        time.sleep(pause)
        child.kill()
    child.join()
    receiver.close()
    assert child.exitcode == (0 if kill_after is None else -9)
    return message


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "kills"), [(FULL, 20), (LORA, 6)], ids=["full", "LoRA"])
def test_killed_at_random_equals_uninterrupted(settings: dict[str, Any], kills: int, tmp_path: Path) -> None:
    whole = attempt(tmp_path / "whole", settings, None)
    assert whole[0] == "early stopping"
    assert 0 < whole[1] < whole[2]
    rng, killed = random.Random(0), tmp_path / "killed"
    for _ in range(kills):
        attempt(killed, settings, kill_after=rng.randint(2, 7), pause=rng.uniform(0, 0.01))
    assert list((killed / "checkpoints").glob("step-*"))
    assert attempt(killed, settings, None) == whole
    assert (killed / "journal.jsonl").read_bytes() == (tmp_path / "whole" / "journal.jsonl").read_bytes()


class Killed(Exception):
    """Stands for the end of the process."""


def until(step: int) -> Callable[[Event], None]:
    """A listener that ends the run when this step has been checkpointed."""

    def listen(event: Event) -> None:
        if event["event"] == "checkpoint" and event["step"] == step:
            raise Killed

    return listen


def stopped_at(step: int, folder: Path, **settings: Any) -> Path:
    """A folder whose newest checkpoint is of this step. Returns the folder of that checkpoint."""
    with pytest.raises(Killed):
        run(folder, until(step), checkpoint_minutes=0, **settings)
    return folder / "checkpoints" / f"step-{step:08d}"


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "weights cut short": lambda newest: truncate(newest / "tensors.safetensors"),
    "one bit of the weights": lambda newest: flip(newest / "tensors.safetensors"),
    "state cut short": lambda newest: truncate(newest / "state.json"),
    "manifest cut short": lambda newest: truncate(newest / "manifest.json"),
    "no manifest": lambda newest: (newest / "manifest.json").unlink(),
    "no weights": lambda newest: (newest / "tensors.safetensors").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(damage: Callable[[Path], None], tmp_path: Path) -> None:
    outcome, weights = run(tmp_path / "whole", epochs=2)
    damage(stopped_at(7, tmp_path / "killed", epochs=2))
    events: list[Event] = []
    again, resumed = run(tmp_path / "killed", events.append, epochs=2)
    assert torch.equal(resumed, weights)
    assert (again.best_step, again.before, again.after) == (outcome.best_step, outcome.before, outcome.after)
    assert [event["message"] for event in events if event["event"] == "warning"] == [
        "step-00000007 is incomplete and was passed over."
    ]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [6]
    assert (tmp_path / "killed" / "journal.jsonl").read_bytes() == (tmp_path / "whole" / "journal.jsonl").read_bytes()


def test_with_no_whole_checkpoint_the_run_begins_anew(tmp_path: Path) -> None:
    _, weights = run(tmp_path / "whole", epochs=1)
    stopped_at(3, tmp_path / "killed", epochs=1)
    for checkpoint in (tmp_path / "killed" / "checkpoints").iterdir():
        truncate(checkpoint / "state.json")
    events: list[Event] = []
    _, again = run(tmp_path / "killed", events.append, epochs=1)
    assert [event["event"] for event in events][:3] == ["warning", "warning", "evaluation"]
    assert torch.equal(again, weights)


def test_a_half_written_checkpoint_does_not_count_and_goes(tmp_path: Path) -> None:
    newest = stopped_at(4, tmp_path, epochs=1)
    newest.rename(newest.with_name(".step-00000004.partial"))
    events: list[Event] = []
    run(tmp_path, events.append, epochs=1, checkpoint_minutes=0)
    assert [event["step"] for event in events if event["event"] == "resumed"] == [3]
    assert sorted(path.name for path in newest.parent.iterdir()) == ["step-00000004", "step-00000005"]


def test_the_best_weights_of_before_the_kill_are_those_that_are_kept(tmp_path: Path) -> None:
    """Killed after the best evaluation, before patience ran out; only the resumed run sees the end."""
    settings = {"learning_rate": 3e-2, "epochs": 8}
    outcome, weights = run(tmp_path / "whole", **settings)
    assert outcome.reason == "early stopping"
    stopped_at(outcome.best_step + 4, tmp_path / "killed", **settings)
    again, resumed = run(tmp_path / "killed", **settings)
    assert (again.reason, again.best_step, again.steps) == ("early stopping", outcome.best_step, outcome.steps)
    assert (again.before, again.after, again.message) == (outcome.before, outcome.after, outcome.message)
    assert torch.equal(resumed, weights)


def test_a_best_that_no_checkpoint_knows_does_no_harm(tmp_path: Path) -> None:
    """Killed between keeping new best weights and the checkpoint that says so: the one before still finds its own."""
    settings = {"learning_rate": 3e-2, "epochs": 8}
    outcome, weights = run(tmp_path / "whole", **settings)

    def at_the_best(event: Event) -> None:
        if event["event"] == "evaluation" and event["step"] == outcome.best_step:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", at_the_best, checkpoint_minutes=0, **settings)
    assert len(list((tmp_path / "killed").glob("best-*"))) == 2
    _, resumed = run(tmp_path / "killed", **settings)
    assert torch.equal(resumed, weights)


@pytest.mark.parametrize(
    ("changed", "name"), [({"epochs": 3}, "epochs"), ({"seed": 1}, "seed"), ({"dtype": torch.bfloat16}, "dtype")]
)
def test_another_run_is_refused_and_leaves_the_first_as_it_was(
    changed: dict[str, Any], name: str, tmp_path: Path
) -> None:
    stopped_at(4, tmp_path, epochs=2)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(UsageError, match=f"started with other {name}\\."):
        run(tmp_path, **{"epochs": 2, **changed})
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_in_bf16_and_many_micro_batches(tmp_path: Path) -> None:
    settings = {"epochs": 2, "dtype": torch.bfloat16, "micro_batch_tokens": 16}
    _, weights = run(tmp_path / "whole", **settings)
    stopped_at(7, tmp_path / "killed", **settings)
    _, resumed = run(tmp_path / "killed", **settings)
    assert torch.equal(resumed, weights)


def test_time_between_checkpoints_may_change(tmp_path: Path) -> None:
    _, weights = run(tmp_path / "whole", epochs=1)
    assert not (tmp_path / "whole" / "checkpoints").exists()
    stopped_at(4, tmp_path / "killed", epochs=1)
    _, resumed = run(tmp_path / "killed", epochs=1)
    assert torch.equal(resumed, weights)


def test_a_journal_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    stopped_at(4, tmp_path, epochs=1)
    truncate(tmp_path / "journal.jsonl")
    with pytest.raises(JobFailed, match="journal lost its end"):
        run(tmp_path, epochs=1)


@pytest.mark.parametrize("step", [1, 6, 7])
def test_a_run_that_is_asked_to_stop_leaves_a_checkpoint_of_that_step(step: int, tmp_path: Path) -> None:
    def listen(event: Event) -> None:
        if event["event"] == "step" and event["step"] == step:
            raise StopRequested

    outcome, weights = run(tmp_path / "whole", epochs=2)
    with pytest.raises(StopRequested):
        run(tmp_path / "stopped", listen, epochs=2)
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == [f"step-{step:08d}"]
    again, resumed = run(tmp_path / "stopped", epochs=2)
    assert torch.equal(resumed, weights)
    assert (again.best_step, again.steps, again.after) == (outcome.best_step, outcome.steps, outcome.after)
    whole, stopped = ((tmp_path / name / "journal.jsonl").read_bytes() for name in ("whole", "stopped"))
    assert stopped == whole


def test_a_request_to_stop_at_the_last_step_comes_too_late(tmp_path: Path) -> None:
    def listen(event: Event) -> None:
        if event["event"] == "step" and event["step"] == event["steps"]:
            raise StopRequested

    outcome, _ = run(tmp_path, listen, epochs=1)
    assert outcome.reason == "finished"


def test_smaller_micro_batches_may_go_on_with_the_run(tmp_path: Path) -> None:
    _, weights = run(tmp_path / "whole", epochs=2)
    stopped_at(7, tmp_path / "killed", epochs=2)
    _, resumed = run(tmp_path / "killed", epochs=2, micro_batch_tokens=16)
    assert torch.allclose(resumed, weights, atol=1e-4)
