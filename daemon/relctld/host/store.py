"""The durable store: wants, totals, last exits and the history of events, in SQLite.

STATE/state.db    release(name, want, epoch, restarts_total, last_exit)
                  event(seq, at, release, event, fields)

Rule 1: one thread writes (WAL, synchronous FULL); the loop only queues and is told through `done`, on the loop.
Rule 2: a batch is one transaction: what was told to be done is on the disk, whatever is killed afterwards.
Rule 3: a damaged store is set aside under a name with its time, never deleted; a store that cannot be written
        keeps its events in memory (bounded) and says so; nothing of this may touch a node.
Rule 4: the store of a newer relctld is not touched at all.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relctld.core.model import Want

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS release(
    name TEXT PRIMARY KEY, want TEXT, epoch INTEGER NOT NULL DEFAULT 0,
    restarts_total INTEGER NOT NULL DEFAULT 0, last_exit TEXT);
CREATE TABLE IF NOT EXISTS event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, release TEXT,
    event TEXT NOT NULL, fields TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_at ON event(at);
"""
_WAITING_EVENTS = 10_000
_RETRY = 2.0
_PRUNE_EVERY = 1_000

Written = Callable[[int | None, str | None], None]
"""Called on the loop with the row's number (an event's seq) or an error."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store knows of a release."""

    want: Want | None
    epoch: int
    restarts_total: int
    last_exit: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of the history."""

    seq: int
    at: str
    release: str | None
    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Job:
    sql: str
    values: tuple[Any, ...]
    done: Written | None
    patient: bool  # an event waits for room on the disk; a want is refused at once


class Store:
    """The writer. Open it before the loop runs; afterwards nothing here blocks but `close` and the readers."""

    def __init__(self, path: Path, *, keep_seconds: float, keep_events: int = 100_000) -> None:
        self.path = path
        self.error: str | None = None
        self.set_aside: str | None = None
        self._keep = keep_seconds, keep_events
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._events_since_prune = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trouble: Callable[[str | None], None] = lambda _: None
        self._thread: threading.Thread | None = None
        self.kept: dict[str, Kept] = {}

    def open(self) -> None:
        """Read what is kept. A damaged store is set aside; one that cannot be opened leaves `error`."""
        try:
            try:
                self.kept = self._read()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside(str(error))
                self.kept = self._read()
        except (OSError, sqlite3.Error) as error:
            self.error = f"cannot use {self.path}: {error}"

    def start(self, loop: asyncio.AbstractEventLoop, trouble: Callable[[str | None], None]) -> None:
        """Begin to write. `trouble` is told on the loop when writing begins to fail (why) and works again (None)."""
        self._loop = loop
        self._trouble = trouble
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, then end; a disk that hangs is waited for no longer than `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    # -- writing -------------------------------------------------------------------------------

    def put_want(self, name: str, want: Want, done: Written) -> None:
        """Record a want; `done` is told when it is durable, or why it cannot be."""
        sql = "INSERT INTO release(name, want) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET want=excluded.want"
        self._put(_Job(sql, (name, str(want)), done, patient=False))

    def put_totals(self, name: str, epoch: int, restarts_total: int, last_exit: Mapping[str, Any] | None) -> None:
        """Record the counters, some time soon."""
        sql = """INSERT INTO release(name, epoch, restarts_total, last_exit) VALUES(?, ?, ?, ?)
            ON CONFLICT(name) DO UPDATE SET
            epoch=excluded.epoch, restarts_total=excluded.restarts_total, last_exit=excluded.last_exit"""
        text = None if last_exit is None else json.dumps(last_exit)
        self._put(_Job(sql, (name, epoch, restarts_total, text), None, patient=True))

    def put_event(self, at: str, release: str | None, event: str, fields: Mapping[str, Any], done: Written) -> None:
        """Append to the history; `done` is told its seq."""
        sql = "INSERT INTO event(at, release, event, fields) VALUES(?, ?, ?, ?)"
        self._put(_Job(sql, (at, release, event, json.dumps(fields, default=str)), done, patient=True))

    def _put(self, job: _Job) -> None:
        with self._wake:
            self._jobs.append(job)
            if len(self._jobs) > _WAITING_EVENTS:  # a disk that has been full for long: the oldest events go
                with contextlib.suppress(StopIteration):
                    self._jobs.remove(next(waiting for waiting in self._jobs if waiting.patient))
            self._wake.notify()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while batch := self._next_batch():
            try:
                connection = connection or _connect(self.path)
                results = self._write(connection, batch)
            except (OSError, sqlite3.Error) as error:
                self._failed(batch, str(error))
                if connection is not None:
                    connection.close()
                    connection = None
                continue
            self._say(None)
            for job, number in zip(batch, results, strict=True):
                self._tell(job, number, None)
        if connection is not None:
            connection.close()

    def _next_batch(self) -> list[_Job]:
        """What is to be written next; empty when closing and nothing is left (or nothing can be written)."""
        with self._wake:
            if self.error and not self._closing and all(job.patient for job in self._jobs):
                self._wake.wait(_RETRY)
            while not self._jobs and not self._closing:
                self._wake.wait()
            if self._closing and self.error:
                return []
            batch = list(self._jobs)
            self._jobs.clear()
            return batch

    def _write(self, connection: sqlite3.Connection, batch: Iterable[_Job]) -> list[int | None]:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            results = [connection.execute(job.sql, job.values).lastrowid for job in batch]
            self._events_since_prune += len(results)
            if self._events_since_prune >= _PRUNE_EVERY:
                self._events_since_prune = 0
                _prune(connection, *self._keep)
        return results

    def _failed(self, batch: list[_Job], error: str) -> None:
        self._say(f"cannot write {self.path}: {error}")
        with self._wake:
            self._jobs.extendleft(reversed([job for job in batch if job.patient]))
        for job in batch:
            if not job.patient:
                self._tell(job, None, self.error)

    def _say(self, error: str | None) -> None:
        changed, self.error = (self.error is None) != (error is None), error
        if changed and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._trouble, error)

    def _tell(self, job: _Job, number: int | None, error: str | None) -> None:
        if job.done is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(job.done, number, error)

    # -- reading -------------------------------------------------------------------------------

    def _read(self) -> dict[str, Kept]:
        with contextlib.closing(_connect(self.path)) as connection:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            rows = connection.execute("SELECT name, want, epoch, restarts_total, last_exit FROM release").fetchall()
        return {
            name: Kept(Want(want) if want else None, epoch, total, json.loads(last) if last else None)
            for name, want, epoch, total, last in rows
        }

    def events(
        self, *, names: Iterable[str] = (), since: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[EventRow]:
        """Events that fit, oldest first: the first `limit` after a seq or since a time, else the latest. Blocks.

        Raises sqlite3.Error.
        """
        wanted = tuple(names)
        sql = "SELECT seq, at, release, event, fields FROM event WHERE seq > ? AND at >= ?"
        if wanted:
            sql += f" AND release IN ({','.join('?' * len(wanted))})"
        forward = bool(after or since)
        order = "ASC" if forward else "DESC"
        values = (after, since or "", *wanted, limit)
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as connection:
            rows = connection.execute(f"{sql} ORDER BY seq {order} LIMIT ?", values).fetchall()
        events = [EventRow(seq, at, release, event, json.loads(fields)) for seq, at, release, event, fields in rows]
        return events if forward else events[::-1]

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        self.set_aside = f"{aside}: {why}"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise sqlite3.OperationalError(f"its schema {version} is newer than {_SCHEMA_VERSION}, this relctld's")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prune(connection: sqlite3.Connection, keep_seconds: float, keep_events: int) -> None:
    oldest = datetime.fromtimestamp(datetime.now(UTC).timestamp() - keep_seconds, UTC)
    connection.execute("DELETE FROM event WHERE at < ?", (oldest.isoformat(timespec="milliseconds"),))
    connection.execute("DELETE FROM event WHERE seq <= (SELECT MAX(seq) FROM event) - ?", (keep_events,))
