"""The time index of a log: when which of its bytes were written. Knows one small file, nothing of what it is about.

DIR/current.times is renamed with `current` to DIR/STEM.times, stays when the log is compressed and goes with it:

    0     "relctl-t"; the inode of the log for which it was begun
    16…   records, in the order they were added: microseconds since the epoch (UTC); an offset in the uncompressed log

All are 8 bytes, little-endian. A record is added before a write, at most once in `EVERY`: the bytes from its offset up
to the next record's were written at its time or less than `EVERY` later; where the time is negative, at its positive or
any later time up to the next record's, for what was noted of them was lost. The clock is the host's, and may jump back.
An index may be missing, end in half a record, or begin later than its log: it narrows a search and decides nothing.
A record that claims an offset behind one added later is void: the log was shortened between them.
"""

import contextlib
import os
import stat
import struct
from itertools import pairwise
from typing import Final, NamedTuple

EVERY: Final = 1_000_000
"""Microseconds for which one record stands."""
SUFFIX: Final = ".times"

_HEAD: Final = struct.Struct("<8sQ")
_RECORD: Final = struct.Struct("<qq")
_MAGIC: Final = b"relctl-t"
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Record(NamedTuple):
    """The byte at this offset of the log was written at this time. `vague`: what follows, any time later."""

    micros: int
    offset: int
    vague: bool = False


def path_of(directory: str, name: str) -> str:
    """The index of the log `name`: a stem, or `current`."""
    return os.path.join(directory, name + SUFFIX)


def begin(path: str, log: os.stat_result) -> None:
    """A log was opened: remove an index that is not its own; of one that a crash of the host left behind, say so."""
    last = next(reversed(read(path, log.st_ino)), None) if log.st_size else None
    if last is None:
        _remove(path)
    elif not last.vague and last.micros + 2 * EVERY < log.st_mtime_ns // 1000:
        add(path, log.st_ino, last._replace(vague=True))


def add(path: str, inode: int, record: Record) -> None:
    """Add a record; make the index where there is none. Trouble with it stops no line, so nothing is raised.

    What could not be noted would seem older than it is, and not be found: then there had better be no index.
    """
    data = _RECORD.pack(-record.micros if record.vague else record.micros, record.offset)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o640)
        try:
            size = os.fstat(fd).st_size
            if size < _HEAD.size:
                data, size = _HEAD.pack(_MAGIC, inode) + data, 0
            written = os.pwrite(fd, data, size - size % _RECORD.size)
        finally:
            os.close(fd)
        if written == len(data):
            return
    except OSError:
        pass
    _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def read(path: str, inode: int | None = None) -> list[Record]:
    """The records that hold, by offset; none where there is no index, or that of another log than of `inode`."""
    try:
        fd = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return []
    try:
        found = os.fstat(fd)
        data = os.pread(fd, found.st_size, 0) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(fd)
    if data[:8] != _MAGIC or len(data) < _HEAD.size or inode not in (None, _HEAD.unpack_from(data)[1]):
        return []
    whole = memoryview(data)[_HEAD.size : len(data) - len(data) % _RECORD.size]
    records = [Record(abs(micros), offset, micros < 0) for micros, offset in _RECORD.iter_unpack(whole)]
    if all(one.offset < other.offset for one, other in pairwise(records)) and (not records or records[0].offset >= 0):
        return records
    valid: list[Record] = []
    for record in reversed(records):
        if record.offset >= 0 and (not valid or record.offset < valid[-1].offset):
            valid.append(record)
    return valid[::-1]
