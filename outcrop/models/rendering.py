"""The one place that turns records into token ids and loss weights, for training, evaluation, batch and serving.

Text is tokenised in pieces that end where an answer begins, so the prompt of a training row and the prompt of a
request are the same ids by construction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import jinja2

from outcrop.core.errors import DataError, ModelError
from outcrop.core.spec import Spec, parameter
from outcrop.data.records import NOWHERE, Conversation, Message, Origin, Pair, Record, Text, parts
from outcrop.models import chat_template
from outcrop.models.phrases import merged, spelled
from outcrop.models.token_bytes import token_bytes

DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that bring none. Jinja, as in tokenizer_config.json."""

LEADS = ("\n", "a", ".")
"""What is put before text that continues other text, where a tokenizer would else put a space there."""

TEXTS_AT_ONCE = 256

PROBE = (Message("user", "question"), Message("assistant", "answer"))
BROKEN_CHARACTER = "\ufffd"


class RenderingSpec(Spec):
    """How records become text; stored in outcrop.json with the model, so that serving renders as training did."""

    separator: str = parameter(" ", "put between a prompt and its completion where neither has white space there")
    chat_template: str | None = parameter(None, "Jinja chat template; default the tokenizer's own")
    label_tokens: dict[str, int] = parameter({}, "labels that are one token each, which is the whole answer")
    phrases: list[tuple[int, int, int]] = parameter(
        [], "two tokens that follow each other, and the token that stands for both; first ones first"
    )


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


class Turn(NamedTuple):
    """The template's text up to where an answer begins, and the answer with the token that closes it."""

    before: str
    answer: str


class Renderer:
    """Renders with one tokenizer and one spec.

    tokenizer: a transformers fast tokenizer, or a PlainTokenizer.
    eos_ids: further ids that end an answer (generation_config). where, template_place: the folder and the file of its
    template, for errors.
    Raises ModelError if the tokenizer has no end token, or its chat template does not close assistant turns.
    """

    def __init__(
        self, tokenizer: Any, spec: RenderingSpec | None = None, eos_ids: Sequence[int] = (), *, where: str = "",
        template_place: str = "",
    ) -> None:  # fmt: skip
        self.tokenizer, self.spec, self._where = tokenizer, spec or RenderingSpec(), where
        self._template_place = template_place or where
        if tokenizer.eos_token_id is None:
            raise ModelError("The tokenizer has no end token.", "Name one in tokenizer_config.json: eos_token.", where)
        self.eos_id: int = tokenizer.eos_token_id
        own = tokenizer.chat_template
        own = own.get("default") if isinstance(own, dict) else own
        self.chat_template: str = self.spec.chat_template or own or DEFAULT_CHAT_TEMPLATE
        added = tokenizer.added_tokens_decoder.values()
        specials = {tokenizer.eos_token, *(token.content for token in added if token.special)}
        longest_first = sorted(specials, key=lambda special: (-len(special), special))
        self._special_pattern = re.compile("|".join(map(re.escape, longest_first)))
        begin = tokenizer("a").input_ids[:1]
        self._begin = begin if begin == [tokenizer.bos_token_id] else []
        self._leads = self._needed_leads()
        ends = {self.eos_id, *eos_ids, self._closing_id()}
        self._merges = {(left, right): made for left, right, made in self.spec.phrases}
        self._spelled = spelled(self.spec.phrases)
        self.endings = {made: run[:-1] for made, run in self._spelled.items() if run[-1] in ends}
        self.stop_ids = tuple(sorted({*ends, *self.endings}))

    def render(self, record: Record) -> Rendered:
        """Token ids and loss weights: loss on the completion or on assistant turns, and on the token that ends each.

        Raises DataError where special tokens stand in the content, or where nothing, or everything, would be trained.
        """
        self._check_labels(record)
        ids: list[int] = []
        weights: list[float] = []
        for piece, weight in self._pieces(record):
            ids.extend(piece)
            weights.extend([weight] * len(piece))
        trained = sum(1 for weight in weights if weight)
        if not isinstance(record, Text) and not 0 < trained < len(ids) - len(self._begin):
            share = "every token" if trained else "nothing"
            raise DataError(
                f"With this row {share} would be trained.", "Give it a prompt and an answer.", str(record.origin)
            )
        return Rendered(ids, [0.0, *weights[1:]], record.origin)

    def render_texts(self, records: Iterable[Text]) -> Iterator[list[int]]:
        """The token ids that `render` gives each text, in order, by all processors at once."""
        waiting = iter(records)
        while batch := list(islice(waiting, TEXTS_AT_ONCE)):
            self._check_labels(batch[0])
            texts = [self._checked(record.text, record.origin) for record in batch]
            found = self.tokenizer(texts, add_special_tokens=False).input_ids
            for text, ids in zip(texts, found, strict=True):
                yield [*self._begin_of(text), *self._in_phrases(ids), self.eos_id]

    def special_tokens_in(self, record: Record) -> set[str]:
        """The special tokens that stand in the record's own texts, for which `render` would refuse it."""
        return {token for part in parts(record) for token in self._special_pattern.findall(part.text)}

    def prompt(self, record: Record) -> list[int]:
        """The ids a model is given to answer this record: what precedes its (last) answer in `render`."""
        if isinstance(record, Conversation):
            asked = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
            return [token for piece, _ in self._turns(asked, record.origin) for token in piece]
        return self._opening(self._checked(record.prompt if isinstance(record, Pair) else record.text, record.origin))

    def verbatim(self, text: str) -> list[int]:
        """The ids of a prompt that is taken as it is: special tokens in it are meant, and no template is applied."""
        return self._opening(text)

    def answer(self, record: Record, text: str) -> list[int]:
        """The ids of `text` as this record's answer, with the token that ends it: a candidate to score. A label that is
        a token ends with itself."""
        self._checked(text, record.origin)
        if text.strip() in self.spec.label_tokens:
            return [self.spec.label_tokens[text.strip()]]
        if isinstance(record, Conversation):
            asked = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
            turn = self._turn((*asked, Message("assistant", text)), record.origin)
            return self._in_phrases(self._continued(turn.answer))
        gap = self._gap(record.prompt, text) if isinstance(record, Pair) else ""
        return self._in_phrases([*self._continued(gap + text), self.eos_id])

    def answers(self, record: Record, texts: Iterable[str]) -> tuple[tuple[int, ...], ...]:
        """`answer` of each text: the candidates of a request."""
        return tuple(tuple(self.answer(record, text)) for text in texts)

    def templated(self, text: str) -> list[int]:
        """The ids of a prompt that the caller put through the chat template: its special tokens are special."""
        return self._opening(text)

    def runs(self, ids: Iterable[int]) -> list[tuple[int, ...]]:
        """The tokens that each token stands for: several for a phrase, itself for any other."""
        return [self._spelled.get(token, (token,)) for token in ids]

    def with_prefix(self, record: Pair, shots: Sequence[Pair], joint: str = "\n\n") -> Pair:
        """`record` with worked examples before it in its prompt: the k-shot form."""
        worked = [shot.prompt + self._gap(shot.prompt, shot.completion) + shot.completion for shot in shots]
        return Pair(joint.join([*worked, record.prompt]), record.completion, record.origin, record.fields)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, special tokens by name; a character of several tokens is the last one's."""
        texts: list[str] = []
        start = clean = 0  # decoders drop a space at the start of what they are given, so some text goes before
        for end in range(1, len(ids) + 1):
            before, after = self._decode(ids[start:clean]), self._decode(ids[start:end])
            if after.endswith(BROKEN_CHARACTER) and end < len(ids):
                texts.append("")
                continue
            texts.append(after[len(before) :])
            start, clean = clean, end
        return texts

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, alone and whole; those of its text where the tokenizer hides them; of one
        that ends an answer what it adds to it."""
        if token in self.endings:
            return b"".join(map(self.token_bytes, self.endings[token]))
        known = self._bytes[token] if token < len(self._bytes) else None
        return self.token_texts([token])[0].encode() if known is None else known

    @cached_property
    def _bytes(self) -> list[bytes | None]:
        return token_bytes(self.tokenizer)

    def _pieces(self, record: Record) -> Iterator[tuple[list[int], float]]:
        if isinstance(record, Conversation):
            yield from self._turns(record.messages, record.origin)
        elif isinstance(record, Pair):
            yield self.prompt(record), 0.0
            yield self.answer(record, record.completion), 1.0
        else:
            yield [*self.prompt(record), self.eos_id], 1.0

    def _turns(self, messages: Sequence[Message], origin: Origin) -> Iterator[tuple[list[int], float]]:
        """A piece for each answer and one for what precedes it, up to the last answer's end or the next one's place."""
        for message in messages:
            self._checked(message.content, origin)
        done = ""
        for index, message in enumerate(messages):
            if message.role == "assistant":
                turn = self._turn(messages[: index + 1], origin)
                yield self._between(done, turn.before, origin), 0.0
                yield self._in_phrases(self._continued(turn.answer)), message.weight
                done = turn.before + turn.answer
        if messages[-1].role != "assistant":
            yield self._between(done, self._text(messages, True, origin), origin), 0.0

    def _turn(self, messages: Sequence[Message], origin: Origin) -> Turn:
        """The last message, an answer. What the template writes after its closing token belongs to the next prompt."""
        before, after = self._text(messages[:-1], True, origin), self._text(messages, False, origin)
        if not after.startswith(before):
            raise self._template_error("writes an answer elsewhere than after its own generation prompt", origin)
        closing = self._special_pattern.search(after, len(before))
        if closing is None:
            raise self._template_error("does not close assistant turns with a special token: no stop is learnt", origin)
        return Turn(before, after[len(before) : closing.end()])

    def _between(self, done: str, upto: str, origin: Origin) -> list[int]:
        if not upto.startswith(done):
            raise self._template_error("changes earlier turns when later ones follow, so training cannot match", origin)
        return self._in_phrases(self._continued(upto[len(done) :])) if done else self._opening(upto)

    def _closing_id(self) -> int:
        answer = self._turn(PROBE, NOWHERE).answer
        if self._special_pattern.sub("", answer).strip() != PROBE[-1].content:
            raise self._template_error(f"writes {answer!r} for the answer {PROBE[-1].content!r} after its prompt")
        return self._continued(answer)[-1]

    def _template_error(self, does: str, origin: Origin = NOWHERE) -> ModelError:
        return ModelError(
            f"The chat template {does}.",
            "Give the model one that only appends, and closes each answer with a special token.",
            self._template_place if origin == NOWHERE else str(origin),
        )

    def _text(self, messages: Sequence[Message], prompting: bool, origin: Origin) -> str:
        if not messages:
            raise DataError("No turn precedes the answer.", "Begin with a turn of the user.", str(origin))
        try:
            names = self.tokenizer.special_tokens_map
            return chat_template.apply(self.chat_template, messages, names, add_generation_prompt=prompting)
        except (jinja2.TemplateError, TypeError) as error:
            raise self._template_error(f"cannot be applied ({error})", origin) from None

    def _gap(self, prompt: str, completion: str) -> str:
        touching = prompt and completion and not prompt[-1].isspace() and not completion[0].isspace()
        return self.spec.separator if touching else ""

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _decode(self, ids: Sequence[int]) -> str:
        shown = [part for token in ids for part in self.endings.get(token, (token,))]
        return str(self.tokenizer.decode(shown, clean_up_tokenization_spaces=False))

    def _opening(self, text: str) -> list[int]:
        """Ids of text that nothing precedes: with the begin token, where the tokenizer wants one and text has none."""
        return [*self._begin_of(text), *self._in_phrases(self._encode(text))]

    def _begin_of(self, text: str) -> list[int]:
        has_one = bool(self._begin) and text.startswith(self.tokenizer.bos_token)
        return [] if has_one else self._begin

    def _continued(self, text: str) -> list[int]:
        """Ids of text that follows other text."""
        if not self._leads:
            return self._encode(text)
        for lead, lead_ids in self._leads:
            ids = self._encode(lead + text)
            if ids[: len(lead_ids)] == lead_ids:
                return ids[len(lead_ids) :]
        raise ModelError(
            f"The tokenizer has no fixed ids for the start of {text[:20]!r}.", "Use another base model.", self._where
        )

    def _in_phrases(self, ids: list[int]) -> list[int]:
        return merged(ids, self._merges) if self._merges else ids

    def _needed_leads(self) -> list[tuple[str, list[int]]]:
        """LEADS with their ids, for tokenizers that put a space before all text; none for others."""
        leads = [(lead, self._encode(lead)) for lead in LEADS]
        line_break = leads[0][1]
        if line_break and line_break + self._encode("a") == self._encode("\na"):
            return []
        return [(lead, ids) for lead, ids in leads if ids]

    def _check_labels(self, record: Record) -> None:
        """Raise DataError for what a model that answers with tokens for labels cannot write."""
        known = self.spec.label_tokens
        if not known or (isinstance(record, Pair) and record.completion.strip() in known):
            return
        given = f"the answer {record.completion.strip()[:40]!r}" if isinstance(record, Pair) else "this row"
        raise DataError(
            f"The model answers with one of {len(known):,} labels, a token each, and {given} is none of them.",
            "Train its base model, or the teacher that it was distilled from.", str(record.origin),
        )  # fmt: skip

    def _checked(self, text: str, origin: Origin) -> str:
        """The text. Raises DataError for special tokens in it."""
        found = self._special_pattern.search(text)
        if found:
            raise DataError(
                f"The special token {found.group()!r} stands in the content.",
                "Remove it, or write it another way: it would end or forge a turn.",
                str(origin),
            )
        return text
