"""The answers of two models side by side: to one prompt, or turn by turn of two conversations."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import Output, is_live, print_json, result_console, spoken_lines, visible
from outcrop.cli.workflows import load
from outcrop.data.records import Message


class Comparison:
    """Two models that are asked the same."""

    def __init__(self, models: tuple[str, str], sampling: dict[str, Any], system: str = "") -> None:
        self._models, self._sampling = models, sampling
        self._system = [Message("system", system)] if system else []

    def run(self, prompt: str | None, output: Output) -> None:
        """Answer the prompt (- reads it from standard input), or without one hold two conversations."""
        if prompt is None:
            self._talk()
            return
        text = sys.stdin.read() if prompt == "-" else prompt
        if output == "json":
            answers = [load("generate")(model, text, **self._sampling) for model in self._models]
            pairs = zip(self._models, answers, strict=True)
            print_json({"answers": [{"model": model, **asdict(answer)} for model, answer in pairs]})
        else:
            self._show([load("stream")(model, text, **self._sampling) for model in self._models])

    def _talk(self) -> None:
        """Each model sees its own answers of the turns before."""
        stream = load("stream")
        histories = [list(self._system) for _ in self._models]
        for line in spoken_lines():
            for history in histories:
                history.append(Message("user", line))
            asked = zip(self._models, histories, strict=True)
            answers = self._show([stream(model, history, **self._sampling) for model, history in asked])
            for history, answer in zip(histories, answers, strict=True):
                history.append(Message("assistant", answer))

    def _show(self, streams: Sequence[Iterable[str]]) -> list[str]:
        """Two columns that grow in a terminal; else one answer below the other, under the names of the models."""
        answers = [""] * len(streams)
        console = result_console()
        if not is_live(console):
            for at, (model, pieces) in enumerate(zip(self._models, streams, strict=True)):
                answers[at] = "".join(pieces)
                print(f"{model}:\n{answers[at]}\n", flush=True)
            return answers
        with Live(self._columns(answers), console=console, auto_refresh=False) as live:
            for pieces in zip_longest(*streams, fillvalue=""):
                answers = [answer + piece for answer, piece in zip(answers, pieces, strict=True)]
                live.update(self._columns(answers), refresh=True)
        return answers

    def _columns(self, answers: Sequence[str]) -> Table:
        table = Table(expand=True)
        for model in self._models:
            table.add_column(Text(model), ratio=1, overflow="fold")
        table.add_row(*(Text(visible(answer)) for answer in answers))
        return table
