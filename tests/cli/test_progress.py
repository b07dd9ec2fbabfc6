"""Progress on a terminal and off it, from a scripted stream of events."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from rich.console import Console

from outcrop.cli.event_text import duration, measured, minutes, number
from outcrop.cli.progress import PLAIN_INTERVAL_S, LiveProgress, PlainProgress, Progress, progress
from outcrop.core import events
from outcrop.core.events import Event

STEPS, PER_EPOCH, STEP_S = 120, 40, 1.0

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step(number: int, loss: float) -> Event:
    return {
        "event": "step", "step": number, "steps": STEPS, "epoch": number / PER_EPOCH, "loss": loss,
        "learning_rate": 1e-3, "gradient_norm": 0.8, "tokens_per_s": 4210.0, "eta_s": (STEPS - number) * STEP_S,
    }  # fmt: skip


def script() -> Iterator[Event]:
    """A whole job: two quick stages, a training with three evaluations, a stop and an end."""
    yield {"event": "stage", "title": "Checking rows.jsonl"}
    yield {"event": "progress", "title": "rows", "done": 750, "total": 1500}
    yield {"event": "stage", "title": "Training"}
    yield {"event": "resolved", "parameters": [
        {"name": "learning_rate", "value": 0.003, "source": "base model"},
        {"name": "epochs", "value": 3, "source": "flag"},
        {"name": "dropout", "value": 0.0, "source": "default"},
        {"name": "seed", "value": 0, "source": "default"},
    ]}  # fmt: skip
    yield {"event": "estimate", "minutes": 2.0, "peak_memory_gb": 0.41, "steps": STEPS, "step_seconds": STEP_S}
    yield {"event": "warning", "code": "short-answers", "message": "3 answers are a single token."}
    for done in range(1, STEPS + 1):
        yield step(done, 0.3 + 4 * math.exp(-done / 20))
        if done % PER_EPOCH == 0:
            yield {
                "event": "evaluation", "step": done, "epoch": done / PER_EPOCH, "validation_loss": 1.0 / done,
                "metric": "exact_match", "metric_value": 0.5 + done / 300, "best": done < STEPS,
            }  # fmt: skip
    yield {"event": "checkpoint", "step": STEPS}
    yield {
        "event": "stopped", "step": STEPS, "best_step": 80, "reason": "early stopping",
        "message": "No improvement in 3 evaluations.",
    }  # fmt: skip
    yield {"event": "finished", "steps": STEPS, "minutes": 2.1, "peak_memory_gb": 0.43, "estimate_error_percent": 5.0}
    yield {"event": "stage", "title": "Testing"}


def console(*, terminal: bool, width: int = 100, **options) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, highlight=False, **options)


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def play(listener: Progress, clock: Clock, stream: Iterator[Event]) -> None:
    with listener:
        for event in stream:
            clock.now += STEP_S if event["event"] == "step" else 0.1
            listener(event)


def plain(verbose: bool = False) -> str:
    to, clock = console(terminal=False), Clock()
    play(PlainProgress(to, verbose=verbose, clock=clock), clock, script())
    return written(to)


def live(verbose: bool = False, width: int = 120, **options) -> str:
    to, clock = console(terminal=True, width=width, **options), Clock()
    play(LiveProgress(to, verbose=verbose, clock=clock), clock, script())
    return written(to)


@pytest.mark.parametrize("text", [plain, live])
def test_everything_that_matters_is_said(text) -> None:
    shown = ESCAPES.sub("", text())
    for words in (
        "Checking rows.jsonl", "Training", "Testing", "learning_rate", "0.003", "base model", "flag",
        "2 more at their defaults", "2.0 min for 120 steps", "peak memory 0.41 GB", "3 answers are a single token.",
        "step 40 · epoch 1.00 · validation loss 0.02500 · exact_match 0.6333 ★ best",
        "Stopped at step 120: early stopping. No improvement in 3 evaluations. The weights of step 80 are kept.",
        "Trained 120 steps in 2.1 min", "5 % longer than estimated",
    ):  # fmt: skip
        assert words in shown
    assert "dropout" not in shown
    assert "step 120 · epoch 3.00 · validation loss 0.008333 · exact_match 0.9000\n" in shown


@pytest.mark.parametrize("text", [plain, live])
def test_verbose_shows_defaults_too(text) -> None:
    shown = ESCAPES.sub("", text(verbose=True))
    assert re.search(r"dropout +0 +default", shown)
    assert "more at their defaults" not in shown


def test_plain_lines_have_no_escape_codes_and_a_time() -> None:
    lines = plain().splitlines()
    assert not any("\x1b" in line for line in lines)
    assert all(re.match(r" +\d+:\d\d  \S| {9}", line) for line in lines)


def test_plain_steps_come_at_most_every_five_seconds() -> None:
    stamps = [re.match(r" +(\d+):(\d\d)  step \d+/", line) for line in plain().splitlines()]
    seconds = [60 * int(found[1]) + int(found[2]) for found in stamps if found]
    assert len(seconds) == pytest.approx(STEPS * STEP_S / PLAIN_INTERVAL_S, abs=2)
    assert all(later - earlier >= PLAIN_INTERVAL_S - 1 for earlier, later in pairwise(seconds))


def test_plain_ends_with_the_curve_of_the_loss() -> None:
    assert re.search(r"loss 4\.\d+ █[▁▂▃▄▅▆▇█]+▁ 0\.3", plain())


def test_stages_end_with_their_time() -> None:
    shown = ESCAPES.sub("", live())
    assert "✓ Checking rows.jsonl  0:00" in shown
    assert "▸ Training" in shown
    assert re.search(r"✓ 2:0\d", shown)


def test_the_live_picture_shows_where_training_is() -> None:
    to, clock = console(terminal=True), Clock()
    listener = LiveProgress(to, clock=clock)
    for event in script():
        listener(event)
        if event["event"] == "step" and event["step"] == 60:
            break
    to.file = io.StringIO()
    to.print(listener)
    shown = ESCAPES.sub("", written(to))
    for words in (
        "epoch 1.50", "50% · step 60/120 · 1:00 left", "loss", "0.4991", "validation loss", "0.02500", "★",
        "exact_match", "0.6333", "learning rate", "0.001000", "tokens/s", "4,210", "log",
    ):  # fmt: skip
        assert words in shown
    assert re.search("[⠁-⣿]{3}", shown)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_picture_fits_the_terminal(width: int) -> None:
    to, clock = console(terminal=True, width=width), Clock()
    listener = LiveProgress(to, clock=clock)
    heights = set()
    for event in script():
        if event["event"] == "finished":
            break
        listener(event)
        if event["event"] in ("step", "evaluation"):
            to.file = io.StringIO()
            to.print(listener)
            lines = ESCAPES.sub("", written(to)).splitlines()
            assert all(len(line) <= width for line in lines)
            heights.add(len(lines))
    assert len(heights) <= (1 if width >= 80 else 4), "the picture jumps"


def test_no_colour_where_none_is_wanted() -> None:
    """Moving the cursor is not colour."""
    codes = re.findall(r"\x1b\[([0-9;]*)m", live(no_color=True))
    colours = [code for code in codes if re.search(r"(^|;)(3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8)", code)]
    assert codes
    assert not colours


def test_the_cursor_comes_back() -> None:
    shown = live()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_failure_keeps_the_picture_and_marks_the_stage() -> None:
    def broken() -> Iterator[Event]:
        for event in script():
            if event["event"] == "evaluation":
                raise RuntimeError("broken")
            yield event

    to, clock = console(terminal=True), Clock()
    with pytest.raises(RuntimeError, match="broken"):
        play(LiveProgress(to, clock=clock), clock, broken())
    shown = ESCAPES.sub("", written(to))
    assert "Trained" not in shown
    assert "Broken off · epoch 1.00" in shown
    assert re.fullmatch(r"  ✗ 0:\d\d", shown.splitlines()[-1])


SAID = [
    ({"event": "resumed", "step": 1200}, "Resumed from the checkpoint at step 1,200."),
    (
        {"event": "stopped", "step": 9, "best_step": 6, "reason": "finished"},
        "All 9 steps are done. The weights of step 6 are kept.",
    ),
    ({"event": "stopped", "step": 9, "best_step": None, "reason": "time limit"}, "Stopped at step 9: time limit."),
    ({"event": "finished", "steps": 9, "minutes": 0.5}, "Trained 9 steps in 30 s."),
    ({"event": "progress", "title": "Checking", "done": 1000, "total": None}, "Checking: 1,000"),
    (
        {
            "event": "evaluation",
            "step": 0,
            "epoch": 0,
            "validation_loss": 2.5,
            "metric": None,
            "metric_value": None,
            "best": True,
        },
        "before training · validation loss 2.500",
    ),
    (
        {
            "event": "evaluation",
            "step": 7,
            "epoch": 2,
            "validation_loss": 2.5,
            "metric": None,
            "metric_value": None,
            "best": True,
        },
        "step 7 · epoch 2 · validation loss 2.500 ★ best",
    ),
]


@pytest.mark.parametrize(("event", "line"), SAID, ids=lambda value: value if isinstance(value, str) else "")
def test_lines(event: Event, line: str) -> None:
    to, clock = console(terminal=False), Clock()
    listener = PlainProgress(to, clock=clock)
    clock.now = 10
    listener(event)
    assert written(to) == f"   0:10  {line}\n"


def test_every_kind_of_event_is_known() -> None:
    kinds = set(re.findall(r"^    (\w+) +\w", events.__doc__ or "", re.MULTILINE))
    assert {"stage", "step", "finished"} <= kinds
    listener = PlainProgress(console(terminal=False))
    assert kinds <= set(listener._handlers)


def test_an_unknown_event_is_shown_as_it_is() -> None:
    to = console(terminal=False)
    PlainProgress(to)({"event": "surprise", "size": 3})
    assert "surprise size=3" in written(to)


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    to = console(terminal=False)
    listener = PlainProgress(to)
    listener({"event": "stage", "title": "a\x1b[2Jb [red]c"})
    listener({"event": "warning", "code": "x", "message": "\x07ring"})
    assert "\\x1b[2Jb [red]c" in written(to)
    assert "\\x07ring" in written(to)


def test_the_form_follows_the_console() -> None:
    assert isinstance(progress(console(terminal=True, _environ={"TERM": "xterm"})), LiveProgress)
    assert isinstance(progress(console(terminal=False)), PlainProgress)
    assert isinstance(progress(console(terminal=True, _environ={"TERM": "dumb"})), PlainProgress)


@pytest.mark.parametrize("form", [PlainProgress, LiveProgress])
def test_events_cost_next_to_nothing(form: type[Progress]) -> None:
    """Processor time of this thread for each event: far below 0.2 ms."""
    with form(console(terminal=form is LiveProgress)) as listener:
        began = time.thread_time()
        for done in range(5000):
            listener(step(done % STEPS, 1.0 / (done + 1)))
        each_s = (time.thread_time() - began) / 5000
    assert each_s < 0.2e-3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (723, "12:03"), (3723, "1:02:03"), (-3, "0:00")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0.3, "18 s"), (4.2, "4.2 min"), (150, "2.5 h")])
def test_minutes(value: float, text: str) -> None:
    assert minutes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"), (1500, "1,500"), (0.003, "0.003"), (0.8125, "0.8125"), (2e-5, "2e-05"), (31415.9, "31,416"),
        (0.0, "0"), (None, "–"), ("lora", "lora"),
    ],
)  # fmt: skip
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.361, "0.3610"), (4.0, "4.000"), (1234.0, "1234"), (0.0, "0"), (2e-5, "2.00e-05"), (None, "–")],
)
def test_measured_values_have_four_digits(value: float | None, text: str) -> None:
    assert measured(value) == text
