"""Processes that compress (`compress`), one at a time. Knows directories."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable

from relctld.logfiles.names import listing

from .compress import remove_left


class Compressor:
    """Has directories compressed one after the other; its thread waits, and ends with the work."""

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
        while True:
            with self._lock:
                if not self._queue:
                    self._running = False
                    return
                directory = next(iter(self._queue))
                told = self._queue.pop(directory)
            try:
                trouble = _compress(directory)
            except OSError as err:
                trouble = f"cannot compress {directory}: {err.strerror}"
            told(trouble)


def _compress(directory: str) -> str | None:
    """Start such a process, where there is something to compress, and wait for it; what was in the way."""
    with contextlib.suppress(OSError):  # let it say that
        if not any(log.name.endswith(".log") for log in listing(directory)):
            return None
    isolated = ["-I"] if sys.flags.isolated else []
    argv = [sys.executable, *isolated, "-m", "relctld.logger.compress", directory, str(os.getpid())]
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    except OSError as err:
        os.close(read)
        return f"cannot compress {directory}: {err.strerror}"
    finally:
        os.close(write)
    with open(read, "rb") as said:
        trouble = said.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        remove_left(directory, pid)
    return trouble or (f"cannot compress {directory}: status {status}" if status else None)
