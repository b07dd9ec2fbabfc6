"""Artifacts are whole or absent, never change, and are checked byte for byte when they are fetched."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from outcrop.core.errors import JobFailed, OutcropError, UsageError
from outcrop.store.artifacts import COMMITTED, MANIFEST, ArtifactStore

KEY = "jobs/abc/model"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.open(str(tmp_path / "artifacts"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "run").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(os.urandom(100_000))
    (made / "run" / "journal.jsonl").write_text("{}\n")
    (made / "empty").write_text("")
    return made


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_published_comes_back(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    assert not store.exists(KEY)
    files = store.publish(KEY, folder)
    assert store.exists(KEY)
    assert store.files(KEY) == files
    assert [(file.name, file.size) for file in files] == [
        ("empty", 0), ("model.safetensors", 100_000), ("run/journal.jsonl", 3),
    ]  # fmt: skip
    assert store.fetch(KEY, tmp_path / "fetched") == files
    assert _content(tmp_path / "fetched") == _content(folder)


def test_a_key_is_written_once(store: ArtifactStore, folder: Path) -> None:
    files = store.publish(KEY, folder)
    (folder / "empty").write_text("no longer")
    with pytest.raises(UsageError, match="already"):
        store.publish(KEY, folder)
    assert store.files(KEY) == files


def test_of_writers_at_the_same_time_one_wins_with_all_of_its_files(store: ArtifactStore, tmp_path: Path) -> None:
    outcomes: list[str] = []

    def publish(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("a", "b"):
            (folder / file).write_text(name)
        try:
            store.publish(KEY, folder)
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
    store.fetch(KEY, tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == {"a": winner.encode(), "b": winner.encode()}


def test_without_its_marker_an_artifact_does_not_exist(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    store.publish(KEY, folder)
    (tmp_path / "artifacts" / KEY / COMMITTED).unlink()
    assert not store.exists(KEY)
    with pytest.raises(UsageError, match="no artifact"):
        store.fetch(KEY, tmp_path / "fetched")
    store.publish(KEY, folder)  # what an earlier attempt left is in nobody's way
    store.fetch(KEY, tmp_path / "fetched")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def _link_outside(path: Path) -> None:
    (path.parents[5] / "outside").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(path.parents[5] / "outside")


@pytest.mark.parametrize("name", ["model.safetensors", MANIFEST])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, _link_outside])
def test_a_damaged_artifact_is_refused_and_leaves_nothing(
    store: ArtifactStore, folder: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    store.publish(KEY, folder)
    [path] = (tmp_path / "artifacts" / KEY).glob(f"*/{name}")
    damage(path)
    with pytest.raises(JobFailed, match="not the one that was published"):
        store.fetch(KEY, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("key", ["", "/", "a//b", "../a", "a/../b", "a\\b", "a/", "/a", "a\0", f"a/{COMMITTED}"])
def test_another_kind_of_key_is_refused(store: ArtifactStore, folder: Path, key: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        store.publish(key, folder)


def test_links_empty_folders_and_other_places_are_refused(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="Links"):
        store.publish(KEY, folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no file"):
        store.publish(KEY, tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot be stored"):
        ArtifactStore.open("bundled:pebble-s")
    assert not store.exists(KEY)


def test_a_server_that_does_not_answer_is_said() -> None:
    options = {
        "endpoint": "http://127.0.0.1:1", "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b",
        "client_options": {"allow_http": True}, "retry_config": {"max_retries": 0},
    }  # fmt: skip
    with pytest.raises(OutcropError, match="does not answer"):
        ArtifactStore.open("s3://bucket/prefix", options).exists(KEY)
