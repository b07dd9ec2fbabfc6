"""A real S3 server: Ceph's gateway with one monitor and one store in memory, where Debian's packages are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]
REASON = "no S3 server is installed: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common"
PATIENCE_S = 60.0
CONFIGURATION = """
[global]
fsid = {id}
mon host = v2:127.0.0.1:{monitor}
public addr = 127.0.0.1
ms bind msgr1 = false
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.socket
pid file = {folder}/$name.pid
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object name len = 256
osd max object namespace len = 64
mon max pg per osd = 1000
mon allow pool size one = true
paxos propose interval = 0.05
paxos min wait = 0.01
auth allow insecure global id reclaim = true

[client]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw thread pool size = 8
"""
"""Of a cluster of one of each: no copies, no second version of the protocol, nothing outside its folder."""


class S3Server(NamedTuple):
    """Where it listens, and the keys of its only user."""

    url: str
    key: str
    secret: str


@contextmanager
def s3_of_ceph() -> Iterator[S3Server]:
    """An empty S3 server until the block ends."""
    assert not MISSING, f"these programs are not installed: {MISSING}"
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))
    monitor, gateway = _free_ports()
    identity, keys = str(uuid.uuid4()), ("KEYOFTHETESTS", "secret-of-the-tests")
    text = CONFIGURATION.format(id=identity, folder=folder, monitor=monitor, gateway=gateway)
    (folder / "ceph.conf").write_text(text)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _start(_Cluster(folder, stack), f"v2:127.0.0.1:{monitor}", identity, keys)
        while not _answers(gateway):
            time.sleep(0.05)
        yield S3Server(f"http://127.0.0.1:{gateway}", *keys)


class _Cluster:
    """Runs Ceph's programs in a folder with its configuration; those that were begun end with the stack."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._environment = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}

    def do(self, *command: str) -> None:
        """Run a program to its end."""
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def begin(self, *command: str) -> None:
        """Start a program that serves."""
        process = subprocess.Popen(
            [*command, "-f"], cwd=self._folder, env=self._environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)


def _start(cluster: _Cluster, monitor: str, identity: str, keys: tuple[str, str]) -> None:
    rights = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
    cluster.do("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", *rights[:3])
    for who in ("client.admin", "osd.0"):
        cluster.do("ceph-authtool", "keyring", "--gen-key", "-n", who, *rights)
    cluster.do("monmaptool", "--create", "--fsid", identity, "--addv", "a", f"[{monitor}]", "monmap")
    for folder in ("mon", "osd"):
        cluster.do("mkdir", folder)
    cluster.do("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap", "--keyring", "keyring")
    cluster.begin("ceph-mon", "-i", "a")
    store = str(uuid.uuid4())
    cluster.do("ceph", "osd", "new", store)
    cluster.do("ceph", "auth", "import", "-i", "keyring")
    cluster.do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store)
    cluster.begin("ceph-osd", "-i", "0")
    cluster.begin("radosgw", "-n", "client.admin")
    user = ("--uid", "tests", "--display-name", "tests", "--access-key", keys[0], "--secret-key", keys[1])
    cluster.do("radosgw-admin", "user", "create", *user)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
