"""What a release's log lost, and what is in its way: the logger's counters become events, each told once.

RUN/releases/NAME/told.json    what was told of them, written once that is in the history: a relctld that comes up tells
                               what was dropped while none ran, and nothing again
"""

import asyncio
import contextlib
import json
import os
from concurrent.futures import Executor
from pathlib import Path

import structlog

from relctld.core.notes import Note
from relctld.logger.policy import Counters, read_counters, replace
from relctld.supervisor.history import History

log = structlog.get_logger()

Look = list[tuple[Path, Counters, Counters]]
"""Folders of releases whose counters changed, with what was known of them and what they are."""


class Losses:
    """Of all releases, on the loop's thread; `pool` reads the counters."""

    def __init__(self, history: History, pool: Executor, scribe: Executor) -> None:
        self._history = history
        self._pool = pool
        self._scribe = scribe
        self._looking: asyncio.Future[Look] | None = None
        self._seen: dict[Path, tuple[int, Counters]] = {}

    def look(self, folders: list[Path]) -> None:
        """Tell what changed; one look at a time, for all workers may be waiting for a disk."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().run_in_executor(self._pool, self._changed, folders)
            self._looking.add_done_callback(self._tell)

    def _changed(self, folders: list[Path]) -> Look:
        """In a worker: the counters that changed since the last look, or since a former daemon told of them."""
        changed = []
        for folder in folders:
            path = folder / "log.json"
            try:
                stamp = os.stat(path).st_mtime_ns
            except OSError:
                continue
            seen, before = self._seen.get(folder) or (0, _noted(folder))
            if seen != stamp:
                now = read_counters(str(path))
                self._seen[folder] = (stamp, now)
                changed.append((folder, before, now))
        return changed

    def _tell(self, look: "asyncio.Future[Look]") -> None:
        if look.cancelled():
            return
        if (error := look.exception()) is not None:
            log.error("surprise", cause="losses", exc_info=error)
            return
        for folder, before, now in look.result():
            lost, lines = now.bytes_dropped - before.bytes_dropped, now.lines_dropped - before.lines_dropped
            if lost > 0:
                fields = {"bytes": lost, "lines": lines, "why": now.error or "the log took no more"}
                self._report(folder, Note.LOG_DROPPED, fields, now)
            if now.error is not None and now.error != before.error:
                self._report(folder, Note.LOG_TROUBLE, {"error": now.error}, now)
            if now.error is None and before.error is not None:
                self._told(folder, now)  # should it come again, that is news

    def _report(self, folder: Path, note: Note, fields: dict[str, object], now: Counters) -> None:
        self._history.report(folder.name, note, fields, lambda: self._told(folder, now))

    def _told(self, folder: Path, now: Counters) -> None:
        with contextlib.suppress(RuntimeError):  # we come down, and the scribe is gone: the next one tells it again
            self._scribe.submit(_note, folder, now)


def _noted(folder: Path) -> Counters:
    """What was told; zeros where nothing was."""
    with contextlib.suppress(OSError, ValueError, TypeError), open(folder / "told.json", "rb") as file:
        return Counters(**json.load(file))
    return Counters()


def _note(folder: Path, now: Counters) -> None:
    """In the scribe's thread."""
    fields = {"bytes_dropped": now.bytes_dropped, "lines_dropped": now.lines_dropped, "error": now.error}
    try:
        replace(str(folder / "told.json"), json.dumps(fields).encode())
    except OSError as error:
        log.warning("loss.unnoted", release=folder.name, error=str(error))
