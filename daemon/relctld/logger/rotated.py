"""What was rotated: retention, compression. Knows a directory and a policy, no pipe; names are `logfiles.names`'.

DIR/….log.gz.tmp   being compressed; what a kill left is removed at the next start

A time index goes with its log. One left alone, by a kill between the two, is removed at the next start.
"""

import contextlib
import os
import threading
from collections.abc import Callable

from relctld.logfiles import times
from relctld.logfiles.names import Rotated, is_stem, listing

from .policy import LogPolicy

_CHUNK = 1 << 18


def retain(directory: str, policy: LogPolicy, current_size: int) -> None:
    """Delete the oldest until `keep` and `max_total` hold, counting `current` as large as it may become.

    One that cannot be deleted stands in no other's way; the OSError comes at the end.
    """
    logs = listing(directory)
    sizes = [_size(directory, log) for log in logs]
    total = sum(sizes) + max(current_size, policy.limit or 0)
    keep = len(logs) if policy.keep is None else policy.keep
    room = total if policy.max_total is None else policy.max_total
    left, trouble = len(logs), None
    for log, size in zip(logs, sizes, strict=True):
        if left <= keep and total <= room:
            break
        try:
            delete(directory, log)
        except OSError as err:
            trouble = err
        else:
            left, total = left - 1, total - size
    if trouble is not None:
        raise trouble


def tidy(directory: str) -> None:
    """Remove what a killed compression or deletion left; call before any is asked for."""
    stems = {log.stem for log in listing(directory)}
    for name in os.listdir(directory):
        stem = name.removesuffix(times.SUFFIX)
        left_alone = stem != name and is_stem(stem) and stem not in stems
        if left_alone or name.endswith(".log.gz.tmp"):
            with contextlib.suppress(OSError):  # a directory, say: whoever needs the name will tell
                os.unlink(os.path.join(directory, name))


def delete_oldest(directory: str) -> bool:
    """Make room on a full disk: delete the oldest rotated log, never the last one left. False if there was none."""
    for log in listing(directory)[:-1]:
        with contextlib.suppress(OSError):
            delete(directory, log)
            return True
    return False


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
        self._queue: dict[str, Callable[[str | None], None]] = {}  # by directory
        self._running = False

    def ask(self, directory: str, told: Callable[[str | None], None]) -> None:
        """Compress what is rotated in the directory, soon, then tell what was in the way, if anything.

        May be asked again at any time.
        """
        with self._lock:
            self._queue[directory] = told
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
                directory = next(iter(self._queue))
                told = self._queue.pop(directory)
            told(_compress_all(directory))


def _compress_all(directory: str) -> str | None:
    """Compress what is rotated in the directory; why that was not done with the last one that failed."""
    trouble = None
    try:
        waiting = [log for log in listing(directory) if log.name.endswith(".log")]
    except OSError as err:
        return f"cannot compress {directory}: {err.strerror}"
    for log in waiting:
        try:
            compress(directory, log)
        except FileNotFoundError:
            pass  # deleted meanwhile
        except Exception as err:  # noqa: BLE001  trouble with one log must not end compression for all
            why = err.strerror if isinstance(err, OSError) else f"{type(err).__name__}: {err}"
            trouble = f"cannot compress {os.path.join(directory, log.name)}: {why}"
    return trouble
