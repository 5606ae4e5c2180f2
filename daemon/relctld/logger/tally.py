"""What became of a release's bytes, and what stands in the way: RUN/releases/NAME/log.json. Knows no file but this.

Written when something changed, at most once a second, at once where `due_at` says so.
"""

import threading

from .claimed import Claimed
from .policy import Counters, LogPolicy, read_counters, write_counters
from .report import say
from .upkeep import Upkeep

_EVERY = 1.0  # seconds


class Tally:
    """Counts on from what the last logger wrote, where the journal of `claimed` does not go on from it."""

    def __init__(self, policy: LogPolicy, claimed: Claimed, lock: threading.Lock, upkeep: Upkeep) -> None:
        if claimed.fresh:
            before = read_counters(policy.beside("log.json"))
            claimed.bytes_out, claimed.marked = before.bytes_out, before.marked
            claimed.bytes_dropped, claimed.lines_dropped = before.bytes_dropped, before.lines_dropped
        self._claimed, self._lock, self._upkeep = claimed, lock, upkeep
        self._written: Counters | None = None
        self.error: str | None = None  # why nothing can be written
        self.due_at = 0.0  # monotonic

    def counters(self, lesser_error: str | None) -> Counters:
        """As of now; an error that stops no line is shown where there is no other."""
        c = self._claimed
        error = self.error or lesser_error
        with self._lock:  # a worker may be between two of them
            return Counters(
                c.bytes_in, c.bytes_out, c.bytes_dropped, c.lines_dropped, error, c.marked, self._upkeep.journal_dropped
            )

    def changed(self, lesser_error: str | None) -> bool:
        """Is there something to write?"""
        return self.counters(lesser_error) != self._written

    def fail(self, error: str | None) -> None:
        """Something stands in the way, or (None) no longer does: to be told at once."""
        self.error, self.due_at = error, 0.0

    def export(self, policy: LogPolicy, lesser_error: str | None, now: float) -> None:
        """Write the counters, if they changed and it is time."""
        counters = self.counters(lesser_error)
        if counters == self._written or now < self.due_at:
            return
        self.due_at = now + _EVERY
        try:
            write_counters(policy.beside("log.json"), counters)
            self._written = counters
        except OSError as err:
            say("warning", "cannot-count", policy.name, str(err))
