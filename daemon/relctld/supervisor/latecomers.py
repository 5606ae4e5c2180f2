"""VMs that systemd did not take at their gate: they are brought into their scopes once it answers.

A node must be startable while systemd does not answer, and what an operator wrote as its limits must hold. So it is
started without them, that is said (`unlimited` in `status`, an event), and systemd is asked again and again until the
VM is in its scope or gone. Nothing else waits for that. Of a VM of a former daemon it may take a search to tell.
"""

import asyncio
import contextlib
from concurrent.futures import Executor
from typing import Final

from relctld.core.notes import Note
from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host.containment import Containment
from relctld.host.manager import ManagerError
from relctld.supervisor.history import History
from relctld.supervisor.managed import Managed
from relctld.supervisor.tasks import Tasks

_ASK_EVERY: Final = 2.0


class Latecomers:
    """Looks after them, on the loop's thread."""

    def __init__(self, containment: Containment, history: History, pool: Executor, tasks: Tasks) -> None:
        self._containment = containment
        self._history = history
        self._pool = pool
        self._tasks = tasks
        self._turn = asyncio.Lock()  # systemd answers one after the other; no more than one worker waits for it

    def look_after(self, managed: Managed, epoch: int, vm: Vm, limits: Limits, why: str) -> None:
        """`why`: what is amiss with the containment of its VM."""
        managed.unlimited = why
        self._history.report(managed.name, Note.UNLIMITED, {"epoch": epoch, "why": why})
        self._tasks.start(f"scope {managed.name}", self._bring_in(managed, epoch, vm, limits))

    def search(self, managed: Managed, epoch: int, vm: Vm, limits: Limits) -> None:
        """Nothing is seen to be amiss with the containment of its VM, which a former daemon launched."""
        self._tasks.start(f"search {managed.name}", self._search(managed, epoch, vm, limits))

    async def _search(self, managed: Managed, epoch: int, vm: Vm, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if managed.instance != vm.instance or managed.pidfd is None:
                return
            why = None
            with contextlib.suppress(OSError):  # as it was
                why = await loop.run_in_executor(self._pool, self._containment.search, managed.name, epoch, vm)
        if why is not None and managed.instance == vm.instance and managed.pidfd is not None:
            self.look_after(managed, epoch, vm, limits, why)

    async def _bring_in(self, managed: Managed, epoch: int, vm: Vm, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            await asyncio.sleep(_ASK_EVERY)
            async with self._turn:
                if managed.instance != vm.instance or managed.pidfd is None:
                    return
                try:
                    await loop.run_in_executor(self._pool, self._containment.settle, managed.name, epoch, vm, limits)
                except (OSError, ManagerError):  # as it was; a VM that is gone ends this above
                    continue
            if managed.instance == vm.instance:
                managed.unlimited = None
                fields = {"epoch": epoch, "seconds": round(loop.time() - begun, 3)}
                self._history.report(managed.name, Note.LIMITED, fields)
            return
