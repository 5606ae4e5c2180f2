"""DIR/current: opening, noticing that it went away, where to cut, rotation.

Promises: every rotated file and `current` begin at a line's start; nobody else writes to it. Runs in workers: every
call may stall.
"""

import contextlib
import errno
import os
import stat
import time
from math import inf

from relctld.logfiles import times
from relctld.logfiles.names import CURRENT, listing, next_stem

from .age import old_at
from .kernel import same_file
from .lines import first_newline, last_newline
from .policy import LogPolicy
from .report import say, wall

_ROTATE_AGAIN = 1.0  # seconds after one that failed
_CHECK_EVERY = 1.0  # seconds between two looks whether `current` is still ours


def find_cut(data: memoryview, room: int, fresh: bool) -> int:
    """How many bytes of `data` belong into a file with `room` left before it is rotated; -1: not to be seen yet.

    The cut follows a newline, the last one that fits. `fresh`: the file already ends with one, so that 0 is a cut too.
    Else the line that was begun goes on beyond the limit, to its end.
    """
    room = max(room, 0)
    last = last_newline(data[:room])
    if last >= 0:
        return last + 1
    if fresh:
        return 0
    first = first_newline(data[room:])
    return room + first + 1 if first >= 0 else -1


def make_directories(path: str) -> None:
    """Make a log directory and its parents, 0751 each (the process has umask 0)."""
    if os.path.isdir(path):
        return
    make_directories(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o751)


class LogFile:
    """The open `current` of one release. `size` is where the next byte goes; `fd` is -1 while it is closed."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.directory = ""
        self.fd = -1
        self.inode = 0
        self.size = 0
        self.rotate_asked = False
        self.rotate_error: str | None = None
        self._newest = ""
        self._checked = 0.0
        self.rotate_after = 0.0  # monotonic
        self._stamped = 0  # wall clock in microseconds
        self._begun = 0.0  # wall clock in seconds, when the first byte was written
        self._old_at = (0.0, 0.0, 0.0)  # `age.old_at` of the last two, remembered

    @property
    def path(self) -> str:
        """DIR/current."""
        return os.path.join(self.directory, CURRENT)

    def ensure(self, directory: str) -> None:
        """Have DIR/current open: anew if it was deleted, moved or replaced, at its end if it was truncated."""
        now = time.monotonic()
        if self.fd >= 0 and directory == self.directory:
            if os.fstat(self.fd).st_size < self.size:  # seen before the next write, which would leave a hole
                self._to_end()
                times.begin(self._times, os.fstat(self.fd))
                self._stamped = 0
            if now - self._checked < _CHECK_EVERY:
                return
            if same_file(self.fd, self.path):
                self._checked = now
                return
            say("warning", "log-replaced", self.release, f"{self.path} was moved or deleted; made anew")
            self.rotate_error, self.rotate_after = None, 0.0
        self.close()
        self.directory = directory
        self._open()

    def _open(self) -> None:
        make_directories(self.directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        with contextlib.suppress(FileNotFoundError):
            self._must_be_regular(os.stat(self.path, follow_symlinks=False).st_mode)  # do not even open a device
        fd = os.open(self.path, flags, 0o640)
        try:
            self._must_be_regular(os.fstat(fd).st_mode)
            logs = listing(self.directory)
        except OSError:
            os.close(fd)
            raise
        self.fd, self.inode = fd, os.fstat(fd).st_ino
        self._newest = max(self._newest, logs[-1].stem) if logs else self._newest
        self._checked = time.monotonic()
        self._to_end()
        times.begin(self._times, os.fstat(self.fd))
        self._stamped = 0
        if self.size:
            first = times.read(self._times, self.inode)[:1]
            self._begun = first[0].micros / 1e6 if first else os.fstat(fd).st_mtime

    def _must_be_regular(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise OSError(errno.EEXIST, "not a regular file", self.path)

    def _to_end(self) -> None:
        self.size = os.lseek(self.fd, 0, os.SEEK_END)

    def resync(self) -> None:
        """After a failed write: go on where the file really ends."""
        if self.fd >= 0:
            self._to_end()

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def _times(self) -> str:
        return times.path_of(self.directory, CURRENT)

    def stamp(self) -> None:
        """To be called before a write: its time goes into the index, at most once a second."""
        now = int(wall() * 1_000_000)
        if self.size == 0:
            self._begun = now / 1e6
        if not 0 <= now - self._stamped < times.EVERY:  # also when the clock was set back
            times.add(self._times, self.inode, times.Record(now, self.size))
            self._stamped = now

    def at_line_start(self) -> bool:
        """Does the file end with a whole line?"""
        return self.size == 0 or os.pread(self.fd, 1, self.size - 1) == b"\n"

    def share(self, data: memoryview, policy: LogPolicy) -> tuple[int, bool]:
        """(how many of these bytes go into this file, whether it is to be rotated once they are there)."""
        limit = self._limit(policy)
        if self.size + len(data) <= limit:
            return len(data), False
        room = max(int(limit) - self.size, 0)
        cut = find_cut(data, room, self.size > 0 and self.at_line_start())
        return (cut, True) if cut >= 0 else (len(data), False)  # the line's end is not there yet

    def _limit(self, policy: LogPolicy) -> float:
        if self.size == 0 and self.rotate_asked:
            self.rotate_asked = False  # an empty file is as good as a new one
        if self.rotate_after and time.monotonic() < self.rotate_after:
            return inf  # rotation failed just now: a file that grows too large is better than none
        at = self.rotate_at(policy)
        if self.rotate_asked or (at is not None and at <= wall()):
            return self.size
        return policy.limit or inf

    def rotate_at(self, policy: LogPolicy) -> float | None:
        """The wall clock when it is rotated for its age; None: it is empty, or may be of any age.

        A log from the future was begun before the clock was set back: it counts from now. Any thread may ask.
        """
        if not policy.max_age or not self.size:
            return None
        self._begun = min(self._begun, wall())
        if self._old_at[:2] != (self._begun, policy.max_age):
            self._old_at = (self._begun, policy.max_age, old_at(self._begun, policy.max_age))
        return self._old_at[2]

    def rotate_if_due(self, policy: LogPolicy) -> bool:
        """Rotate without waiting for more to come, where that is due and the file ends with a whole line."""
        now = time.monotonic()
        if self.size == 0 or self.size < self._limit(policy):
            if now >= self.rotate_after:
                self.rotate_error = None  # what failed is not asked for any more
            return False
        if not self.at_line_start():
            self.rotate_after = now + _ROTATE_AGAIN if self.rotate_error else self.rotate_after
            return False
        return self.rotate()

    def rotate(self) -> bool:
        """Rename `current` and begin a new one; then retention. False (and said) when it could not be renamed.

        A kill between rename and open leaves no `current`; it is made by whoever opens next.
        """
        if not same_file(self.fd, self.path):
            self._checked = -_CHECK_EVERY  # moved or deleted since the last look: the next `ensure` makes it anew
            return False
        stem = next_stem(self._newest, int(wall() * 1_000_000))
        try:
            os.rename(self.path, os.path.join(self.directory, stem + ".log"))
        except OSError as err:
            self.rotate_error = f"cannot rotate {self.path}: {err.strerror}"
            self.rotate_after = time.monotonic() + _ROTATE_AGAIN
            say("error", "cannot-rotate", self.release, self.rotate_error)
            return False
        with contextlib.suppress(OSError):  # a log without an index is searched by its name
            os.rename(self._times, times.path_of(self.directory, stem))
        self._newest, self.rotate_after = stem, 0.0
        self.rotate_error, self.rotate_asked = None, False
        self.close()
        self._open()
        return True
