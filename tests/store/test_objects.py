"""Objects of S3 come into a folder: one, or all under a prefix. The server is one of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.store.objects import fetch
from outcrop.workflows import batch_infer
from tests.models.folders import write_model
from tests.support.batches import lines

OBJECTS = {
    "in/rows.jsonl": b'{"prompt": "the card"}\n', "in/deep/more.jsonl": b'{"prompt": "a fee"}\n',
    "in/readme.pdf": b"%PDF", "inside/rows.jsonl": b"{}\n", "in/x/../../climbing.jsonl": b"{}\n",
}  # fmt: skip


class Bucket(BaseHTTPRequestHandler):
    """GET and HEAD of objects, and lists of them, as S3 answers both."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        key = unquote(address.path).removeprefix("/bucket").strip("/")
        body, status = OBJECTS.get(key, b""), 200 if key in OBJECTS else 404
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            entries = "".join(
                f"<Contents><Key>{name}</Key><Size>{len(content)}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents>"
                for name, content in OBJECTS.items()
                if name.startswith(prefix) and ".." not in name
            )
            head = "<ListBucketResult><IsTruncated>false</IsTruncated>"
            body, status = f"{head}{entries}</ListBucketResult>".encode(), 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(1_700_000_000, usegmt=True))
        self.send_header("ETag", '"x"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def options() -> Iterator[dict[str, Any]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        "endpoint": f"http://127.0.0.1:{server.server_port}", "region": "us-east-1", "access_key_id": "a",
        "secret_access_key": "b", "client_options": {"allow_http": True}, "retry_config": {"max_retries": 0},
    }  # fmt: skip
    server.shutdown()
    thread.join()
    server.server_close()


def rows_only(name: str) -> bool:
    return name.endswith(".jsonl")


def test_a_prefix_is_a_folder_and_a_key_a_file(options: dict[str, Any], tmp_path: Path) -> None:
    assert fetch("s3://bucket/in", tmp_path / "a", rows_only, options) == ["deep/more.jsonl", "rows.jsonl"]
    assert (tmp_path / "a" / "deep" / "more.jsonl").read_bytes() == OBJECTS["in/deep/more.jsonl"]
    assert fetch("s3://bucket/in/", tmp_path / "b", rows_only, options) == ["deep/more.jsonl", "rows.jsonl"]
    assert fetch("s3://bucket/in/rows.jsonl", tmp_path / "c", rows_only, options) == ["rows.jsonl"]
    with pytest.raises(UsageError, match="no files of rows at s3://bucket/absent"):
        fetch("s3://bucket/absent", tmp_path / "d", rows_only, options)


def test_a_server_that_does_not_answer_is_said(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        fetch("s3://bucket/in", tmp_path / "a", rows_only, options | {"endpoint": "http://127.0.0.1:1"})


def test_a_batch_reads_from_s3(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "model")
    monkeypatch.setattr(batch_infer, "fetch", lambda *given: fetch(*given, options))
    sampling = {"max_new_tokens": 3}
    result = batch_infer.batch(str(model), ["s3://bucket/in"], str(tmp_path / "out"), sampling=sampling)
    assert result.files == ("deep/more.jsonl.answers.jsonl", "rows.jsonl.answers.jsonl")
    assert lines(tmp_path / "out" / "rows.jsonl.answers.jsonl")[0]["prompt"] == "the card"
    assert not (tmp_path / "out" / "run" / "inputs").exists()
