"""What is told to the world: an event goes into the daemon's log, into the history, then to the subscribers.

The seq comes with the durable write, so a notice is published after it; a store that cannot be written delays the
notices, and nothing else. Log lines are made a moment later: a restart, which tells several, is not to be kept by them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from relctld.core.notes import Note
from relctld.host.store import Store

log = structlog.get_logger()

Publish = Callable[[str | None, dict[str, Any]], None]
"""Sends a notice to those who listen: the release it is about, and the event."""

Say = Callable[[str, Note, Mapping[str, Any], str], None]
"""Has what belongs there said in a release's own log: the release, the event, its fields, when."""

_TOLD_WITHIN = 0.01

_LOUD = frozenset({Note.FAILED, Note.STUCK, Note.CONFIG_REFUSED, Note.STORE_DAMAGED, Note.STORE_FULL, Note.LOG_DROPPED})


def timestamp() -> str:
    """Now, in RFC 3339 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_object(seq: int, at: str, release: str | None, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event as `relctl events --json` shows it."""
    return {"seq": seq, "at": at, "release": release, "event": event, **fields}


class History:
    """Keeps the history and publishes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._untold: deque[tuple[Callable[..., object], Note, dict[str, Any]]] = deque()
        self.publish: Publish = lambda _release, _event: None
        self.said: Say = lambda _release, _note, _fields, _at: None

    def report(
        self, release: str | None, note: Note, fields: Mapping[str, Any], kept: Callable[[], object] = lambda: None
    ) -> None:
        """Tell an event; `kept` is called once it is in the history. Only on the loop's thread."""
        at = timestamp()
        if release is not None:
            self.said(release, note, fields, at)

        def written(seq: int | None, error: str | None) -> None:
            if seq is not None and error is None:
                self.publish(release, event_object(seq, at, release, str(note), fields))
                kept()

        self._store.put_event(at, release, str(note), fields, written)
        tell = log.error if note in _LOUD else log.warning if fields.get("error") else log.info
        if not self._untold:
            self._loop.call_later(_TOLD_WITHIN, self.flush)
        self._untold.append((tell, note, {"release": release, "at": at, **fields}))

    def flush(self) -> None:
        """Write into the daemon's own log what was told."""
        while self._untold:
            tell, note, fields = self._untold.popleft()
            tell(str(note), **fields)
