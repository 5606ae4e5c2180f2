"""`claimed`: where the bytes of one release are between its FIFO and its log. Knows one file in memory, no policy.

RUN/releases/NAME/claimed, a file on tmpfs: filling it never waits for a device, needs no process that keeps it open,
and survives SIGKILL of everybody at once:

    0      the journal: one struct, replaced by one small pwrite, which SIGKILL cannot tear
    256    its last field, the tail: how far it is filled; the kernel itself moves it on, in the same call that fills
    512    in a stand-in on /dev/shm: the path of the link that leads here
    4096   what was claimed, in order, up to the tail; begun anew whenever all of it is in the log

Filling it anew in the same place costs half of what new memory would, and what lies in the first `MAPPED` bytes is
written from where it is. The file stays that long; what is not filled has no memory.

Exactly once, without a record per write. In: splice(2) takes from the FIFO what it adds to the tail. Out: nothing else
is written to the log, so the log's own size says how far we are. The journal holds one point of that line: at offset
`point` here, in `column` of a line, the log file with inode `inode` had size `base` (inode 0: nothing was moved on
since `point`). What goes into the log in other words than here is *promised* before it is written, and kept (a new
point) when all of it is there; after a kill in between, what the log has behind `base` is cut off and told again.

Dropping cuts a *gap* of whole lines out of the middle. It never reaches back before `held`, the end of what a worker
may be writing at this moment, and grows until the head arrives at it: then a marker line goes into the log, and the
head jumps over it. The caller's lock guards every call.
"""

import contextlib
import ctypes
import mmap
import os
import struct
import time
from collections import deque
from typing import NamedTuple

from .kernel import move, punch
from .lines import column_behind
from .memory import DATA, open_in_memory
from .report import wall

CAPACITY = 8 << 20  # bytes, for one release
MAPPED = 1 << 20
_TAIL = 256
_JOURNAL = struct.Struct("<8s15q128xq")
CHUNK = 1 << 19  # what one write to the log takes, and cannot be dropped meanwhile; small enough to stay in a cache
_MAGIC = b"relctl-2"
_MOST_ARRIVALS = 1024  # even, so that the latest is among every other


class Gap(NamedTuple):
    """What was dropped at one place: offsets, whole lines, wall clock in microseconds, errno (0: the disk stalled)."""

    start: int = 0
    end: int = 0
    lines: int = 0
    first: int = 0
    last: int = 0
    reason: int = 0


class Claimed:
    """A queue of bytes with a journal. `column` is that of the head.

    Counted since `fresh`, to the byte whoever was killed: `bytes_out` of what came are in the log, others were dropped;
    `marked` is the last mark that is in it.
    """

    def __init__(self, path: str) -> None:
        self._fd, place = open_in_memory(path)
        self._paths = {path, place} - {""}
        self.borrowed = place != path  # outside the run directory, so nobody but us would ever remove it
        try:
            self._begin()
        except OSError:
            os.close(self._fd)
            raise

    def _begin(self) -> None:
        raw = os.pread(self._fd, _JOURNAL.size, 0)
        self.fresh = len(raw) < _JOURNAL.size or raw[:8] != _MAGIC  # or of another version, or not ours
        if self.fresh:
            os.pwrite(self._fd, bytes(_TAIL + 8), 0)
            os.ftruncate(self._fd, DATA)
        size = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, max(size, DATA + MAPPED))
        pages = mmap.mmap(self._fd, DATA + MAPPED)
        self._view = memoryview(pages)
        self._tail = ctypes.c_int64.from_buffer(pages, _TAIL)
        if not DATA <= self._tail.value <= size:
            self._tail.value = DATA
        self.gap = Gap()
        self.bytes_out = self.bytes_dropped = self.lines_dropped = self.marked = 0
        self._point, self._inode, self._base, self._promised, self._column, self._out = DATA, 0, 0, 0, 0, 0
        if not self.fresh:
            self._load(raw)
        self.warm = True  # has memory that nothing waits in
        self._save()  # also where nothing waits: an old journal must not be applied to what comes
        self.capacity = CAPACITY
        self.head = self._point
        self.held = self.tail if self._inode else self.head  # until `recover` knows what the log already has
        self.column, self.bytes_out = self._column, self._out
        self._arrivals = deque([(self.tail, os.fstat(self._fd).st_mtime_ns // 1000)])

    def _load(self, raw: bytes) -> None:
        _, point, inode, base, promised, self._column, *gap, self._out, dropped, lines, marked, _ = _JOURNAL.unpack(raw)
        self.bytes_dropped, self.lines_dropped, self.marked = dropped, lines, marked
        if self.tail > DATA or promised:  # else nothing waits here, whatever it says
            self._point, self._inode, self._base, self._promised, self.gap = point, inode, base, promised, Gap(*gap)

    def _save(self, tail: int = 0) -> None:
        at = (self._point, self._inode, self._base, self._promised, self._column)
        counted = (self._out, self.bytes_dropped, self.lines_dropped, self.marked)
        os.pwrite(self._fd, _JOURNAL.pack(_MAGIC, *at, *self.gap, *counted, tail or self.tail), 0)

    def close(self, *, remove: bool = False) -> None:
        """Let go of the file; what it holds stays for the next logger, unless it is removed."""
        os.close(self._fd)
        del self._tail, self._view
        for path in self._paths if remove else ():
            with contextlib.suppress(OSError):
                os.unlink(path)

    @property
    def tail(self) -> int:
        """Up to where it is filled."""
        return self._tail.value

    @property
    def bytes_in(self) -> int:
        """How many came."""
        return self.bytes_out + self.bytes_dropped + self.used

    @property
    def used(self) -> int:
        """Bytes that wait here."""
        return self.tail - self.head - (self.gap.end - self.gap.start)

    @property
    def empty(self) -> bool:
        """Does nothing wait, not even a marker?"""
        return self.head == self.tail

    @property
    def full(self) -> bool:
        """Is no room left?"""
        return self.used >= self.capacity

    def recover(self, size_of: dict[int, int]) -> tuple[int, int] | None:
        """After a restart: learn from the sizes of the log files (by inode) what was moved on.

        Returns (inode, size) of a log to be cut back, where a promise was not kept.
        """
        self.held = self.head
        inode, base, point = self._inode, self._base, self._point
        if inode not in size_of:
            return None
        written = size_of[inode] - base
        if self._promised:
            return (inode, base) if written > 0 else None
        most = (self.gap.start or self.tail) - point
        end = point + min(max(written, 0), most)
        while self.head < end:
            self._pass(self._read(self.head, min(end - self.head, CHUNK)))
        self.held = self.head
        return None

    def _pass(self, data: memoryview) -> None:
        self.column = column_behind(data, self.column)
        self.head += len(data)
        self.bytes_out += len(data)

    def follow(self, inode: int, size: int) -> None:
        """The next byte goes to this place of this log file: record that, where it does not follow from the journal."""
        if self._promised or inode != self._inode or size - self._base != self.head - self._point:
            self._settle(inode, size)

    def _settle(self, inode: int, size: int, *, promised: bool = False, tail: int = 0) -> None:
        self._point, self._inode, self._base, self._promised = self.head, inode, size, int(promised)
        self._column, self._out = self.column, self.bytes_out
        self._save(tail)

    def take(self, out: int, count: int = CHUNK) -> int:
        """Move what the FIFO holds in here; 0 when it is empty or this is full. OSError: no memory left."""
        room = min(self.capacity - self.used, count)
        moved = move(out, self._fd, room, self._tail) if room > 0 else 0
        if moved:
            self._arrivals.append((self.tail, time.time_ns() // 1000))
            if len(self._arrivals) > _MOST_ARRIVALS:  # then the times of what waits for long are told less exactly
                self._arrivals = deque(list(self._arrivals)[::2])
        return moved

    def arrived(self) -> tuple[int, int]:
        """(the wall clock in microseconds when the next byte came, how many came with it)."""
        while self._arrivals and self._arrivals[0][0] <= self.head:
            self._arrivals.popleft()
        end, micros = self._arrivals[0] if self._arrivals else (self.tail, int(wall() * 1_000_000))
        return micros, end - self.head

    @property
    def worn(self) -> bool:
        """Is so much of it in the log that `rewind` is due, also while more comes?"""
        return self.tail >= DATA + CHUNK // 4  # a second piece behind a large one would leave the cache

    def fair_share(self) -> int:
        """Bytes that one release may hold: at most an eighth of what the file system has left for everybody and it."""
        fs = os.fstatvfs(self._fd)
        left = fs.f_bavail * fs.f_frsize + self.used
        return min(CAPACITY, max(4 * CHUNK, left // 8)) if fs.f_blocks else CAPACITY

    def bound(self, most: int) -> None:
        """Hold so many bytes at most; and a piece more than what cannot be dropped, so that something always can be."""
        self.capacity = max(most, (self.gap.start or self.held) - self.head + CHUNK)

    def drop(self, reason: int, micros: int) -> int:
        """Discard the oldest whole lines that nobody is writing, an eighth of the capacity or half of what they are.

        Returns the bytes.
        """
        gap = self.gap
        start = gap.end or self._line_start(max(self.head, self.held))
        step = min(self.capacity // 8, (self.tail - start) // 2)
        end = self._line_start(start + step, 0) or self._line_start(start, self.tail)
        if end == start:
            return 0  # all that there is may be being written
        lines = self._count(start, end)
        self.gap = Gap(gap.start or start, end, gap.lines + lines, gap.first or micros, micros, reason or gap.reason)
        self.bytes_dropped += end - start
        self.lines_dropped += lines
        self._save()
        punch(self._fd, max(self.gap.start, start - 4096), end)  # with the page that the last drop had to leave
        return end - start

    def _line_start(self, offset: int, otherwise: int | None = None) -> int:
        """The first line's start after `offset`; without one `otherwise`, by default `offset` itself."""
        at = offset
        while at < self.tail:
            data = os.pread(self._fd, min(CHUNK, self.tail - at), at)
            newline = data.find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += len(data)
        return offset if otherwise is None else otherwise

    def _count(self, start: int, end: int) -> int:
        lines = 0
        while start < end:
            data = os.pread(self._fd, min(CHUNK, end - start), start)
            lines += data.count(b"\n")
            start += len(data)
        return lines

    def _read(self, start: int, count: int) -> memoryview:
        if start + count <= DATA + MAPPED:
            return self._view[start : start + count]
        return memoryview(os.pread(self._fd, count, start))

    def peek(self, most: int = CHUNK) -> memoryview:
        """The next bytes to write, up to the gap or the end, where there are none; not dropped until `wrote`."""
        stop = self.gap.start or self.tail
        data = self._read(self.head, min(most, CHUNK, stop - self.head))
        self.held = self.head + len(data)
        return data

    def wrote(self, data: memoryview) -> None:
        """The first of what was peeked at are in the log as they are, and the others may be dropped again."""
        self._pass(data)
        self.held = self.head

    def promise(self, inode: int, size: int) -> None:
        """Something is about to be written that is not what stands here."""
        self._settle(inode, size, promised=True)

    def keep(self, count: int, column: int, inode: int, size: int) -> None:
        """It is in the log, now of this size, in place of the next `count` bytes here."""
        self.bytes_out += count
        self._behind(self.head + count, column, inode, size)

    def _behind(self, head: int, column: int, inode: int, size: int) -> None:
        self.head = self.held = head
        self.column = column
        self._settle(inode, size)

    def jump(self, seen: Gap, inode: int, size: int) -> None:
        """The marker for the gap as it was `seen` is in the log, now of this size. Later drops stay a gap."""
        gap = self.gap
        self.gap = Gap()
        if gap.end > seen.end:
            self.gap = Gap(seen.end, gap.end, gap.lines - seen.lines, seen.last, gap.last, gap.reason)
        self._behind(seen.end, 0, inode, size)

    def rewind(self, inode: int, size: int) -> None:
        """Nothing waits: begin anew."""
        if self.tail > DATA:
            beyond = self.tail > DATA + MAPPED
            self.head = self.held = DATA
            self._settle(inode, size, tail=DATA)
            self._arrivals.clear()
            self.warm = True
            if beyond:
                self.give_back()

    def give_back(self) -> None:
        """The memory of what is in the log, if nothing waits."""
        if self.warm and self.tail == DATA:
            os.ftruncate(self._fd, DATA)
            os.ftruncate(self._fd, DATA + MAPPED)
            self.warm = False
