"""Questions to requests: rendered once, named by the digest of all that decides their answers, and kept as text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from outcrop.core.completions import Completion, CompletionRequest, Sampling, frozen, sampling_from
from outcrop.core.seeds import derive
from outcrop.data.records import Pair, Record
from outcrop.generation.batch.questions import Question, Refusal
from outcrop.models.asking import answers, asked_record
from outcrop.models.folder import ModelFolder
from outcrop.models.rendering import Renderer


@dataclass(frozen=True)
class Identity:
    """What decides answers beside the request: weights with configuration and tokenizer, an adapter on them, the
    template and stops, the dtype that is computed in, the device, and the versions of what computes."""

    weights: str
    adapter: str
    template: str
    dtype: str
    device: str
    versions: str

    def digest(self) -> bytes:
        """32 bytes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()


class Asked(NamedTuple):
    """A question in the model's form. verbatim: a prompt is taken as it is, special tokens included."""

    record: Record
    sampling: Sampling
    verbatim: bool


class KeyedRequest(NamedTuple):
    """key: of the answer; lasting: whether the engine promises the same answer to the same key at any time."""

    key: bytes
    request: CompletionRequest
    lasting: bool


class Asker:
    """Makes requests of questions, for one model in one job.

    Rows that draw without a seed of their own get one each: the job's for the first of equal rows, and one derived from
    it for every further one, so that equal rows give different answers, and the same ones in every job.
    """

    def __init__(self, folder: ModelFolder, renderer: Renderer, defaults: Sampling, identity: Identity) -> None:
        self.folder, self._renderer, self._defaults = folder, renderer, defaults
        self.model = folder.asking_digest()
        self._identity = identity.digest()
        self._exact = identity.dtype == "float32"
        self._drawn: Counter[bytes] = Counter()

    def asked(self, question: Question) -> Asked:
        """The record that a question puts to the model, and how answers are chosen."""
        sampling = sampling_from(vars(self._defaults) | dict(question.sampling))
        if isinstance(question.prompt, tuple):
            return Asked(asked_record(self.folder, question.prompt), sampling, False)
        if not isinstance(question.prompt, str):
            return Asked(question.prompt, sampling, False)
        return Asked(asked_record(self.folder, question.prompt), sampling, True)

    def request(self, question: Question) -> KeyedRequest:
        """The request of the next question of the job. Raises UserErrors for one that cannot be rendered."""
        asked = self.asked(question)
        tokens = self._tokens(asked)
        stops = tuple(sorted({*self._renderer.stop_ids, *asked.sampling.stop_ids}))
        sampling = canonical(replace(asked.sampling, stop_ids=stops))
        if sampling.temperature and "seed" not in question.sampling:
            base = self._key(CompletionRequest(tokens, sampling, question.n))
            number = self._drawn[base]
            self._drawn[base] += 1
            if number:
                sampling = replace(sampling, seed=derive(sampling.seed, "copy", number))
        request = CompletionRequest(tokens, sampling, question.n)
        return KeyedRequest(self._key(request), request, self._exact or not sampling.temperature)

    def finished(self, question: Question, completions: Sequence[Completion]) -> list[Completion]:
        """The completions as the row gets them: without the white space that the rendering put before an answer."""
        if not answers(self.folder, self.asked(question).record):
            return list(completions)
        return [replace(completion, text=completion.text.lstrip()) for completion in completions]

    def _tokens(self, asked: Asked) -> tuple[int, ...]:
        if asked.verbatim and isinstance(asked.record, Pair):
            return tuple(self._renderer.verbatim(asked.record.prompt))
        return tuple(self._renderer.prompt(asked.record))

    def _key(self, request: CompletionRequest) -> bytes:
        digest = hashlib.sha256(self._identity)
        digest.update(packed(request.prompt_ids))
        digest.update(asked_text(request).encode())
        return digest.digest()


@lru_cache(maxsize=1024)
def canonical(sampling: Sampling) -> Sampling:
    """The same choices, written in one way."""
    sampling = replace(
        sampling,
        stop_ids=tuple(sorted(set(sampling.stop_ids))),
        stop_strings=tuple(sorted(set(sampling.stop_strings))),
        logit_bias=tuple(sorted(sampling.logit_bias)),
    )
    if sampling.temperature:
        return sampling
    # Where the likeliest token is taken, these do not matter.
    return replace(sampling, seed=0, top_k=0, top_p=1.0, min_p=0.0)


def packed(ids: Sequence[int]) -> bytes:
    """Token ids as 4-byte numbers, big endian: bytes sort as tokens do."""
    return np.asarray(ids, dtype=">u4").tobytes()


def asked_text(request: CompletionRequest) -> str:
    """All of a request but its tokens."""
    return _options_text(request.sampling, request.n)


@lru_cache(maxsize=1024)
def _options_text(sampling: Sampling, n: int) -> str:
    return json.dumps({"sampling": asdict(sampling), "n": n}, sort_keys=True)


def request_from(tokens: bytes, asked: str) -> CompletionRequest:
    """The request that was packed into both."""
    ids = tuple(np.frombuffer(tokens, dtype=">u4").tolist())
    return CompletionRequest(ids, *_options(asked))


@lru_cache(maxsize=1024)
def _options(asked: str) -> tuple[Sampling, int]:
    """Most rows of a job have the same."""
    given = json.loads(asked)
    return sampling_from(given["sampling"]), given["n"]


def answer_text(outcome: Sequence[Completion] | Refusal) -> str:
    """What became of a request, without what depends on the moment: times, and what was computed before."""
    if isinstance(outcome, Refusal):
        return json.dumps({"refusal": asdict(outcome)}, ensure_ascii=False)
    kept = [vars(completion) | {"seconds": 0.0, "cached_tokens": 0} for completion in outcome]
    return json.dumps({"completions": kept}, ensure_ascii=False)


def outcome_from(text: str) -> list[Completion] | Refusal:
    """What `answer_text` wrote."""
    value = json.loads(text)
    return Refusal(**value["refusal"]) if "refusal" in value else [_completion(each) for each in value["completions"]]


def _completion(fields: Mapping[str, Any]) -> Completion:
    return Completion(**{name: frozen(value) for name, value in fields.items()})
