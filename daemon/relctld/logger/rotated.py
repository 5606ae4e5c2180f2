"""What was rotated: names, retention, compression. Knows a directory and a policy, no pipe.

DIR/current                                the file being written (`logfile`)
DIR/2026-11-22T00-37-49.123456Z.log        rotated at that time (UTC); names sort by time
DIR/2026-11-22T00-37-49.123456Z.log.gz     the same, compressed
DIR/….log.gz.tmp                           being compressed; what a kill left is removed at the next start

Where both .log and .log.gz stand, a kill came between: the .log is the truth. The part before `.log` is the *stem*.
"""

import contextlib
import os
import re
import threading
import time
from collections import deque
from typing import NamedTuple

from .policy import LogPolicy
from .report import say

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z)\.log(\.gz)?")
_STEM = re.compile(r"(\d+)-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)\.(\d{6})Z")
_CHUNK = 1 << 18


class Rotated(NamedTuple):
    """One rotated log: `name` is the file that tells the truth, `spare` a .gz that does not."""

    stem: str
    name: str
    spare: str | None = None


def stem_at(micros: int) -> str:
    """The stem for a time in microseconds since the epoch."""
    seconds, fraction = divmod(micros, 1_000_000)
    return time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(seconds)) + f".{fraction:06d}Z"


def micros_of(stem: str) -> int:
    """The inverse of `stem_at`. (time has no timegm, calendar and strptime cost a megabyte.)"""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise ValueError(f"not the name of a rotated log: {stem}")
    year, month, day, hour, minute, second, micros = map(int, match.groups())
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)  # a year that ends with its leap day
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros


def next_stem(newest: str, now_micros: int) -> str:
    """A stem that sorts after `newest` ("" = none yet), also when the clock was set back."""
    return stem_at(max(now_micros, micros_of(newest) + 1) if newest else now_micros)


def listing(directory: str) -> list[Rotated]:
    """The rotated logs of a directory, oldest first."""
    found: dict[str, Rotated] = {}
    for name in sorted(os.listdir(directory)):  # …Z.log comes before …Z.log.gz
        if match := _NAME.fullmatch(name):
            stem = match[1]
            found[stem] = found[stem]._replace(spare=name) if stem in found else Rotated(stem, name)
    return list(found.values())


def retain(directory: str, policy: LogPolicy, current_size: int) -> None:
    """Delete the oldest until `keep` and `max_total` hold, counting `current` as large as it may become."""
    logs = listing(directory)
    sizes = [_size(directory, log) for log in logs]
    total = sum(sizes) + max(current_size, policy.limit or 0)
    keep = len(logs) if policy.keep is None else policy.keep
    room = total if policy.max_total is None else policy.max_total
    for index, (log, size) in enumerate(zip(logs, sizes, strict=True)):
        if len(logs) - index <= keep and total <= room:
            break
        delete(directory, log)
        total -= size


def tidy(directory: str) -> None:
    """Remove what a killed compression left; call before any is asked for."""
    for name in os.listdir(directory):
        if name.endswith(".log.gz.tmp"):
            os.unlink(os.path.join(directory, name))


def delete_oldest(directory: str) -> bool:
    """Make room on a full disk: delete the oldest rotated log, never the last one left. False if there was none."""
    logs = listing(directory)
    if len(logs) < 2:
        return False
    delete(directory, logs[0])
    return True


def delete(directory: str, log: Rotated) -> None:
    """Remove a rotated log in both its forms."""
    for name in (log.spare, log.name):
        if name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def _size(directory: str, log: Rotated) -> int:
    try:
        return os.stat(os.path.join(directory, log.name), follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def compress(directory: str, log: Rotated) -> None:
    """Replace X.log by X.log.gz; complete and on the disk under its name before the original goes."""
    import zlib  # noqa: PLC0415  loaded when there is first something to compress

    source_path = os.path.join(directory, log.name)
    target_path = os.path.join(directory, log.stem + ".log.gz")
    temporary = target_path + ".tmp"
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with (
            open(os.open(source_path, os.O_RDONLY | flags), "rb", buffering=0) as source,
            open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o640), "wb") as target,
        ):
            gzip = zlib.compressobj(6, zlib.DEFLATED, 31)
            while data := source.read(_CHUNK):
                target.write(gzip.compress(data))
            target.write(gzip.flush())
            target.flush()
            os.fsync(target.fileno())
        os.stat(source_path, follow_symlinks=False)  # gone = retention deleted it meanwhile: then no .gz either
        os.rename(temporary, target_path)
        os.unlink(source_path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class Compressor:
    """Compresses directories one after the other, in one thread of the lowest priority that ends with its work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[tuple[str, str]] = deque()  # (release, directory)
        self._running = False

    def ask(self, release: str, directory: str) -> None:
        """Compress what is rotated in the directory, soon. May be asked again at any time."""
        with self._lock:
            if (release, directory) not in self._queue:
                self._queue.append((release, directory))
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:
            self._running = False

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone, on Linux
        while True:
            with self._lock:
                if not self._queue:
                    self._running = False
                    return
                release, directory = self._queue.popleft()
            try:
                for log in listing(directory):
                    if log.name.endswith(".log"):
                        compress(directory, log)
            except FileNotFoundError:
                pass  # deleted meanwhile
            except Exception as err:  # noqa: BLE001  one release's trouble must not end compression for all
                say("warning", "cannot-compress", release, str(err))
