"""The daemon: comes up, runs until it is told to stop, goes down with its nodes or without them.

Up:   lock → store → what a former self left → sockets → logger → READY
Down: STOPPING → nodes stopped, or left as they are → replies, store, sockets
Over: re-exec (`succession`): quiet → records, store → this process becomes the installed code, and comes up again
"""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from relctld import __version__
from relctld.config import Config, Plan
from relctld.control import sockets
from relctld.control.handlers import Handlers
from relctld.control.server import RefusedError
from relctld.core import fleet
from relctld.core.events import Halted
from relctld.core.model import OnStop, ReleaseSpec
from relctld.core.notes import Note
from relctld.host import allocator, containment, reexec
from relctld.host.command import Commands
from relctld.host.reaper import Reaper
from relctld.host.signals import Signals
from relctld.host.systemd import Notifier
from relctld.host.terminal import Terminals
from relctld.host.workers import Workers
from relctld.supervisor import surprises
from relctld.supervisor.announcer import Announcer
from relctld.supervisor.doctor.doctor import Doctor
from relctld.supervisor.door import open_door
from relctld.supervisor.ending import Ending
from relctld.supervisor.facts import FactFinder
from relctld.supervisor.ground import prepare
from relctld.supervisor.interpreter import Interpreter
from relctld.supervisor.journal import Journal
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.loggers import Loggers
from relctld.supervisor.managed import Managed
from relctld.supervisor.metrics import import_metrics
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.parts import Parts
from relctld.supervisor.reload import Loaded, Reloader
from relctld.supervisor.remote import Remotes
from relctld.supervisor.roster import Roster
from relctld.supervisor.services import Services
from relctld.supervisor.standby import Standbys
from relctld.supervisor.succession import Succession, Trial, become_quiet, leave_word, take_word
from relctld.supervisor.upgrades.registry import Upgrades

log = structlog.get_logger()

_WORKERS = 512
"""Threads at most for what keeps releases going; they are made on demand. Each release has a few of these at most."""

_ERRANDS = 64
"""The same for what operators ask and for log directories: full of what hangs, they delay only their like."""

_EXTEND_EVERY = 5.0

_WRITTEN_WITHIN = 2.0
"""Seconds that a re-exec waits for the store's disk."""


class Daemon:
    """One per run directory. `error` is what is wrong with the config on disk, when the last good one is in force."""

    def __init__(self, config: Config, error: str | None, environ: Mapping[str, str], kept: reexec.Kept) -> None:
        self._config_error = error
        self._first_config = config
        self._environ = dict(environ)
        self._kept = kept
        self._run_dir = config.run_dir
        self._started = datetime.now(UTC)
        self._quiet = asyncio.Event()
        self._up = asyncio.Event()

    def prepare(self) -> None:
        """What must be right before anything runs. Raises OSError, LockedError."""
        self._ground = prepare(self._first_config, self._kept)
        self._store, self._soft_nofile = self._ground.store, self._ground.soft_nofile
        if self._first_config.metrics is not None:
            import_metrics()  # all of our code is imported at the start: pip may replace the files at any time

    async def run(self) -> Succession | None:
        """Run until told to stop; what a successor needs, if there shall be one."""
        self._assemble()
        self._tell_beginning()
        self._roster.take_up(self._first_config)
        self._loggers.take_up()
        self._upgrades.resume()
        await self._open_the_door()
        gc.freeze()  # what is there now stays: no need to look through it again and again
        self._interpreter.start("thrift", allocator.stay_thrifty(self._errands))
        asked = await self._ending.asked()
        if asked is None:
            return await self._hand_over()
        await self._go_down(*asked)
        return None

    # -- up ------------------------------------------------------------------------------------

    def _assemble(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: surprises.tell(context))
        self._pool = Workers(_WORKERS, "worker")
        self._errands = Workers(_ERRANDS, "errand")
        self._scribe = surprises.Scribe()
        self._notifier = Notifier(self._environ)
        self._signals = Signals(loop)
        self._reaper = Reaper(loop, self._signals)
        self._containment = containment.choose(self._run_dir)
        self._journal = Journal(self._store)
        self._store.start(loop, self._store_trouble)
        self._launcher = Launcher(self._reaper, self._containment, self._errands, self._environ, self._soft_nofile)
        commands = Commands(self._reaper, self._pool, self._soft_nofile)
        self._nodes = Nodes(self._pool, self._journal)
        self._standbys = Standbys(self._launcher, self._reaper, self._containment)
        self._interpreter = Interpreter(
            reaper=self._reaper,
            containment=self._containment,
            launcher=self._launcher,
            standbys=self._standbys,
            commands=commands,
            nodes=self._nodes,
            store=self._store,
            journal=self._journal,
            pool=self._pool,
            errands=self._errands,
            scribe=self._scribe,
        )
        self._shell = self._interpreter.shell
        self._launcher.roots = self._roots_beside
        self._parts = Parts(self._shell)
        self._interpreter.answer = self._parts.answer
        self._upgrades = Upgrades(
            state_dir=self._first_config.state_dir,
            pool=self._errands,
            prepare=self._launcher.recipe,
            surroundings=self._launcher.surroundings,
            shell=self._shell,
            nodes=self._nodes,
            commands=commands,
            parts=self._parts,
            history=self._journal,
            run_hook=self._interpreter.asking.upgrade_hook,
            ask=self._interpreter.asking.ask,
            save=self._interpreter.save,
        )
        self._upgrades.launches.attend(self._launcher)
        self._facts = FactFinder(self._errands)
        self._loggers = Loggers(
            self._run_dir, self._reaper, self._journal, self._pool, self._scribe, self._shell.releases
        )
        config, error = self._first_config, self._config_error
        self._reloader = Reloader(
            config, self._journal, self._errands, os.geteuid(), self._environ, error, self._containment.unenforced
        )
        self._roster = Roster(
            run_dir=self._run_dir,
            log_dir=config.log_dir,
            interpreter=self._interpreter,
            store=self._store,
            scribe=self._scribe,
            changed=self._loggers.plan,
            kept=self._kept,
        )
        self._roster.forgotten += [self._facts.forget, self._standbys.let_go]
        self._shell.stepped += [self._is_quiet, self._standbys.stepped, self._loggers.stepped]
        self._announcer = Announcer(self._shell, self._notifier, self._errands)
        self._ending = Ending(
            self._pool,
            self._reaper,
            lambda: self._reloader.config.on_stop,
            under_systemd=self._notifier.active,
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # before the first VM: told to stop now, it stops that too
            self._signals.on(number, partial(self._ending.stop, number, signal.Signals(number).name))
        self._signals.on(signal.SIGHUP, self._hang_up)
        reexec.release_signals()
        self._trial = Trial(
            run_dir=self._run_dir,
            environ=self._environ,
            reaper=self._reaper,
            journal=self._journal,
            errands=self._errands,
            go=self._ending.give_way,
        )
        self._signals.on(signal.SIGUSR2, self._user_signal)

    async def _open_the_door(self) -> None:
        self._remotes = Remotes(
            shell=self._shell,
            terminals=Terminals(self._reaper, self._errands),
            journal=self._journal,
            pool=self._errands,
            run_dir=self._run_dir,
            environ=self._environ,
            soft_nofile=self._soft_nofile,
        )
        doctor = Doctor(
            shell=self._shell,
            nodes=self._nodes,
            upgrades=self._upgrades,
            launcher=self._launcher,
            spawning=self._reaper.spawning,
            describe=self.describe,
            unenforced=self._containment.unenforced,
            history=self._journal,
            pool=self._errands,
        )
        services = Services(
            shell=self._shell,
            facts=self._facts,
            nodes=self._nodes,
            loggers=self._loggers,
            store=self._store,
            errands=self._errands,
            remotes=self._remotes,
            upgrades=self._upgrades,
            parts=self._parts,
            describe=self.describe,
            stop=lambda by: self._ending.stop(None, by),
            reload=self._reload,
            reexec=self._trial.reexec,
            doctor=doctor.examine,
        )
        access, handle = self._first_config.access, Handlers(services).handle
        self._door = await open_door(self._run_dir, access, handle, self._errands, self._kept)
        self._server = self._door.server
        take_word(self._run_dir, self._server, self._parts, os.getpid())
        self._announcer.forget(self._kept.close())
        self._journal.publish = self._server.publish
        await self._loggers.start()
        self._up.set()
        self._notifier.ready()
        self._announcer.watchdog()
        self._look = services.status
        await self._announcer.serve_metrics(self._first_config.metrics, self._look)

    def _tell_beginning(self) -> None:
        path = str(self._first_config.path)
        self._journal.report(None, Note.DAEMON_STARTED, {"version": __version__, "pid": os.getpid(), "config": path})
        for warning in self._reloader.config.warnings:
            log.warning("config.warning", warning=warning)
        if self._config_error is not None:
            self._journal.report(None, Note.CONFIG_REFUSED, {"error": self._config_error})
        if self._store.set_aside is not None:
            self._journal.report(None, Note.STORE_DAMAGED, {"path": self._store.set_aside, "error": "damaged"})
        if self._store.error is not None:
            self._store_trouble(self._store.error)

    def describe(self) -> dict[str, Any]:
        """The daemon itself, as `status` and `daemon status` show it."""
        config, error = self._reloader.config, self._reloader.error
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime_s": round((datetime.now(UTC) - self._started).total_seconds(), 3),
            "config": {"path": str(config.path), "error": error, "warnings": list(config.warnings)},
            "run_dir": str(config.run_dir),
            "state_dir": str(config.state_dir),
            "log_dir": str(config.log_dir),
            "containment": self._containment.kind,
            "logger_pid": self._loggers.pid,
            "store_error": self._store.error,
        }

    def _roots_beside(self, spec: ReleaseSpec) -> list[Path]:
        """The roots of all releases that run as the same user as this one."""
        specs = [managed.spec for managed in tuple(self._shell.releases.values())]
        return [each.root for each in specs if (each.user, each.group) == (spec.user, spec.group)]

    # -- while it runs -------------------------------------------------------------------------

    def _is_quiet(self, _: Managed) -> None:
        """Nothing runs and nothing is under way: a daemon that stops may go."""
        if fleet.is_quiet(m.state for m in self._shell.releases.values()):
            self._quiet.set()
        else:
            self._quiet.clear()

    def _store_trouble(self, error: str | None) -> None:
        if error is not None:
            self._journal.report(None, Note.STORE_FULL, {"error": error})

    # -- reload --------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        self._interpreter.start("reload", self._reload_by_signal())

    async def _reload_by_signal(self) -> None:
        await self._up.wait()
        with contextlib.suppress(RefusedError):  # told in the log and the history already
            await self._reload(False, "SIGHUP")

    async def _reload(self, plan_only: bool, by: str) -> dict[str, Any]:
        def apply(loaded: Loaded, plan: Plan) -> list[str]:
            self._server.table = loaded.table
            sockets.chmod(self._run_dir, loaded.config.access)
            self._store.keep_seconds = loaded.config.events_keep
            self._roster.apply(loaded.config, plan)
            return [name for name, managed in self._shell.releases.items() if managed.restart_pending()]

        if plan_only:
            return await self._reloader.reload(plan_only=True, by=by, apply=apply)
        self._notifier.reloading()
        try:
            result = await self._reloader.reload(plan_only=False, by=by, apply=apply)
            await self._announcer.serve_metrics(self._reloader.config.metrics, self._look)
            return result
        finally:
            self._notifier.ready()

    # -- over ----------------------------------------------------------------------------------

    def _user_signal(self) -> None:
        self._interpreter.start("re-exec", self._reexec_by_signal())

    async def _reexec_by_signal(self) -> None:
        await self._up.wait()
        with contextlib.suppress(RefusedError):  # told in the log and the history already
            await self._trial.reexec("SIGUSR2")

    async def _hand_over(self) -> Succession:
        self._notifier.reloading()
        await self._remotes.close()
        await self._upgrades.close(gives_way=True)
        self._standbys.close()
        await become_quiet(self._interpreter, self._server)
        self._announcer.close()
        self._nodes.close()
        self._loggers.stop(with_logger=False)
        self._reaper.freeze()
        self._shell.close()
        leave_word(self._run_dir, self._server, self._parts)
        await self._door.hand_over(self._errands)
        await self._interpreter.close()
        self._scribe.shutdown(wait=True)
        self._journal.flush()
        self._store.close(_WRITTEN_WITHIN)
        self._notifier.flush()
        self._notifier.watchdog()
        fds = {"lock": self._ground.lock}
        fds |= {name: listener.fileno() for name, listener in self._door.listeners.items()}
        for name, managed in self._shell.releases.items():
            if managed.pidfd is not None and managed.state.vm is not None:
                fds[reexec.vm_name(name, managed.state.vm.pid)] = managed.pidfd
        return Succession(fds, self._environ, self._soft_nofile)

    # -- down ----------------------------------------------------------------------------------

    async def _go_down(self, how: OnStop, by: str) -> None:
        self._notifier.stopping(f"stopping the nodes ({by})" if how is OnStop.STOP else f"leaving the nodes ({by})")
        self._journal.report(None, Note.DAEMON_STOPPING, {"on_stop": str(how), "by": by})
        remotes = self._loop.create_task(self._remotes.close(), name="end of remote shells")
        await self._upgrades.close()
        if how is OnStop.STOP:
            for name in self._shell.releases:
                self._shell.post(Halted(name))
            await self._until_quiet()
        self._announcer.close()
        self._standbys.close()
        self._nodes.close()
        self._loggers.stop(with_logger=how is OnStop.STOP)
        await remotes
        await self._door.close()
        self._shell.close()
        await self._interpreter.close()
        self._reaper.close()
        self._containment.close()
        self._scribe.shutdown(wait=True)
        self._journal.flush()
        self._store.close()
        self._signals.close()
        os.close(self._ground.lock)

    async def _until_quiet(self) -> None:
        """Every stop has its own deadline, so this ends; systemd is asked for patience meanwhile."""
        await asyncio.sleep(0)
        while not fleet.is_quiet(m.state for m in self._shell.releases.values()):
            self._notifier.extend_timeout(_EXTEND_EVERY * 3)
            self._notifier.watchdog()
            self._quiet.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), _EXTEND_EVERY)
