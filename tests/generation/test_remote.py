"""Remote models against a real HTTP server on this machine: what is sent, what is tried again, what is refused."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message as Headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError

import pytest

from outcrop.core.completions import ToldToken
from outcrop.core.errors import JobFailed, Unavailable, UsageError
from outcrop.data.records import Message
from outcrop.generation import remote
from outcrop.generation.remote import Answer, RemoteChat, RemoteSpec, is_remote, sign


class Endpoint(ThreadingHTTPServer):
    """Answers in OpenAI's form; the first `failures` requests get `code` instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.failures, self.code, self.retry_after = 0, 503, "0"
        self.lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"openai:parrot@http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            failing = self.server.failures > 0
            self.server.failures -= failing
        said = body["messages"][-1]["content"]
        choice = {"message": {"content": f"you said {said}"}, "finish_reason": "length" if "long" in said else "stop"}
        answer = {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        content = json.dumps({"error": "busy"} if failing else answer).encode()
        self.send_response(self.server.code if failing else 200)
        self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(chat: RemoteChat, *texts: str) -> dict[int, Answer]:
    kept: dict[int, Answer] = {}
    chat.ask([[Message("user", text)] for text in texts], 20, kept.__setitem__)
    return kept


def test_answers_come_with_tokens_and_the_key_goes_along(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = ask(RemoteChat(endpoint.name), "hello", "something long")
    assert found[0][:4] == ("you said hello", True, 7, 3)
    assert not found[1].finished
    request = next(r for r in endpoint.requests if r["messages"][0]["content"] == "hello")
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer sk-secret"
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("parrot", 20, 0.0)


def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.failures = 2
    assert len(ask(RemoteChat(endpoint.name, RemoteSpec(together=1)), "a")) == 1
    assert len(endpoint.requests) == 3


def test_an_endpoint_that_stays_busy_is_given_up(endpoint: Endpoint) -> None:
    endpoint.failures = 9
    with pytest.raises(Unavailable, match="did not answer in 3 tries: 503"):
        ask(RemoteChat(endpoint.name, RemoteSpec(tries=3)), "a")
    with pytest.raises(Unavailable) as refused:
        ask(RemoteChat("openai:gpt@http://127.0.0.1:9/v1", RemoteSpec(tries=1)), "a")
    assert "--resume" not in str(refused.value)
    assert len(endpoint.requests) == 3


def test_what_was_answered_before_a_refusal_is_kept(endpoint: Endpoint) -> None:
    chat, kept = RemoteChat(endpoint.name, RemoteSpec(together=1)), []
    chat.ask([[Message("user", "a")]], 20, lambda number, answer: kept.append(answer.text))
    endpoint.failures, endpoint.code = 1, 401
    with pytest.raises(JobFailed, match="refused a request: 401") as failure:
        ask(chat, "b")
    assert "key" in failure.value.remedy
    endpoint.failures, before = 1, len(endpoint.requests)
    with pytest.raises(JobFailed):
        ask(chat, *"cdefgh")
    assert len(endpoint.requests) == before + 1  # nothing is asked after a refusal
    assert kept == ["you said a"]


def test_the_cap_is_kept_before_and_while_asking(endpoint: Endpoint) -> None:
    spec = RemoteSpec(together=1, input_price=1e6, output_price=1e6, spend_cap=25)
    chat = RemoteChat(endpoint.name, spec)
    with pytest.raises(UsageError, match="more than the cap of 25"):
        chat.estimate([[Message("user", "words " * 10)]], 20)
    assert endpoint.requests == []
    with pytest.raises(JobFailed, match="spend cap of 25"):
        ask(chat, "a", "b", "c", "d")
    assert len(endpoint.requests) == 3  # of 10 USD each: the third went over it
    assert chat.spent == pytest.approx(30)
    with pytest.raises(UsageError, match="needs prices"):
        RemoteChat(endpoint.name, RemoteSpec(spend_cap=1))


TOLD = {"token": " fee", "bytes": [32, 102, 101, 101], "logprob": -0.25,
        "top_logprobs": [{"token": " fee", "bytes": [32, 102, 101, 101], "logprob": -0.25},
                         {"token": "\u00e9", "bytes": None, "logprob": -2}]}  # fmt: skip


def speaking(logprobs: Any, refuses: bool = False) -> tuple[RemoteChat, list[dict[str, Any]]]:
    """An endpoint that tells this of its tokens, or refuses to be asked, and the requests that it got."""
    seen: list[dict[str, Any]] = []

    def send(url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> bytes:
        seen.append(json.loads(body))
        if refuses and "logprobs" in seen[-1]:
            raise HTTPError(url, 400, "Bad Request", Headers(), io.BytesIO(b"unknown field logprobs"))
        choice = {"message": {"content": " fee"}, "finish_reason": "stop", "logprobs": logprobs}
        return json.dumps({"choices": [choice]}).encode()

    return RemoteChat("openai:gpt@https://host/v1", RemoteSpec(together=1, tries=1, top_logprobs=5), send=send), seen


def test_the_likeliest_tokens_are_asked_for_and_come_back_from_bytes() -> None:
    chat, seen = speaking({"content": [TOLD]})
    answer = ask(chat, "a")[0]
    assert (seen[0]["logprobs"], seen[0]["top_logprobs"]) == (True, 5)
    assert answer.told == (ToldToken(b" fee", -0.25, ((b" fee", -0.25), (b"\xc3\xa9", -2.0))),)
    assert Answer.unpack(answer.pack()) == answer
    assert chat.silence == ""


@pytest.mark.parametrize("form", [None, {"content": None}, {"tokens": ["a"]}, {"content": [{"token": "a"}]}])
def test_what_is_told_in_another_form_is_nothing(form: Any) -> None:
    answer = ask(speaking(form)[0], "a")[0]
    assert (answer.text, answer.told) == (" fee", ())
    assert Answer.unpack(answer.pack()) == answer


def test_an_endpoint_that_refuses_to_tell_is_asked_without() -> None:
    chat, seen = speaking(None, refuses=True)
    assert len(ask(chat, "a", "b")) == 2
    assert ["logprobs" in body for body in seen] == [True, False, False]
    assert "refused to tell log-probabilities (400 unknown field logprobs)" in chat.silence


def test_a_request_that_is_wrong_in_another_way_is_refused_as_before(endpoint: Endpoint) -> None:
    endpoint.failures, endpoint.code = 2, 400
    chat = RemoteChat(endpoint.name, RemoteSpec(together=1))
    with pytest.raises(JobFailed, match="refused a request: 400"):
        ask(chat, "a")
    assert chat.silence == ""
    assert "top_logprobs" not in ask_without(endpoint)


def ask_without(endpoint: Endpoint) -> dict[str, Any]:
    chat = RemoteChat(endpoint.name, RemoteSpec(top_logprobs=0))
    ask(chat, "b")
    assert "top_logprobs=0" in chat.silence
    return endpoint.requests[-1]


def test_the_rate_is_kept(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    ask(RemoteChat(endpoint.name, RemoteSpec(together=1, per_minute=6)), "a", "b", "c")
    assert len(pauses) == 2
    assert pauses[1] > pauses[0] > 5


def test_names() -> None:
    assert is_remote("openai:gpt@https://host/v1")
    assert is_remote("bedrock:amazon.nova-micro-v1:0")
    assert not is_remote("bundled:pebble-s")
    for wrong in ("openai:gpt", "openai:@https://host", "openai:gpt@ftp://host"):
        with pytest.raises(UsageError, match="names no remote model"):
            RemoteChat(wrong)


def test_bedrock_speaks_converse_with_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def send(url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> bytes:
        sent.append((url, json.loads(body), headers))
        message = {"role": "assistant", "content": [{"text": "yes"}]}
        return json.dumps({
            "output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 5, "outputTokens": 2},
        }).encode()  # fmt: skip

    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="no key for Bedrock"):
        RemoteChat("bedrock:amazon.nova-micro-v1:0")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "token")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    chat, kept = RemoteChat("bedrock:amazon.nova-micro-v1:0", send=send), {}
    chat.ask([[Message("system", "Be brief."), Message("user", "well?")]], 9, kept.__setitem__)
    url, body, headers = sent[0]
    assert url == "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.nova-micro-v1%3A0/converse"
    assert "no log-probabilities" in chat.silence
    assert body["system"] == [{"text": "Be brief."}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "well?"}]}]
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.0}
    assert headers == {"Authorization": "Bearer token"}
    assert kept[0][:4] == ("yes", True, 5, 2)


def test_signatures_are_those_of_botocore() -> None:
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url, body = "https://bedrock-runtime.us-east-1.amazonaws.com/model/a.b-v1%3A0/converse", b'{"messages": []}'
    request = AWSRequest("POST", url, data=body, headers={"content-type": "application/json"})
    signer = auth.SigV4Auth(Credentials("AKID", "secret", "session"), "bedrock", "us-east-1")
    signer.add_auth(request)
    stamp = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
    ours = sign(url, body, keys, "us-east-1", stamp)
    assert ours["Authorization"] == request.headers["Authorization"]
