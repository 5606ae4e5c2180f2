"""What the supervisor does for the door (`control.handlers.Services`)."""

import asyncio
import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from relctld.beam import crashdump
from relctld.control.log_handlers import Asked, Part
from relctld.core.effects import Done, Refused
from relctld.core.state import Op
from relctld.host import fifo
from relctld.host.store import Store
from relctld.host.users import name_of
from relctld.logfiles import tail
from relctld.supervisor.doctor.doctor import Doctor
from relctld.supervisor.ending import Ending
from relctld.supervisor.history import event_object
from relctld.supervisor.logplan import LogPlan
from relctld.supervisor.logreading import LogReading
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.overview import Overview
from relctld.supervisor.parts import Parts
from relctld.supervisor.reload import Reloader
from relctld.supervisor.remote import Remotes
from relctld.supervisor.shell import Shell
from relctld.supervisor.succession import Trial
from relctld.supervisor.upgrades.registry import Upgrades

_NAME_WITHIN = 0.5
_LAST_LINES_WITHIN = 1.0
_LAST_BYTES = 8192
_LOGGED_WITHIN = 0.03
_DUMP_HEAD = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Answered = Callable[[Done | Refused], None]


class Services:
    """Answers to what handlers ask, out of the shell and from worker threads."""

    def __init__(
        self,
        *,
        shell: Shell,
        overview: Overview,
        nodes: Nodes,
        logplan: LogPlan,
        store: Store,
        errands: Executor,
        remotes: Remotes,
        upgrades: Upgrades,
        parts: Parts,
        doctor: Doctor,
        reloader: Reloader,
        trial: Trial,
        ending: Ending,
    ) -> None:
        self._shell = shell
        self._nodes = nodes
        self._logplan = logplan
        self._store = store
        self._errands = errands
        self._logs = LogReading(errands)
        self._loop = asyncio.get_running_loop()
        self._user_names: dict[int, str] = {}
        self._parts = parts
        self._watchers: dict[str, set[Callable[[], None]]] = {}
        self.remotes = remotes
        self.upgrades = upgrades
        self.status = overview.look
        self.daemon_status = overview.daemon
        self.doctor = doctor.examine
        self.reload = reloader.reload
        self.reexec = trial.reexec
        self._ending = ending
        shell.stepped.append(self._stepped)

    def names(self, *, configured: bool = False) -> list[str]:
        """The releases, in the order of the config."""
        return [m.name for m in self._shell.releases.values() if not (configured and m.unconfigured)]

    def state_of(self, name: str) -> dict[str, Any]:
        """A release in a few words: for progress and results."""
        managed = self._shell.releases.get(name)
        if managed is None:
            return {"state": "stopped", "detail": ""}
        state = managed.state
        return {
            "state": str(state.state),
            "detail": state.health_detail,
            "pid": state.vm.pid if state.vm else None,
            "epoch": state.epoch,
        }

    def request(self, name: str, op: Op, request_id: str, by: str, answered: Answered) -> None:
        """Ask a release for something; `answered` is called once, when it is true or came to nothing."""
        self._parts.request(name, op, request_id, by, answered)

    def watch(self, name: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Be told of each change of a release's state; the result ends it."""
        watchers = self._watchers.setdefault(name, set())
        watchers.add(changed)
        return lambda: watchers.discard(changed)

    def _stepped(self, managed: Managed) -> None:
        for changed in tuple(self._watchers.get(managed.name, ())):
            changed()

    async def user_name(self, uid: int) -> str:
        """A user's name; its number where the name service does not answer in time."""
        if uid not in self._user_names:
            try:
                work = self._loop.run_in_executor(self._errands, name_of, uid)
                self._user_names[uid] = await asyncio.wait_for(asyncio.shield(work), _NAME_WITHIN)
            except TimeoutError:
                return str(uid)
        return self._user_names[uid]

    async def evaluate(
        self, name: str, op: str, language: str, what: dict[str, Any], seconds: float, by: str
    ) -> dict[str, Any]:
        """Have something evaluated in the node (`eval`, `rpc`). Raises RefusedError."""
        return await self._nodes.evaluate(name, op, language, what, seconds, by)

    # -- logs, history, crashes ------------------------------------------------------------------

    def _log_folder(self, name: str) -> Path:
        return self._shell.releases[name].log_folder

    async def last_lines(self, name: str, count: int) -> list[str]:
        """The last lines of a log that say something, for an error message: what can be had soon, else nothing."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LAST_LINES_WITHIN):
                await self._logged(name)
                folder = str(self._log_folder(name))
                work = self._loop.run_in_executor(self._errands, tail.last_lines, folder, count * 4, _LAST_BYTES)
                lines = (await asyncio.shield(work)).decode("utf-8", "replace").splitlines()
                return [line for line in lines if line.strip()][-count:]
        return []

    async def _logged(self, name: str) -> None:
        """Until the logger took what the VM said; what it took it writes at once."""
        output = self._shell.releases[name].output
        while output is not None and fifo.unread(output):  # noqa: ASYNC110 nobody tells when a pipe is empty
            await asyncio.sleep(_LOGGED_WITHIN)
        await asyncio.sleep(_LOGGED_WITHIN)

    async def read_log(self, name: str, asked: Asked) -> Part | None:
        """A part of a log; None: before an exit, and no VM exited. Raises OSError."""
        last = self._shell.releases[name].state.last_exit
        exited = None if last is None else (datetime.fromisoformat(last.at) - _EPOCH) // timedelta(microseconds=1)
        return await self._logs.read(str(self._log_folder(name)), asked, exited)

    def rotate(self, name: str) -> str | None:
        """Begin a new log file; None or why not."""
        return self._logplan.rotate(name)

    async def events(self, names: list[str], since: str, after: int, limit: int) -> list[dict[str, Any]]:
        """The history. Raises OSError."""

        def read() -> list[dict[str, Any]]:
            try:
                rows = self._store.events(names=names, since=since or None, after=after, limit=limit)
            except sqlite3.Error as error:
                raise OSError(str(error)) from error
            return [event_object(row.seq, row.at, row.release, row.event, row.fields) for row in rows]

        return await self._loop.run_in_executor(self._errands, read)

    async def crashes(self, name: str) -> list[dict[str, Any]]:
        """The crash dumps of a release, newest first. Raises OSError."""
        folder = self._log_folder(name) / "crash"
        dumps = await self._loop.run_in_executor(self._errands, crashdump.list_dumps, folder)
        return [_dump_object(n, dump) for n, dump in enumerate(dumps, 1)]

    async def crash_head(self, name: str, n: int) -> tuple[dict[str, Any], str] | None:
        """The n-th dump and the beginning of its text; None where there is none. Raises OSError."""
        folder = self._log_folder(name) / "crash"

        def read() -> tuple[dict[str, Any], str] | None:
            dumps = crashdump.list_dumps(folder)
            if not 1 <= n <= len(dumps):
                return None
            fd = os.open(dumps[n - 1].path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                return _dump_object(n, dumps[n - 1]), file.read(_DUMP_HEAD).decode("utf-8", "replace")

        return await self._loop.run_in_executor(self._errands, read)

    def stop_daemon(self, by: str) -> None:
        """Told to stop by an operator. Raises RefusedError."""
        self._ending.stop(None, by)


def _dump_object(n: int, dump: crashdump.Dump) -> dict[str, Any]:
    body = dataclasses.asdict(dump)
    at = dump.at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"n": n, "name": dump.path.name, **body, "path": str(dump.path), "at": at}
