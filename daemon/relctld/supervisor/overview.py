"""What `status` and `daemon status` show (CONTRACT, *JSON*)."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

from relctld import __version__
from relctld.config import Access
from relctld.control.doorkeeper import Doorkeeper
from relctld.host.containment import Containment
from relctld.supervisor.facts import FactFinder, release_object
from relctld.supervisor.ground import Ground
from relctld.supervisor.inforce import InForce
from relctld.supervisor.loggers import Loggers
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades.registry import Upgrades


class Overview:
    """The daemon and its releases, as they are now."""

    def __init__(
        self,
        *,
        shell: Shell,
        facts: FactFinder,
        nodes: Nodes,
        upgrades: Upgrades,
        loggers: Loggers,
        containment: Containment,
        in_force: InForce,
        doorkeeper: Doorkeeper,
        ground: Ground,
    ) -> None:
        self._shell = shell
        self._facts = facts
        self._nodes = nodes
        self._upgrades = upgrades
        self._loggers = loggers
        self._containment = containment
        self._in_force = in_force
        self._doorkeeper = doorkeeper
        self._ground = ground
        self._loop = asyncio.get_running_loop()

    def daemon(self) -> dict[str, Any]:
        """The daemon itself."""
        config, error, ground = self._in_force.config, self._in_force.error, self._ground
        unknown = self._doorkeeper.table.warnings if config.access != Access() else ()  # who nobody named is not missed
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": ground.started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime_s": round((datetime.now(UTC) - ground.started).total_seconds(), 3),
            "config": {"path": str(config.path), "error": error, "warnings": [*config.warnings, *unknown]},
            "run_dir": str(ground.config.run_dir),
            "state_dir": str(ground.config.state_dir),
            "log_dir": str(ground.config.log_dir),
            "containment": self._containment.kind,
            "logger_pid": self._loggers.pid,
            "store_error": ground.store.error,
        }

    async def look(self, names: list[str]) -> dict[str, Any]:
        """The reply of `status` for these releases."""
        releases = [self._shell.releases[name] for name in names]
        facts = await self._facts.look(releases)
        now = self._loop.time()
        known = self._nodes.known
        objects = [
            release_object(each, facts[each.name], known(each.name), self._upgrades.shown(each.name), now)
            for each in releases
        ]
        return {"daemon": self.daemon(), "releases": objects}
