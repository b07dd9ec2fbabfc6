"""`classify`: how likely each label of a closed set is as the answer to a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, overload

import numpy as np

from outcrop.core.completions import Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.data.records import Message, Origin, Record, Text
from outcrop.generation.choosing import shares
from outcrop.models.asking import PROMPT, asked_record, check_utf8, checked_prompt
from outcrop.workflows.generate import Ready, opened

SCORED_TOGETHER = 128
NAMED = 5


class WeighedLabel(NamedTuple):
    """logprob: natural log-likelihood, in fp32, of the whole label as the answer, its end included; probability: its
    share of the likelihood of all labels that were asked for."""

    label: str
    probability: float
    logprob: float


@dataclass(frozen=True)
class Classification:
    """The likeliest label with its probability, and all of them, the likeliest first."""

    label: str
    probability: float
    labels: tuple[WeighedLabel, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"labels": [each._asdict() for each in self.labels]}


Prompt = str | Sequence[Message]


@overload
def classify(  # type: ignore[overload-overlap]  # a text is one prompt, and no sequence of them
    model: str, prompts: str | list[Message] | tuple[Message, ...], labels: Iterable[str] = ()
) -> Classification: ...
@overload
def classify(model: str, prompts: Sequence[Prompt], labels: Iterable[str] = ()) -> list[Classification]: ...
def classify(
    model: str, prompts: Prompt | Sequence[Prompt], labels: Iterable[str] = ()
) -> Classification | list[Classification]:
    """Weigh labels as the answer to a prompt or a conversation, or to each of several of them, as `generate` asks.

    labels: by default those that the model was made for. White space around one does not count. Neither their order
    nor other prompts change anything beyond rounding. Raises UsageError for labels that are empty, repeated, or none
    at all.
    """
    single = not isinstance(prompts, list | tuple) or (len(prompts) > 0 and isinstance(prompts[0], Message))
    asked: Sequence[Any] = [prompts] if single else prompts
    ready = opened(model)
    chosen = _checked(ready, labels)
    places = [PROMPT] if single else [Origin("prompts", number) for number in range(1, len(asked) + 1)]
    records = [
        asked_record(ready.folder, checked_prompt(prompt, place), place)
        for prompt, place in zip(asked, places, strict=True)
    ]
    found = [
        each
        for start in range(0, len(records), SCORED_TOGETHER)
        for each in _weighed(ready, records[start : start + SCORED_TOGETHER], chosen)
    ]
    return found[0] if single else found


def _weighed(ready: Ready, records: Sequence[Record], labels: Sequence[str]) -> list[Classification]:
    renderer = ready.renderer
    requests = [ScoreRequest(tuple(renderer.prompt(record)), renderer.answers(record, labels)) for record in records]
    _refuse_twins(labels, requests[0].candidates)
    for record, request in zip(records, requests, strict=True):
        ready.engine.scoring(request, str(record.origin))  # refuses what is too long by its own place
    return [_classification(labels, scores) for scores in ready.engine.score(requests)]


def _refuse_twins(labels: Sequence[str], candidates: Sequence[tuple[int, ...]]) -> None:
    """Raise UsageError for labels of the same tokens: some tokenizers read different forms of characters as one."""
    first: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, candidates, strict=True):
        if ids in first:
            raise UsageError(f"{first[ids]!r} and {label!r} are the same to this model.", "Give one of them.")
        first[ids] = label


def _classification(labels: Sequence[str], scores: Sequence[Score]) -> Classification:
    probabilities = shares(np.array([score.logprob for score in scores])).tolist()
    weighed = [
        WeighedLabel(label, probability, score.logprob)
        for label, probability, score in zip(labels, probabilities, scores, strict=True)
    ]
    weighed.sort(key=lambda each: -each.logprob)
    return Classification(weighed[0].label, weighed[0].probability, tuple(weighed))


def _checked(ready: Ready, given: Iterable[str]) -> list[str]:
    """The labels, sorted, so that their order changes nothing. Raises UsageError with everything that is wrong."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(f"labels is {given!r}.", "Give a list of texts.")
    texts = list(given)
    if others := [label for label in texts if not isinstance(label, str)]:
        raise UsageError(f"{others[0]!r} is no label.", "Give a list of texts.")
    labels = [label.strip() for label in texts] or list(ready.folder.labels)
    if not labels:
        raise UsageError(
            "The model was not made for a closed set of labels.",
            "Name those to weigh: labels=[…] in Python, --label TEXT for each on the command line.",
            ready.folder.name,
        )
    for label in labels:
        check_utf8(label, Origin(f"label {label!r}", 0))
    special = [label for label in labels if ready.renderer.special_tokens_in(Text(label))]
    repeated = [label for label, count in Counter(labels).items() if count > 1 and label]
    tokens = ready.renderer.spec.label_tokens
    strange = [label for label in dict.fromkeys(labels) if tokens and label and label not in tokens]
    wrong = [f"Label {number} is empty." for number, label in enumerate(labels, 1) if not label]
    wrong += [f"Labels given more than once: {_named(repeated)}."] if repeated else []
    wrong += [f"Labels with special tokens of the model: {_named(special)}."] if special else []
    wrong += [f"The model has no token for: {_named(strange)}; it has {_named(list(tokens))}."] if strange else []
    if wrong:
        raise UsageError(" ".join(wrong), "Give each label once, with a text.", ready.folder.name)
    return sorted(labels)


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - NAMED
    return ", ".join(map(repr, labels[:NAMED])) + (f" and {more} more" if more > 0 else "")
