"""Bodies of Bedrock's and OpenAI's requests, and of their responses: the families that are read without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outcrop.core.completions import Completion
from outcrop.core.errors import UsageError, did_you_mean
from outcrop.data.formats.container import Row
from outcrop.data.formats.json_text import shortened, type_name
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Origin, Record
from outcrop.data.unanswered import read_by_form
from outcrop.generation.batch import responses
from outcrop.generation.batch.questions import BodyReader, Question, Responder, Written

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BODY = Origin("the body", 0)
INTEGERS = ("max_new_tokens", "top_k", "seed", "n")
MOST_ANSWERS = 128

Write = Callable[[Responder, Sequence[Completion], str], Written]


@dataclass(frozen=True)
class Family:
    """How one family of bodies is read and answered.

    fields: their names of sampling options → ours; nested: the object that holds them; without_effect: keys whose
    values change nothing, or the only value that does not; form: of the messages, None for a plain prompt.
    """

    name: str
    prompt: str
    fields: Mapping[str, str]
    write: Write
    nested: str = ""
    form: str | None = None
    beside: tuple[str, ...] = ()
    without_effect: Mapping[str, Any] = field(default_factory=dict)


ANYTHING = object()


def body_reader(responder: Responder) -> BodyReader:
    """The reader of the built-in families."""

    def read(kind: str, body: Mapping[str, Any]) -> Question:
        family = _family(kind, body)
        given = _options(family, body)
        answers = given.pop("n", 1)
        prompt = _conversation(family, body) if family.form else _text(body, family.prompt)
        return Question(prompt, given, lambda completions, row: family.write(responder, completions, row), answers)

    return read


def _family(kind: str, body: Mapping[str, Any]) -> Family:
    if kind == CHAT:
        return OPENAI_CHAT
    if kind == COMPLETIONS:
        return OPENAI_COMPLETION
    if kind.startswith("/"):
        raise UsageError(f"Requests to {shortened(kind)} are not answered.", f"Allowed: {CHAT}, {COMPLETIONS}.")
    if kind == "Converse":
        return CONVERSE
    if "inputText" in body:
        return TITAN
    if "prompt" in body:
        return LLAMA
    if "messages" not in body:
        allowed = f"Allowed: a body with {', '.join(sorted({family.prompt for family in FAMILIES}))}."
        raise UsageError("The body is of no known family.", allowed)
    if "anthropic_version" in body:
        return CLAUDE
    return CONVERSE if _has_blocks(body) else OPENAI_CHAT


def _has_blocks(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    contents = (
        [message.get("content") for message in messages if isinstance(message, dict)]
        if isinstance(messages, list)
        else []
    )
    return any(isinstance(content, list) and "type" not in (content or [{}])[0] for content in contents)


def _options(family: Family, body: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling options that a body sets. Raises UsageError for keys that would have an effect and are not read."""
    holder = body
    if family.nested:
        holder = body.get(family.nested) or {}
        if not isinstance(holder, dict):
            raise UsageError(f"{family.nested} is {type_name(holder)}.", "Allowed: an object.")
        _check_keys(body, (family.prompt, family.nested, *family.beside), family)
        _check_keys(holder, tuple(family.fields), family)
    else:
        _check_keys(body, (family.prompt, *family.beside, *family.fields), family)
    found: dict[str, Any] = {}
    for theirs, ours in family.fields.items():
        if holder.get(theirs) is not None:
            if ours in found:
                raise UsageError(f"{theirs} says again what another key says.", "Give one of them.")
            found[ours] = _value(theirs, ours, holder[theirs])
    return found


def _check_keys(holder: Mapping[str, Any], known: Sequence[str], family: Family) -> None:
    for key, value in holder.items():
        if key in known or value is None:
            continue
        harmless = family.without_effect.get(key)
        if harmless is None:
            raise UsageError(f"{shortened(key)} is not read.", did_you_mean(shortened(key), known))
        if harmless is not ANYTHING and value != harmless:
            raise UsageError(f"{key} is {value!r:.80}.", f"Allowed: {harmless!r}.")


def _value(theirs: str, ours: str, given: Any) -> Any:
    """A sampling option in our type; its bounds are the engine's to check."""
    if ours == "stop_strings":
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{theirs} is {type_name(given)}.", "Allowed: a text, or a list of texts.")
        return tuple(texts)
    integer = ours in INTEGERS
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or (integer and given != int(given)):
        allowed = "a whole number" if integer else "a number"
        raise UsageError(f"{theirs} is {given!r:.80}.", f"Allowed: {allowed}.")
    if ours == "n" and not 1 <= given <= MOST_ANSWERS:
        raise UsageError(f"n is {given}.", f"Allowed: 1 to {MOST_ANSWERS}.")
    return int(given) if integer else float(given)


def _with_plain_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Claude's contents may be lists of text parts; where they hold nothing else they become texts."""

    def plain(content: Any) -> Any:
        parts = content if isinstance(content, list) else []
        texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
        whole = [text for text in texts if isinstance(text, str)]
        return "".join(whole) if parts and len(whole) == len(parts) else content

    messages = values.get("messages")
    turns = messages if isinstance(messages, list) else []
    plain_turns = [turn | {"content": plain(turn.get("content"))} if isinstance(turn, dict) else turn for turn in turns]
    system = {"system": plain(values["system"])} if "system" in values else {}
    return dict(values) | system | ({"messages": plain_turns} if turns else {})


def _text(body: Mapping[str, Any], key: str) -> str:
    given = body.get(key)
    if not isinstance(given, str) or not given:
        what = "is missing" if key not in body else f"is {type_name(given)}" if given != "" else "is empty"
        raise UsageError(f"{key} {what}.", "Allowed: a text.")
    return given


def _conversation(family: Family, body: Mapping[str, Any]) -> Record:
    """The messages of a body. Raises UsageError with everything that is wrong in them."""
    values = {key: body[key] for key in ("messages", *family.beside) if body.get(key) is not None}
    if family.form == "claude":
        values = _with_plain_texts(values)
    messages = values.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") == "assistant":
        raise UsageError("The last message is the assistant's.", "End with the user's: nothing else is answered.")
    problems = Problems(examples=20)
    site = Site(problems, BODY)
    record = read_by_form(Row(values, BODY), site, family.form)
    if record is None or site.failed:
        told = [f"{problem.field}: {problem.message}" for problem in problems.examples() if problem.severity == "error"]
        raise UsageError(f"The messages cannot be read: {'; '.join(told)}.", "Mend them.")
    return record


SHARED = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed"}
OPENAI_FIELDS = {"max_tokens": "max_new_tokens", "stop": "stop_strings", "n": "n", **SHARED}
OPENAI_WITHOUT_EFFECT = {
    "model": ANYTHING, "user": ANYTHING, "metadata": ANYTHING, "store": ANYTHING, "stream": False,
    "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "echo": False, "logit_bias": {},
    "response_format": {"type": "text"}, "service_tier": ANYTHING,
}  # fmt: skip
LLAMA = Family(
    "llama", "prompt",
    {"max_gen_len": "max_new_tokens", "max_tokens": "max_new_tokens", "stop": "stop_strings", **SHARED},
    responses.llama,
)  # fmt: skip
TITAN = Family(
    "titan", "inputText",
    {"maxTokenCount": "max_new_tokens", "topP": "top_p", "stopSequences": "stop_strings", "temperature": "temperature"},
    responses.titan, nested="textGenerationConfig",
)  # fmt: skip
CONVERSE = Family(
    "converse", "messages",
    {"maxTokens": "max_new_tokens", "max_new_tokens": "max_new_tokens", "topP": "top_p", "top_p": "top_p",
     "topK": "top_k", "top_k": "top_k", "stopSequences": "stop_strings", "temperature": "temperature"},
    responses.converse, nested="inferenceConfig", form="bedrock-conversation-2024", beside=("system",),
    without_effect={"schemaVersion": ANYTHING, "requestMetadata": ANYTHING, "modelId": ANYTHING},
)  # fmt: skip
CLAUDE = Family(
    "claude", "messages", {"max_tokens": "max_new_tokens", "stop_sequences": "stop_strings", **SHARED},
    responses.claude, form="claude", beside=("system",),
    without_effect={"anthropic_version": ANYTHING, "metadata": ANYTHING, "stream": False},
)  # fmt: skip
OPENAI_CHAT = Family(
    "openai chat", "messages", {"max_completion_tokens": "max_new_tokens", **OPENAI_FIELDS}, responses.chat,
    form="openai-chat", without_effect=OPENAI_WITHOUT_EFFECT,
)  # fmt: skip
OPENAI_COMPLETION = Family(
    "openai completions", "prompt", OPENAI_FIELDS, responses.completion,
    without_effect=OPENAI_WITHOUT_EFFECT | {"best_of": 1},
)  # fmt: skip
FAMILIES = (LLAMA, TITAN, CONVERSE, CLAUDE, OPENAI_CHAT, OPENAI_COMPLETION)
