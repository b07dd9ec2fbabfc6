"""Places, objects and artifacts on a real S3 server, which, other than the tests' own, checks every signature."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from outcrop.core.errors import UsageError
from outcrop.store.artifacts import ArtifactStore
from outcrop.store.objects import fetch
from outcrop.store.places import Listed, Places, PlacesSpec
from tests.support.ceph import MISSING, REASON, S3Server, s3_of_ceph

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    if MISSING:
        pytest.skip(REASON)
    with s3_of_ceph() as started:
        client = boto3.client(
            "s3", endpoint_url=started.url, region_name="us-east-1", aws_access_key_id=started.key,
            aws_secret_access_key=started.secret,
        )  # fmt: skip
        client.create_bucket(Bucket="data")
        client.close()
        yield started


@pytest.fixture
def keys(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"ACCESS_KEY_ID": server.key, "SECRET_ACCESS_KEY": server.secret, "REGION": "us-east-1"}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.usefixtures("keys")
def test_places_are_read_written_and_removed(server: S3Server, tmp_path: Path) -> None:
    places = Places(PlacesSpec(endpoint=server.url))
    big = b"x" * (20 << 20)  # larger than obstore puts at once
    for name, content in {"rows.jsonl": b"one", "deep/more é+=&.jsonl": b"three", "big": big}.items():
        places.put("s3://data/in", name, io.BytesIO(content))
    places.put("s3://data/inside", "x", io.BytesIO(b""))
    listed = [Listed("big", len(big)), Listed("deep/more é+=&.jsonl", 5), Listed("rows.jsonl", 3)]
    assert places.files("s3://data/in/") == listed
    assert places.files("s3://data/in/rows.jsonl") == [Listed("", 3)]
    assert places.files("s3://data/nothing") == places.files("s3://nobucket/x") == []
    for number, (name, size) in enumerate(listed):
        assert places.fetch("s3://data/in", name, tmp_path / str(number)) == size
    assert (tmp_path / "0").read_bytes() == big
    with pytest.raises(FileNotFoundError):
        places.fetch("s3://data/absent", "", tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        places.put("s3://nobucket/out", "x", io.BytesIO(b""))
    for name, _ in listed:
        places.remove("s3://data/in", name)
    places.remove("s3://data/in", "rows.jsonl")
    assert places.files("s3://data/in/") == []


@pytest.mark.usefixtures("keys")
def test_a_wrong_secret_is_told_as_that(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    places = Places(PlacesSpec(endpoint=server.url))
    with pytest.raises(UsageError, match="refuses the keys"):
        places.files("s3://data/in")
    with pytest.raises(UsageError, match="refuses the keys"):
        places.put("s3://data/in", "x", io.BytesIO(b""))


def _options(server: S3Server) -> dict[str, Any]:
    return {
        "endpoint": server.url, "region": "us-east-1", "access_key_id": server.key, "secret_access_key": server.secret,
        "client_options": {"allow_http": True}, "virtual_hosted_style_request": False,
    }  # fmt: skip


def test_of_artifacts_published_at_the_same_time_one_wins(server: S3Server, tmp_path: Path) -> None:
    store, outcomes = ArtifactStore.open("s3://data/artifacts", _options(server)), list[str]()

    def publish(name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        try:
            store.publish("jobs/a/model", tmp_path / name)
            outcomes.append(name)
        except UsageError:
            outcomes.append("refused")

    writers = [threading.Thread(target=publish, args=(f"writer-{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    [winner] = [outcome for outcome in outcomes if outcome != "refused"]
    assert len(outcomes) == 4
    store.fetch("jobs/a/model", tmp_path / "fetched")
    assert (tmp_path / "fetched" / "file").read_text() == winner


@pytest.mark.usefixtures("keys")
def test_objects_come_into_a_folder(server: S3Server, tmp_path: Path) -> None:
    places = Places(PlacesSpec(endpoint=server.url))
    for name in ("a.jsonl", "deep/b.jsonl", "c.pdf"):
        places.put("s3://data/rows", name, io.BytesIO(b"{}\n"))
    found = fetch("s3://data/rows", tmp_path / "rows", lambda name: name.endswith(".jsonl"), _options(server))
    assert found == ["a.jsonl", "deep/b.jsonl"]
    with pytest.raises(UsageError, match="refuses the keys"):
        fetch("s3://data/rows", tmp_path / "b", lambda name: True, {**_options(server), "secret_access_key": "x"})
    with pytest.raises(UsageError, match="no files of rows"):
        fetch("s3://nobucket/rows", tmp_path / "c", lambda name: True, _options(server))
