"""A tarball taken in: copied into the state directory, and hashed, by a thread of its own.

Rule: its disk may hang. Then who asked is told so, and nothing else waits for it. No second thread is begun for the
      same release: the first one ends when its disk lets it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from relctld.control.server import RefusedError
from relctld.host import staging
from relctld.host.fsuser import as_user
from relctld.host.gate import Identity
from relctld.host.staging import Received

LARGEST = 4 << 30
HANGS_AFTER = 30.0
"""Seconds without a byte after which nothing is hoped for any more."""
_TELL_EVERY = 0.25

Tell = Callable[[dict[str, Any]], None]

_hung: Final[set[Path]] = set()
"""The folders of which a thread still waits for a disk."""


async def take_in(tarball: str, reader: Identity, folder: Path, tell: Tell) -> Received:
    """Our copy in `folder`, the release's own. The tarball is opened with the eyes of `reader`.

    Raises OSError, RefusedError.
    """
    if folder in _hung:
        why = "an earlier tarball could not be read, and its disk still does not answer"
        raise RefusedError("busy", why, "see to that disk; an upgrade to an installed version needs none")
    copying, thread = _Copying(tarball, reader, folder, tell), ThreadPoolExecutor(1, thread_name_prefix="tarball")
    done = asyncio.get_running_loop().run_in_executor(thread, copying.run)
    thread.shutdown(wait=False)
    while True:
        before = copying.bytes
        if (await asyncio.wait({done}, timeout=HANGS_AFTER))[0]:
            return done.result()
        if copying.bytes == before:
            _hung.add(folder)
            done.add_done_callback(partial(_too_late, folder))
            why = f"{tarball} cannot be copied: nothing came of it for {HANGS_AFTER:g} s"
            raise RefusedError("failed", why, f"see to its disk, and to that of {folder}; nothing was changed")


class _Copying:
    """`bytes`: copied so far."""

    def __init__(self, tarball: str, reader: Identity, folder: Path, tell: Tell) -> None:
        self.bytes = 0
        self._tarball, self._reader, self._folder, self._tell = tarball, reader, folder, tell
        self._loop = asyncio.get_running_loop()
        self._total, self._told = 0, 0.0

    def run(self) -> Received:
        reader = self._reader
        with as_user(reader.uid, reader.gid, reader.groups):
            source = staging.open_source(Path(self._tarball))
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._total = os.fstat(source).st_size
            return staging.receive(source, self._folder, LARGEST, self._progress)
        finally:
            os.close(source)

    def _progress(self, done: int) -> None:
        self.bytes = done
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            self._loop.call_soon_threadsafe(self._tell, {"step": "reading", "bytes": done, "of": self._total})


def _too_late(folder: Path, done: asyncio.Future[Received]) -> None:
    """Its disk answers again; nobody waits for it any more."""
    _hung.discard(folder)
    if not done.cancelled() and done.exception() is None:
        with contextlib.suppress(OSError):
            done.result().path.unlink()
