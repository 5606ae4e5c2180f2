"""STATE/state.db as a file: its schema, how it is opened to write and to read, what is made of damaged values.

    release(name, want, epoch, restarts_total, last_exit)
    event(seq, at, release, event, fields)

The functions raise sqlite3.Error, and OSError where a directory cannot be read. All block on the disk.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relctld.core.state import Want

SCHEMA_VERSION = 1
_SCHEMA = (
    """CREATE TABLE release(
    name TEXT PRIMARY KEY, want TEXT, epoch INTEGER NOT NULL DEFAULT 0,
    restarts_total INTEGER NOT NULL DEFAULT 0, last_exit TEXT)""",
    """CREATE TABLE event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, release TEXT,
    event TEXT NOT NULL, fields TEXT NOT NULL)""",
    "CREATE INDEX event_at ON event(at)",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store knows of a release."""

    want: Want | None
    epoch: int
    restarts_total: int
    last_exit: dict[str, Any] | None


@contextlib.contextmanager
def damage_as_errors() -> Iterator[None]:
    """SQLite quotes damaged names in its messages, and Python's module cannot decode them: it raises ValueError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(error.object.decode("utf-8", "replace")) from error


def connect(path: Path, timeout: float = 30.0) -> sqlite3.Connection:
    """Open to write, the schema made where it is not there; a lock of another's is waited for `timeout` seconds."""
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        found = version(connection)
        if found > SCHEMA_VERSION:
            raise sqlite3.OperationalError(f"its schema {found} is newer than {SCHEMA_VERSION}, this relctld's")
        connection.text_factory = _text
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if found == 0:
            _create(connection, replaces_another=any(path.parent.glob(f"{path.name}.damaged-*")))
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection, *, replaces_another: bool) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        if replaces_another:
            seq = round(datetime.now(UTC).timestamp() * 1000)
            connection.execute("INSERT INTO sqlite_sequence(name, seq) VALUES('event', ?)", (seq,))
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def open_to_read(path: Path, how: str) -> sqlite3.Connection:
    """`how`: mode=ro, or immutable=1 (no -shm is made, a -wal is not looked at)."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=5)
    connection.text_factory = _text
    return connection


def version(connection: sqlite3.Connection) -> int:
    """Of the schema; 0: there is none yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def kept(connection: sqlite3.Connection) -> dict[str, Kept]:
    """A damaged value counts as absent: it must not take the others with it."""
    rows = connection.execute("SELECT name, want, epoch, restarts_total, last_exit FROM release").fetchall()
    wants = {str(want): want for want in Want}
    return {
        name: Kept(wants.get(want), epoch, total, object_of(last))
        for name, want, epoch, total, last in rows
        if isinstance(epoch, int) and isinstance(total, int)
    }


def object_of(text: Any) -> dict[str, Any] | None:
    """A JSON object; None where it is none."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(body := json.loads(text), dict):
            return body
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def prune(connection: sqlite3.Connection, keep_seconds: float, keep_events: int) -> None:
    """Delete the events that are too old or too many."""
    oldest = datetime.fromtimestamp(datetime.now(UTC).timestamp() - keep_seconds, UTC)
    connection.execute("DELETE FROM event WHERE at < ?", (oldest.isoformat(timespec="milliseconds"),))
    connection.execute("DELETE FROM event WHERE seq <= (SELECT MAX(seq) FROM event) - ?", (keep_events,))
