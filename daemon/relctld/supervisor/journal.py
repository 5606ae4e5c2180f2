"""What is told to the world: an event goes into the daemon's log at once, into the history, then to the subscribers.

The seq comes with the durable write, so a notice is published after it; a store that cannot be written delays the
notices, and nothing else.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from relctld.core.notes import Note
from relctld.host.store import Store

log = structlog.get_logger()

Publish = Callable[[str | None, dict[str, Any]], None]
"""Sends a notice to those who listen: the release it is about, and the event."""

_LOUD = frozenset({Note.FAILED, Note.STUCK, Note.CONFIG_REFUSED, Note.STORE_DAMAGED, Note.STORE_FULL, Note.LOG_DROPPED})


def timestamp() -> str:
    """Now, in RFC 3339 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_object(seq: int, at: str, release: str | None, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event as `relctl events --json` shows it."""
    return {"seq": seq, "at": at, "release": release, "event": event, **fields}


class Journal:
    """Keeps the history and publishes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.publish: Publish = lambda _release, _event: None

    def report(self, release: str | None, note: Note, fields: Mapping[str, Any]) -> None:
        """Tell an event. Only on the loop's thread."""
        at = timestamp()

        def written(seq: int | None, error: str | None) -> None:
            if seq is not None and error is None:
                self.publish(release, event_object(seq, at, release, str(note), fields))

        self._store.put_event(at, release, str(note), fields, written)
        tell = log.error if note in _LOUD else log.warning if fields.get("error") else log.info
        tell(str(note), release=release, **fields)
