"""What `status` shows beyond the state: use of the machine, what a cold boot would take, dropped output.

Rule: `status` is answered in time whatever a disk does. So all of it is gathered in worker threads, and what is not
there in time is shown as it was last seen; of a VM only what was seen of that very one.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from relctld.beam.flavour import Release, inspect
from relctld.beam.layout import ReleaseError
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.host.errors import in_words
from relctld.host.vmstat import Usage, VmStat
from relctld.logger.policy import Counters, read_counters
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Known

_WITHIN = 0.025
"""Seconds that an answer waits for fresh facts."""

_HANGS_AFTER = 0.2
"""Seconds after which an inspection of roots is no longer waited for: another one goes round it."""

_PATIENCE = 1.0
"""Seconds that the end of an upgrade waits for a look at its root."""

_LOOKERS = 2


class Seen(NamedTuple):
    """What was last seen of a VM and of its output."""

    vm: Vm | None = None
    usage: Usage | None = None
    counters: Counters = Counters()


class Installed(NamedTuple):
    """What lay in a root, or why that cannot be told."""

    release: Release | None = None
    trouble: str = ""


class Facts(NamedTuple):
    """What is known of one release."""

    seen: Seen
    installed: Installed


class _Job(NamedTuple):
    """A release to look at."""

    name: str
    spec: ReleaseSpec
    folder: Path
    vm: Vm | None


class FactFinder:
    """Gathers facts, remembers the last ones. `errands` may be full of what hangs."""

    def __init__(self, errands: Executor) -> None:
        self._errands = errands
        self._quick = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="looker")
        self._stat = VmStat()
        self._seen: dict[str, Seen] = {}
        self._roots: dict[str, Installed] = {}
        self._names: dict[str, str] = {}
        self._stamps: dict[str, tuple[ReleaseSpec, tuple[int, ...]]] = {}
        self._inspection: asyncio.Future[None] | None = None
        self._inspected_since = 0.0
        self._inspecting: set[str] = set()
        self._changes: Counter[str] = Counter()
        self._lock = threading.Lock()  # over what is known of roots, and how often each was changed

    def forget(self, name: str) -> None:
        """The release is gone from the config."""
        for known in (self._seen, self._roots, self._names, self._stamps):
            known.pop(name, None)

    async def look(self, releases: Iterable[Managed]) -> dict[str, Facts]:
        """Facts of these releases: fresh where they could be had in time."""
        wanted = tuple(_Job(m.name, m.spec, m.folder, m.state.vm) for m in releases)
        if wanted:
            quick = asyncio.get_running_loop().run_in_executor(self._quick, self._look_at_vms, wanted)
            await asyncio.wait((quick, self._inspect(wanted)), timeout=_WITHIN)
        nothing, unknown = Seen(), Installed()
        return {name: Facts(self._seen.get(name, nothing), self._roots.get(name, unknown)) for name, *_ in wanted}

    async def look_anew(self, managed: Managed) -> None:
        """Its root was just changed: what was seen of it counts no more, nor what is being seen now.

        Where its disk hangs, what lies there is not known from now on.
        """
        name, spec = managed.name, managed.spec
        with self._lock:
            self._changes[name] += 1
            self._stamps.pop(name, None)
        look = asyncio.get_running_loop().run_in_executor(self._errands, self._look_at_root, name, spec)
        if not (await asyncio.wait((look,), timeout=_PATIENCE))[0]:
            with self._lock:
                self._roots.pop(name, None)
                self._stamps.pop(name, None)

    def _inspect(self, wanted: tuple["_Job", ...]) -> "asyncio.Future[None]":
        """Join the inspection of roots that is under way; one that hangs is left to itself."""
        loop = asyncio.get_running_loop()
        running = self._inspection
        if running is None or running.done() or loop.time() - self._inspected_since > _HANGS_AFTER:
            self._inspected_since = loop.time()
            self._inspection = running = loop.run_in_executor(self._errands, self._look_at_roots, wanted)
        return running

    def _look_at_vms(self, jobs: tuple["_Job", ...]) -> None:
        """In a worker thread: /proc and the run directory, which hang for nobody."""
        for name, _, folder, vm in jobs:
            usage = self._stat.look(vm) if vm else None
            self._seen[name] = Seen(vm, usage, read_counters(str(folder / "log.json")))

    def _look_at_roots(self, jobs: tuple["_Job", ...]) -> None:
        """In a worker thread: a root that hangs in another one is passed over."""
        for name, spec, _, _ in jobs:
            if name in self._inspecting:
                continue
            self._inspecting.add(name)
            try:
                self._look_at_root(name, spec)
            finally:
                self._inspecting.discard(name)

    def _look_at_root(self, name: str, spec: ReleaseSpec) -> None:
        """What lies in the root now; read anew only when one of its deciding files has changed."""
        release_name = self._names.get(name, spec.release_name or spec.name)
        changes = self._changes[name]
        stamp = _stamp(spec.root, release_name)  # before it is read: what changes meanwhile is read the next time
        before = self._stamps.get(name)
        if before is not None and before[0] is spec and before[1] == stamp:
            return
        release, trouble = None, ""
        try:
            release = inspect(spec.root, spec.flavour, spec.release_name, env=dict(spec.env))
        except ReleaseError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"cannot read {spec.root}: {in_words(error)}"
        with self._lock:
            if self._changes[name] != changes:
                return
            self._roots[name] = Installed(release, trouble)
            if release is not None and release.name != release_name:
                self._names[name] = release.name  # and read it once more: the stamp was of other files
            else:
                self._stamps[name] = (spec, stamp)


def _stamp(root: Path, name: str) -> tuple[int, ...]:
    files = ("", "bin", f"bin/{name}", "releases", "releases/start_erl.data", "var/start_erl.data")
    times = []
    for file in files:
        try:
            times.append(os.stat(f"{root}/{file}").st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def release_object(
    managed: Managed, facts: Facts, known: Known, upgrade: dict[str, Any] | None, now: float
) -> dict[str, Any]:
    """A release as `status --json` shows it (CONTRACT, *JSON*)."""
    state, launched = managed.state, managed.launched
    running = state.vm is not None
    last, (seen, (installed, trouble)) = state.last_exit, facts
    usage = seen.usage if running and seen.vm == state.vm else None
    return {
        "name": managed.name,
        "enabled": managed.spec.enabled,
        "state": str(state.state),
        "want": str(state.want),
        "health": str(state.health),
        "health_detail": state.health_detail or (trouble if not running and managed.spec.command is None else ""),
        "version": known.version or launched.version if running else None,
        "boot_version": installed.boot_version if installed else None,
        "flavour": launched.flavour if running else (str(installed.flavour) if installed else None),
        "node": known.node or launched.node if running else None,
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
        "unlimited": managed.unlimited if running else None,
        "upgrade": upgrade,
        "log": {
            "bytes_dropped": seen.counters.bytes_dropped,
            "lines_dropped": seen.counters.lines_dropped,
            "error": seen.counters.error,
            "journal_bytes_dropped": seen.counters.journal_dropped,
        },
        "os": usage and {
            "rss_bytes": usage.rss_bytes,
            "cpu_percent": usage.cpu_percent,
            "threads": usage.threads,
            "fds": usage.fds,
        },
        "beam": known.beam,
    }  # fmt: skip
