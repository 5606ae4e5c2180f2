"""A changed config is taken up: what can act at once does, the rest waits for a restart. No node is touched."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from relctld.config import Config, ConfigError, Plan, diff, keep_good, load
from relctld.control.access import Table
from relctld.control.access import look_up as look_up_access
from relctld.control.server import RefusedError
from relctld.core.notes import Note
from relctld.supervisor.journal import Journal


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config that was read and judged, with its access table."""

    config: Config
    table: Table

    @classmethod
    def of(cls, config: Config) -> "Loaded":
        """Look up the names of the access table. Blocks."""
        return cls(config, look_up_access(config.access))


class Reloader:
    """Holds the config in force and replaces it by a better one, whole or not at all."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        pool: Executor,
        uid: int,
        environ: Mapping[str, str],
        error: str | None,
        unenforced: Mapping[str, str],
    ) -> None:
        self.config = with_doubts(config, unenforced)
        self.error = error
        self._unenforced = unenforced
        self._journal = journal
        self._pool = pool
        self._uid = uid
        self._environ = environ
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()

    def read(self) -> Loaded:
        """Read the config on disk. Blocks. Raises ConfigError."""
        config = load(self.config.path, uid=self._uid, environ=self._environ)
        return Loaded.of(with_doubts(config, self._unenforced))

    async def reload(self, *, plan_only: bool, by: str, apply: Callable[[Loaded, Plan], list[str]]) -> dict[str, Any]:
        """Compare, and apply unless only the plan is asked for. `apply` returns what still waits for a restart."""
        async with self._turn:
            try:
                loaded = await self._loop.run_in_executor(self._pool, self.read)
            except ConfigError as error:
                self.error = str(error)
                if not plan_only:
                    self._journal.report(None, Note.CONFIG_REFUSED, {"error": str(error), "by": by})
                raise RefusedError("config", str(error), "the config in force stays as it was") from None
            plan = diff(self.config, loaded.config)
            later = [f"[daemon] {key.key}: acts at the next start of relctld" for key in plan.daemon if not key.at_once]
            result = {**_plan_object(plan), "warnings": [*loaded.config.warnings, *loaded.table.warnings, *later]}
            if plan_only:
                return {**result, "applied": False}
            kept = await self._loop.run_in_executor(self._pool, _keep, loaded.config)
            if kept is not None:
                result["warnings"].append(kept)
            pending = apply(loaded, plan)
            self.config, self.error = loaded.config, None
            fields = {key: [x["name"] if isinstance(x, dict) else x for x in result[key]] for key in _LISTS}
            self._journal.report(None, Note.CONFIG_RELOADED, {"by": by, **fields})
            return {**result, "applied": True, "restart_pending": pending}


UNENFORCED = "has no effect"


def with_doubts(config: Config, unenforced: Mapping[str, str]) -> Config:
    """With a warning for each limit that is set and has no effect on this host (`Containment.unenforced`)."""
    doubts = tuple(
        f"[release.{spec.name}.limits] {key}: {UNENFORCED}: {why}"
        for spec in config.releases
        for key, why in unenforced.items()
        if getattr(spec.limits, key) is not None
    )
    return replace(config, warnings=config.warnings + doubts)


_LISTS = ("added", "removed", "changed")


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
    }


def _keep(config: Config) -> str | None:
    """The copy for a start with a broken config; without it, a start later has none, and that is said."""
    try:
        keep_good(config, config.state_dir)
    except OSError as error:
        return f"no copy of this config could be kept: {error}"
    return None
