"""What a batch inference job has done so far: its rows, their distinct requests, and the answers, each at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from outcrop.store.local_tables import LocalTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, key BLOB, error TEXT);
CREATE TABLE IF NOT EXISTS requests (
    key BLOB PRIMARY KEY, tokens BLOB NOT NULL, asked TEXT NOT NULL, lasting INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL, source TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY)
"""
VERSION = 1
REMEDY = "Start the job anew with --overwrite."
READ_AT_ONCE = 1000
UNANSWERED = "NOT EXISTS (SELECT 1 FROM answers WHERE answers.key = requests.key)"


class WorkRow(NamedTuple):
    """A row of the input: the key of its request, or why it makes none, as a JSON text."""

    number: int
    key: bytes | None
    error: str | None


class WorkRequest(NamedTuple):
    """A distinct request. tokens: its prompt as 4-byte numbers, big endian, so that bytes sort as tokens do; asked:
    the rest of it as a JSON text; lasting: whether its answer may be kept for other jobs."""

    key: bytes
    tokens: bytes
    asked: str
    lasting: bool


class WorkAnswer(NamedTuple):
    """The answer to a request as a JSON text, and where it is from."""

    key: bytes
    answer: str
    source: Literal["computed", "recalled", "refused"]


class RowAnswer(NamedTuple):
    """What became of a row: the answer to its request, or why it made none."""

    number: int
    error: str | None
    answer: str | None


class WorkCounts(NamedTuple):
    """Rows, those that made no request, distinct requests; of these, computed by this job and recalled from a cache."""

    rows: int
    broken: int
    requests: int
    computed: int
    recalled: int


class BatchWork(LocalTables):
    """The file of one job; one process writes it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises StoreUnavailable."""
        super().__init__(path, SCHEMA, version=VERSION, remedy=REMEDY)

    @property
    def rendered(self) -> bool:
        """Whether all rows are in it."""
        with self.reading() as connection:
            return connection.execute("SELECT 1 FROM marks WHERE name = 'rendered'").fetchone() is not None

    def mark_rendered(self) -> None:
        """Note that all rows are in it."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO marks VALUES ('rendered')")

    def add(self, rows: Sequence[WorkRow], requests: Sequence[WorkRequest]) -> None:
        """Add rows and requests; what is known stays as it is."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", rows)
            connection.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?)", requests)

    def unanswered(self, *, lasting: bool = False) -> list[bytes]:
        """Keys of the requests without an answer, in the order of their tokens; only lasting ones if asked."""
        only = "AND lasting" if lasting else ""
        query = f"SELECT key FROM requests WHERE {UNANSWERED} {only} ORDER BY tokens"
        with self.reading() as connection:
            return [key for (key,) in connection.execute(query)]

    def requests(self, keys: Sequence[bytes]) -> Iterator[WorkRequest]:
        """The requests of these keys, in their order."""
        for start in range(0, len(keys), READ_AT_ONCE):
            part = keys[start : start + READ_AT_ONCE]
            with self.reading() as connection:
                found = [connection.execute("SELECT * FROM requests WHERE key = ?", (key,)).fetchone() for key in part]
            yield from (WorkRequest(key, tokens, asked, bool(lasting)) for key, tokens, asked, lasting in found)

    def answer(self, answers: Sequence[WorkAnswer]) -> None:
        """Keep answers: from here on they survive the end of this process, however it ends."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", answers)

    def lasting_answers(self) -> Iterator[tuple[bytes, str]]:
        """Answers that this job computed and that other jobs may use."""
        query = f"""SELECT key, answer FROM answers JOIN requests USING (key)
            WHERE lasting AND source = 'computed' AND key > ? ORDER BY key LIMIT {READ_AT_ONCE}"""
        yield from self._in_pieces(query, b"")

    def row_answers(self) -> Iterator[RowAnswer]:
        """What became of every row, in their order."""
        query = "SELECT number, error, answer FROM rows LEFT JOIN answers USING (key) WHERE number > ?"
        for row in self._in_pieces(f"{query} ORDER BY number LIMIT {READ_AT_ONCE}", -1):
            yield RowAnswer(*row)

    def counts(self) -> WorkCounts:
        """How much there is of everything."""
        query = """SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM rows WHERE key IS NULL),
            (SELECT count(*) FROM requests), (SELECT count(*) FROM answers WHERE source = 'computed'),
            (SELECT count(*) FROM answers WHERE source = 'recalled')"""
        with self.reading() as connection:
            return WorkCounts(*connection.execute(query).fetchone())

    def _in_pieces(self, query: str, after: bytes | int) -> Iterator[tuple[Any, ...]]:
        """Rows of a query that is asked again after the last one's first column, so that nobody waits for it."""
        while True:
            with self.reading() as connection:
                found = connection.execute(query, (after,)).fetchall()
            if not found:
                return
            yield from found
            after = found[-1][0]
