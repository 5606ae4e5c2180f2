"""What was rotated: retention, compression. Knows a directory and a policy, no pipe; names are `logfiles.names`'.

DIR/….log.gz.tmp   being compressed; what a kill left is removed at the next start

A time index goes with its log. One left alone, by a kill between the two, is removed at the next start.
"""

import contextlib
import os
import threading
from collections import deque

from relctld.logfiles import times
from relctld.logfiles.names import Rotated, is_stem, listing

from .policy import LogPolicy
from .report import say

_CHUNK = 1 << 18


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
    """Remove what a killed compression or deletion left; call before any is asked for."""
    stems = {log.stem for log in listing(directory)}
    for name in os.listdir(directory):
        stem = name.removesuffix(times.SUFFIX)
        left_alone = stem != name and is_stem(stem) and stem not in stems
        if left_alone or name.endswith(".log.gz.tmp"):
            os.unlink(os.path.join(directory, name))


def delete_oldest(directory: str) -> bool:
    """Make room on a full disk: delete the oldest rotated log, never the last one left. False if there was none."""
    logs = listing(directory)
    if len(logs) < 2:
        return False
    delete(directory, logs[0])
    return True


def delete(directory: str, log: Rotated) -> None:
    """Remove a rotated log in both its forms, and its time index."""
    for name in (log.spare, log.name, log.stem + times.SUFFIX):
        if name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def _size(directory: str, log: Rotated) -> int:
    size = 0
    for name in (log.name, log.stem + times.SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(os.path.join(directory, name), follow_symlinks=False).st_size
    return size


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
