"""The one place that turns records into token ids and loss weights, for training, evaluation, batch and serving.

Text is tokenised in pieces that end where an answer begins, so the prompt of a training row and the prompt of a
request are the same ids by construction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.core.errors import DataError, ModelError
from outcrop.core.spec import Spec, parameter
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text

DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that bring none. Jinja, as in tokenizer_config.json."""

_PROBE = (Message("user", "a"), Message("assistant", "b"))


class RenderingSpec(Spec):
    """How records become text; stored in outcrop.json with the model, so that serving renders as training did."""

    separator: str = parameter(" ", "put between a prompt and its completion where neither has white space there")
    chat_template: str | None = parameter(None, "Jinja chat template; default the tokenizer's own")


@dataclass(frozen=True, slots=True)
class Rendered:
    """token_ids, and for each the loss weight of predicting it from those before; the first weight is always 0."""

    token_ids: list[int]
    weights: list[float]
    origin: Origin

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(1 for weight in self.weights if weight)


class Renderer:
    """Renders with one tokenizer and one spec.

    tokenizer: a transformers fast tokenizer; eos_ids: further ids that end an answer (generation_config).
    Raises ModelError if the tokenizer has no end token, or its chat template does not close assistant turns.
    """

    def __init__(self, tokenizer: Any, spec: RenderingSpec | None = None, eos_ids: Sequence[int] = ()) -> None:
        self.tokenizer, self.spec = tokenizer, spec or RenderingSpec()
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "The tokenizer has no end-of-sequence token.", "Name one in tokenizer_config.json: eos_token."
            )
        self.eos_id: int = tokenizer.eos_token_id
        self.chat_template = self.spec.chat_template or tokenizer.chat_template or DEFAULT_CHAT_TEMPLATE
        self._specials = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special_ids = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special_pattern = re.compile("|".join(map(re.escape, sorted(self._specials))) or r"(?!)")
        self._bos = self._automatic_bos()
        sentinel = self._encode("\n")
        self._sentinel = [] if sentinel + self._encode("a") == self._encode("\na") else sentinel
        self.stop_ids = tuple(sorted({self.eos_id, *eos_ids, self._closing_id()}))

    def render(self, record: Record) -> Rendered:
        """Token ids and loss weights: loss on the completion or on assistant turns, and on the token that ends each.

        Raises DataError where special tokens stand in the content, or where nothing, or everything, would be trained.
        """
        ids: list[int] = []
        weights: list[float] = []
        for piece, trained in self._pieces(record):
            ids.extend(piece)
            weights.extend(trained)
        if weights:
            weights[0] = 0.0
        rendered = Rendered(ids, weights, record.origin)
        if not isinstance(record, Text) and not 0 < rendered.trained_tokens < len(ids):
            share = "nothing" if not rendered.trained_tokens else "every token"
            raise DataError(
                f"With this row {share} would be trained.", "Give it a prompt and an answer.", str(record.origin)
            )
        return rendered

    def prompt(self, record: Record) -> list[int]:
        """The ids a model is given to answer this record: what precedes its (last) answer in `render`."""
        if isinstance(record, Pair):
            return self._start(record.prompt) + self._encode_checked(record.prompt, record.origin)
        if isinstance(record, Text):
            return self._start(record.text) + self._encode_checked(record.text, record.origin)
        messages = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
        return [i for piece, _ in self._turns(messages, record.origin) for i in piece]

    def answer(self, record: Record, text: str) -> list[int]:
        """The ids of `text` as this record's answer, with the token that ends it: a candidate to score."""
        if isinstance(record, Pair):
            return self._continue(self._gap(record.prompt, text) + text) + [self.eos_id]
        if isinstance(record, Text):
            return self._continue(text) + [self.eos_id]
        messages = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
        return list(self._turns((*messages, Message("assistant", text)), record.origin))[-1][0]

    def with_prefix(self, record: Pair, shots: Sequence[Pair], joint: str = "\n\n") -> Pair:
        """`record` with worked examples before it in its prompt: the k-shot form."""
        worked = [shot.prompt + self._gap(shot.prompt, shot.completion) + shot.completion for shot in shots]
        return Pair(joint.join([*worked, record.prompt]), record.completion, record.origin, record.fields)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, special tokens by name."""
        whole = [self.tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False) for end in range(len(ids) + 1)]
        return [after[len(before) :] for before, after in zip(whole, whole[1:], strict=False)]

    @property
    def begin_tokens(self) -> int:
        """How many tokens the tokenizer puts in front of all text."""
        return len(self._bos)

    def _pieces(self, record: Record) -> Iterator[tuple[list[int], list[float]]]:
        if isinstance(record, Conversation):
            yield from self._turns(record.messages, record.origin)
            return
        prompt = self.prompt(record)
        if isinstance(record, Text):
            yield [*prompt, self.eos_id], [1.0] * (len(prompt) + 1)
            return
        yield prompt, [0.0] * len(prompt)
        self._refuse_specials(record.completion, record.origin)
        answer = self.answer(record, record.completion)
        yield answer, [1.0] * len(answer)

    def _turns(self, messages: Sequence[Message], origin: Origin) -> Iterator[tuple[list[int], list[float]]]:
        """One piece per assistant turn and one for what precedes it, up to the end or to the next answer's place."""
        for message in messages:
            self._refuse_specials(message.content, origin)
        done = ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before, after = self._text(messages[:index], True), self._text(messages[: index + 1], False)
            if not (before.startswith(done) and after.startswith(before)):
                raise ModelError(
                    "The chat template changes earlier turns when later ones follow, so their tokens cannot be told apart.",
                    "Give a template that only appends: --set chat_template=FILE.",
                    str(origin),
                )
            prompt = self._segment(before[len(done) :], first=not done)
            yield prompt, [0.0] * len(prompt)
            yield self._turn(after[len(before) :], message.weight)
            done = after
        if messages[-1].role != "assistant":
            prompt = self._segment(self._text(messages, True)[len(done) :], first=not done)
            yield prompt, [0.0] * len(prompt)

    def _turn(self, text: str, weight: float) -> tuple[list[int], list[float]]:
        """An assistant turn, trained up to the token that closes it; what the template puts after that is not."""
        ids = self._continue(text)
        last = max((i for i, token in enumerate(ids) if token in self._special_ids), default=-1)
        if last < 0:
            raise ModelError(
                "The chat template does not end assistant turns with a special token, so no stop can be learnt.",
                "Use a template that writes eos_token after each assistant turn.",
            )
        return ids, [weight] * (last + 1) + [0.0] * (len(ids) - last - 1)

    def _closing_id(self) -> int:
        ids, weights = self._turn(self._text(_PROBE, False)[len(self._text(_PROBE[:1], True)) :], 1.0)
        return ids[len([w for w in weights if w]) - 1]

    def _text(self, messages: Sequence[Message], prompting: bool) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text = self.tokenizer.apply_chat_template(
            turns, chat_template=self.chat_template, tokenize=False, add_generation_prompt=prompting
        )
        return str(text)

    def _segment(self, text: str, *, first: bool) -> list[int]:
        return self._start(text) + self._encode(text) if first else self._continue(text)

    def _start(self, text: str) -> list[int]:
        """The begin token, where the tokenizer wants one and the text does not bring it already."""
        return [] if self._bos and text.startswith(self.tokenizer.bos_token) else list(self._bos)

    def _automatic_bos(self) -> list[int]:
        with_specials = self.tokenizer("a").input_ids
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and with_specials[:1] == [bos] else []

    def _gap(self, prompt: str, completion: str) -> str:
        touching = prompt and completion and not prompt[-1].isspace() and not completion[0].isspace()
        return self.spec.separator if touching else ""

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _encode_checked(self, text: str, origin: Origin) -> list[int]:
        self._refuse_specials(text, origin)
        return self._encode(text)

    def _continue(self, text: str) -> list[int]:
        """Ids of text that follows other text: tokenizers that put a space before all text get a line break to eat it."""
        if not self._sentinel:
            return self._encode(text)
        ids = self._encode("\n" + text)
        assert ids[: len(self._sentinel)] == self._sentinel, "the tokenizer joins a line break with what follows"
        return ids[len(self._sentinel) :]

    def _refuse_specials(self, text: str, origin: Origin) -> None:
        found = self._special_pattern.search(text)
        if found:
            raise DataError(
                f"The special token {found.group()!r} stands in the content.",
                "Remove it, or write it another way: it would end or forge a turn.",
                str(origin),
            )


@dataclass(frozen=True)
class Fitted:
    """Rows that fit, and how many were cut or dropped to get there."""

    rows: list[Rendered]
    cut: int
    dropped: int


def fit(rows: Sequence[Rendered], max_length: int, over_long: str, *, keep_first: int = 0) -> Fitted:
    """Apply the choice for rows over max_length tokens: "refuse", "drop", or "cut-prompt" (from its start, after
    `keep_first` tokens such as BOS; never the answer). Raises DataError naming the over-long rows."""
    long = [row for row in rows if len(row.token_ids) > max_length]
    if not long:
        return Fitted(list(rows), 0, 0)
    if over_long == "refuse":
        worst = max(long, key=lambda row: len(row.token_ids))
        places = ", ".join(str(row.origin) for row in long[:5])
        raise DataError(
            f"{len(long)} of {len(rows)} rows are longer than {max_length} tokens (longest {len(worst.token_ids)}): {places}.",
            "Say what to do with them: --over-long cut-prompt (the answer is never cut) or --over-long drop.",
        )
    kept: list[Rendered] = []
    cut = 0
    for row in rows:
        excess = len(row.token_ids) - max_length
        context = next((i for i, weight in enumerate(row.weights) if weight), 0)
        if excess <= 0:
            kept.append(row)
        elif over_long == "cut-prompt" and context - 1 - keep_first >= excess:
            keep, rest = slice(0, keep_first), slice(keep_first + excess, None)
            kept.append(
                Rendered(row.token_ids[keep] + row.token_ids[rest], row.weights[keep] + row.weights[rest], row.origin)
            )
            cut += 1
    return Fitted(kept, cut, len(rows) - len(kept))
