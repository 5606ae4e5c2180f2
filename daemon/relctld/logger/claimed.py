"""`claimed`: where the bytes of one release are between its FIFO and its log. Knows one file in memory, no policy.

RUN/releases/NAME/claimed, a file on tmpfs: filling it never waits for a device, needs no process that keeps it open,
and survives SIGKILL of everybody at once:

    0      the journal: one struct, replaced by one small pwrite, which SIGKILL cannot tear
    512    in a stand-in on /dev/shm: the path of the link that leads here
    4096   what was claimed, in order; it ends where the file ends; truncated whenever all of it is in the log

Exactly once, without a record per write. In: splice(2) takes from the FIFO what it adds to the file. Out: nothing
else is written to the log, so the log's own size says how far we are. The journal holds one point of that line: at
offset `point` here, the log file with inode `inode` had size `base` (inode 0: nothing was moved on since `point`).

Dropping cuts a *gap* of whole lines out of the middle. It never reaches back before `held`, the end of what a worker
may be writing at this moment, and grows until the head arrives at it: then a marker line goes into the log, and the
head jumps over it. The caller's lock guards every call.
"""

import contextlib
import os
import stat
import struct
from typing import NamedTuple

from .kernel import move, on_tmpfs, punch

CAPACITY = 8 << 20  # bytes, for one release
_OWNER, _DATA = 512, 4096  # offsets; at the first the path of the link, in a stand-in
_CHUNK = 1 << 18  # what one write to the log takes, and cannot be dropped meanwhile; small enough to stay in a cache
_JOURNAL = struct.Struct("<8s11q")
_MAGIC = b"relctl-1"
_SHARED = "/dev/shm"  # noqa: S108  names are random or checked to be ours, links not followed


class Gap(NamedTuple):
    """What was dropped at one place: offsets, whole lines, wall clock in microseconds, errno (0: the disk stalled)."""

    start: int = 0
    end: int = 0
    lines: int = 0
    first: int = 0
    last: int = 0
    reason: int = 0


def open_in_memory(path: str) -> tuple[int, str]:
    """Open (and make) the file at `path`, or, where that is on a disk, its stand-in: (fd, path, "" if it has none).

    The stand-in lies in /dev/shm under a name of its own, and `path` is a link to it. Where even that cannot be, an
    anonymous memory file must do: then what waits for a disk in trouble is lost when the logger is killed.
    """
    prefix = f"{_SHARED}/relctl-{os.geteuid()}-"
    with contextlib.suppress(OSError):
        linked = os.readlink(path)
        if linked.startswith(prefix) and (fd := _open_own(linked, 0)) >= 0:
            return fd, linked
    with contextlib.suppress(OSError):
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            os.unlink(path)  # a dead link, or what somebody else took it for
        if (fd := _open_own(path, os.O_CREAT)) >= 0:
            return fd, path
        os.unlink(path)
        _sweep()
        stand_in = prefix + os.urandom(8).hex()
        os.symlink(stand_in, path)  # first: a stand-in that has an owner always has its link, so no sweep takes it
        if (fd := _open_own(stand_in, os.O_CREAT | os.O_EXCL)) >= 0:
            os.pwrite(fd, path.encode(), _OWNER)
            return fd, stand_in
    return os.memfd_create("relctl-claimed"), ""


def _sweep() -> None:
    """Remove stand-ins that no link leads to any more: whole run directories were deleted after a kill."""
    prefix = f"relctl-{os.geteuid()}-"
    for name in os.listdir(_SHARED):
        if name.startswith(prefix):
            stand_in = os.path.join(_SHARED, name)
            with contextlib.suppress(OSError):
                fd = _open_own(stand_in, 0)
                owner = os.pread(fd, _DATA - _OWNER, _OWNER).rstrip(b"\0")
                os.close(fd)
                if owner and (not os.path.islink(owner) or os.readlink(owner) != stand_in.encode()):
                    os.unlink(stand_in)


def _open_own(path: str, flags: int) -> int:
    """Open a file of our own on tmpfs; -1 for anything else."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and on_tmpfs(fd):
        return fd
    os.close(fd)
    return -1


class Claimed:
    """A queue of bytes with a journal."""

    def __init__(self, path: str) -> None:
        self._fd, place = open_in_memory(path)
        self._paths = {path, place} - {""}
        self.borrowed = place != path  # outside the run directory, so nobody but us would ever remove it
        self.head = self.tail = self.held = _DATA
        self.gap = Gap()
        self.bytes_dropped = self.lines_dropped = 0
        self._point, self._inode, self._base = _DATA, 0, 0
        self.capacity = CAPACITY
        self._load()

    def close(self, *, remove: bool = False) -> None:
        """Let go of the file; what it holds stays for the next logger, unless it is removed."""
        os.close(self._fd)
        for path in self._paths if remove else ():
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _load(self) -> None:
        raw = os.pread(self._fd, _JOURNAL.size, 0)
        self.tail = max(os.fstat(self._fd).st_size, _DATA)
        if len(raw) == _JOURNAL.size and raw[:8] == _MAGIC:
            _, point, inode, base, *gap, self.bytes_dropped, self.lines_dropped = _JOURNAL.unpack(raw)
            if self.tail > _DATA:
                self._point, self._inode, self._base, self.gap = point, inode, base, Gap(*gap)
        elif self.tail > _DATA:
            os.ftruncate(self._fd, 0)  # not ours, or of another version
            self.tail = _DATA
        self._save()  # also where nothing waits: an old journal must not be applied to what comes
        if self.tail == _DATA:
            os.ftruncate(self._fd, _DATA)
        self.head = self._point
        self.held = self.tail if self._inode else self.head  # until `recover` knows what the log already has

    def _save(self) -> None:
        record = (self._point, self._inode, self._base, *self.gap, self.bytes_dropped, self.lines_dropped)
        os.pwrite(self._fd, _JOURNAL.pack(_MAGIC, *record), 0)

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

        Returns (inode, size) of a log to be cut back, where a marker was begun and not recorded.
        """
        self.held = self.head
        inode, base, point = self._inode, self._base, self._point
        if inode not in size_of:
            return None
        written = size_of[inode] - base
        most = (self.gap.start or self.tail) - point
        self.head = self.held = point + min(max(written, 0), most)
        return (inode, base + most) if self.gap.end and written > most else None

    def follow(self, inode: int, size: int) -> None:
        """The next byte goes to this place of this log file: record that, where it does not follow from the journal."""
        if inode != self._inode or size - self._base != self.head - self._point:
            self._point, self._inode, self._base = self.head, inode, size
            self._save()

    def take(self, out: int, count: int = _CHUNK) -> int:
        """Move what the FIFO holds in here; 0 when it is empty or this is full. OSError: no memory left."""
        room = min(self.capacity - self.used, count)
        moved = move(out, self._fd, room, self.tail) if room > 0 else 0
        self.tail += moved
        return moved

    def worn(self) -> bool:
        """Is so much of it in the log that `rewind` is due, also while more comes?"""
        return self.tail >= _DATA + _CHUNK

    def fair_share(self) -> int:
        """Bytes that one release may hold: at most an eighth of what the file system has left for everybody."""
        fs = os.fstatvfs(self._fd)
        return min(CAPACITY, max(4 * _CHUNK, fs.f_bavail * fs.f_frsize // 8)) if fs.f_blocks else CAPACITY

    def drop(self, reason: int, micros: int) -> int:
        """Discard about an eighth of the capacity, the oldest whole lines that nobody is writing. Returns the bytes."""
        gap = self.gap
        start = gap.end or self._line_start(max(self.head, self.held))
        end = self._line_start(min(start + self.capacity // 8, self.tail), self.tail)
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
            data = os.pread(self._fd, _CHUNK, at)
            newline = data.find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += len(data)
        return offset if otherwise is None else otherwise

    def _count(self, start: int, end: int) -> int:
        lines = 0
        while start < end:
            data = os.pread(self._fd, min(_CHUNK, end - start), start)
            lines += data.count(b"\n")
            start += len(data)
        return lines

    def peek(self) -> bytes:
        """The next bytes to write, up to the gap or the end, where there are none; not dropped until `wrote`."""
        stop = self.gap.start or self.tail
        data = os.pread(self._fd, min(_CHUNK, stop - self.head), self.head)
        self.held = self.head + len(data)
        return data

    def wrote(self, count: int) -> None:
        """So many of them are in the log, and the others may be dropped again."""
        self.head += count
        self.held = self.head

    def jump(self, seen: Gap, inode: int, size: int) -> None:
        """The marker for the gap as it was `seen` is in the log, now of this size. Later drops stay a gap."""
        gap = self.gap
        self.gap = Gap()
        if gap.end > seen.end:
            self.gap = Gap(seen.end, gap.end, gap.lines - seen.lines, seen.last, gap.last, gap.reason)
        self.head = self.held = seen.end
        self._point, self._inode, self._base = self.head, inode, size
        self._save()

    def rewind(self, inode: int, size: int) -> None:
        """Nothing waits: begin anew. Truncation comes first: a kill in between leaves nothing, not something twice."""
        if self.tail > _DATA:
            os.ftruncate(self._fd, _DATA)
            self.head = self.tail = self.held = self._point = _DATA
            self._inode, self._base = inode, size
            self._save()
