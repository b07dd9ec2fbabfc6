"""The live picture of a training: how far, how well, how fast."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from outcrop.cli.chart import Curve, History, Scale, chart
from outcrop.cli.event_text import duration, epoch, measured
from outcrop.core.events import Event

WIDTH = 96
HEIGHT = 6
"""Lines of the chart: as many as there can be figures beside it."""
NARROW = 64
"""Below this many columns the figures go under the chart."""
LABEL, VALUE, NOTE = 17, 8, 10
FIGURES = LABEL + VALUE + NOTE + 4
"""Widths of the columns of figures: fixed, so that nothing moves while numbers change."""
LOSS, VALIDATION = "cyan", "yellow"


class TrainingPanel:
    """What the events of one training say, ready to be drawn at any moment."""

    def __init__(self) -> None:
        self.losses = History()
        self.validations = History()
        self._step: Event = {}
        self._evaluation: Event = {}
        self._best: Event = {}
        self._checkpoint: int | None = None

    @property
    def begun(self) -> bool:
        """Whether a step was reported."""
        return bool(self._step)

    def on_step(self, event: Event) -> None:
        """Take in a step."""
        self._step = event
        self.losses.add(event["step"], event["loss"])

    def on_evaluation(self, event: Event) -> None:
        """Take in an evaluation."""
        self._evaluation = event
        if event.get("validation_loss") is not None:
            self.validations.add(event["step"], event["validation_loss"])
        if event.get("best"):
            self._best = event

    def on_checkpoint(self, event: Event) -> None:
        """Take in that a checkpoint was written."""
        self._checkpoint = event["step"]

    def draw(self, elapsed_s: float, available: int, end: str = "") -> RenderableType:
        """The panel, at most `available` columns wide. end: how training ended, then nothing says what is left."""
        width = min(WIDTH, available)
        inner = width - 4
        rows = [] if end else [self._bar(inner), Text()]
        title = Text.assemble((end or "Training", "bold"), f" · epoch {epoch(self._step)}")
        kept = "" if self._checkpoint is None else f"checkpoint at step {self._checkpoint:,} · "
        return Panel(
            Group(*rows, self._body(inner, ended=bool(end))),
            title=title, title_align="left", width=width, border_style="dim",
            subtitle=Text(f"{kept}{duration(elapsed_s)}", "dim"), subtitle_align="right",
        )  # fmt: skip

    def _bar(self, width: int) -> RenderableType:
        step, steps = self._step["step"], max(self._step["steps"], 1)
        eta = self._step.get("eta_s")
        left = "" if eta is None else f" · {duration(eta)} left"
        label = Text(f" {step / steps:4.0%} · step {step:,}/{steps:,}{left}", no_wrap=True)
        grid = Table.grid(expand=False)
        grid.add_row(ProgressBar(total=steps, completed=step, width=max(8, width - label.cell_len)), label)
        return grid

    def _body(self, width: int, *, ended: bool) -> RenderableType:
        figures = self._figures(ended)
        if width < NARROW:
            return Group(self._chart(width), Text(), figures)
        grid = Table.grid(padding=(0, 3, 0, 0))
        grid.add_row(self._chart(width - FIGURES - 3), figures)
        return grid

    def _chart(self, width: int) -> RenderableType:
        losses, validations = self.losses.points(), self.validations.points()
        if not losses:
            return Text("no finite loss yet", "dim")
        scale = Scale.of(point.y for point in (*losses, *validations))
        labels = [measured(scale.high), *[""] * (HEIGHT - 2), measured(scale.low)]
        labels[HEIGHT // 2] = "log" if scale.logarithmic else ""
        margin = max(len(label) for label in labels)
        curves = [Curve(losses, LOSS), Curve(validations, VALIDATION, dotted=True)]
        lines = chart(curves, width - margin - 2, HEIGHT)
        axis = [f"{label:>{margin}} {'┤' if label and label != 'log' else '│'}" for label in labels]
        return Group(*(Text.assemble((left, "dim"), line) for left, line in zip(axis, lines, strict=True)))

    def _figures(self, ended: bool) -> RenderableType:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, width=LABEL)
        grid.add_column(no_wrap=True, width=VALUE, justify="right")
        grid.add_column(no_wrap=True, width=NOTE)
        for label, value, note in self._figure_rows(ended):
            grid.add_row(label, value, note)
        return grid

    def _figure_rows(self, ended: bool) -> Iterator[tuple[Text, Text, Text]]:
        step, evaluation, best = self._step, self._evaluation, self._best
        yield Text.assemble(("━ ", LOSS), "loss"), Text(measured(step["loss"]), "bold"), Text()
        if evaluation:
            star = Text("★", "bold yellow") if evaluation.get("best") else Text()
            value = Text(measured(evaluation["validation_loss"]), "bold")
            yield Text.assemble(("┅ ", VALIDATION), "validation loss"), value, star
            if evaluation.get("metric"):
                value = Text(measured(evaluation["metric_value"]), "bold")
                yield Text(f"  {evaluation['metric']}"), value, star
        if best and best is not evaluation:
            yield Text("  best", "dim"), Text(_result(best), "dim"), Text(f"step {best['step']:,}", "dim")
        if not ended:
            yield Text("  learning rate"), Text(measured(step["learning_rate"])), Text()
        yield Text("  tokens/s"), Text(f"{step['tokens_per_s']:,.0f}"), Text()


def _result(evaluation: Event) -> str:
    value = evaluation.get("metric_value")
    return measured(evaluation["validation_loss"] if value is None else value)
