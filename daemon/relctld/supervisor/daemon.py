"""The life of the daemon: it comes up, runs until it is told to stop, goes down with its nodes or without them.

Up:   lock → store (`ground`) → all is made (`assembly`) → what a former self left → sockets → logger → READY
Down: STOPPING → nodes stopped, or left as they are → replies, store, sockets
Over: re-exec (`succession`): quiet → records, store → this process becomes the installed code, and comes up again
"""

import asyncio
import contextlib
import gc
import os
import signal
from concurrent.futures import Future
from functools import partial

import structlog

from relctld import __version__
from relctld.control.handlers import Handlers
from relctld.control.server import RefusedError
from relctld.core import fleet
from relctld.core.events import Halted
from relctld.core.notes import Note
from relctld.core.spec import OnStop
from relctld.host import allocator, reexec
from relctld.supervisor.assembly import make_base, make_configured, make_front, make_keeping, tell_store_trouble
from relctld.supervisor.door import Door
from relctld.supervisor.ground import Ground
from relctld.supervisor.managed import Managed
from relctld.supervisor.succession import Succession, become_quiet, leave_word, take_word

log = structlog.get_logger()

_EXTEND_EVERY = 5.0

_WRITTEN_WITHIN = 2.0
"""Seconds that a re-exec waits for the store's disk."""


class Daemon:
    """One per run directory. Made and run on the loop."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._base = make_base(ground)
        self._keeping = make_keeping(ground, self._base)
        self._configured = make_configured(ground, self._base, self._keeping)
        self._front = make_front(ground, self._base, self._keeping, self._configured)
        self._up = asyncio.Event()

    async def run(self) -> Succession | None:
        """Run until told to stop; what a successor needs, if there shall be one."""
        self._listen()  # before the first VM: told to stop now, it stops that too
        self._tell_beginning()
        self._configured.roster.take_up(self._ground.config)
        planned = self._configured.logplan.take_up()
        self._keeping.upgrades.resume()
        door = await self._open_the_door(planned)
        gc.freeze()  # what is there now stays: no need to look through it again and again
        self._base.tasks.start("thrift", allocator.stay_thrifty(self._base.errands))
        asked = await self._front.ending.asked()
        if asked is None:
            return await self._hand_over(door)
        await self._go_down(door, *asked)
        return None

    # -- up ------------------------------------------------------------------------------------

    def _listen(self) -> None:
        signals = self._base.signals
        for number in (signal.SIGTERM, signal.SIGINT):
            signals.on(number, partial(self._front.ending.stop, number, signal.Signals(number).name))
        signals.on(signal.SIGHUP, lambda: self._base.tasks.start("reload", self._reload_by_signal()))
        signals.on(signal.SIGUSR2, lambda: self._base.tasks.start("re-exec", self._reexec_by_signal()))
        reexec.release_signals()

    def _tell_beginning(self) -> None:
        ground, history = self._ground, self._base.history
        path = str(ground.config.path)
        history.report(None, Note.DAEMON_STARTED, {"version": __version__, "pid": os.getpid(), "config": path})
        for warning in self._configured.in_force.config.warnings:
            log.warning("config.warning", warning=warning)
        if ground.error is not None:
            history.report(None, Note.CONFIG_REFUSED, {"error": ground.error})
        if ground.store.set_aside is not None:
            history.report(None, Note.STORE_DAMAGED, {"path": ground.store.set_aside, "error": "damaged"})
        tell_store_trouble(history, ground.store.error)

    async def _open_the_door(self, planned: Future[None]) -> Door:
        config, kept, configured = self._ground.config, self._ground.kept, self._configured
        await configured.doorkeeper.look_up(self._base.errands)
        door = Door(config.run_dir, config.access, kept, Handlers(self._front.services).handle, configured.doorkeeper)
        take_word(config.run_dir, door.server, self._keeping.parts, os.getpid())
        configured.announcer.forget(kept.close())
        self._base.history.publish = door.server.publish
        await configured.loggers.start(planned)
        self._up.set()
        self._base.notifier.ready()
        configured.announcer.watchdog()
        await configured.announcer.serve_metrics(config.metrics)
        return door

    # -- while it runs -------------------------------------------------------------------------

    async def _reload_by_signal(self) -> None:
        await self._up.wait()
        with contextlib.suppress(RefusedError):  # told in the log and the history already
            await self._configured.reloader.reload(plan_only=False, by="SIGHUP")

    async def _reexec_by_signal(self) -> None:
        await self._up.wait()
        with contextlib.suppress(RefusedError):  # told in the log and the history already
            await self._front.trial.reexec("SIGUSR2")

    # -- over ----------------------------------------------------------------------------------

    async def _hand_over(self, door: Door) -> Succession:
        base, keeping, configured = self._base, self._keeping, self._configured
        base.notifier.reloading()
        await self._front.remotes.close()
        await keeping.upgrades.close(gives_way=True)
        keeping.standbys.close()
        await become_quiet(base.shell, base.tasks, door.server)
        configured.announcer.close()
        keeping.nodes.close()
        configured.loggers.stop(with_logger=False)
        base.reaper.freeze()
        base.shell.close()
        leave_word(self._ground.config.run_dir, door.server, keeping.parts)
        listeners = await door.hand_over(base.errands)
        await self._write_all()
        self._ground.store.close(_WRITTEN_WITHIN)
        base.notifier.flush()
        base.notifier.watchdog()
        fds = {"lock": self._ground.lock, **listeners}
        for name, managed in base.shell.releases.items():
            if managed.pidfd is not None and managed.state.vm is not None:
                fds[reexec.vm_name(name, managed.state.vm.pid)] = managed.pidfd
        return Succession(fds, self._ground.environ, self._ground.soft_nofile)

    async def _write_all(self) -> None:
        """What is not saved yet, and what was told."""
        self._keeping.saver.close()
        await self._base.tasks.close()
        self._base.scribe.shutdown(wait=True)
        self._base.history.flush()

    # -- down ----------------------------------------------------------------------------------

    async def _go_down(self, door: Door, how: OnStop, by: str) -> None:
        base, keeping, configured = self._base, self._keeping, self._configured
        base.notifier.stopping(f"stopping the nodes ({by})" if how is OnStop.STOP else f"leaving the nodes ({by})")
        base.history.report(None, Note.DAEMON_STOPPING, {"on_stop": str(how), "by": by})
        remotes = asyncio.get_running_loop().create_task(self._front.remotes.close(), name="end of remote shells")
        await keeping.upgrades.close()
        if how is OnStop.STOP:
            for name in base.shell.releases:
                base.shell.post(Halted(name))
            await self._until_quiet()
        configured.announcer.close()
        keeping.standbys.close()
        keeping.nodes.close()
        configured.loggers.stop(with_logger=how is OnStop.STOP)
        await remotes
        await door.close()
        base.shell.close()
        await self._write_all()
        base.reaper.close()
        base.containment.close()
        self._ground.store.close()
        base.signals.close()
        os.close(self._ground.lock)

    async def _until_quiet(self) -> None:
        """Every stop has its own deadline, so this ends; systemd is asked for patience meanwhile."""
        shell, notifier, quiet = self._base.shell, self._base.notifier, asyncio.Event()

        def look(_: Managed) -> None:
            if fleet.is_quiet(managed.state for managed in shell.releases.values()):
                quiet.set()

        shell.stepped.append(look)
        await asyncio.sleep(0)
        while not fleet.is_quiet(managed.state for managed in shell.releases.values()):
            notifier.extend_timeout(_EXTEND_EVERY * 3)
            notifier.watchdog()
            quiet.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(quiet.wait(), _EXTEND_EVERY)
