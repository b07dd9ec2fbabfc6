"""Models behind an HTTP endpoint, OpenAI-compatible or Bedrock: asked with patience, within a rate and a budget.

openai:MODEL@URL speaks POST URL/chat/completions with the key in OPENAI_API_KEY; bedrock:MODEL speaks Converse in
AWS_REGION, with AWS_BEARER_TOKEN_BEDROCK or with access keys, by Signature Version 4. Nothing is sent anywhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from outcrop.core import settings as environment
from outcrop.core.completions import ToldToken
from outcrop.core.errors import JobFailed, Unavailable, UsageError
from outcrop.core.spec import Spec, parameter
from outcrop.data.records import Message

SCHEMES = ("openai", "bedrock")
WRONG_FIELDS = (400, 422)
"""Answers to requests with a field that an endpoint does not know."""
TRY_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
TOLD = b'"told":'
"""In packed answers whose tokens were told, and in no others: quotes of texts are escaped."""
LONGEST_PAUSE_S = 60.0
CHARACTERS_PER_TOKEN = 4
"""For estimates before anything is asked: what English text has, roughly."""


class RemoteSpec(Spec):
    """How a remote model is asked, and what that may cost."""

    together: int = parameter(8, "requests under way at once", ge=1, le=256)
    per_minute: int | None = parameter(None, "requests started in a minute, at most", ge=1)
    tries: int = parameter(6, "times that a request is sent, with growing pauses, before it fails", ge=1, le=20)
    timeout_s: float = parameter(120.0, "wait for an answer", unit="seconds", gt=0)
    temperature: float = parameter(0.0, "of the answers", ge=0, le=2)
    input_price: float | None = parameter(None, "of a million tokens read", unit="USD", ge=0)
    output_price: float | None = parameter(None, "of a million tokens written", unit="USD", ge=0)
    top_logprobs: int = parameter(
        20, "likeliest tokens asked for at every place of an answer, where the endpoint can tell them; 0 for none",
        ge=0, le=20,
    )  # fmt: skip
    spend_cap: float | None = parameter(None, "what may be spent in one run, at most", unit="USD", gt=0)

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """USD; 0 where there are no prices."""
        return ((self.input_price or 0) * input_tokens + (self.output_price or 0) * output_tokens) / 1e6


class Answer(NamedTuple):
    """finished: it ended by itself; seconds: from the request to the answer, network and retries included; told: its
    tokens and the likeliest others, where the endpoint tells them."""

    text: str
    finished: bool
    input_tokens: int
    output_tokens: int
    seconds: float
    told: tuple[ToldToken, ...] = ()

    def pack(self) -> bytes:
        """As JSON; bytes of tokens are written as Latin-1."""
        plain = self._asdict()
        del plain["told"]
        if self.told:
            plain["told"] = [
                [_latin(each.piece), each.logprob, [[_latin(piece), logprob] for piece, logprob in each.likeliest]]
                for each in self.told
            ]
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, content: bytes) -> Answer:
        """The answer that was packed."""
        plain = json.loads(content)
        told = tuple(
            ToldToken(piece.encode("latin-1"), logprob, tuple((p.encode("latin-1"), lp) for p, lp in likeliest))
            for piece, logprob, likeliest in plain.pop("told", ())
        )
        return cls(**plain, told=told)


@dataclass(frozen=True)
class RemoteModel:
    """Where a model is: provider "openai" or "bedrock", its name there, and the URL that requests begin with."""

    provider: str
    model: str
    url: str

    @classmethod
    def parse(cls, name: str) -> RemoteModel:
        """Read openai:MODEL@URL or bedrock:MODEL. Raises UsageError saying what is missing."""
        provider, _, rest = name.partition(":")
        if provider == "bedrock" and rest:
            return cls(provider, rest, f"https://bedrock-runtime.{_region()}.amazonaws.com")
        model, _, url = rest.partition("@")
        if provider != "openai" or not model or urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"{name!r} names no remote model.", "Write openai:MODEL@https://HOST/v1 or bedrock:MODEL.")
        return cls(provider, model, url.rstrip("/"))


def is_remote(name: str) -> bool:
    """Whether a model's name is that of a remote one."""
    return name.partition(":")[0] in SCHEMES


class _Refused(Exception):
    """The endpoint takes no request for log-probabilities, or not this request."""


class RemoteChat:
    """A remote model that answers conversations; for any number of threads. spent: USD so far; silence: why it tells no
    log-probabilities, empty where it may."""

    def __init__(self, name: str, spec: RemoteSpec | None = None, *, send: Callable[..., bytes] | None = None) -> None:
        """Raises UsageError where the name, the key or, for a budget, a price is missing."""
        self.model, self.spec = RemoteModel.parse(name), spec or RemoteSpec()
        self.spent, self.silence = 0.0, _silence(self.model, self.spec)
        self._send = send or _send
        self._authorise = _openai_headers if self.model.provider == "openai" else _bedrock_headers()
        self._lock, self._starts = threading.Lock(), 0.0
        if self.spec.spend_cap is not None and None in (self.spec.input_price, self.spec.output_price):
            raise UsageError(
                "A spend cap needs prices.", "Give input_price and output_price in USD for a million tokens."
            )

    def estimate(self, conversations: Sequence[Sequence[Message]], max_tokens: int) -> float:
        """USD at most for these conversations, by their length. Raises UsageError where that is above the cap."""
        read = sum(len(turn.content) for turns in conversations for turn in turns) / CHARACTERS_PER_TOKEN
        cost = self.spec.cost(read, max_tokens * len(conversations))
        if self.spec.spend_cap is not None and self.spent + cost > self.spec.spend_cap:
            raise UsageError(
                f"{len(conversations):,} requests may cost up to {cost:.2f} USD, more than the cap of "
                f"{self.spec.spend_cap:.2f}.", "Raise the spend cap, give fewer rows, or allow fewer tokens.",
            )  # fmt: skip
        return cost

    def ask(
        self, conversations: Sequence[Sequence[Message]], max_tokens: int, keep: Callable[[int, Answer], None]
    ) -> None:
        """Ask all; `keep` gets each answer with its number as soon as it is there, one at a time, in any order.

        Raises Unavailable for an endpoint that does not answer, JobFailed where it refuses or the cap is reached; what
        was kept before is paid for and stays kept.
        """
        failed = threading.Event()

        def one(number: int, turns: Sequence[Message]) -> None:
            if failed.is_set():  # nothing more is paid for once the work has come to an end
                return
            try:
                answer = self._ask_one(turns, max_tokens)
                with self._lock:
                    self.spent += self.spec.cost(answer.input_tokens, answer.output_tokens)
                    keep(number, answer)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self.spec.together) as pool:
            tasks = [pool.submit(one, number, turns) for number, turns in enumerate(conversations)]
        for task in tasks:
            task.result()

    def _ask_one(self, turns: Sequence[Message], max_tokens: int) -> Answer:
        """An endpoint that refuses to tell log-probabilities is asked without, from then on."""
        if self.silence:
            return self._sent(turns, max_tokens, 0)
        try:
            return self._sent(turns, max_tokens, self.spec.top_logprobs)
        except _Refused as error:
            answer = self._sent(turns, max_tokens, 0)
            self.silence = f"its endpoint refused to tell log-probabilities ({error})"
            return answer

    def _sent(self, turns: Sequence[Message], max_tokens: int, top: int) -> Answer:
        path, body = self._request(turns, max_tokens, top)
        start = time.perf_counter()
        for attempt in range(self.spec.tries):
            self._wait_for_turn()
            try:
                headers = self._authorise(self.model.url + path, body)
                content = self._send(self.model.url + path, body, headers, self.spec.timeout_s)
                return self._answer(json.loads(content), time.perf_counter() - start)
            except urllib.error.HTTPError as error:
                pause = _pause(attempt, error.headers.get("Retry-After") if error.headers else None)
                reason = f"{error.code} {_reason(error)}"
                if top and error.code in WRONG_FIELDS:
                    raise _Refused(reason) from None
                if error.code not in TRY_AGAIN:
                    raise JobFailed(f"{self.model.url} refused a request: {reason}", _remedy(error.code)) from None
            except (OSError, json.JSONDecodeError) as error:
                pause, reason = _pause(attempt, None), str(error)
            if attempt + 1 < self.spec.tries:
                time.sleep(pause)
        raise Unavailable(
            f"{self.model.url} did not answer in {self.spec.tries} tries: {reason}",
            "Check that it runs there. What it answered before is kept: the same command asks only for the rest.",
        )

    def _wait_for_turn(self) -> None:
        """Keep to the rate, and stop at the cap."""
        with self._lock:
            if self.spec.spend_cap is not None and self.spent >= self.spec.spend_cap:
                raise JobFailed(
                    f"The spend cap of {self.spec.spend_cap:.2f} USD is reached.",
                    "Answers so far are kept: with a higher cap the same command asks only for the rest.",
                )
            now = time.monotonic()
            pause = max(0.0, self._starts - now)
            self._starts = max(now, self._starts) + (60 / self.spec.per_minute if self.spec.per_minute else 0)
        if pause:
            time.sleep(pause)

    def _request(self, turns: Sequence[Message], max_tokens: int, top: int) -> tuple[str, bytes]:
        temperature = self.spec.temperature
        if self.model.provider == "openai":
            said = [{"role": turn.role, "content": turn.content} for turn in turns]
            body = {"model": self.model.model, "messages": said, "max_tokens": max_tokens, "temperature": temperature,
                    **({"logprobs": True, "top_logprobs": top} if top else {})}  # fmt: skip
            return "/chat/completions", json.dumps(body).encode()
        parts = [{"role": t.role, "content": [{"text": t.content}]} for t in turns if t.role != "system"]
        converse: dict[str, Any] = {
            "messages": parts, "inferenceConfig": {"maxTokens": max_tokens, "temperature": temperature},
        }  # fmt: skip
        if system := [{"text": turn.content} for turn in turns if turn.role == "system"]:
            converse["system"] = system
        return f"/model/{quote(self.model.model, safe='')}/converse", json.dumps(converse).encode()

    def _answer(self, content: Mapping[str, Any], seconds: float) -> Answer:
        try:
            usage = content.get("usage") or {}
            if self.model.provider == "openai":
                choice = content["choices"][0]
                text, finished = choice["message"]["content"] or "", choice["finish_reason"] == "stop"
                told = _told(choice.get("logprobs"))
                read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
                return Answer(text, finished, read, written, seconds, told)
            text = "".join(part.get("text", "") for part in content["output"]["message"]["content"])
            finished = content["stopReason"] in ("end_turn", "stop_sequence")
            return Answer(text, finished, usage.get("inputTokens", 0), usage.get("outputTokens", 0), seconds)
        except (KeyError, IndexError, TypeError, AttributeError):
            shown = json.dumps(content)[:200]
            raise JobFailed(f"{self.model.url} answered in another form: {shown}", "Check the URL.") from None


def _silence(model: RemoteModel, spec: RemoteSpec) -> str:
    """Why no log-probabilities are asked for."""
    if model.provider == "bedrock":
        return "Bedrock's Converse tells no log-probabilities"
    return "" if spec.top_logprobs else "none of its log-probabilities are asked for (top_logprobs=0)"


def _told(logprobs: Any) -> tuple[ToldToken, ...]:
    """The tokens of a choice; none where the endpoint tells them in another form, or not at all."""
    try:
        return tuple(
            ToldToken(_piece(each), float(each["logprob"]),
                      tuple((_piece(other), float(other["logprob"])) for other in each["top_logprobs"]))
            for each in logprobs["content"]
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return ()


def _piece(token: Mapping[str, Any]) -> bytes:
    """A token's bytes; its text stands for them where an endpoint does not tell them."""
    return bytes(token["bytes"]) if token.get("bytes") is not None else str(token["token"]).encode()


def _latin(piece: bytes) -> str:
    return piece.decode("latin-1")


def _send(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        content: bytes = answer.read()
    return content


def _pause(attempt: int, told: str | None) -> float:
    """Seconds before the next try: what the server says, or twice as long as before."""
    said = float(told) if told and told.replace(".", "", 1).isdigit() else 0.5 * 2**attempt
    return min(said, LONGEST_PAUSE_S)


def _reason(error: urllib.error.HTTPError) -> str:
    return error.read().decode("utf-8", "replace")[:300].strip() or str(error.reason)


def _remedy(code: int) -> str:
    return "Check the key in the environment." if code in (401, 403) else "Check the name of the model and the rows."


def _openai_headers(url: str, body: bytes) -> dict[str, str]:
    key = environment.openai_key()
    return {"Authorization": f"Bearer {key}"} if key else {}


def _region() -> str:
    return environment.aws().get("AWS_REGION") or environment.aws().get("AWS_DEFAULT_REGION") or "us-east-1"


def _bedrock_headers() -> Callable[[str, bytes], dict[str, str]]:
    """How requests are authorised. Raises UsageError where the environment has no key."""
    keys = environment.aws()
    if token := keys.get("AWS_BEARER_TOKEN_BEDROCK"):
        return lambda url, body: {"Authorization": f"Bearer {token}"}
    if not keys.get("AWS_ACCESS_KEY_ID") or not keys.get("AWS_SECRET_ACCESS_KEY"):
        raise UsageError(
            "There is no key for Bedrock in the environment.",
            "Set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    return lambda url, body: sign(url, body, keys, _region(), datetime.now(UTC))


def sign(url: str, body: bytes, keys: Mapping[str, str], region: str, now: datetime) -> dict[str, str]:
    """Headers by which Bedrock knows who sends a POST (AWS Signature Version 4)."""
    parts, stamp = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/bedrock/aws4_request"
    headers = {"content-type": "application/json", "host": parts.netloc, "x-amz-date": stamp}
    if token := keys.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    path = quote(parts.path, safe="/-_.~")  # encoded once more, as every service but S3 wants it
    canonical = "\n".join(["POST", path, parts.query, listed, names, hashlib.sha256(body).hexdigest()])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys['AWS_SECRET_ACCESS_KEY']}".encode()
    for word in (*scope.split("/"), to_sign):
        key = hmac.digest(key, word.encode(), "sha256")
    credential = f"AWS4-HMAC-SHA256 Credential={keys['AWS_ACCESS_KEY_ID']}/{scope}"
    signed = {name: value for name, value in headers.items() if name not in ("host", "content-type")}
    return {**signed, "Authorization": f"{credential}, SignedHeaders={names}, Signature={key.hex()}"}
