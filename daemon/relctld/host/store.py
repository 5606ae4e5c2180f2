"""The durable store: wants, totals, last exits and the history of events, in SQLite.

Rule 1: one thread writes (WAL, synchronous FULL); the loop only queues and is told through `done`, on the loop.
Rule 2: a batch is one transaction: what was told to be done is on the disk, whatever is killed afterwards.
Rule 3: a damaged store is set aside under a name with its time, never deleted; a store that cannot be written
        keeps its events in memory (bounded) and says so; nothing of this may touch a node.
Rule 4: the store of a newer relctld is not touched at all.
Rule 5: what cannot be written can still be read: a full or read-only disk makes nobody forget a want.
Rule 6: seq never repeats. A store that replaces a damaged one cannot know the last seq: it goes on with the time in
        milliseconds, which is further on.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relctld.core.state import Want
from relctld.failpoints import Failpoint, reach
from relctld.host import database
from relctld.host.database import Kept

_WAITING_EVENTS = 10_000
_DOZE = 0.01
_CATCH_UP_WITHIN = 0.1
_RETRY = 2.0
_PRUNE_EVERY = 1_000
_PRUNE_AFTER = 3600.0
_LEAST = 512  # bytes, of a store with anything in it

Written = Callable[[int | None, str | None], None]
"""Called on the loop with the row's number (an event's seq) or an error."""


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
        self.keep_seconds = keep_seconds
        """How long events are kept; it may change at any time."""
        self._keep_events = keep_events
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._dozing = False
        self._writing = False
        self._gave_up = False
        self._since_prune, self._pruned_at = 0, float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trouble: Callable[[str | None], None] = lambda _: None
        self._thread: threading.Thread | None = None
        self.kept: dict[str, Kept] = {}

    def open(self) -> None:
        """Read what is kept. A damaged store is set aside; one that cannot be opened leaves `error`."""
        try:
            if self.path.is_file() and self.path.stat().st_size < _LEAST:  # SQLite would take it for a new one
                self._put_aside("it is cut off")
            try:
                self.kept = self._read()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside(str(error))
                self.kept = self._read()
        except (OSError, sqlite3.Error) as error:
            self.error = f"cannot use {self.path}: {error}"
            self.kept = self._read_as_it_lies()

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
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    # -- writing -------------------------------------------------------------------------------

    def put_want(self, name: str, want: Want, done: Written) -> None:
        """Record a want; `done` is told when it is durable, or why it cannot be."""
        sql = "INSERT INTO release(name, want) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET want=excluded.want"
        self._put(_Job(sql, (name, str(want)), done, patient=False))

    def put_totals(self, name: str, epoch: int, restarts_total: int, last_exit: Mapping[str, Any] | None) -> None:
        """Record the counters, some time soon. They never fall, whatever we could not read at our start."""
        sql = """INSERT INTO release(name, epoch, restarts_total, last_exit) VALUES(?, ?, ?, ?)
            ON CONFLICT(name) DO UPDATE SET
            epoch=max(epoch, excluded.epoch), restarts_total=max(restarts_total, excluded.restarts_total),
            last_exit=coalesce(excluded.last_exit, last_exit)"""
        text = None if last_exit is None else json.dumps(last_exit)
        self._put(_Job(sql, (name, epoch, restarts_total, text), None, patient=True))

    def put_event(self, at: str, release: str | None, event: str, fields: Mapping[str, Any], done: Written) -> None:
        """Append to the history; `done` is told its seq."""
        sql = "INSERT INTO event(at, release, event, fields) VALUES(?, ?, ?, ?)"
        self._put(_Job(sql, (at, release, event, json.dumps(fields, default=str)), done, patient=True))

    def _put(self, job: _Job) -> None:
        with self._wake:
            self._jobs.append(job)
            self._forget_oldest()
            if not (self._dozing and job.patient):
                self._wake.notify_all()

    def _forget_oldest(self) -> None:
        """A disk that has been full for long: the oldest events go. Wants never wait for long."""
        for _ in range(len(self._jobs) - _WAITING_EVENTS):
            with contextlib.suppress(StopIteration):
                self._jobs.remove(next(job for job in self._jobs if job.patient))

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while batch := self._next_batch():
            try:
                with database.damage_as_errors():
                    connection = connection or database.connect(self.path)
                    results = self._write(connection, batch)
            except (OSError, sqlite3.Error) as error:
                self._failed(batch, str(error))
                if connection is not None:
                    connection.close()
                    connection = None
                continue
            except Exception as error:  # noqa: BLE001 a value that no database takes: its batch is lost, the writer not
                for job in batch:
                    self._tell(job, None, f"cannot write {self.path}: {error}")
                continue
            self._say(None)
            for job, number in zip(batch, results, strict=True):
                self._tell(job, number, None)
        if connection is not None:
            connection.close()

    def _next_batch(self) -> list[_Job]:
        """What is to be written next; empty when closing and nothing is left, or the last try failed too."""
        with self._wake:
            self._writing = False
            self._wake.notify_all()
            if self.error and not self._closing and all(job.patient for job in self._jobs):
                self._wake.wait(_RETRY)
            while not self._jobs and not self._closing:
                self._wake.wait()
            if not self._closing and all(job.patient for job in self._jobs):
                self._dozing = True  # what happens together is written together, and not while a restart is under way
                self._wake.wait(_DOZE)
                self._dozing = False
            if self._gave_up:
                return []
            batch = list(self._jobs)
            self._jobs.clear()
            self._writing = True
            return batch

    def _write(self, connection: sqlite3.Connection, batch: list[_Job]) -> list[int | None]:
        history = all(job.patient for job in batch)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            results = [connection.execute(job.sql, job.values).lastrowid for job in batch]
            self._since_prune += len(results)
            if self._since_prune >= _PRUNE_EVERY or time.monotonic() - self._pruned_at > _PRUNE_AFTER:
                database.prune(connection, self.keep_seconds, self._keep_events)
                self._since_prune, self._pruned_at = 0, time.monotonic()
            reach(Failpoint.BEFORE_HISTORY if history else Failpoint.BEFORE_WANT)
        reach(Failpoint.AFTER_HISTORY if history else Failpoint.AFTER_WANT)
        return results

    def _failed(self, batch: list[_Job], error: str) -> None:
        self._say(f"cannot write {self.path}: {error}")
        with self._wake:
            self._jobs.extendleft(reversed([job for job in batch if job.patient]))
            self._forget_oldest()
            self._gave_up = self._closing
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
        with database.damage_as_errors(), contextlib.closing(database.connect(self.path, 5.0)) as connection:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            return database.kept(connection)

    def _read_as_it_lies(self) -> dict[str, Kept]:
        """Without a write. Where even SQLite's -shm cannot be made, only if all is in the file itself."""
        wal = Path(f"{self.path}-wal")
        for how in ("mode=ro", "immutable=1"):
            with contextlib.suppress(OSError, sqlite3.Error), database.damage_as_errors():
                if how == "immutable=1" and wal.exists() and wal.stat().st_size:
                    continue
                with contextlib.closing(database.open_to_read(self.path, how)) as connection:
                    if database.version(connection) == database.SCHEMA_VERSION:
                        return database.kept(connection)
        return {}

    def events(
        self, *, names: Iterable[str] = (), since: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[EventRow]:
        """Events that fit, oldest first: the first `limit` after a seq or since a time, else the latest. Blocks.

        What was told before the question is among them, unless the disk is slow. Raises sqlite3.Error.
        """
        self._catch_up()
        wanted = tuple(names)
        sql = "SELECT seq, at, release, event, fields FROM event WHERE seq > ? AND at >= ?"
        if wanted:
            sql += f" AND release IN ({','.join('?' * len(wanted))})"
        forward = bool(after or since)
        order = "ASC" if forward else "DESC"
        # Without its Z a time without a fraction stands before those with one.
        values = (after, (since or "").removesuffix("Z"), *wanted, limit)
        opened = contextlib.closing(database.open_to_read(self.path, "mode=ro"))
        with database.damage_as_errors(), opened as connection:
            rows = connection.execute(f"{sql} ORDER BY seq {order} LIMIT ?", values).fetchall()
        events = [
            EventRow(seq, at, name, event, database.object_of(fields) or {}) for seq, at, name, event, fields in rows
        ]
        return events if forward else events[::-1]

    def _catch_up(self) -> None:
        """Wait, but not for long, until what is queued is written."""
        with self._wake:
            if self.error is None:
                self._wake.notify_all()
                self._wake.wait_for(lambda: not self._jobs and not self._writing, _CATCH_UP_WITHIN)

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        self.set_aside = f"{aside}: {why}"
