"""Bodies of responses, in the forms of Bedrock's model families and of OpenAI."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.core.completions import Completion
from outcrop.generation.batch.questions import Responder, Written


def _reason(completion: Completion, stopped: str, length: str) -> str:
    return stopped if completion.finish_reason == "stop" else length


def _tokens(completions: Sequence[Completion]) -> tuple[int, int]:
    """Of the prompt, which all answers share, and of all answers."""
    return completions[0].prompt_tokens, sum(len(completion.token_ids) for completion in completions)


def llama(_: Responder, completions: Sequence[Completion], __: str) -> Written:
    """{"generation": …}, as Llama answers InvokeModel."""
    [answer] = completions
    return {
        "generation": answer.text, "prompt_token_count": answer.prompt_tokens,
        "generation_token_count": len(answer.token_ids), "stop_reason": _reason(answer, "stop", "length"),
    }  # fmt: skip


def titan(_: Responder, completions: Sequence[Completion], __: str) -> Written:
    """{"results": [{"outputText": …}]}, as Titan answers InvokeModel."""
    [answer] = completions
    result = {
        "tokenCount": len(answer.token_ids), "outputText": answer.text,
        "completionReason": _reason(answer, "FINISH", "LENGTH"),
    }  # fmt: skip
    return {"inputTextTokenCount": answer.prompt_tokens, "results": [result]}


def converse(_: Responder, completions: Sequence[Completion], __: str) -> Written:
    """{"output": {"message": …}}, as Converse and Nova answer."""
    [answer] = completions
    prompt, made = _tokens(completions)
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": _reason(answer, "end_turn", "max_tokens"),
        "usage": {"inputTokens": prompt, "outputTokens": made, "totalTokens": prompt + made},
    }


def claude(responder: Responder, completions: Sequence[Completion], row: str) -> Written:
    """A message, as Claude answers InvokeModel."""
    [answer] = completions
    prompt, made = _tokens(completions)
    return {
        "id": f"msg_{row}", "type": "message", "role": "assistant", "model": responder.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": _reason(answer, "end_turn", "max_tokens"), "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": made},
    }  # fmt: skip


def chat(responder: Responder, completions: Sequence[Completion], row: str) -> Written:
    """A chat.completion, as OpenAI answers /v1/chat/completions."""
    choices = [
        {
            "index": index, "message": {"role": "assistant", "content": answer.text}, "logprobs": None,
            "finish_reason": answer.finish_reason,
        }
        for index, answer in enumerate(completions)
    ]  # fmt: skip
    return _openai("chatcmpl", "chat.completion", responder, completions, row) | {"choices": choices}


def completion(responder: Responder, completions: Sequence[Completion], row: str) -> Written:
    """A text_completion, as OpenAI answers /v1/completions."""
    choices = [
        {"index": index, "text": answer.text, "logprobs": None, "finish_reason": answer.finish_reason}
        for index, answer in enumerate(completions)
    ]
    return _openai("cmpl", "text_completion", responder, completions, row) | {"choices": choices}


def _openai(prefix: str, kind: str, responder: Responder, completions: Sequence[Completion], row: str) -> Written:
    prompt, made = _tokens(completions)
    usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    return {
        "id": f"{prefix}-{row}", "object": kind, "created": responder.created, "model": responder.model, "usage": usage,
    }  # fmt: skip
