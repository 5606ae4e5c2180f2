"""A transient scope of systemd per VM, in `relctl.slice`, with its limits: as root under systemd.

    CGROUP2/relctl.slice/relctl-node-NAME.e7.INSTANCE.scope/

* systemd is asked once, while the VM waits at its gate. Whatever comes after goes by the scope's directory; and the
  scope goes by itself when nothing is left in it.
* The nodes are in no cgroup of relctld's unit: what is done to that unit, a restart, a stop or a kill, does not
  reach them, and it needs no controllers of its own.
* Order: after the logger, before relctld. So at shutdown relctld is stopped first and stops its nodes well; what it
  leaves is stopped next, and the logger last.
* A node must be startable while systemd does not answer. It is put then where it would be without: a sub-cgroup, a
  sweep. Should systemd act late, it is in the scope after all; so both are emptied.
"""

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relctld.core.model import Limits, Vm
from relctld.host.containment import groups
from relctld.host.containment.seam import Containment, OomKills
from relctld.host.manager import Manager, ManagerError, Properties
from relctld.host.process import stat

SLICE: Final = "relctl.slice"
PLACED_WITHIN: Final = 5.0
"""Seconds that systemd has to carry out what it accepted."""

_NO_LIMIT: Final = 2**64 - 1
_CONTROLLERS: Final = {"memory_max": "memory", "cpu_weight": "cpu", "tasks_max": "pids"}


class Scopes:
    """`below`: what holds a VM that systemd would not take · `unit`: our own, if we run in one."""

    def __init__(self, top: Path, spared: Path, manager: Manager, below: Containment, unit: str | None) -> None:
        self._top = top
        self._home = top / SLICE
        self._spared = spared
        self._manager = manager
        self._below = below
        self._unit = unit
        self._held: dict[str, Path] = {}
        self._refused = False
        self._closed = threading.Event()

    @property
    def kind(self) -> str:
        """That of the latest VM."""
        return self._below.kind if self._refused else "scope"

    @property
    def unenforced(self) -> Mapping[str, str]:
        """By the controllers that this host has."""
        try:
            there = (self._top / "cgroup.controllers").read_text().split()
        except OSError:
            there = []
        return {
            key: f"this host has no cgroup controller {controller!r} (version 2)"
            for key, controller in _CONTROLLERS.items()
            if controller not in there
        }

    def place(self, name: str, epoch: int, vm: Vm, limits: Limits) -> str | None:
        """Have the scope made, and wait until the gate is inside."""
        scope = _unit_name(name, epoch, vm.instance)
        try:
            self._manager.start_scope(scope, self._properties(name, epoch, vm, limits))
            self._wait_inside(vm, scope)
        except ManagerError as error:
            self._refused = True
            amiss = self._below.place(name, epoch, vm, limits)
            return amiss or f"it is in no scope and has no limits of memory, processors and tasks: {error}"
        self._refused = False
        self._held[vm.instance] = self._home / scope
        return None

    def remember(self, vm: Vm) -> None:
        """Whichever group a former daemon made for it."""
        group = groups.made_for(vm, self._top)
        if group is not None:
            self._held[vm.instance] = group
        else:
            self._below.remember(vm)

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """End all in the scope, which systemd removes. One that is in none, as far as is known, is looked for below."""
        group = self._group(name, epoch, instance)
        left = groups.end(group, self._spared, gentle=gentle)
        if instance not in self._held:
            left += self._below.empty(name, epoch, instance, gentle=gentle)
        if not left and self._held.pop(instance, group).parent != self._home:
            with contextlib.suppress(OSError):
                groups.remove(group)
        return left

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """By `cgroup.events`. The scope of a VM that was in one and is gone was empty."""
        try:
            if groups.is_populated(self._group(name, epoch, instance)):
                return False
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return instance in self._held or self._below.is_empty(name, epoch, instance)

    def oom_kills(self, name: str, epoch: int, instance: str) -> OomKills:
        """Of the scope, and of the slice, which outlives it."""
        own = groups.oom_kills(self._group(name, epoch, instance))
        return OomKills(own, groups.oom_kills(self._home) or 0)

    def close(self) -> None:
        """Wait for systemd no longer."""
        self._closed.set()
        self._manager.close()
        self._below.close()

    def _group(self, name: str, epoch: int, instance: str) -> Path:
        return self._held.get(instance) or self._home / _unit_name(name, epoch, instance)

    def _properties(self, name: str, epoch: int, vm: Vm, limits: Limits) -> Properties:
        properties: Properties = [
            ("Description", ("s", f"Node of release {name}, epoch {epoch}")),
            ("PIDs", ("au", [vm.pid])),
            ("Slice", ("s", SLICE)),
            ("Delegate", ("b", True)),
            ("CollectMode", ("s", "inactive-or-failed")),
            ("After", ("as", ["relctl-logger.service"])),
            ("TasksMax", ("t", limits.tasks_max or _NO_LIMIT)),
        ]
        if self._unit is not None:
            properties.append(("Before", ("as", [self._unit])))
        if limits.memory_max is not None:
            properties.append(("MemoryMax", ("t", limits.memory_max)))
        if limits.cpu_weight is not None:
            properties.append(("CPUWeight", ("t", limits.cpu_weight)))
        return properties

    def _wait_inside(self, vm: Vm, scope: str) -> None:
        """systemd answers when it has queued the job; the kernel says when it is done. Raises OSError, ManagerError."""
        end = time.monotonic() + PLACED_WITHIN
        pause = 0.0005
        while not groups.path_of(vm.pid).endswith(f"/{scope}"):
            process = stat(vm.pid)
            if process is None or process.state == "Z":
                raise ProcessLookupError(f"pid {vm.pid} is gone")
            if time.monotonic() > end or self._closed.wait(pause):
                raise ManagerError(f"systemd did not move it into {scope} within {PLACED_WITHIN:g} s")
            pause = min(pause * 2, 0.02)


def _unit_name(name: str, epoch: int, instance: str) -> str:
    """The letters of a release's name are all good for a unit's; nothing is to be escaped."""
    return f"relctl-node-{groups.label(name, epoch, instance)}.scope"
