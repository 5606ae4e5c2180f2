"""What is left of offers, plans and attempts, removed by worker threads: their disk may hang, and nobody hangs with it.

Rule 1: who asked for something that came to nothing is answered, whatever becomes of its leftovers.
Rule 2: nothing new is taken in for a release before those are gone: they would go with it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import structlog

from relctld.control.server import RefusedError
from relctld.host import tree as files
from relctld.supervisor.upgrades.disk import STAGING
from relctld.supervisor.upgrades.ledger import Ledger
from relctld.supervisor.upgrades.removing import finish

log = structlog.get_logger()

AT_ONCE = 1.0
"""Seconds in which a disk that is well has removed them."""
HANGS_AFTER = 30.0


class Leftovers:
    """Those of all releases. On the loop."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._going: dict[str, asyncio.Future[Any]] = {}

    def remove(self, name: str, work: Callable[..., None], *args: Any) -> None:
        """Begin to, where that has not begun already; what goes wrong is told by the log."""
        if name not in self._going:
            self._going[name] = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
            self._going[name].add_done_callback(lambda done: self._gone(name, done))

    async def removed(self, name: str, work: Callable[..., None], *args: Any) -> None:
        """Begin to, and wait for it for as long as a disk takes that is well."""
        self.remove(name, work, *args)
        await asyncio.wait({self._going[name]}, timeout=AT_ONCE)

    async def gone(self, name: str) -> None:
        """Wait until none are being removed. Raises RefusedError where the disk does not let them go."""
        if (going := self._going.get(name)) is not None and not (await asyncio.wait({going}, timeout=HANGS_AFTER))[0]:
            why = "what an earlier one left cannot be removed: its disk does not answer"
            raise RefusedError("busy", why, "see to the disk of state_dir, and to that of the release")

    def _gone(self, name: str, done: asyncio.Future[Any]) -> None:
        del self._going[name]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("upgrade.leftovers", release=name, error=str(error))


def remove_all(root: Path, ledger: Ledger) -> None:
    """Of a plan, of an offer that was being judged, of a removal under way, when a former self ended."""
    ledger.drop_tarballs()
    with contextlib.suppress(OSError):
        finish(ledger)
        files.remove(root, STAGING)
