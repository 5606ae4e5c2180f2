"""What the daemon tells without being asked: systemd's status line, watchdog and fd store, what Prometheus fetches.

Rule: nothing here can hold the loop up. A scrape reads what was noted down last, every few seconds while it is wanted.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any

import structlog

from relctld.core.state import State
from relctld.host.systemd import Notifier
from relctld.supervisor.fdstore import FdStore
from relctld.supervisor.managed import Managed
from relctld.supervisor.metrics import Metrics
from relctld.supervisor.shell import Shell

log = structlog.get_logger()

NOTED_EVERY = 5.0

Look = Callable[[list[str]], Awaitable[dict[str, Any]]]
"""The reply of `status` for these releases."""


class Announcer:
    """Announces what becomes of the releases of a shell. `look` is what a scrape shows of them."""

    def __init__(self, shell: Shell, notifier: Notifier, errands: Executor, look: Look) -> None:
        self._shell = shell
        self._notifier = notifier
        self._errands = errands
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._status_due = False
        self._fds = FdStore(notifier)
        self._noted: list[dict[str, Any]] = []
        self._metrics = Metrics(lambda: self._noted)
        self._noting: asyncio.Task[None] | None = None
        shell.stepped.append(self._stepped)

    def forget(self, names: Iterable[str]) -> None:
        """systemd need not keep what it has under these names."""
        self._fds.take_out(names)

    def watchdog(self) -> None:
        """Tell systemd again and again that the loop turns."""
        interval = self._notifier.watchdog_interval
        if interval is not None:
            self._notifier.watchdog()
            self._loop.call_later(interval, self.watchdog)

    async def serve_metrics(self, address: str | None) -> None:
        """Serve them on this address from now on; None: no more. One that cannot be used is told in the log."""
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        error = await self._loop.run_in_executor(self._errands, self._bind, address)
        if error is not None:
            log.error("metrics.refused", error=error)
        elif address is not None:
            self._noting = self._loop.create_task(self._note_down(), name="metrics")

    def close(self) -> None:
        """Tell nothing any more."""
        if self._noting is not None:
            self._noting.cancel()
        self._metrics.stop()

    def _bind(self, address: str | None) -> str | None:
        if address is not None:
            return self._metrics.start(address)
        self._metrics.stop()
        return None

    async def _note_down(self) -> None:
        while True:
            try:
                self._noted = (await self._look(list(self._shell.releases)))["releases"]
            except Exception:
                log.exception("surprise", cause="metrics")
            await asyncio.sleep(NOTED_EVERY)

    def _stepped(self, managed: Managed) -> None:
        """One line for `systemctl status`, once for all that happens in one go."""
        self._fds.follow(managed)
        if self._notifier.active and not self._status_due:
            self._status_due = True
            self._loop.call_soon(self._say_status)

    def _say_status(self) -> None:
        self._status_due = False
        self._notifier.status(_in_numbers(m.state.state for m in self._shell.releases.values()))


def _in_numbers(states: Iterable[State]) -> str:
    """`3 running, 1 failed`: the states in the order of `State`, those that none is in left out."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state}" for state in State if counts[state]) or "no releases"
