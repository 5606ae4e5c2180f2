"""From `claimed` into the log of one release: as it came, or with what is told beside it. Runs in workers.

What a VM printed is written as it came, from where it lies, unless its lines get a time before them or one is too long.
That, the markers about what was dropped and the daemon's marks are *composed*: promised in the journal of `claimed`
first, and written whole or not at all.

A mark has its place behind all that the VM had printed when the daemon asked for it, at a line's start. Half a line of
a VM that is gone is ended by it; the line of one that runs is waited for.
"""

import errno
import os
import threading
import time
from collections import deque
from typing import NamedTuple

from relctld.logfiles.names import listing

from . import kernel, marks
from .claimed import Claimed, Gap
from .lines import CUT, LONGEST_LINE, behind_lines, compose, stamp
from .logfile import LogFile
from .policy import LogPolicy
from .report import utc
from .tally import Tally
from .upkeep import Upkeep

_SLICE = 1 << 18  # what is composed at a time


class _Due(NamedTuple):
    """A mark is due once so many bytes of all that ever came are in the log."""

    behind: int
    mark: marks.Mark


class Writer:
    """Moves what is claimed of one release. `progress`: when it last got on (monotonic)."""

    def __init__(self, policy: LogPolicy, claimed: Claimed, lock: threading.Lock, upkeep: Upkeep) -> None:
        self.log = LogFile(policy.name)
        self.tally = Tally(policy, claimed, lock, upkeep)
        self.progress = 0.0
        self._claimed, self._lock, self._upkeep = claimed, lock, upkeep
        self._due: deque[_Due] = deque()
        self._recovered = False

    def look_for_marks(self, policy: LogPolicy, out: int) -> None:
        """The daemon may have something to say, behind all that was printed until now. Called with the lock."""
        after = self._due[-1].mark.number if self._due else self._claimed.marked
        new = marks.read(policy.beside(marks.NAME), after)
        behind = self._claimed.bytes_in + kernel.unread(out)  # looked at last: what came before a mark stays before it
        self._due.extend(_Due(behind, mark) for mark in [*marks.missing(after, new), *new])

    def prepare(self, policy: LogPolicy) -> None:
        """Have the log open and what a former logger began finished."""
        self.log.ensure(policy.dir)
        if not self._recovered:
            self._recover(policy)
            self._recovered = True
        self._upkeep.prepare(policy, self.log.size)

    def _recover(self, policy: LogPolicy) -> None:
        """What did a former logger, killed while it wrote, still get into the log? Then go on exactly behind it."""
        log, claimed = self.log, self._claimed
        sizes = {log.inode: log.size}
        for old in listing(policy.dir)[-2:]:
            found = os.stat(os.path.join(policy.dir, old.name), follow_symlinks=False)
            sizes[found.st_ino] = found.st_size
        with self._lock:
            cut = claimed.recover(sizes)
            if claimed.fresh:
                claimed.column = 0 if log.at_line_start() else 1
        if cut and cut[0] == log.inode:
            os.ftruncate(log.fd, cut[1])  # what was promised and not kept; it is written again
            log.resync()

    def write(self, policy: LogPolicy) -> None:
        """All that is claimed, and the marks that are due."""
        while self._due or not self._claimed.empty:
            with self._lock:
                self._claimed.follow(self.log.inode, self.log.size)
                due, gap = self._due[0] if self._due else None, self._claimed.gap
                left = due.behind - self._passed() if due else 0
                data = self._claimed.peek(*([left] if left > 0 else []))
            if due and left <= 0:
                if not policy.markers or self._claimed.column == 0 or due.mark.breaks:
                    self._mark(due.mark, policy)
                    continue
                data = data[: bytes(data).find(b"\n") + 1] or data  # to the end of the line
            if data:
                self._put(data, policy)
            elif gap.end and gap.start == self._claimed.head:
                self._tell(gap, policy)
            else:
                return  # a mark waits for more to come

    def _passed(self) -> int:
        """How many bytes of all that ever came are in the log, or dropped before its end."""
        return self._claimed.bytes_in - (self._claimed.tail - self._claimed.head)

    def _put(self, data: memoryview, policy: LogPolicy) -> None:
        log, claimed = self.log, self._claimed
        if policy.timestamps or claimed.column == CUT or claimed.column + len(data) > LONGEST_LINE:
            full = self._put_composed(data, policy)
        else:
            count, full = log.share(data, policy)
            log.stamp()
            written = os.write(log.fd, data[:count]) if count else 0
            log.size += written
            with self._lock:
                claimed.wrote(data[:written])
            self.progress = time.monotonic()
            full = full and written == count
        if full:
            if log.rotate():
                self._rotated(policy)
            else:
                log.ensure(policy.dir)

    def rotate_if_due(self, policy: LogPolicy) -> None:
        """Rotate without waiting for more to come, where that is due."""
        if self.log.rotate_if_due(policy):
            self._rotated(policy)

    def _rotated(self, policy: LogPolicy) -> None:
        with self._lock:  # before the former file can be compressed or deleted, and not found again
            self._claimed.follow(self.log.inode, self.log.size)
        self._upkeep.rotated(policy, self.log.size)

    def _put_composed(self, data: memoryview, policy: LogPolicy) -> bool:
        """Returns whether the log is to be rotated now."""
        with self._lock:
            micros, together = self._claimed.arrived()
        raw = bytes(data[: min(together, _SLICE)])
        taken, text, column = compose(raw, self._claimed.column, self._prefix(policy, micros))
        count, full = self.log.share(memoryview(text), policy)
        if count < len(text):
            taken, text, column = behind_lines(raw, text.count(b"\n", 0, count)), text[:count], 0
        if count:
            self._promise(text)
            with self._lock:
                self._claimed.keep(taken, column, self.log.inode, self.log.size)
        return full

    @staticmethod
    def _prefix(policy: LogPolicy, micros: int) -> bytes:
        return stamp(micros) if policy.timestamps else b""

    def _promise(self, text: bytes) -> None:
        """Write all of it or nothing; a kill before it is kept has it cut off again."""
        log = self.log
        with self._lock:
            self._claimed.promise(log.inode, log.size)
        log.stamp()
        written = os.write(log.fd, text)
        if written < len(text):
            os.ftruncate(log.fd, log.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        log.size += written
        self.progress = time.monotonic()

    def _tell(self, gap: Gap, policy: LogPolicy) -> None:
        """Say in the log itself what is missing at this place."""
        why = os.strerror(gap.reason) if gap.reason else "the disk stalled"
        first, last = utc(gap.first / 1e6), utc(gap.last / 1e6)
        size = gap.end - gap.start
        text = f"relctl: dropped {size} bytes ({gap.lines} lines) from {first} to {last}: {why}\n".encode()
        # In the middle of a line only where one was longer than all that `claimed` holds.
        begin = b"\n" * (self._claimed.column > 0) + self._prefix(policy, gap.last)
        self._promise(begin + text)
        with self._lock:
            self._claimed.jump(gap, self.log.inode, self.log.size)

    def _mark(self, mark: marks.Mark, policy: LogPolicy) -> None:
        column = self._claimed.column
        if policy.markers:
            self._promise(b"\n" * (column > 0) + self._prefix(policy, mark.micros) + mark.line)
            column = 0
        with self._lock:
            self._claimed.marked = mark.number
            self._claimed.keep(0, column, self.log.inode, self.log.size)
            self._due.popleft()

    def rewind(self) -> bool:
        """Fill the memory anew, if all of it is in the log."""
        with self._lock:
            if self._claimed.empty:
                self._claimed.rewind(self.log.inode, self.log.size)
            return self._claimed.empty

    def rewind_worn(self) -> None:
        """The same if it is due, also while more comes. Called with the lock."""
        if self._claimed.worn and self._claimed.empty:
            self._claimed.rewind(self.log.inode, self.log.size)
