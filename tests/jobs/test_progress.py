"""Steps are thinned out, nothing else is; the order of events stays."""

from __future__ import annotations

from outcrop.jobs.progress import OUTPUT_LINES, EventBuffer


def _step(number: int) -> dict[str, object]:
    return {"event": "step", "step": number, "steps": 100, "loss": 1.0, "eta_s": 2.0}


def test_of_steps_within_a_second_the_first_and_the_newest_stay() -> None:
    now = [0.0]
    buffer = EventBuffer(lambda: now[0])
    for number in range(1, 31):
        buffer.add(_step(number))
        now[0] += 0.1
    kept = [event["step"] for event in buffer.take(last=True).events]
    assert kept[0] == 1
    assert kept[-1] == 30
    assert 3 <= len(kept) <= 5


def test_what_follows_a_step_comes_after_it() -> None:
    buffer = EventBuffer(lambda: 0.0)
    for number in range(1, 4):
        buffer.add(_step(number))
    buffer.add({"event": "checkpoint", "step": 3})
    batch = buffer.take()
    assert [(event["event"], event["step"]) for event in batch.events] == [("step", 1), ("step", 3), ("checkpoint", 3)]
    assert batch.checkpoint
    assert not buffer.take().checkpoint


def test_progress_says_how_far_the_last_stage_is() -> None:
    buffer = EventBuffer()
    buffer.add({"event": "stage", "title": "Training"})
    buffer.add(_step(5))
    buffer.add({"event": "checkpoint", "step": 5})
    assert buffer.take().progress == {
        "title": "Training", "step": 5, "steps": 100, "epoch": None, "loss": 1.0, "eta_s": 2.0, "checkpoint": 5,
    }  # fmt: skip
    buffer.add({"event": "stage", "title": "Measuring"})
    assert buffer.take().progress == {"title": "Measuring", "checkpoint": 5}


def test_a_batch_that_could_not_be_recorded_comes_again_first() -> None:
    buffer = EventBuffer()
    buffer.add({"event": "checkpoint", "step": 1})
    batch = buffer.take()
    buffer.add({"event": "stage", "title": "Measuring"})
    buffer.put_back(batch)
    again = buffer.take()
    assert [event["event"] for event in again.events] == ["checkpoint", "stage"]
    assert again.checkpoint


def test_endless_output_is_cut_and_counted() -> None:
    buffer = EventBuffer()
    for number in range(OUTPUT_LINES + 7):
        buffer.add({"event": "output", "line": str(number)})
    lines = [event["line"] for event in buffer.take(last=True).events]
    assert len(lines) == OUTPUT_LINES + 1
    assert "7 more lines" in lines[-1]
