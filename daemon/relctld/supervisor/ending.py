"""How the daemon comes to its end: told to stop by a signal, an operator or systemd, or giving way to its successor.

Rule 1: the first word counts. Who is told to stop gives way no more; who has given way leaves the word to its
        successor.
Rule 2: a SIGTERM of systemd may mean a restart, and then the nodes stay: systemd is asked which it is.
"""

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import Executor

from relctld.control.server import RefusedError
from relctld.core.spec import OnStop
from relctld.host import reexec
from relctld.host.reaper import Reaper
from relctld.host.systemd import own_job, own_unit

_JOB_WITHIN = 5.0

Asked = tuple[OnStop, str] | None
"""How to go down, and by whom; None: give way."""


class Ending:
    """Awaited by the daemon. `on_stop` is what the config says now; `under_systemd`: it listens to us."""

    def __init__(self, pool: Executor, reaper: Reaper, on_stop: Callable[[], OnStop], *, under_systemd: bool) -> None:
        self._pool = pool
        self._reaper = reaper
        self._on_stop = on_stop
        self._under_systemd = under_systemd
        self._loop = asyncio.get_running_loop()
        self._told_to_stop = False
        self._asked: asyncio.Future[Asked] = self._loop.create_future()

    async def asked(self) -> Asked:
        """Wait for the word."""
        return await self._asked

    def stop(self, number: int | None, by: str) -> None:
        """Told to stop, by a signal of this number or by an operator. Raises RefusedError."""
        if self._asked.done():
            self._leave_to_successor(number)
            return
        self._told_to_stop = True
        unit = own_unit() if number == signal.SIGTERM and self._under_systemd else None
        if unit is None:
            self._asked.set_result((self._on_stop(), by))
            return
        work = self._loop.run_in_executor(self._pool, own_job, unit, _JOB_WITHIN, self._reaper.spawning)
        work.add_done_callback(lambda job: self._systemd_says(None if job.exception() else job.result()))

    def give_way(self) -> bool:
        """To the installed code, unless we were told to stop."""
        if self._told_to_stop or self._asked.done():
            return False
        reexec.hold_signals()
        self._asked.set_result(None)
        return True

    def _systemd_says(self, job: str | None) -> None:
        if not self._asked.done():
            how = OnStop.LEAVE if job == "restart" else self._on_stop()
            self._asked.set_result((how, f"systemd ({job or 'signal'})"))

    def _leave_to_successor(self, number: int | None) -> None:
        """Told to stop when we have given way already."""
        if self._asked.result() is not None:
            return
        if number is None:
            raise RefusedError("busy", "it is being renewed just now", "ask again")
        signal.raise_signal(number)
