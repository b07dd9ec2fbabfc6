"""Teachers: what they answer and what they say of every token, asked once and kept for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from outcrop.core import settings as environment
from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.core.events import Listener
from outcrop.data.prompts import has_answer
from outcrop.data.records import Conversation, Message, Pair, Record
from outcrop.evaluation.distillation import Speed
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.remote import TOLD, Answer, RemoteChat
from outcrop.models.loading import LoadedModel, load_model
from outcrop.store.teacher_cache import TeacherCache, key_of
from outcrop.training.distillation.packing import pack, unpack
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.distillation.teaching import states_after, teach
from outcrop.training.layout import Segment, Teaching
from outcrop.training.trunk import Trunk
from outcrop.workflows.saving import base_of

ASKED_TOGETHER = 128
"""Rows between two writings to the cache: what a kill costs at most."""
CACHE_FILE = "teachers.db"
TRUNK_TOKENS = 4096


def open_cache() -> TeacherCache:
    """The cache of this user, in OUTCROP_HOME."""
    return TeacherCache(environment.home() / CACHE_FILE)


class LocalTeacher:
    """A model on this machine. It can say everything: answers, and its whole distribution at every token.

    weighed: the share of all labels' likelihood, to the power 1 / temperature, that must be exact where labels are
    weighed; the likeliest is, always. explaining: what its word on tokens and its states are computed in; answers and
    labels are in fp32. asked: rows that it had to answer or score; cached: those that were known.
    """

    def __init__(
        self, loaded: LoadedModel, cache: TeacherCache, listener: Listener, *, weighed: float = 0.0,
        temperature: float = 1.0, explaining: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        self._explains_in = explaining
        self._way = {} if explaining == torch.float32 else {"dtype": str(explaining)}
        self._weighed, self._temperature = weighed, temperature
        self.loaded, self.name, self.identity = loaded, loaded.folder.name, loaded.folder.digest()
        self.asked, self.cached = 0, 0
        self._cache, self._listener = cache, listener
        self._engine: EmbeddedEngine | None = None
        self._trunk: Trunk | None = None

    def answers(self, records: Sequence[Record], labels: Sequence[str] | None, longest: int) -> list[str | None]:
        """An answer to each record's prompt: the likeliest label, else by greedy decoding; None for one that did not
        end within `longest` tokens."""
        if labels:
            return [labels[int(row.argmax())] for row in self.label_logprobs(records, labels)]
        way = {"greedy": longest, "stop": list(self.loaded.renderer.stop_ids)}
        prompts = [self.loaded.renderer.prompt(record) for record in records]
        keys = [key_of(kind="answer", teacher=self.identity, prompt=prompt, **way) for prompt in prompts]

        def compute(rows: Sequence[int]) -> Iterator[bytes]:
            part = [(records[row], prompts[row]) for row in rows]
            found = self._decode(part, longest)
            yield from (json.dumps(answer, ensure_ascii=False).encode() for answer in found)

        found = self._through_cache("answer", "Teacher answers", keys, compute)
        return [json.loads(content) for content in found]

    def label_logprobs(self, records: Sequence[Record], labels: Sequence[str]) -> NDArray[np.float32]:
        """The log-likelihood of every label as the answer to each record's prompt [rows, labels], exact as far as
        `weighed` asks."""
        prompts = [self.loaded.renderer.prompt(record) for record in records]
        way = {"labels": list(labels), "weighed": self._weighed, "temperature": self._temperature}
        keys = [key_of(kind="labels", teacher=self.identity, prompt=prompt, **way) for prompt in prompts]

        def compute(rows: Sequence[int]) -> Iterator[bytes]:
            requests = self._label_requests([(records[row], prompts[row]) for row in rows], labels)
            for logprobs in self._working().weigh(requests, self._weighed, self._temperature):
                yield logprobs.astype("<f4").tobytes()

        found = self._through_cache("labels", "Teacher answers", keys, compute)
        return np.array([np.frombuffer(content, "<f4") for content in found], np.float32).reshape(-1, len(labels))

    def teachings(self, segments: Sequence[Segment], spec: DistillationSpec, seed: int) -> list[Teaching]:
        """Its distribution at the supervised tokens of each document."""
        kept = spec.model_dump(include={"signal", "kept_tokens", "kept_mass", "temperature"})
        drawn = {"seed": seed} if spec.signal == "sampled" else {}
        drawn |= {"states": 1} if spec.states_weight else {}
        keys = [
            key_of(kind="signal", teacher=self.identity, ids=s.ids.tolist(), at=np.flatnonzero(s.weights).tolist(),
                   **kept, **drawn, **self._way)
            for s in segments
        ]  # fmt: skip

        def compute(rows: Sequence[int]) -> Iterator[bytes]:
            said = teach(self._explaining(), [segments[row] for row in rows], spec, TRUNK_TOKENS, seed)
            yield from map(pack, said)

        return [unpack(content) for content in self._through_cache("signal", "Teacher explains", keys, compute)]

    def states(self, records: Sequence[Record]) -> NDArray[np.float16]:
        """Its last hidden state after each record's prompt, from which it goes on to answer [rows, E]."""
        prompts = [self.loaded.renderer.prompt(record) for record in records]
        keys = [key_of(kind="state", teacher=self.identity, prompt=prompt, **self._way) for prompt in prompts]

        def compute(rows: Sequence[int]) -> Iterator[bytes]:
            found = states_after(self._explaining(), [prompts[row] for row in rows], TRUNK_TOKENS)
            yield from (state.astype("<f2").tobytes() for state in found)

        found = self._through_cache("state", "Teacher explains", keys, compute)
        return np.array([np.frombuffer(content, "<f2") for content in found], np.float16)

    def close(self) -> None:
        """Free what answering and scoring needed."""
        self._engine = self._trunk = None

    def _through_cache(
        self, kind: str, title: str, keys: Sequence[str], compute: Callable[[Sequence[int]], Iterator[bytes]]
    ) -> list[bytes]:
        """The content of every key; what is not known is computed, a part at a time, each kept before the next."""
        found = self._cache.get(keys)
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in found}
        missing = sorted(first.values())
        self.asked, self.cached = self.asked + len(missing), self.cached + len(keys) - len(missing)
        for start in range(0, len(missing), ASKED_TOGETHER):
            part = missing[start : start + ASKED_TOGETHER]
            fresh = dict(zip([keys[row] for row in part], compute(part), strict=True))
            self._cache.put(fresh, kind=kind, teacher=self.identity)
            found |= fresh
            done = len(keys) - sum(key not in found for key in keys)
            self._listener({"event": "progress", "title": title, "done": done, "total": len(keys)})
        return [found[key] for key in keys]

    def _label_requests(self, part: Sequence[tuple[Record, list[int]]], labels: Sequence[str]) -> list[ScoreRequest]:
        renderer = self.loaded.renderer
        return [ScoreRequest(tuple(prompt), renderer.answers(record, labels)) for record, prompt in part]

    def _decode(self, part: Sequence[tuple[Record, list[int]]], longest: int) -> list[str | None]:
        stop = self.loaded.renderer.stop_ids
        requests = [
            CompletionRequest(
                tuple(prompt),
                Sampling(max_new_tokens=max(1, min(longest, self.loaded.context - len(prompt))), stop_ids=stop),
            )
            for _, prompt in part
        ]
        completions = self._working().complete(requests)
        return [each.text.strip() if each.finish_reason == "stop" else None for each in completions]

    def _working(self) -> EmbeddedEngine:
        if self._engine is None:
            self._trunk = None
            self._engine = engine_of(self.loaded)
        return self._engine

    def _explaining(self) -> Trunk:
        if self._trunk is None:
            self._engine = None
            self._trunk = Trunk(load_model(self.name).model)
            self._trunk.model.to(self._explains_in)
        return self._trunk


class RemoteTeacher:
    """A model behind an endpoint. It gives answers, and some give the likeliest tokens at every place of them; each
    answer is kept the moment it is there, for it was paid for.

    instruction: a system message for the teacher, which students never see: they learn to do without it. terms: what
    was said of them, for students' cards.
    """

    loaded = None

    def __init__(
        self, chat: RemoteChat, cache: TeacherCache, listener: Listener, *, terms: Mapping[str, Any],
        instruction: str = "",
    ) -> None:  # fmt: skip
        self.name = self.identity = f"{chat.model.provider}:{chat.model.model}@{chat.model.url}"
        self.asked, self.cached, self.terms = 0, 0, dict(terms)
        self._chat, self._cache, self._listener, self._instruction = chat, cache, listener, instruction
        self._prices: dict[str, float | None] = {}
        self._heard: dict[str, str] = {}
        self._tells = False
        self._told = {} if chat.silence else {"top": chat.spec.top_logprobs}

    def answers(self, records: Sequence[Record], labels: Sequence[str] | None, longest: int) -> list[str | None]:
        """An answer to each record's prompt; None for one that did not end, or is no label where there are labels."""
        found = [answer.text.strip() if answer.finished else None for answer in self.replies(records, longest)]
        return [answer if labels is None or answer in labels else None for answer in found]

    def replies(self, records: Sequence[Record], longest: int) -> list[Answer]:
        """What it answered to each record, with seconds and counts of tokens; what it told of the tokens is left in the
        cache, for `heard`. Raises as RemoteChat does."""
        asked = [self._turns(record) for record in records]
        told = {"tokens": longest, "temperature": self._chat.spec.temperature, **self._told}
        keys = [key_of(kind="reply", teacher=self.identity, turns=_plain(turns), **told) for turns in asked]
        found = self._cache.get(keys)
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in found}
        missing = sorted(first.values())
        self.asked, self.cached = self.asked + len(missing), self.cached + len(keys) - len(missing)
        if missing:
            self._tell_cost([asked[row] for row in missing], longest)

        def keep(number: int, answer: Answer) -> None:
            content = answer.pack()
            found[keys[missing[number]]] = content
            self._cache.put({keys[missing[number]]: content}, kind="reply", teacher=self.identity)
            done = len(keys) - len(missing) + sum(keys[row] in found for row in missing)
            self._listener({"event": "progress", "title": "Teacher answers", "done": done, "total": len(keys)})

        self._chat.ask([asked[row] for row in missing], longest, keep)
        replies = [Answer.unpack(found[key])._replace(told=()) for key in keys]
        self._heard.update((key_of(turns=_plain(t)), key) for t, key in zip(asked, keys, strict=True))
        self._tells = self._tells or any(TOLD in found[key] for key in keys)
        self._prices.update((key, self._usd(reply)) for key, reply in zip(keys, replies, strict=True))
        return replies

    def prompt_key(self, record: Record) -> str:
        """A digest of what it is asked by a record."""
        return key_of(turns=_plain(self._turns(record)))

    def heard(self, record: Record) -> Answer | None:
        """What it answered to this record's prompt in this run, if it was asked, and what it told of the tokens."""
        key = self._heard.get(self.prompt_key(record))
        return Answer.unpack(self._cache.get([key])[key]) if key else None

    @property
    def silence(self) -> str:
        """Why it told nothing but its answers; empty where it did tell more."""
        if self._tells:
            return ""
        return self._chat.silence or "its endpoint tells no log-probabilities"

    @property
    def answers_usd(self) -> float | None:
        """USD for all that it was asked so far, by this run or before; None where prices or tokens are not known."""
        known = [usd for usd in self._prices.values() if usd is not None]
        return sum(known) if len(known) == len(self._prices) else None

    def usd_of_1000(self, records: Sequence[Record], longest: int) -> float | None:
        """USD for 1,000 requests like these; None where prices or tokens are not known."""
        each = [self._usd(reply) for reply in self.replies(records, longest)]
        known = [usd for usd in each if usd is not None]
        return 1000 * sum(known) / len(known) if known and len(known) == len(each) else None

    def _usd(self, reply: Answer) -> float | None:
        spec = self._chat.spec
        if spec.input_price is None or spec.output_price is None or not reply.input_tokens:
            return None
        return spec.cost(reply.input_tokens, reply.output_tokens)

    def speed(self, records: Sequence[Record], longest: int) -> Speed:
        """As its users see it, network included; nothing is known of its size."""
        seconds = median(reply.seconds for reply in self.replies(records, longest))
        return Speed(1000 * seconds, self._chat.spec.together / seconds, 0, 0.0)

    def close(self) -> None:
        """Nothing is held."""

    def _tell_cost(self, conversations: Sequence[Sequence[Message]], longest: int) -> None:
        cost, spec = self._chat.estimate(conversations, longest), self._chat.spec
        priced = spec.input_price is not None or spec.output_price is not None
        money = f"{cost:.2f} USD at most" if priced else "its price is not known: give input_price and output_price"
        message = f"{self.name} will be asked {len(conversations):,} times; {money}."
        self._listener({"event": "warning", "code": "remote-teacher", "message": message})

    def _turns(self, record: Record) -> list[Message]:
        turns = [Message("user", record.prompt)] if isinstance(record, Pair) else []
        if isinstance(record, Conversation):
            turns = list(record.messages[:-1] if has_answer(record) else record.messages)
        if self._instruction and turns[0].role == "system":
            return [Message("system", f"{self._instruction}\n\n{turns[0].content}"), *turns[1:]]
        return [*([Message("system", self._instruction)] if self._instruction else []), *turns]


Teacher = LocalTeacher | RemoteTeacher


def _plain(turns: Sequence[Message]) -> list[list[str]]:
    return [[turn.role, turn.content] for turn in turns]


def provenance_of(teacher: Teacher) -> dict[str, Any]:
    """What a student's card says of its teacher besides the name: ancestry, licence, and its own teacher; of a remote
    one what was said of its terms."""
    if isinstance(teacher, RemoteTeacher):
        return {"terms": teacher.terms}
    folder = teacher.loaded.folder
    learnt_from = {"teacher": folder.card["teacher"]} if "teacher" in folder.card else {}
    return {**(base_of(folder) or {}), "licence": folder.licence, **learnt_from}


def longest_label(loaded: LoadedModel, labels: Sequence[str]) -> int:
    """Tokens of the longest label."""
    return max(len(loaded.renderer.answer(Pair("a", label), label)) for label in labels)
