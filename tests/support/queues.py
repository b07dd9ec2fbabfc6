"""Queues on SQLite and on a real PostgreSQL server, which is started where Debian's binaries are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))


@dataclass
class PostgresServer:
    """A server of its own on a loopback port, without durability; `kill` is kill -9 of all of it."""

    folder: Path
    port: int

    def __post_init__(self) -> None:
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "-U", "app", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        """End the server and its processes, which would keep its memory from the next one, as a crash would."""
        server = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.killpg(server, signal.SIGKILL)
        while Path(f"/proc/{server}").exists():
            time.sleep(0.01)

    def stop(self) -> None:
        """End the server."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def url(self, name: str) -> str:
        """The URL of a new, empty database."""
        server = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "app"]
        subprocess.run(["createdb", *server, name], check=True, capture_output=True, timeout=30)
        return f"postgresql://app@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as, str(BINARIES[-1].parent / program), "-D", str(self.folder), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, or a skip that says what is missing."""
    if not BINARIES:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    server = PostgresServer(folder, port)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(f"test_{abs(hash(str(tmp_path))):x}")
