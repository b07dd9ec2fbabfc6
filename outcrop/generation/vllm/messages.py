"""What vLLM's server is told and what it answers: requests, pieces of a stream, scores, metrics, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from outcrop.core.completions import Constraint, FinishReason, Sampling, TopLogprobs
from outcrop.core.errors import JobFailed, OutcropError, Unavailable, UsageError
from outcrop.core.seeds import derive

BASE = "base"
"""The name that the model itself has in vLLM; adapters are named by their digests."""
LEAST_TEMPERATURE = 0.01
MOST_BIAS = 100.0
LONGEST_SEED = 2**63
BUSY = (429, 503)
TOKEN = "token_id:"
"""How vLLM writes a token where text is usual."""


class Piece(NamedTuple):
    """Some tokens of an answer. finish: vLLM's reason; cached_tokens: comes alone, at the end."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    tops: tuple[TopLogprobs, ...] = ()
    finish: str | None = None
    cached_tokens: int | None = None


def check_supported(sampling: Sampling, where: str) -> None:
    """Raise UsageError for values that vLLM would change without a word."""
    if 0 < sampling.temperature < LEAST_TEMPERATURE:
        allowed = f"vLLM takes 0 (greedy), or {LEAST_TEMPERATURE} and more."
        raise UsageError(f"temperature is {sampling.temperature!r}.", allowed, where)
    if any(abs(bias) > MOST_BIAS for _, bias in sampling.logit_bias):
        allowed = f"vLLM takes -{MOST_BIAS:g} to {MOST_BIAS:g}."
        raise UsageError(f"logit_bias is {sampling.logit_bias!r}.", allowed, where)


def completion(
    prompt_ids: Sequence[int], sampling: Sampling, room: int, *, model: str, answer: int, end: int | None
) -> dict[str, Any]:
    """The body that asks for answer number `answer` as a stream of token ids.

    Only what the request names ends it: `end`, the tokenizer's end of text, counts where a constraint must end.
    """
    stops = list(sampling.stop_ids)
    if sampling.constraint is not None and end is not None and end not in stops:
        stops.append(end)
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(prompt_ids),
        "add_special_tokens": False,
        "max_tokens": room,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": (derive(sampling.seed, "answer", answer) if answer else sampling.seed) % LONGEST_SEED,
        "stop": list(sampling.stop_strings),
        "stop_token_ids": stops,
        "ignore_eos": True,
        "logprobs": sampling.top_logprobs,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.constraint is not None:
        body["structured_outputs"] = _structure(sampling.constraint)
    return body


def forced(ids: Sequence[int], token: int, *, model: str) -> dict[str, Any]:
    """The body that asks how likely a token is after others: it is the only one that may follow, and its
    log-probability is told as it was before that was forced.

    vLLM reuses what it knows of the beginning, and takes text up to the whole context. Its own fields for this are not
    used: prompt_logprobs computes the beginning anew and, with adapters, ends the server when it is asked for twice at
    once (0.32 on a CPU); logprob_token_ids changes what other requests of the batch are told.
    """
    return {
        "model": model, "prompt": list(ids), "add_special_tokens": False, "max_tokens": 1, "temperature": 0,
        "ignore_eos": True, "logprobs": 0, "allowed_token_ids": [token],
    }  # fmt: skip


def logprob(answer: bytes) -> float:
    """What was asked by `forced`."""
    return float(json.loads(answer)["choices"][0]["logprobs"]["token_logprobs"][0])


def _structure(constraint: Constraint) -> dict[str, Any]:
    if constraint.kind == "json_schema":
        return {"json": constraint.definition}
    if constraint.kind == "regex":
        return {"regex": constraint.definition}
    return {"choice": json.loads(constraint.definition)}


def piece(line: str, top_logprobs: int) -> Piece | None:
    """A line of a stream; None for one that says nothing. Raises JobFailed for an error that came on the way."""
    if not line.startswith("data:") or line == "data: [DONE]":
        return None
    found = json.loads(line.removeprefix("data:"))
    if "error" in found:
        raise JobFailed(f"vLLM failed: {_reason(found)}.", "Ask again.")
    if not found["choices"]:
        details = found["usage"].get("prompt_tokens_details") or {}
        return Piece(cached_tokens=details.get("cached_tokens") or 0)
    choice = found["choices"][0]
    tokens = tuple(choice.get("token_ids") or ())
    logprobs = choice.get("logprobs") or {}
    tops = tuple(_tops(each, top_logprobs) for each in logprobs.get("top_logprobs") or ()) if top_logprobs else ()
    return Piece(
        tokens, tuple(logprobs.get("token_logprobs") or ()), tops or ((),) * len(tokens), choice.get("finish_reason")
    )


def _tops(likeliest: dict[str, float], count: int) -> TopLogprobs:
    """vLLM adds the chosen token where it is not among them."""
    pairs = ((int(token.removeprefix(TOKEN)), logprob) for token, logprob in likeliest.items())
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:count])


def finish_reason(given: str) -> FinishReason:
    """Raises JobFailed for an answer that vLLM gave up."""
    if given == "stop":
        return "stop"
    if given == "length":
        return "length"
    raise JobFailed(f"vLLM gave the answer up: {given}.", "Ask again.")


class Metrics(NamedTuple):
    """Some of what vLLM counts."""

    running: int
    waiting: int
    used_share: float
    cache_tokens: int
    prompt_tokens: int
    prefix_tokens: int
    generated_tokens: int

    @classmethod
    def parse(cls, page: str) -> Metrics:
        """Read Prometheus' text format; engines of a server are added up."""

        def total(name: str) -> float:
            return sum(float(each) for each in re.findall(rf"^vllm:{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE))

        pattern = r'^vllm:cache_config_info{(?:.*,)?block_size="(\d+)",(?:.*,)?num_gpu_blocks="(\d+)"'
        blocks = re.search(pattern, page, re.MULTILINE)
        return cls(
            running=int(total("num_requests_running")),
            waiting=int(total("num_requests_waiting")),
            used_share=total("kv_cache_usage_perc"),
            cache_tokens=int(blocks[1]) * int(blocks[2]) if blocks else 0,
            prompt_tokens=int(total("prompt_tokens_total")),
            prefix_tokens=int(total("prefix_cache_hits_total")),
            generated_tokens=int(total("generation_tokens_total")),
        )


def refusal(status: int, body: bytes, where: str) -> OutcropError:
    """vLLM's refusal of a request, as an error of ours."""
    try:
        reason = _reason(json.loads(body))
    except (ValueError, AttributeError):
        reason = body.decode(errors="replace").strip()[:300] or "no reason given"
    if status in BUSY:
        return Unavailable(f"vLLM takes no requests now: {reason}.", "Ask later.", where)
    if 400 <= status < 500:
        return UsageError(f"vLLM refuses the request: {reason}.", "Change what it names.", where)
    return JobFailed(f"vLLM failed ({status}): {reason}.", "Ask again.", where)


def _reason(found: dict[str, Any]) -> str:
    error = found.get("error", found)
    text = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(text).split()).rstrip(".")
