"""Reads parts of logs for clients that may not read them themselves, in worker threads.

Rule: a compressed file is read forwards only. So who asks for part after part has its reader kept between two of them,
for a little while; else each part would cost unpacking all before it.
"""

import asyncio
import contextlib
import json
import threading
import time
from concurrent.futures import Executor

from relctld.control.log_handlers import LOG_CHUNK, Asked, Cursor, Part
from relctld.logfiles import exits, tail

_KEPT_FOR = 10.0  # seconds
_MOST_KEPT = 16
_MOST_STAMPS = 4096  # in one reply: a frame holds 1 MiB


class LogReading:
    """Readers at work, and those that wait for the next question."""

    def __init__(self, errands: Executor) -> None:
        self._errands = errands
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, tail.Reader]] = {}

    async def read(self, folder: str, asked: Asked, exited: int | None) -> Part | None:
        """A part of the log there; None: before an exit, and no VM exited. Raises OSError.

        `exited`: when a VM of it did last (microseconds since the epoch).
        """
        part = await self._loop.run_in_executor(self._errands, self._read, folder, asked, exited)
        if self._kept:
            self._loop.call_later(_KEPT_FOR, self._forget)
        return part

    def _read(self, folder: str, asked: Asked, exited: int | None) -> Part | None:
        if asked.cursor is not None:
            place = asked.cursor, asked.end
        elif asked.crash:
            found = exits.window_before_exit(folder, asked.lines or 0, exited)
            if found is None:
                return None
            place = found
        else:
            place = tail.window(folder, asked.lines, asked.since, asked.until)
        reader = self._take(_key(folder, *place)) or tail.Reader(folder, *place)
        try:
            data, stamps = reader.read(LOG_CHUNK, stamped=asked.stamped)
        except BaseException:
            reader.close()
            raise
        part = Part(data, stamps[:: len(stamps) // _MOST_STAMPS + 1], reader.cursor, place[1])
        self._keep(_key(folder, part.cursor, part.end), reader)
        return part

    def _take(self, key: str) -> tail.Reader | None:
        with self._lock:
            return self._kept.pop(key, (0.0, None))[1]

    def _keep(self, key: str, reader: tail.Reader) -> None:
        """Until the next question, if it has a file open at all."""
        if not reader.holds_file:
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = (time.monotonic(), reader)
        if before is not None:
            before[1].close()
        self._close_all_but(_MOST_KEPT, _KEPT_FOR)

    def _forget(self) -> None:
        with contextlib.suppress(RuntimeError):  # the daemon ends
            self._errands.submit(self._close_all_but, _MOST_KEPT, _KEPT_FOR)

    def _close_all_but(self, most: int, seconds: float) -> None:
        with self._lock:
            oldest = time.monotonic() - seconds
            over = len(self._kept) - most
            left = [key for n, (key, (at, _)) in enumerate(self._kept.items()) if at <= oldest or n < over]
            readers = [self._kept.pop(key)[1] for key in left]
        for reader in readers:
            reader.close()


def _key(folder: str, cursor: Cursor, end: Cursor | None) -> str:
    return json.dumps([folder, cursor, end], sort_keys=True)
