"""What a VM leaves behind: its port programs are swept, its crash dump is found."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import structlog

from relctld.beam import crashdump
from relctld.core.effects import Sweep
from relctld.core.events import DumpFound, Swept
from relctld.failpoints import Failpoint, reach
from relctld.host.containment import Containment
from relctld.supervisor.managed import Managed
from relctld.supervisor.shell import Shell, chance
from relctld.supervisor.tasks import Tasks

log = structlog.get_logger()

_TIDY_AFTER = 0.05


class Sweeps:
    """`pool` is for what a restart waits for, `errands` for what may be late."""

    def __init__(
        self, *, shell: Shell, tasks: Tasks, containment: Containment, pool: Executor, errands: Executor
    ) -> None:
        self._shell = shell
        self._tasks = tasks
        self._containment = containment
        self._pool = pool
        self._errands = errands
        self._loop = asyncio.get_running_loop()

    def sweep(self, managed: Managed, effect: Sweep) -> None:
        """Most VMs leave nothing behind. Where that can be seen at a glance, nobody waits for a worker."""
        name, epoch = managed.name, effect.epoch
        reach(Failpoint.BEFORE_SWEEP)
        empty = partial(self._containment.empty, name, epoch, managed.instance, gentle=effect.gentle)
        if self._containment.is_empty(name, epoch, managed.instance):
            self._swept(name, epoch, ())
            self._tasks.start(f"tidy {name}", self._tidy(empty))
            self._tasks.start(f"dumps {name}", self._look_for_dump(managed, epoch))
        else:
            self._tasks.start(f"sweep {name}", self._empty(managed, epoch, empty))

    async def _empty(self, managed: Managed, epoch: int, empty: Callable[[], tuple[str, ...]]) -> None:
        left: tuple[str, ...] = ("a sweep that failed",)
        try:
            left = await self._loop.run_in_executor(self._pool, empty)
        except Exception:
            log.exception("surprise", release=managed.name)
        finally:
            self._swept(managed.name, epoch, left)
        if not left:
            await self._look_for_dump(managed, epoch)

    def _swept(self, name: str, epoch: int, left: tuple[str, ...]) -> None:
        self._shell.post(Swept(name, epoch, left, chance()))
        reach(Failpoint.AFTER_SWEEP)

    async def _tidy(self, empty: Callable[[], tuple[str, ...]]) -> None:
        """Nothing lives in it any more; what held it is taken away, once its successor is on its way."""
        await asyncio.sleep(_TIDY_AFTER)
        with contextlib.suppress(OSError):
            await self._loop.run_in_executor(self._errands, empty)

    async def _look_for_dump(self, managed: Managed, epoch: int) -> None:
        """After the sweep, so that a log disk that hangs delays no restart. An old epoch's dump is only pruned."""
        folder, keep = managed.log_folder / "crash", managed.spec.crash.keep

        def look() -> str | None:
            found = next((d for d in crashdump.list_dumps(folder) if d.epoch == epoch), None)
            crashdump.prune(folder, keep)
            return (found.slogan or "no slogan") if found else None

        async with managed.looking:  # one after the other, or a later one prunes what is not told yet
            slogan = await self._loop.run_in_executor(self._errands, look)
        if slogan is not None:
            self._shell.post(DumpFound(managed.name, epoch, slogan))
