"""Keys: access keys for signatures and bearer keys, made here, shown once, and kept so that the database alone opens
nothing: a bearer key as a digest, the secret of a signature encrypted with a key that lies beside the database."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from outcrop.core.errors import JobFailed, UsageError
from outcrop.core.ids import new_id
from outcrop.store.projects import KeyRow, Project, ProjectTable

SIGNATURE, BEARER = "signature", "bearer"
BEARER_PREFIX = "outcrop-"
CACHED_S = 5.0
"""How long a key that was looked up is not looked up again: a revoked one is good for so long."""


@dataclass(frozen=True)
class NewKeys:
    """The keys of a project, in the clear: shown once."""

    project: Project
    access_key_id: str
    secret_access_key: str
    bearer: str


class Keys:
    """The keys of all projects. folder: where the key that encrypts secrets lies."""

    def __init__(self, projects: ProjectTable, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.projects = projects
        self._fernet = Fernet(_encryption_key(folder / "secret.key"))
        self._clock = clock
        self._cache: dict[str, tuple[float, KeyRow | None]] = {}

    def create(self, project: Project) -> NewKeys:
        """Make an access key and a bearer key for a project."""
        access = "OUTC" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(16))
        secret = secrets.token_urlsafe(30)
        bearer_id, bearer_secret = new_id(), secrets.token_urlsafe(32)
        self.projects.add_key(project, access, SIGNATURE, self._fernet.encrypt(secret.encode()).decode())
        self.projects.add_key(project, bearer_id, BEARER, _digest(bearer_secret))
        return NewKeys(project, access, secret, f"{BEARER_PREFIX}{bearer_id}.{bearer_secret}")

    def create_project(self, name: str) -> Project:
        """Make a project with an account number of its own. Raises UsageError for a name that is taken."""
        present = self.projects.all()
        if any(project.name == name for project in present):
            raise UsageError(f"There is a project {name} already.", "Give another name.")
        taken = {project.account for project in present}
        account = next(number for number in iter(_account, "") if number not in taken)
        return self.projects.add(name, account)

    def signing(self, key_id: str) -> tuple[KeyRow, str] | None:
        """The key of an access key id with its secret. Raises JobFailed where the secret cannot be decrypted."""
        row = self._row(key_id)
        if row is None or row.kind != SIGNATURE:
            return None
        try:
            return row, self._fernet.decrypt(row.secret.encode()).decode()
        except InvalidToken:
            raise JobFailed(
                f"The secret of key {key_id} was encrypted with another secret.key.",
                "Restore that file, or make new keys: outcrop keys create.",
            ) from None

    def bearer(self, text: str) -> KeyRow | None:
        """The key that a bearer key names, if its secret is right; compared in constant time."""
        key_id = bearer_id(text)
        secret = text.partition(".")[2]
        row = self._row(key_id) if key_id else None
        expected = row.secret if row is not None and row.kind == BEARER else ""
        same = hmac.compare_digest(_digest(secret), expected)
        return row if same else None

    def is_known(self, key_id: str) -> bool:
        """Whether a key was looked up within the last seconds."""
        return self._clock() - self._cache.get(key_id, (-CACHED_S, None))[0] < CACHED_S

    def _row(self, key_id: str) -> KeyRow | None:
        """The key of an id, as it was within the last seconds. Unknown ids are not kept: there are too many."""
        now = self._clock()
        looked_up, row = self._cache.get(key_id, (-CACHED_S, None))
        if now - looked_up >= CACHED_S:
            row = self.projects.key(key_id) if len(key_id) <= 32 else None
            self._cache.pop(key_id, None)
            if row is not None:
                self._cache[key_id] = (now, row)
        return row


def bearer_id(text: str) -> str:
    """The public part of a bearer key, empty where it is none of ours."""
    return text.removeprefix(BEARER_PREFIX).partition(".")[0] if text.startswith(BEARER_PREFIX) else ""


def _digest(secret: str) -> str:
    # 256 random bits: a slow hash would protect nothing more.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _account() -> str:
    return "".join(secrets.choice(string.digits) for _ in range(12))


def _encryption_key(file: Path) -> bytes:
    """The key in a file that only its owner may read, made if it is new."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as made:
            made.write(Fernet.generate_key())
    except FileExistsError:
        pass
    return file.read_bytes()
