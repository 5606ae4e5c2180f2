"""What became of a release's bytes, and what stands in the way: RUN/releases/NAME/log.json. Knows no file but this.

Written when something changed, at most once a second, at once where `due_at` says so.
"""

from .claimed import Claimed
from .policy import Counters, LogPolicy, read_counters, write_counters
from .report import say

_EVERY = 1.0  # seconds


class Tally:
    """Counts on from what the last logger wrote. `bytes_in` under the feed's lock, the rest by who moves the bytes."""

    def __init__(self, policy: LogPolicy, claimed: Claimed) -> None:
        before = read_counters(policy.beside("log.json"))
        self._claimed = claimed
        # The journal of `claimed` counts drops to the byte, but may have begun later than log.json did.
        self._bytes_before = max(0, before.bytes_dropped - claimed.bytes_dropped)
        self._lines_before = max(0, before.lines_dropped - claimed.lines_dropped)
        self._written: Counters | None = None
        self.bytes_in, self.bytes_out = before.bytes_in, before.bytes_out
        self.journal_dropped = before.journal_dropped
        self.error: str | None = None  # why nothing can be written
        self.due_at = 0.0  # monotonic

    def counters(self, lesser_error: str | None) -> Counters:
        """As of now; an error that stops no line is shown where there is no other."""
        return Counters(
            self.bytes_in,
            self.bytes_out,
            self._bytes_before + self._claimed.bytes_dropped,
            self._lines_before + self._claimed.lines_dropped,
            self.error or lesser_error,
            self.journal_dropped,
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
