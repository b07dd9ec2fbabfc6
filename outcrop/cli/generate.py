"""`outcrop generate`: one answer, or a conversation, from a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from outcrop.cli.classifying import ClassifyOption, LabelOption, check_labels, print_labels
from outcrop.cli.comparing import Comparison
from outcrop.cli.console import Output, message_console, print_json, spoken_lines, visible
from outcrop.cli.options import MODEL_WORDS, OutputOption
from outcrop.cli.sampling import (
    DEFAULTS,
    BiasOption,
    MinPOption,
    PenaltyOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    TokensOption,
    TopKOption,
    TopPOption,
    biases,
)
from outcrop.cli.workflows import load
from outcrop.core.errors import UsageError, UserError
from outcrop.data.records import Message

ModelOption = Annotated[str, typer.Option("--model", metavar="MODEL", help=f"The model that answers: {MODEL_WORDS}.")]
CompareOption = Annotated[
    str | None,
    typer.Option("--compare", metavar="MODEL2", help=f"A second model that answers the same, beside: {MODEL_WORDS}."),
]
PromptOption = Annotated[
    str | None, typer.Option("--prompt", metavar="TEXT", help="The prompt; - reads it from standard input.")
]
ChatOption = Annotated[bool, typer.Option("--chat", help="Talk with the model, a line at a time; Ctrl-D ends it.")]
SystemOption = Annotated[str, typer.Option("--system", metavar="TEXT", help="The system message of a --chat.")]
NoLookupOption = Annotated[
    bool,
    typer.Option("--no-lookup", help="Ask the model even where an answer was published (outcrop batch --publish)."),
]


def generate(
    *,
    model: ModelOption,
    compare: CompareOption = None,
    prompt: PromptOption = None,
    chat: ChatOption = False,
    system: SystemOption = "",
    classify: ClassifyOption = False,
    label: LabelOption = None,
    max_new_tokens: TokensOption = DEFAULTS.max_new_tokens,
    temperature: TemperatureOption = DEFAULTS.temperature,
    top_k: TopKOption = DEFAULTS.top_k,
    top_p: TopPOption = DEFAULTS.top_p,
    min_p: MinPOption = DEFAULTS.min_p,
    repetition_penalty: PenaltyOption = DEFAULTS.repetition_penalty,
    logit_bias: BiasOption = None,
    seed: SeedOption = DEFAULTS.seed,
    stop: StopOption = None,
    no_lookup: NoLookupOption = False,
    output: OutputOption = "text",
) -> None:
    """Answer a prompt, or hold a conversation.

    Text is printed as it is made; --output json prints the whole answer with its token ids and log-probabilities.
    --compare shows the answers of two models side by side, --classify how likely each label is as the answer.
    """
    _check(prompt, chat, system, output)
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "logit_bias": biases(logit_bias),
        "seed": seed, "stop_strings": tuple(stop or ()),
    }  # fmt: skip
    check_labels(classify, label or (), {"--chat": chat, "--compare": compare, "--no-lookup": no_lookup}, sampling)
    if no_lookup:
        sampling["lookup"] = False
    if compare is not None:
        Comparison((model, compare), sampling, system).run(prompt, output)
        return
    if prompt is None:
        _talk(model, system, sampling)
        return
    text = sys.stdin.read() if prompt == "-" else prompt
    if classify:
        print_labels(model, text, label or (), output)
        return
    if output == "json":
        print_json(asdict(load("generate")(model, text, **sampling)))
    else:
        _print_pieces(load("stream")(model, text, **sampling))


def _check(prompt: str | None, chat: bool, system: str, output: Output) -> None:
    if (prompt is None) == (not chat):
        given = "Neither --prompt nor --chat is given." if prompt is None else "--prompt and --chat exclude each other."
        raise UsageError(given, "Give --prompt TEXT for one answer, or --chat for a conversation.")
    if chat and output == "json":
        raise UsageError("--chat prints no JSON.", "Leave out --output json, or ask one --prompt at a time.")
    if system and not chat:
        raise UsageError("--system belongs to --chat.", "Write it into the --prompt, or say --chat.")


def _talk(model: str, system: str, sampling: dict[str, Any]) -> None:
    """Read a line, stream the answer, until the input ends. A later line that is refused does not end the talk."""
    stream, first = load("stream"), [Message("system", system)] if system else []
    turns: list[Message] = []
    for line in spoken_lines():
        asked = [*turns, Message("user", line)]
        try:
            asked, pieces = _fitting(asked, lambda kept: stream(model, [*first, *kept], **sampling))
        except UserError as error:
            if not turns:
                raise
            message_console().print(f"error: {error}", markup=False)
            continue
        turns = [*asked, Message("assistant", _print_pieces(pieces))]


def _fitting(
    turns: list[Message], ask: Callable[[list[Message]], Iterable[str]]
) -> tuple[list[Message], Iterable[str]]:
    """The turns that are asked with, and the answer: the earliest are left out where the context is full. Raises
    UsageError where the last one alone is refused."""
    while True:
        try:
            return turns, ask(turns)
        except UsageError:
            if len(turns) == 1:
                raise
            turns = turns[2:]


def _print_pieces(pieces: Iterable[str]) -> str:
    """Print text as it comes, and return the whole. A terminal gets no control characters from a model."""
    terminal = sys.stdout.isatty()
    whole = []
    for piece in pieces:
        whole.append(piece)
        print(visible(piece) if terminal else piece, end="", flush=True)
    print(flush=True)
    return "".join(whole)
