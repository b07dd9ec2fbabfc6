"""Places: what is allowed is reached, and nothing else, whatever it is called and whatever lies in the way."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.store.places import Listed, Places, PlacesSpec
from tests.support.s3 import s3_server

SECRET = "the secret"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "buckets" / "data").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret.txt").write_text(SECRET)
    return Places(PlacesSpec(buckets=str(tmp_path / "buckets"), allowed=(str(tmp_path / "folder"),)))


def _read(places: Places, uri: str, tmp_path: Path) -> bytes:
    target = tmp_path / "fetched"
    target.unlink(missing_ok=True)
    places.fetch(uri, "", target)
    return target.read_bytes()


def test_what_is_put_is_listed_and_fetched(places: Places, tmp_path: Path) -> None:
    for uri in ("s3://data/out/", f"file://{tmp_path}/folder/out"):
        places.put(uri, "a/b.txt", io.BytesIO(b"one"))
        places.put(uri, "a/b.txt", io.BytesIO(b"three"))
        places.put(uri, "c.txt", io.BytesIO(b"two"))
        assert places.files(uri) == [Listed("a/b.txt", 5), Listed("c.txt", 3)]
        assert places.files(uri.rstrip("/") + "/c.txt") == [Listed("", 3)]
        assert _read(places, uri.rstrip("/") + "/a/b.txt", tmp_path) == b"three"
        places.remove(uri, "c.txt")
        places.remove(uri, "c.txt")
        assert places.files(uri) == [Listed("a/b.txt", 5)]
    assert places.files("s3://data/nothing") == []
    assert places.files("s3://nobucket/nothing") == []


HOSTILE = [
    "", "x", "/etc/passwd", "etc/passwd", "../secret.txt", "http://169.254.169.254/latest", "https://example.com/x",
    "ftp://x/y", "S3://data/x", "s3:data/x", "s3:///x", "s3://data/../../secret.txt", "s3://../secret.txt",
    "s3://data/a/../../x", "s3://data/./x", "s3://data//x", "s3://data/x#y", "s3://data/x?y", "s3://data/%2e%2e/x",
    "s3://data/a\\..\\x", "s3://data/a\0b", "s3://data/a\nb", "s3://user:pw@data/x", "s3://da_ta/x", "s3://..data/x",
    "s3://data/" + "x" * 300, "file://host/etc/passwd", "file:///etc/passwd", "file:///", "file:////etc/passwd",
    "file:///%2fetc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("uri", HOSTILE)
def test_hostile_uris_are_refused(places: Places, uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        places.files(uri)
    with pytest.raises(UsageError):
        places.put(uri, "x", io.BytesIO(b""))
    with pytest.raises(UsageError):
        places.remove(uri, "x")
    with pytest.raises(UsageError):
        _read(places, uri, tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "", "/", "a/../b", "../x", "a//b", "/etc/passwd", "a\0b", "a\\b"])
def test_hostile_names_below_a_uri_are_refused(places: Places, name: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for uri in ("s3://data/out/", f"file://{tmp_path}/folder/out"):
        with pytest.raises(UsageError):
            places.put(uri, name, io.BytesIO(b"x"))
        with pytest.raises(UsageError):
            places.remove(uri, name)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_allowed_folder_is_no_prefix_of_names(places: Places, tmp_path: Path) -> None:
    (tmp_path / "folder-beside").mkdir()
    for path in ("folder-beside/x", "secret.txt", "folder/../secret.txt"):
        with pytest.raises(UsageError):
            places.files(f"file://{tmp_path}/{path}")


def test_links_lead_nowhere(places: Places, tmp_path: Path) -> None:
    bucket = tmp_path / "buckets" / "data"
    (bucket / "file").symlink_to(tmp_path / "secret.txt")
    (bucket / "up").symlink_to(tmp_path)
    assert places.files("s3://data/") == []
    for uri in ("s3://data/file", "s3://data/up/secret.txt"):
        assert places.files(uri) == []
        with pytest.raises(FileNotFoundError):
            _read(places, uri, tmp_path)
    with pytest.raises(OSError, match=r"exists|No such"):
        places.put("s3://data/up", "written", io.BytesIO(b"x"))
    places.put("s3://data", "file", io.BytesIO(b"mine"))
    assert (tmp_path / "secret.txt").read_text() == SECRET
    assert not (tmp_path / "written").exists()


def test_devices_and_pipes_are_no_files(places: Places, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "buckets" / "data" / "pipe")
    assert places.files("s3://data/pipe") == []
    with pytest.raises(FileNotFoundError):
        _read(places, "s3://data/pipe", tmp_path)


def test_a_prefix_is_enough_for_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    places = Places(PlacesSpec(buckets=str(tmp_path), allowed=("s3://data/in",)))
    places.put("s3://data/in", "x", io.BytesIO(b"1"))
    assert places.files("s3://data/in/x") == [Listed("", 1)]
    for uri in ("s3://data/", "s3://data/inside", "s3://other/in/x"):
        with pytest.raises(UsageError, match="not allowed"):
            places.files(uri)


def test_a_write_that_fails_leaves_nothing(places: Places, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        places.put("s3://data/out", "x", Broken())
    assert list((tmp_path / "buckets" / "data" / "out").iterdir()) == []


def test_an_s3_server_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    objects = {"in/rows.jsonl": b"one", "in/deep/more.jsonl": b"three", "inside": b"x"}
    with s3_server({"data": objects}) as url:
        places = Places(PlacesSpec(endpoint=url))
        assert places.files("s3://data/in/") == [Listed("deep/more.jsonl", 5), Listed("rows.jsonl", 3)]
        assert places.files("s3://data/in/rows.jsonl") == [Listed("", 3)]
        assert places.files("s3://data/nothing") == places.files("s3://nobucket/x") == []
        assert _read(places, "s3://data/in/deep/more.jsonl", tmp_path) == b"three"
        with pytest.raises(FileNotFoundError):
            _read(places, "s3://data/absent", tmp_path)
        places.put("s3://data/out/", "a/b.txt", io.BytesIO(b"written"))
        assert objects["out/a/b.txt"] == b"written"
        places.remove("s3://data/out", "a/b.txt")
        assert "out/a/b.txt" not in objects
        with pytest.raises(FileNotFoundError):
            places.put("s3://nobucket/out", "x", io.BytesIO(b""))
    with pytest.raises(StoreUnavailable):
        places.files("s3://data/in/")
