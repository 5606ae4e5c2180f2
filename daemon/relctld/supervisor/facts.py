"""What `status` shows beyond the state: use of the machine, what a cold boot would take, dropped output.

Rule: `status` is answered in time whatever a disk does. So all of it is gathered in worker threads, a thread per
release that hangs at most, and what is not there in time is shown as it was last seen.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relctld.beam.flavour import Release, inspect
from relctld.beam.layout import ReleaseError
from relctld.core.model import ReleaseSpec, Vm
from relctld.host.vmstat import Usage, VmStat
from relctld.logger.policy import read_counters
from relctld.supervisor.managed import Managed

_WITHIN = 0.025
"""Seconds that an answer waits for fresh facts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was last seen of one release."""

    vm: Vm | None = None
    usage: Usage | None = None
    release: Release | None = None
    trouble: str = ""
    bytes_dropped: int = 0
    lines_dropped: int = 0
    log_error: str | None = None


_NONE = Facts()


class FactFinder:
    """Gathers facts, remembers the last ones."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._stat = VmStat()
        self._known: dict[str, Facts] = {}
        self._stamps: dict[str, tuple[ReleaseSpec, tuple[int, ...], Release | None, str]] = {}
        self._busy: set[str] = set()

    def forget(self, name: str) -> None:
        """The release is gone from the config."""
        self._known.pop(name, None)
        self._stamps.pop(name, None)

    async def look(self, releases: Iterable[Managed]) -> dict[str, Facts]:
        """Facts of these releases: fresh where they could be had in time."""
        wanted = [(m.name, m.spec, m.folder, m.state.vm) for m in releases]
        if wanted:
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._gather, wanted)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(work), _WITHIN)
        return {name: self._known.get(name, _NONE) for name, *_ in wanted}

    def _gather(self, jobs: list[tuple[str, ReleaseSpec, Path, Vm | None]]) -> None:
        """In a worker thread. The quick facts of all come first; the next look passes a root that hangs in this one."""
        for name, _, folder, vm in jobs:
            counters = read_counters(str(folder / "log.json"))
            known = self._known.get(name, _NONE)
            self._known[name] = Facts(
                vm,
                self._stat.look(vm) if vm else None,
                known.release,
                known.trouble,
                counters.bytes_dropped,
                counters.lines_dropped,
                counters.error,
            )
        for name, spec, _, _ in jobs:
            if name in self._busy:
                continue
            self._busy.add(name)
            try:
                release, trouble = self._installed(name, spec)
            finally:
                self._busy.discard(name)
            self._known[name] = replace(self._known.get(name, _NONE), release=release, trouble=trouble)

    def _installed(self, name: str, spec: ReleaseSpec) -> tuple[Release | None, str]:
        """What lies in the root now; read anew only when one of its deciding files has changed."""
        stamp = _stamp(spec.root, spec.release_name or spec.name)
        before = self._stamps.get(name)
        if before is not None and before[0] is spec and before[1] == stamp:
            return before[2], before[3]
        release, trouble = None, ""
        try:
            release = inspect(spec.root, spec.flavour, spec.release_name, env=dict(spec.env))
        except ReleaseError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"cannot read {spec.root}: {error}"
        if release is not None:
            stamp = _stamp(spec.root, release.name)
        self._stamps[name] = (spec, stamp, release, trouble)
        return release, trouble


def _stamp(root: Path, name: str) -> tuple[int, ...]:
    files = ("", "bin", f"bin/{name}", "releases", "releases/start_erl.data", "var/start_erl.data")
    times = []
    for file in files:
        try:
            times.append(os.stat(f"{root}/{file}").st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def release_object(managed: Managed, facts: Facts, now: float) -> dict[str, Any]:
    """A release as `status --json` shows it (CONTRACT, *JSON*)."""
    state, launched = managed.state, managed.launched
    running = state.vm is not None
    last, installed = state.last_exit, facts.release
    usage = facts.usage if running and facts.vm == state.vm else None
    return {
        "name": managed.name,
        "enabled": managed.spec.enabled,
        "state": str(state.state),
        "want": str(state.want),
        "health": str(state.health),
        "health_detail": state.health_detail or (facts.trouble if not running else ""),
        "version": launched.version if running else None,
        "boot_version": installed.boot_version if installed else None,
        "flavour": launched.flavour if running else (str(installed.flavour) if installed else None),
        "node": launched.node if running else None,
        "pid": state.vm.pid if state.vm else None,
        "epoch": state.epoch,
        "uptime_s": round(now - state.started, 3) if running and state.started is not None else None,
        "restarts": sum(1 for at in state.restarts if now - at <= managed.spec.period),
        "restarts_total": state.restarts_total,
        "deadline_s": round(max(0.0, state.deadline - now), 3) if state.deadline is not None else None,
        "last_exit": last and {
            "at": last.at,
            "code": last.status.code,
            "signal": last.status.signal,
            "cause": str(last.cause),
            "pid": last.pid,
            "detail": last.detail,
        },
        "restart_pending": managed.restart_pending(),
        "unconfigured": managed.unconfigured,
        "upgrade": None,
        "log": {
            "bytes_dropped": facts.bytes_dropped,
            "lines_dropped": facts.lines_dropped,
            "error": facts.log_error,
        },
        "os": usage and {
            "rss_bytes": usage.rss_bytes,
            "cpu_percent": usage.cpu_percent,
            "threads": usage.threads,
            "fds": usage.fds,
        },
        "beam": None,
    }  # fmt: skip
