"""What is done with a log beside writing it: retention, compression, systemd's journal. Runs in workers.

Trouble with it stops no line; `error` says what it is.
"""

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from relctld.logfiles.names import Rotated

from . import rotated
from .policy import LogPolicy, read_counters
from .report import say

if TYPE_CHECKING:
    from .journal import Forwarder

Told = Callable[[str | None], None]


class Upkeep:
    """Of one release. `compress` has a directory compressed, and tells how that went; `changed` hears of news here."""

    def __init__(self, policy: LogPolicy, compress: Callable[[str, Told], None], changed: Callable[[], None]) -> None:
        self._name = policy.name
        self._compress, self._changed = compress, changed
        self._kept_by: LogPolicy | None = None
        self._retain_error: str | None = None
        self._compress_error: str | None = None
        self._journal_error: str | None = None
        self._forwarder: Forwarder | None = None
        self.journal_dropped = read_counters(policy.beside("log.json")).journal_dropped

    @property
    def error(self) -> str | None:
        """What is in the way."""
        unsent = self._forwarder.error if self._forwarder is not None else self._journal_error
        return self._retain_error or self._compress_error or unsent

    def prepare(self, policy: LogPolicy, size: int) -> None:
        """Before anything is written by this policy, which may be another than before."""
        before = self._kept_by
        if before is policy:
            return
        moved = before is None or before.dir != policy.dir
        if moved:
            rotated.tidy(policy.dir)
        if moved or not policy.journal:
            self.leave(wanted=policy.journal)
        if not policy.journal:
            self._journal_error = None
            with contextlib.suppress(OSError):  # where a former logger was: what comes meanwhile is not for the journal
                os.unlink(policy.beside("journal.json"))
        self._kept_by = policy
        self._begin_to_forward(policy)
        self.rotated(policy, size)

    def wrote(self, policy: LogPolicy) -> None:
        """Something was written."""
        self._begin_to_forward(policy)
        if self._forwarder is not None:
            self._forwarder.poke(policy)

    def leave(self, *, wanted: bool = True) -> None:
        """The journal gets no more of this log but what it has by now, if that is still `wanted`."""
        if self._forwarder is not None:
            self._forwarder.leave(wanted=wanted)
            self._forwarder = None

    def _begin_to_forward(self, policy: LogPolicy) -> None:
        if not policy.journal or self._forwarder is not None:
            return
        from .journal import Forwarder  # noqa: PLC0415  socket costs 0.7 MB

        try:
            self._forwarder = Forwarder(policy, self._journal_dropped, self._changed)
            self._journal_error = None
        except OSError as err:
            self._journal_error = f"cannot read {err.filename or policy.dir} for the journal: {err.strerror}"

    def rotated(self, policy: LogPolicy, size: int) -> None:
        """Something was rotated, and `current` is so large now: retention at once, compression when there is time."""
        before = self._retain_error
        try:
            rotated.retain(policy.dir, policy, size, self._delete)
            self._retain_error = None
        except OSError as err:
            self._retain_error = f"cannot delete {err.filename}: {err.strerror}"
            if before is None:
                say("warning", "cannot-retain", self._name, self._retain_error)
        if policy.compress:
            self._compress(policy.dir, self._compressed)

    def make_room(self, directory: str) -> bool:
        """On a full disk: delete the oldest rotated log. False if there was none but the last one."""
        return rotated.delete_oldest(directory, self._delete)

    def _delete(self, directory: str, log: Rotated) -> None:
        unsent = self._forwarder.losing(directory, log) if self._forwarder is not None else contextlib.nullcontext()
        with unsent:
            rotated.delete(directory, log)

    def _compressed(self, error: str | None) -> None:
        if error != self._compress_error:
            if error is not None:
                say("warning", "cannot-compress", self._name, error)
            self._compress_error = error
            self._changed()

    def _journal_dropped(self, count: int) -> None:
        self.journal_dropped += count
        self._changed()
