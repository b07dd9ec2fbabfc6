"""Progress on the terminal: a live picture where lines can be redrawn, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from outcrop.cli import event_text
from outcrop.cli.chart import sparkline
from outcrop.cli.console import is_live, visible
from outcrop.cli.training_panel import TrainingPanel
from outcrop.core.events import Event

Clock = Callable[[], float]
Kind = type[BaseException] | None

REFRESHES_PER_SECOND = 4
PLAIN_INTERVAL_S = 5.0
BAR = 30
INDENT = (0, 0, 0, 2)


class Progress(ABC):
    """A listener that shows events on a console; a context manager around the work it listens to.

    It keeps what both forms need: when the work and its stage began, and the state of the training.
    """

    def __init__(self, console: Console, *, verbose: bool = False, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.verbose = verbose
        self._clock = clock
        self._began = self._stage_began = clock()
        self._stage = ""
        self.training = TrainingPanel()
        self._handlers: dict[str, Callable[[Event], None]] = {
            "stage": self.on_stage,
            "progress": self.on_progress,
            "resolved": self.on_resolved,
            "estimate": lambda event: self.say(event_text.estimate_line(event)),
            "step": self.on_step,
            "evaluation": self.on_evaluation,
            "checkpoint": self.on_checkpoint,
            "resumed": lambda event: self.say(event_text.resumed_line(event)),
            "warning": lambda event: self.say(event_text.warning_line(event)),
            "stopped": lambda event: self.say(event_text.stopped_line(event)),
            "finished": self.on_finished,
            "output": lambda event: self.say(Text(visible(event["line"]))),
            "job": lambda event: self.say(event_text.job_line(event)),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(event["event"])
        if handler is None:
            self.say(event_text.unknown_line(event))
        else:
            handler(event)

    @abstractmethod
    def say(self, line: RenderableType) -> None:
        """Print something that stays."""

    def on_stage(self, event: Event) -> None:
        """A new part of the work begins."""
        self._stage, self._stage_began = visible(event["title"]), self._clock()

    @abstractmethod
    def on_progress(self, event: Event) -> None:
        """Rows of the stage are done."""

    def on_resolved(self, event: Event) -> None:
        """Say every parameter that is not a plain default, and where it came from."""
        for part in event_text.parameters(event, self.verbose):
            self.say(part)

    def on_step(self, event: Event) -> None:
        """An optimizer step was made."""
        self.training.on_step(event)

    def on_evaluation(self, event: Event) -> None:
        """The validation rows were measured."""
        self.training.on_evaluation(event)
        self.say(event_text.evaluation_line(event))

    def on_checkpoint(self, event: Event) -> None:
        """A checkpoint was written."""
        self.training.on_checkpoint(event)

    def on_finished(self, event: Event) -> None:
        """Training is over."""
        self.training = TrainingPanel()
        self.say(event_text.finished_line(event))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self._began


class PlainProgress(Progress):
    """One line for each thing that happens; steps and rows at most every 5 seconds. For files and simple terminals."""

    def __init__(self, console: Console, *, verbose: bool = False, clock: Clock = time.monotonic) -> None:
        super().__init__(console, verbose=verbose, clock=clock)
        self._last_line = self._began

    def say(self, line: RenderableType) -> None:
        stamp = f"{event_text.duration(self.elapsed_s):>7}  "
        if isinstance(line, Text):
            self.console.print(Text.assemble((stamp, "dim"), line), soft_wrap=True)
        else:
            self.console.print(Padding(line, (0, 0, 0, len(stamp)), expand=False))

    def on_stage(self, event: Event) -> None:
        super().on_stage(event)
        self.say(Text(self._stage, "bold"))

    def on_progress(self, event: Event) -> None:
        if self._is_due():
            self.say(event_text.progress_line(event))

    def on_step(self, event: Event) -> None:
        super().on_step(event)
        if self._is_due():
            self.say(event_text.step_line(event))

    def on_checkpoint(self, event: Event) -> None:
        super().on_checkpoint(event)
        if self._is_due():
            self.say(event_text.checkpoint_line(event))

    def on_finished(self, event: Event) -> None:
        losses = [point.y for point in self.training.losses.points()]
        if losses:
            first, last = event_text.measured(losses[0]), event_text.measured(losses[-1])
            self.say(Text(f"loss {first} {sparkline(losses, 40)} {last}"))
        super().on_finished(event)

    def _is_due(self) -> bool:
        now = self._clock()
        if now - self._last_line < PLAIN_INTERVAL_S:
            return False
        self._last_line = now
        return True


class LiveProgress(Progress):
    """What is done as lines that stay, what is going on redrawn below them four times a second.

    A stage that has nothing to say ends as one line with its time; any other is a heading over its lines.
    """

    def __init__(self, console: Console, *, verbose: bool = False, clock: Clock = time.monotonic) -> None:
        super().__init__(console, verbose=verbose, clock=clock)
        self._spinner = Spinner("dots", style="cyan")
        self._rows: Event = {}
        self._headed = False
        self._training_began = self._began
        self._live = Live(
            self, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()
        self._keep_picture("Trained" if kind is None else "Broken off")
        self._close_stage(Text("✓", "green") if kind is None else Text("✗", "red"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is going on now: drawn by the refreshing thread."""
        training, rows = self.training, self._rows  # the working thread may replace them meanwhile
        if training.begun:
            yield Padding(self._picture(training), INDENT)
        elif self._stage:
            yield self._stage_line(rows)

    def say(self, line: RenderableType) -> None:
        if self._stage and not self._headed:
            self._headed = True
            self.console.print(Text.assemble(("▸ ", "cyan"), (self._stage, "bold")))
        self.console.print(Padding(line, INDENT, expand=False))

    def on_stage(self, event: Event) -> None:
        self._close_stage(Text("✓", "green"))
        super().on_stage(event)

    def on_progress(self, event: Event) -> None:
        self._rows = event

    def on_step(self, event: Event) -> None:
        if not self.training.begun:
            self._training_began = self._clock()
        super().on_step(event)

    def on_finished(self, event: Event) -> None:
        self._keep_picture("Trained")
        super().on_finished(event)

    def _picture(self, training: TrainingPanel, end: str = "") -> RenderableType:
        return training.draw(self._clock() - self._training_began, self.console.width - 2, end)

    def _keep_picture(self, end: str) -> None:
        """Leave the last picture of the training among the lines that stay."""
        if self.training.begun:
            self.say(self._picture(self.training, end))

    def _stage_line(self, rows: Event) -> RenderableType:
        grid = Table.grid(padding=(0, 1, 0, 0))
        cells: list[RenderableType] = [self._spinner, Text(self._stage, "bold")]
        if rows:
            done, total = rows["done"], rows["total"]
            cells += [ProgressBar(total=total, completed=done, width=BAR)] if total else []
            cells.append(Text(f"{done:,}/{total:,}" if total else f"{done:,}"))
        cells.append(Text(event_text.duration(self._clock() - self._stage_began), "dim"))
        if rows.get("eta_s") is not None:
            cells.append(Text(f"{event_text.duration(rows['eta_s'])} left", "dim"))
        grid.add_row(*cells)
        return grid

    def _close_stage(self, mark: Text) -> None:
        if self._stage:
            took = (event_text.duration(self._clock() - self._stage_began), "dim")
            indent, title = ("  ", "") if self._headed else ("", f"{self._stage}  ")
            self.console.print(Text.assemble(indent, mark, " ", title, took))
        self._stage, self._rows, self._headed = "", {}, False


def progress(console: Console, *, verbose: bool = False) -> Progress:
    """The form of progress that fits a console."""
    return (LiveProgress if is_live(console) else PlainProgress)(console, verbose=verbose)
