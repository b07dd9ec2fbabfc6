"""Converse: members of the request into a question, and answers into members of the result. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, sampled
from outcrop.bodies.bedrock.format import STOP_REASONS, choose
from outcrop.bodies.body import Body
from outcrop.bodies.turns import in_turns
from outcrop.core.completions import Constraint, Sampling
from outcrop.core.errors import UsageError
from outcrop.data.records import Message, Role

GREEDY = Sampling(max_new_tokens=WHOLE_CONTEXT)
"""Where neither the request nor the model's family says otherwise, as `outcrop generate` answers."""

UNSUPPORTED = ("toolConfig", "guardrailConfig", "promptVariables", "projectIdentifier")
TEXT_ONLY = "The models here read text: leave out content blocks of other kinds."


class ExtraConfig(Body):
    """The part of Nova's native configuration that Converse has no member for."""

    topK: int | None = Field(default=None, ge=0)


class ExtraFields(Body):
    """additionalModelRequestFields that are honoured: what Converse itself cannot say of sampling."""

    top_k: int | None = Field(default=None, ge=0)
    topK: int | None = Field(default=None, ge=0)
    inferenceConfig: ExtraConfig = Field(default_factory=ExtraConfig)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=2)
    seed: int | None = None


@dataclass(frozen=True)
class ConverseRequest:
    """A question, and what its result is to show. caches: whether a cache point was set; echoed: members repeated."""

    ask: Ask
    paths: tuple[str, ...]
    metadata: Mapping[str, str]
    caches: bool
    echoed: Mapping[str, Any]


def read(values: Mapping[str, Any], defaults: Sampling = GREEDY) -> ConverseRequest:
    """The request in checked members. defaults: of the model's family.

    Raises UsageError for what is not supported, and for turns out of order.
    """
    for name in UNSUPPORTED:
        if values.get(name):
            raise UsageError(f"{name} is not supported by this service.", "Leave it out.", name)
    extra = ExtraFields.read(_object(values.get("additionalModelRequestFields"), "additionalModelRequestFields"))
    ask = Ask(conversation(values), _sampling(values, extra, defaults), seed=extra.seed)
    paths = tuple(values.get("additionalModelResponseFieldPaths") or ())
    for path in paths:
        if not path.startswith("/"):
            raise UsageError(f"{path!r} is no JSON pointer.", "Give one that begins with a slash.")
    return ConverseRequest(
        ask, paths, values.get("requestMetadata") or {}, "cachePoint" in _kinds(values), _echoed(values)
    )


def conversation(values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The turns of a request. Raises UsageError for blocks that are no text, and for turns out of order."""
    turns = []
    for number, message in enumerate(values.get("messages") or ()):
        where = f"messages.{number}.content"
        if message["role"] == "system":
            raise UsageError("A message has the role system.", "Put its text into the member system.", where)
        role: Role = "assistant" if message["role"] == "assistant" else "user"
        turns.append(Message(role, "\n".join(_texts(message["content"], where))))
    return in_turns(_texts(values.get("system") or (), "system"), turns)


def result(answer: Answer, request: ConverseRequest, latency_ms: int, native: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the result. native: the answer in the family's own format, which paths point into."""
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": STOP_REASONS[answer.ending.reason],
        "additionalModelResponseFields": fields_at(request.paths, native),
        **tail(answer, request, latency_ms),
    }


def tail(answer: Answer, request: ConverseRequest, latency_ms: int) -> dict[str, Any]:
    """What a result and the last event of a stream have in common."""
    return {"usage": usage(answer, caches=request.caches), "metrics": {"latencyMs": latency_ms}, **request.echoed}


def usage(answer: Answer, *, caches: bool) -> dict[str, int]:
    """The tokens. caches: those of a prompt's beginning that was computed before are counted apart."""
    spent = answer.ending.usage
    read_before = spent.cached_tokens if caches else 0
    counts = {
        "inputTokens": spent.prompt_tokens - read_before,
        "outputTokens": spent.completion_tokens,
        "totalTokens": spent.prompt_tokens + spent.completion_tokens,
    }
    return counts | ({"cacheReadInputTokens": read_before, "cacheWriteInputTokens": 0} if caches else {})


def fields_at(paths: Sequence[str], native: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values that JSON pointers (RFC 6901) lead to, nested as they are; what is not there is left out."""
    found: dict[str, Any] = {}
    for path in paths:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")[1:]]
        value: Any = native
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            place: Any = found
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place.setdefault(keys[-1], value)
    return found if paths else None


def _sampling(values: Mapping[str, Any], extra: ExtraFields, defaults: Sampling) -> Sampling:
    config = values.get("inferenceConfig") or {}
    top_k = {"top_k": extra.top_k, "topK": extra.topK, "inferenceConfig.topK": extra.inferenceConfig.topK}
    return sampled(
        defaults,
        max_new_tokens=config.get("maxTokens", WHOLE_CONTEXT),
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        top_k=choose(top_k),
        stop_strings=config.get("stopSequences"),
        min_p=extra.min_p,
        repetition_penalty=extra.repetition_penalty,
        constraint=_constraint(values.get("outputConfig") or {}),
    )


def _constraint(config: Mapping[str, Any]) -> Constraint | None:
    if config.get("effort"):
        raise UsageError("outputConfig.effort is not supported by this service.", "Leave it out.", "outputConfig")
    schema = ((config.get("textFormat") or {}).get("structure") or {}).get("jsonSchema")
    if not config.get("textFormat"):
        return None
    if not schema:
        raise UsageError("The text format has no schema.", "Give structure.jsonSchema.schema.", "outputConfig")
    return Constraint("json_schema", schema["schema"])


def _echoed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration that the result repeats. Raises UsageError for what this machine does not have."""
    echoed = {}
    for name, field, only in (("performanceConfig", "latency", "standard"), ("serviceTier", "type", "default")):
        given = values.get(name)
        if given and given.get(field, only) != only:
            raise UsageError(f"{name}.{field} is {given[field]!r}.", f"Allowed here: {only}.", name)
        if given:
            echoed[name] = given
    return echoed


def _texts(blocks: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    """The texts of content blocks; cache points ask for what the engine does anyway."""
    texts = []
    for number, block in enumerate(blocks):
        kind = next(iter(block), "nothing")
        if kind == "text":
            texts.append(block["text"])
        elif kind != "cachePoint":
            raise UsageError(f"Content block {number} is {kind}.", TEXT_ONLY, where)
    return texts


def _kinds(values: Mapping[str, Any]) -> set[str]:
    contents = [values.get("system") or (), *(message["content"] for message in values.get("messages") or ())]
    return {kind for blocks in contents for block in blocks for kind in block}


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(f"{name} is {json.dumps(value)[:40]}.", "Give an object.", name)
    return value or {}
