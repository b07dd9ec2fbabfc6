"""The words of progress events: each kind as one line of text, the same in live and in plain form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from outcrop.cli.console import visible
from outcrop.core.events import Event

DEFAULT = "default"
"""The source of a value nobody chose."""


def duration(seconds: float) -> str:
    """Seconds as 0:07, 12:03 or 1:02:03."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def number(value: object) -> str:
    """A value in four digits where it is a fraction, with thousands separated where it is a count."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return "–" if value is None else visible(str(value))
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:,.0f}"


def measured(value: float | None) -> str:
    """A measured value in always four digits, so that a column of them does not flicker."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:#.4g}".removesuffix(".") if abs(value) >= 1e-3 else f"{value:.2e}"


def step_line(event: Event) -> Text:
    """Where training is, on one line."""
    parts = [
        f"step {event['step']:,}/{event['steps']:,}",
        f"epoch {epoch(event)}",
        f"loss {measured(event['loss'])}",
        f"learning rate {measured(event['learning_rate'])}",
        f"{event['tokens_per_s']:,.0f} tokens/s",
        "" if event.get("eta_s") is None else f"{duration(event['eta_s'])} left",
    ]
    return Text(" · ".join(part for part in parts if part))


def evaluation_line(event: Event) -> Text:
    """The result of an evaluation on the validation rows, with a star for the best so far."""
    line = Text(f"step {event['step']:,} · epoch {epoch(event)}" if event["step"] else "before training")
    line.append(f" · validation loss {measured(event['validation_loss'])}")
    if event.get("metric") and event.get("metric_value") is not None:
        line.append(f" · {event['metric']} ").append(measured(event["metric_value"]), "bold")
    return line.append(" ★ best", "bold yellow") if event.get("best") and event["step"] else line


def progress_line(event: Event) -> Text:
    """How many rows of a stage are done."""
    done, total = event["done"], event["total"]
    left = "" if event.get("eta_s") is None else f", {duration(event['eta_s'])} left"
    share = f" of {total:,} ({done / total:.0%}{left})" if total else ""
    rate = "" if event.get("tokens_per_s") is None else f" · {event['tokens_per_s']:,.0f} tokens/s"
    hits = f" · {event['cache_hits']:,} from the cache" if event.get("cache_hits") else ""
    return Text(f"{visible(event['title'])}: {done:,}{share}{rate}{hits}")


def estimate_line(event: Event) -> Text:
    """What training will take, from timing real steps."""
    line = Text.assemble("Estimate: ", (minutes(event["minutes"]), "bold"), f" for {event['steps']:,} steps")
    line.append(f" ({event['step_seconds']:.3g} s each)")
    return line.append(_peak_memory(event))


def minutes(value: float) -> str:
    """Minutes in words: seconds below one and a half, hours from two on."""
    if value < 1.5:
        return f"{value * 60:.0f} s"
    return f"{value:.1f} min" if value < 120 else f"{value / 60:.1f} h"


def epoch(event: Event) -> str:
    """The epoch of an event: 3 where it is counted, 2.31 where it is measured."""
    return f"{event['epoch']:.2f}" if isinstance(event["epoch"], float) else f"{event['epoch']}"


def resumed_line(event: Event) -> Text:
    """Training goes on from a checkpoint."""
    return Text(f"Resumed from the checkpoint at step {event['step']:,}.")


def checkpoint_line(event: Event) -> Text:
    """A checkpoint was written."""
    return Text(f"checkpoint at step {event['step']:,}", "dim")


def warning_line(event: Event) -> Text:
    """Something to know, in yellow."""
    message = visible(event["message"])
    return Text.assemble(("warning", "bold yellow"), ": ", (message, "yellow"), (f" [{event['code']}]", "dim"))


def stopped_line(event: Event) -> Text:
    """Why training ended, and which weights were kept."""
    done = (
        f"All {event['step']:,} steps are done"
        if event["reason"] == "finished"
        else f"Stopped at step {event['step']:,}"
    )
    reason = "" if event["reason"] == "finished" else f": {visible(event['reason'])}"
    parts = [f"{done}{reason}.", visible(event.get("message", ""))]
    parts += [] if event.get("best_step") is None else [f"The weights of step {event['best_step']:,} are kept."]
    return Text(" ".join(part for part in parts if part))


def job_line(event: Event) -> Text:
    """A job changed its state."""
    reason = f" ({event['reason']})" if event.get("reason") else ""
    return Text(f"Attempt {event['attempt']}: {event['state']}{reason}.", "bold")


def finished_line(event: Event) -> Text:
    """What training took, and how far off the estimate was."""
    line = Text(f"Trained {event['steps']:,} steps in {minutes(event['minutes'])}{_peak_memory(event)}")
    off = event.get("estimate_error_percent")
    if off is None:
        return line.append(".")
    return line.append(f"; {abs(off):.0f} % {'longer' if off > 0 else 'shorter'} than estimated.", "dim")


def _peak_memory(event: Event) -> str:
    memory = event.get("peak_memory_gb")
    return "" if memory is None else f", peak memory {memory:.2g} GB"


def unknown_line(event: Event) -> Text:
    """An event of a kind this file does not know: shown as it is, so that nothing is silent."""
    fields = " ".join(f"{name}={visible(str(value))}" for name, value in event.items() if name != "event")
    return Text(f"{event['event']} {fields}", "dim")


def parameters(event: Event, verbose: bool) -> list[Text | Table]:
    """The resolved parameters: those that somebody or something chose, then how many are at their defaults."""
    rows: Sequence[Mapping[str, Any]] = event["parameters"]
    chosen = [row for row in rows if row["source"] != DEFAULT]
    defaults = [row for row in rows if row["source"] == DEFAULT]
    shown = [*chosen, *defaults] if verbose else chosen
    parts: list[Text | Table] = [_parameter_table(shown)] if shown else []
    if defaults and not verbose:
        count = f"{len(defaults)} more" if chosen else f"All {len(defaults)}"
        parts.append(Text(f"{count} at their defaults (--verbose shows them)", "dim"))
    return parts


def _parameter_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for row in rows:
        is_default = row["source"] == DEFAULT
        name = Text(row["name"], "dim" if is_default else "cyan")
        value = Text(number(row["value"]), "dim" if is_default else "bold")
        table.add_row(name, value, Text(row["source"], "dim"))
    return table
