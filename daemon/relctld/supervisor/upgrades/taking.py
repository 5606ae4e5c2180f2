"""A tarball taken in: copied into the state directory, and hashed, or hashed alone, by a thread of its own.

Rule: its disk may hang. Then who asked is told so, and nothing else waits for it. No second thread is begun for the
      same release: the first one ends when its disk lets it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from relctld.control.server import RefusedError
from relctld.host import staging
from relctld.host.fsuser import as_user
from relctld.host.gate import Identity
from relctld.host.staging import Received

LARGEST = 4 << 30
HANGS_AFTER = 30.0
"""Seconds without a byte after which nothing is hoped for any more."""
_TELL_EVERY = 0.25

T = TypeVar("T")

Tell = Callable[[dict[str, Any]], None]

_hung: Final[set[Path]] = set()
"""The folders of which a thread still waits for a disk."""


async def take_in(tarball: str, reader: Identity, folder: Path, tell: Tell) -> Received:
    """Our copy in `folder`, the release's own. The tarball is opened with the eyes of `reader`.

    Raises OSError, RefusedError.
    """
    reading = _Reading(tarball, reader, folder, tell)
    return await _patiently(reading, reading.copy, _drop)


async def digest_of(tarball: str, reader: Identity, folder: Path) -> str:
    """Its sha256, in hexadecimal, where it lies. As `take_in`, but for the copy."""
    reading = _Reading(tarball, reader, folder, lambda _: None)
    return await _patiently(reading, reading.digest, lambda _: None)


async def _patiently(reading: "_Reading", work: Callable[[], T], too_late: Callable[[T], None]) -> T:
    """As long as something comes of it. `too_late`: what to do with what nobody waits for any more."""
    folder = reading.folder
    if folder in _hung:
        why = "an earlier tarball could not be read, and its disk still does not answer"
        raise RefusedError("busy", why, "see to that disk; an upgrade to an installed version needs none")
    thread = ThreadPoolExecutor(1, thread_name_prefix="tarball")
    done = asyncio.get_running_loop().run_in_executor(thread, work)
    thread.shutdown(wait=False)
    try:
        while True:
            before = reading.bytes
            if (await asyncio.wait({done}, timeout=HANGS_AFTER))[0]:
                return done.result()
            if reading.bytes == before:
                why = f"{reading.tarball} cannot be read: nothing came of it for {HANGS_AFTER:g} s"
                raise RefusedError("failed", why, f"see to its disk, and to that of {folder}; nothing was changed")
    finally:
        if not done.done():  # who waited may have left, too
            _hung.add(folder)
            done.add_done_callback(partial(_answers, folder, too_late))


class _Reading:
    """`bytes`: read so far."""

    def __init__(self, tarball: str, reader: Identity, folder: Path, tell: Tell) -> None:
        self.bytes = 0
        self.tarball, self.folder = tarball, folder
        self._reader, self._tell = reader, tell
        self._loop = asyncio.get_running_loop()
        self._total, self._told = 0, 0.0

    def copy(self) -> Received:
        with self._opened() as source:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._total = os.fstat(source).st_size
            return staging.receive(source, self.tarball, self.folder, LARGEST, self._progress)

    def digest(self) -> str:
        with self._opened() as source:
            return staging.digest(source, self.tarball, LARGEST, self._progress)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        reader = self._reader
        with as_user(reader.uid, reader.gid, reader.groups):
            source = staging.open_source(Path(self.tarball))
        try:
            yield source
        finally:
            os.close(source)

    def _progress(self, done: int) -> None:
        self.bytes = done
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            self._loop.call_soon_threadsafe(self._tell, {"step": "reading", "bytes": done, "of": self._total})


def _answers(folder: Path, too_late: Callable[[T], None], done: asyncio.Future[T]) -> None:
    """Its disk answers again; nobody waits for it any more."""
    _hung.discard(folder)
    if not done.cancelled() and done.exception() is None:
        too_late(done.result())


def _drop(received: Received) -> None:
    with contextlib.suppress(OSError):
        received.path.unlink()
