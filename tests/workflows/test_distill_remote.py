"""`distill` from a teacher behind an endpoint: answers are paid for once, students learn by sequences."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import outcrop
from outcrop.core.errors import JobFailed, UsageError

PRICES = {"input_price": 1e6 / 9, "output_price": 0}
FAST = {"epochs": 1, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}


class Clerk(ThreadingHTTPServer):
    """Answers every message with its intent; refuses after `patience` requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.patience = 10_000

    @property
    def name(self) -> str:
        return f"openai:clerk@http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Clerk

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        said = body["messages"][-1]["content"]
        label = "refund" if "return" in said else "fee" if "fee" in said else "card"
        answer = {"choices": [{"message": {"content": label}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
        content = json.dumps(answer).encode()
        self.send_response(200 if len(self.server.seen) <= self.server.patience else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def clerk() -> Iterator[Clerk]:
    server = Clerk()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def logs(rows: str, folder: Path) -> str:
    """The rows as logged invocations without answers, two of three of them of one team."""
    lines = []
    for number, line in enumerate(Path(rows).read_text().splitlines()):
        turn = {"role": "user", "content": [{"text": json.loads(line)["text"]}]}
        lines.append(json.dumps({
            "schemaType": "ModelInvocationLog", "input": {"inputBodyJson": {"messages": [turn]}},
            "requestMetadata": {"team": "cards" if number % 3 else "loans"},
        }))  # fmt: skip
    (folder / "logs").mkdir()
    (folder / "logs" / "a.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return str(folder / "logs")


def test_logs_are_answered_by_a_remote_teacher_once(base: str, rows: str, tmp_path: Path, clerk: Clerk) -> None:
    arguments: dict[str, Any] = {
        "teacher": clerk.name, "data": [logs(rows, tmp_path)], "format": "bedrock-invocation-log",
        "where": ["team=cards"], "students": [base], "instruction": "Answer with the intent.", "settings": FAST,
        "accept_teacher_terms": True, "int8": "never",
    }  # fmt: skip
    clerk.patience = 20
    with pytest.raises(JobFailed, match="refused a request: 403"):
        outcrop.distill(**arguments, to=str(tmp_path / "out"), remote={"together": 1})
    clerk.patience = 10_000
    del arguments["accept_teacher_terms"]  # remembered
    result = outcrop.distill(**arguments, to=str(tmp_path / "out"), resume=True, remote=PRICES, hourly_price=0.36)
    asked = [body["messages"][-1]["content"] for body in clerk.seen if body]
    assert len(asked) == 60 + 1  # one was refused, and asked again
    assert clerk.seen[0]["messages"][0] == {"role": "system", "content": "Answer with the intent."}
    assert "by sequences" in result.facts.method
    assert "network included" in result.verdict
    assert [system.name for system in result.evaluation.systems] == ["teacher", "student before", "student, distilled"]
    terms = json.loads((tmp_path / "out" / "outcrop.json").read_text())["teacher"]["terms"]
    assert (terms["teacher"], terms["how"]) == (clerk.name, "accept_teacher_terms")
    cost = result.facts.cost
    assert cost is not None
    assert cost.answers_usd == pytest.approx(60)  # one for each answer, those of the failed run included
    assert cost.teacher.usd == pytest.approx(1000)
    assert cost.break_even is not None
    answers = [json.loads(line) for line in (tmp_path / "out" / "teacher.jsonl").read_text().splitlines()]
    assert {row["messages"][-1]["content"] for row in answers} <= {"card", "fee", "refund"}
    assert "instruction" not in json.dumps(answers[0]).lower()


def test_a_remote_teacher_is_shown_worked_examples_where_that_is_asked_for(
    base: str, rows: str, tmp_path: Path, clerk: Clerk
) -> None:
    result = outcrop.distill(
        clerk.name, [rows], str(tmp_path / "out"), students=[base], settings=FAST, shots=2, int8="never",
        columns="prompt=text,completion=label", accept_teacher_terms=True,
    )  # fmt: skip
    assert [system.name for system in result.evaluation.systems][:2] == ["teacher", "teacher, 2-shot"]
    assert result.evaluation.system("teacher").output_tokens_mean is None  # its usage does not say
    shown = [body["messages"] for body in clerk.seen if len(body["messages"]) > 1]
    assert len(shown) == result.evaluation.data.rows
    assert [turn["role"] for turn in shown[0]] == ["user", "assistant", "user", "assistant", "user"]


def test_nothing_is_asked_before_the_terms_are_accepted(base: str, rows: str, tmp_path: Path, clerk: Clerk) -> None:
    with pytest.raises(UsageError, match="--accept-teacher-terms"):
        outcrop.distill(clerk.name, [rows], str(tmp_path / "out"), students=[base])
    assert clerk.seen == []


def test_what_a_remote_teacher_cannot_do_is_said_first(rows: str, tmp_path: Path, clerk: Clerk) -> None:
    with pytest.raises(UsageError, match="weights are not here"):
        outcrop.distill(clerk.name, [rows], str(tmp_path / "out"))
    with pytest.raises(UsageError, match="Leave --cascade out"):
        outcrop.distill(
            clerk.name, [rows], str(tmp_path / "out"), students=["bundled:pebble-s"], cascade=True,
            accept_teacher_terms=True,
        )  # fmt: skip
    with pytest.raises(UsageError, match="does not tell its states"):
        outcrop.distill(
            clerk.name, [rows], str(tmp_path / "out"), students=["bundled:pebble-s"], objective={"states_weight": 1},
            accept_teacher_terms=True,
        )  # fmt: skip
    assert clerk.seen == []


@pytest.mark.parametrize("wrong", [{"within": -1}, {"within": math.nan}, {"faster": 0}, {"faster": math.inf}])
def test_targets_that_nobody_can_mean_are_refused(rows: str, tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} is"):
        outcrop.distill("bundled:pebble-s", [rows], str(tmp_path / "out"), **wrong)  # type: ignore[arg-type]
