"""A small S3 server in memory: buckets, objects, lists; enough for a client that reads, writes and removes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Buckets = dict[str, dict[str, bytes]]
DATE = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"


@contextmanager
def s3_server(buckets: Buckets) -> Iterator[str]:
    """The URL of a server of these buckets, each key → bytes."""
    server = Server(("127.0.0.1", 0), Handler)
    server.buckets = buckets
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    """Keeps the buckets."""

    buckets: Buckets


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        objects, key, query = self._place()
        if objects is None:
            self._say(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            entries = "".join(
                f"<Contents><Key>{name}</Key><Size>{len(content)}</Size>{DATE}<ETag>x</ETag></Contents>"
                for name, content in sorted(objects.items())
                if name.startswith(prefix)
            )
            head = "<ListBucketResult><IsTruncated>false</IsTruncated>"
            self._say(200, f"{head}{entries}</ListBucketResult>".encode())
        elif key in objects:
            self._say(200, objects[key])
        else:
            self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        objects, key, _ = self._place()
        content = self._content()
        if objects is not None:
            objects[key] = content
        self._say(404 if objects is None else 200, b"")

    def do_POST(self) -> None:
        """Remove what the request names: obstore sends removals together."""
        objects, _, _ = self._place()
        keys = re.findall("<Key>(.*?)</Key>", self._content().decode())
        for key in keys:
            (objects or {}).pop(key, None)
        removed = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._say(200, f"<DeleteResult>{removed}</DeleteResult>".encode())

    def _content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _place(self) -> tuple[dict[str, bytes] | None, str, dict[str, list[str]]]:
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        return self.server.buckets.get(bucket), key, parse_qs(address.query, keep_blank_values=True)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(1_700_000_000, usegmt=True))
        self.send_header("ETag", '"x"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
