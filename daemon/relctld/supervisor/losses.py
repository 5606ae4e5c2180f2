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
from relctld.supervisor.journal import Journal

log = structlog.get_logger()

Look = list[tuple[Path, Counters, Counters]]
"""Folders of releases whose counters changed, with what was known of them and what they are."""


class Losses:
    """Of all releases. `look` runs in a worker thread, one at a time; the rest on the loop's."""

    def __init__(self, journal: Journal, scribe: Executor) -> None:
        self._journal = journal
        self._scribe = scribe
        self._seen: dict[Path, tuple[int, Counters]] = {}

    def look(self, folders: list[Path]) -> Look:
        """The counters that changed since the last look, or since a former daemon told of them."""
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

    def tell(self, look: "asyncio.Future[Look]") -> None:
        """Make events of them."""
        if look.cancelled() or look.exception() is not None:
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
        self._journal.report(folder.name, note, fields, lambda: self._told(folder, now))

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
