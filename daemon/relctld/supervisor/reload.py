"""A changed config is taken up: what can act at once does, the rest waits for a restart. No node is touched.

Rule: it replaces the one in force whole or not at all, and one reload comes after the other.
"""

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relctld.config import Config, ConfigError, Plan, diff, keep_good, load
from relctld.control import sockets
from relctld.control.access import Table, look_up
from relctld.control.doorkeeper import Doorkeeper
from relctld.control.server import RefusedError
from relctld.core.notes import Note
from relctld.host.errors import in_words
from relctld.host.store import Store
from relctld.host.systemd import Notifier
from relctld.supervisor.announcer import Announcer
from relctld.supervisor.history import History
from relctld.supervisor.inforce import InForce, with_doubts, with_unknown_accounts
from relctld.supervisor.roster import Roster
from relctld.supervisor.shell import Shell
from relctld.supervisor.tasks import Tasks
from relctld.supervisor.upgrades.registry import Upgrades

_LISTS = ("added", "removed", "changed")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config that was read and judged, with its access table."""

    config: Config
    table: Table


class Reloader:
    """Reloads on demand. `run_dir`: where we are · `unenforced`: limits that have no effect on this host, and why."""

    def __init__(
        self,
        *,
        in_force: InForce,
        run_dir: Path,
        environ: Mapping[str, str],
        unenforced: Mapping[str, str],
        doorkeeper: Doorkeeper,
        roster: Roster,
        upgrades: Upgrades,
        tasks: Tasks,
        announcer: Announcer,
        notifier: Notifier,
        store: Store,
        history: History,
        shell: Shell,
        errands: Executor,
    ) -> None:
        self._in_force = in_force
        self._run_dir = run_dir
        self._environ = environ
        self._unenforced = unenforced
        self._doorkeeper = doorkeeper
        self._roster = roster
        self._upgrades = upgrades
        self._tasks = tasks
        self._announcer = announcer
        self._notifier = notifier
        self._store = store
        self._history = history
        self._shell = shell
        self._errands = errands
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()

    async def reload(self, *, plan_only: bool, by: str) -> dict[str, Any]:
        """Take up the config on disk, or only say what that would change. Raises RefusedError."""
        if plan_only:
            return await self._reload(plan_only=True, by=by)
        self._notifier.reloading()
        try:
            result = await self._reload(plan_only=False, by=by)
            refused = await self._announcer.serve_metrics(self._in_force.config.metrics)
            if refused is not None:
                result["warnings"].append(f"[daemon] metrics: {refused}")
            return result
        finally:
            self._notifier.ready()

    async def _reload(self, *, plan_only: bool, by: str) -> dict[str, Any]:
        async with self._turn:
            try:
                loaded = await self._loop.run_in_executor(self._errands, self._read)
            except ConfigError as error:
                self._in_force.error = str(error)
                if not plan_only:
                    self._history.report(None, Note.CONFIG_REFUSED, {"error": str(error), "by": by})
                raise RefusedError("config", str(error), "the config in force stays as it was") from None
            plan = diff(self._in_force.config, loaded.config)
            later = [f"[daemon] {key.key}: acts at the next start of relctld" for key in plan.daemon if not key.at_once]
            result = {**_plan_object(plan), "warnings": [*loaded.config.warnings, *loaded.table.warnings, *later]}
            if plan_only:
                return {**result, "applied": False}
            kept = await self._loop.run_in_executor(self._errands, _keep, loaded.config)
            if kept is not None:
                result["warnings"].append(kept)
            self._apply(loaded, plan)
            fields = {key: [x["name"] if isinstance(x, dict) else x for x in result[key]] for key in _LISTS}
            self._history.report(None, Note.CONFIG_RELOADED, {"by": by, **fields})
            pending = [name for name, managed in self._shell.releases.items() if managed.restart_pending()]
            return {**result, "applied": True, "restart_pending": pending}

    def _read(self) -> Loaded:
        """The config on disk, and the names in it. Blocks. Raises ConfigError."""
        config = with_unknown_accounts(load(self._in_force.config.path, uid=os.geteuid(), environ=self._environ))
        return Loaded(with_doubts(config, self._unenforced), look_up(config.access))

    def _apply(self, loaded: Loaded, plan: Plan) -> None:
        config = loaded.config
        self._doorkeeper.table = loaded.table
        sockets.chmod(self._run_dir, config.access)
        self._store.keep_seconds = config.events_keep
        self._roster.apply(config, plan)
        self._tasks.start("upgrades", self._upgrades.go_on())
        self._in_force.config, self._in_force.error = config, None


def _plan_object(plan: Plan) -> dict[str, Any]:
    return {
        "added": list(plan.added),
        "removed": list(plan.removed),
        "changed": [
            {
                "name": change.name,
                "at_once": [key.key for key in change.keys if key.at_once],
                "restart": [key.key for key in change.keys if not key.at_once],
            }
            for change in plan.changed
        ],
        "daemon": {
            "at_once": [key.key for key in plan.daemon if key.at_once],
            "restart": [key.key for key in plan.daemon if not key.at_once],
        },
    }


def _keep(config: Config) -> str | None:
    """The copy for a start with a broken config; without it, a start later has none, and that is said."""
    try:
        keep_good(config, config.state_dir)
    except OSError as error:
        return f"no copy of this config could be kept: {in_words(error)}"
    return None
