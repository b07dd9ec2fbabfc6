"""Rows that a model is to make of other rows: how many of which, and which of its answers are of use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from outcrop.core.errors import DataError
from outcrop.core.seeds import derive
from outcrop.core.spec import Spec, parameter
from outcrop.data.labels import label_set
from outcrop.data.mapping import PLACEHOLDER
from outcrop.data.records import Conversation, Message, Pair, Record, Text, answer_text
from outcrop.data.shingles import normalise
from outcrop.data.synthetic import FIELD, Mark, prompt_key
from outcrop.data.words import bags

How = Literal["paraphrase", "answer"]

BROKEN = "\ufffd"
REASONS = {
    "cut-off": "the model did not come to an end within the tokens that it had",
    "empty": "the model wrote nothing",
    "broken-characters": "the model wrote bytes that are no characters",
    "same-as-source": "the model wrote the text that it was given",
    "repeats": "the text is that of another row, given or made",
    "other-numbers": "a paraphrase in which numbers are missing, new or changed",
    "too-long": "the row does not fit into the model's context",
    "special-token": "the row holds a special token of the model",
    "several-turns": "a conversation of several turns, which is not paraphrased",
}
"""Why no row was made."""


class SynthesisSpec(Spec):
    """What a model is asked for, and of which rows."""

    how: How = parameter(
        "paraphrase", "paraphrase: the prompt in other words, with the same answer; answer: texts answered"
    )
    instruction: str = parameter(
        "",
        "what the model is told, with {prompt} for the prompt. Default: a request to paraphrase; or the prompt alone",
    )
    per_row: int = parameter(1, "rows made of each row, where balance does not say otherwise", ge=1, le=100)
    balance: float | None = parameter(
        None, "paraphrase rows of rare labels until each has this share of the commonest label's rows", gt=0, le=1
    )
    most_per_row: int = parameter(5, "rows made of one row for the sake of balance, at most", ge=1, le=100)
    max_new_tokens: int = parameter(256, "longest text that the model may write", unit="tokens", ge=1)
    temperature: float = parameter(0.8, "0 always takes the likeliest token", ge=0, le=5)
    top_p: float = parameter(0.95, "least set of tokens with this probability is drawn from", gt=0, le=1)
    seed: int = parameter(0, "of what is drawn", ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.how == "answer" and self.balance is not None:
            raise ValueError("balance is for paraphrases: the answers of texts are not known before they are made")
        if self.instruction:
            named = [match[1] for match in PLACEHOLDER.finditer(self.instruction) if match.group() not in ("{{", "}}")]
            if named != ["prompt"]:
                raise ValueError("the instruction needs {prompt} once, and nothing else in braces")
        return self

    @property
    def asked(self) -> str:
        """The instruction as it is used."""
        return self.instruction or ("{prompt}" if self.how == "answer" else PARAPHRASE)


PARAPHRASE = (
    "Say the following message in other words. Keep its meaning, and every name and number. "
    "Write the new message and nothing else.\n\n{prompt}"
)


def plan(records: Sequence[Record], spec: SynthesisSpec) -> list[tuple[int, int]]:
    """What is to be made: (row, number of the copy), in the order of rows.

    Raises DataError where answers are asked for and rows have them, and where there are no labels to balance.
    """
    if spec.how == "answer":
        if answered := [record for record in records if not isinstance(record, Text)]:
            raise DataError(f"{answered[0].origin} has an answer already.", "Give texts: --map text=COLUMN.")
    elif texts := [record for record in records if isinstance(record, Text)]:
        raise DataError(
            f"{texts[0].origin} is a text without an answer.", "Give pairs or conversations, or answer them."
        )
    times = np.full(len(records), spec.per_row) if spec.balance is None else _missing(records, spec)
    return [(row, copy) for row, count in enumerate(times.tolist()) for copy in range(count)]


def _missing(records: Sequence[Record], spec: SynthesisSpec) -> np.ndarray:
    """How many copies each row needs, so that rare labels come to their share; who has one more is drawn."""
    if label_set(records) is None:
        raise DataError("The answers are no labels, so there is nothing to balance.", "Leave balance out.")
    answers = [answer_text(record).strip() for record in records]
    counts = Counter(answers)
    wanted = int(np.ceil((spec.balance or 0) * max(counts.values())))
    times = np.zeros(len(records), dtype=np.int64)
    for label in sorted(counts):
        rows = np.array([row for row, answer in enumerate(answers) if answer == label])
        missing = min(wanted - len(rows), spec.most_per_row * len(rows))
        if missing > 0:
            whole, more = divmod(missing, len(rows))
            times[rows] = whole
            drawn = np.random.default_rng(derive(spec.seed, "balance", label)).permutation(len(rows))[:more]
            times[rows[drawn]] += 1
    return times


def prompt_of(record: Record) -> str | None:
    """The text that a model is given of a record; None for a conversation of several turns."""
    if isinstance(record, Pair):
        return record.prompt
    if isinstance(record, Text):
        return record.text
    asked = [turn.content for turn in record.messages if turn.role == "user"]
    return asked[0] if len(asked) == 1 and record.messages[-1].role == "assistant" else None


def made_of(record: Record, text: str, spec: SynthesisSpec, model: str) -> Record:
    """The row that a model's text makes of a record, with its mark."""
    fields = {**record.fields, FIELD: Mark.of(record, spec.how, model).as_dict()}
    if isinstance(record, Text):
        return Pair(record.text, text, record.origin, fields)
    if isinstance(record, Pair):
        return replace(record, prompt=text, fields=fields)
    turns = (Message(turn.role, text) if turn.role == "user" else turn for turn in record.messages)
    return Conversation(tuple(turns), record.origin, fields)


class Judge:
    """Says why a text is of no use, or nothing; remembers what it let pass. keys: of the prompts that are there."""

    def __init__(self, keys: set[int], spec: SynthesisSpec) -> None:
        self._keys, self._spec = keys, spec

    def reason(self, source: str, text: str, *, ended: bool) -> str:
        """A code of REASONS, or an empty string for a text of use."""
        if not ended:
            return "cut-off"
        if not text.strip():
            return "empty"
        if BROKEN in text and BROKEN not in source:
            return "broken-characters"
        if normalise(text) == normalise(source):
            return "same-as-source"
        if self._spec.how == "answer":
            return ""
        if (found := bags([source, text]).numbers)[0] != found[1]:
            return "other-numbers"
        if prompt_key(text) in self._keys:
            return "repeats"
        self.remember(text)
        return ""

    def remember(self, prompt: str) -> None:
        """Take a prompt for one that is there."""
        self._keys.add(prompt_key(prompt))
