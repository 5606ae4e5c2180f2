"""A transient scope of systemd per VM, in `relctl.slice`, with its limits: as root under systemd.

    CGROUP2/relctl.slice/relctl-node-NAME.e7.INSTANCE.scope/

* systemd is asked once, while the VM waits at its gate. Whatever comes after goes by the scope's directory; and the
  scope goes by itself when nothing is left in it.
* The nodes are in no cgroup of relctld's unit: what is done to that unit, a restart, a stop or a kill, does not
  reach them, and it needs no controllers of its own.
* Order: after the logger, before relctld. So at shutdown relctld is stopped first and stops its nodes well; what it
  leaves is stopped next, and the logger last.
* A node must be startable while systemd does not answer. It is put then where it would be without: a sub-cgroup, a
  sweep. It is moved into its scope once systemd answers (`settle`), or by a systemd that acts late on what it was
  asked; so both are emptied, in this order: nothing ever moves back.
"""

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host.containment import groups
from relctld.host.containment.cgroups import Cgroups
from relctld.host.containment.seam import OomKills
from relctld.host.containment.sweep import Sweep
from relctld.host.manager import Manager, ManagerError, Properties
from relctld.host.process import stat

SLICE: Final = "relctl.slice"
PLACED_WITHIN: Final = 5.0
"""Seconds that systemd has to carry out what it accepted."""

_IN_NONE: Final = "it is in no scope and has no limits of memory, processors and tasks"
_IN_PART: Final = "what it forked is not all in its scope yet, and has no limits of memory, processors and tasks"
_NO_LIMIT: Final = 2**64 - 1
_CONTROLLERS: Final = {"memory_max": "memory", "cpu_weight": "cpu", "tasks_max": "pids"}


class Scopes:
    """`below`: what holds a VM that systemd would not take · `unit`: our own, if we run in one."""

    def __init__(self, top: Path, spared: Path, manager: Manager, below: Cgroups | Sweep, unit: str | None) -> None:
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
        try:
            self._have_made(name, epoch, vm, limits)
        except ManagerError as error:
            self._refused = True
            self._below.place(name, epoch, vm, limits)
            return f"{_IN_NONE}: {error}"
        self._held[vm.instance] = self._scope(name, epoch, vm.instance)
        return None

    def remember(self, vm: Vm) -> str | None:
        """Whichever group a former daemon made for it; that may have died while it moved what the VM had forked."""
        group, below = groups.made_for(vm, self._top), self._below.holds(vm.instance)
        if group is not None and below is False:
            self._held[vm.instance] = group
        else:
            self._below.remember(vm)
        if group is None or group.parent != self._home:
            return f"{_IN_NONE} yet"
        return _IN_PART if below else None

    def search(self, name: str, epoch: int, vm: Vm) -> str | None:
        """Where only that tells whether all of it is in its scope; until then both are emptied."""
        scope = groups.made_for(vm, self._top)
        if vm.instance in self._held or scope is None:
            return None
        if self._below.pids(name, epoch, vm.instance):
            return _IN_PART
        self._below.let_go(name, epoch, vm.instance)
        self._held[vm.instance] = scope
        return None

    def settle(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:
        """A scope is begun with the VM itself; then all else of it is moved. What it took of memory is not."""
        _assert_lives(vm)  # so that systemd is not asked for the scope of who got its pid
        self._have_made(name, epoch, vm, limits)
        scope, former = self._scope(name, epoch, vm.instance), self._held.get(vm.instance)
        if former is None:
            groups.move(lambda: self._below.pids(name, epoch, vm.instance), scope)
            self._below.let_go(name, epoch, vm.instance)
        elif former != scope:
            groups.move(lambda: groups.pids(former), scope)
            with contextlib.suppress(OSError):
                groups.remove(former)
        self._held[vm.instance] = scope

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """End all in the scope, which systemd removes. One that is not known to be in it is looked for below first."""
        scope, held = self._scope(name, epoch, instance), self._held.get(instance)
        left: tuple[str, ...] = ()
        if held is None:
            left += self._below.empty(name, epoch, instance, gentle=gentle)
        elif held != scope:
            left += groups.end(held, self._spared, gentle=gentle)
            with contextlib.suppress(OSError):
                groups.remove(held)
        left += groups.end(scope, self._spared, gentle=gentle)
        if not left:
            self._held.pop(instance, None)
        return left

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """By `cgroup.events`. The scope of a VM that was in one and is gone was empty."""
        held = self._held.get(instance)
        if held is None and not self._below.is_empty(name, epoch, instance):
            return False
        try:
            scope = self._scope(name, epoch, instance)
            return not any(map(_is_populated, {held or scope, scope}))
        except OSError:
            return False

    def oom_kills(self, name: str, epoch: int, instance: str) -> OomKills:
        """Of the scope, and of the slice, which outlives it."""
        own = groups.oom_kills(f"{self._home}/{_unit_name(name, epoch, instance)}")
        return OomKills(own, groups.oom_kills(self._home) or 0)

    def close(self) -> None:
        """Wait for systemd no longer."""
        self._closed.set()
        self._manager.close()
        self._below.close()

    def _have_made(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:
        """Raises OSError, ManagerError."""
        scope = _unit_name(name, epoch, vm.instance)
        self._manager.start_scope(scope, self._properties(name, epoch, vm, limits))
        self._wait_inside(vm, scope)
        self._refused = False

    def _scope(self, name: str, epoch: int, instance: str) -> Path:
        return self._home / _unit_name(name, epoch, instance)

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
            _assert_lives(vm)
            if time.monotonic() > end or self._closed.wait(pause):
                raise ManagerError(f"systemd did not move it into {scope} within {PLACED_WITHIN:g} s")
            pause = min(pause * 2, 0.02)


def _assert_lives(vm: Vm) -> None:
    """Raises ProcessLookupError."""
    process = stat(vm.pid)
    if process is None or process.state == "Z" or process.ticks != vm.ticks:
        raise ProcessLookupError(f"pid {vm.pid} is gone")


def _is_populated(group: Path) -> bool:
    """Raises OSError, but for a group that is gone: that was empty."""
    try:
        return groups.is_populated(group)
    except FileNotFoundError:
        return False


def _unit_name(name: str, epoch: int, instance: str) -> str:
    """The letters of a release's name are all good for a unit's; nothing is to be escaped."""
    return f"relctl-node-{groups.label(name, epoch, instance)}.scope"
