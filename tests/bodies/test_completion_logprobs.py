"""Log-probabilities in answers of /v1/completions: always JSON, and of two tokens with one text the likelier one."""

from __future__ import annotations

import json
import math

from outcrop.bodies.asks import Answer, Ask, Ending
from outcrop.bodies.openai.completions import CompletionWriter
from outcrop.bodies.replies import Context
from outcrop.core.engines import Usage

TEXTS = {7: '"}', 8: '"}', 9: " {"}


def written(ask: Ask, answer: Answer, prompt_logprobs: tuple[float, ...] = ()) -> dict[str, list[object]]:
    context = Context("m", "id", 0, ask, (7, 9), lambda ids: [TEXTS[token] for token in ids], prompt_logprobs)
    [choice] = CompletionWriter(context).whole([answer])
    json.dumps(choice, allow_nan=False)
    found: dict[str, list[object]] = choice["logprobs"]
    return found


def test_the_likelier_of_two_tokens_with_one_text_counts() -> None:
    top = ((8, -0.1), (7, -2.5), (9, -4.0))
    answer = Answer('"}', (8,), (-0.1,), (top,), Ending("stop", None, Usage(2, 0, 1)))
    assert written(Ask("a", logprobs=True), answer)["top_logprobs"] == [{'"}': -0.1, " {": -4.0}]


def test_what_a_model_cannot_write_has_a_number() -> None:
    """As the prompt of a model that answers with labels alone."""
    answer = Answer(" {", (9,), (-0.1,), (), Ending("stop", None, Usage(2, 0, 1)))
    found = written(Ask("a", logprobs=True, echo=True), answer, (-math.inf,))
    assert found["token_logprobs"] == [None, -9999.0, -0.1]
