"""No cgroup: a VM's processes are searched for."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host.containment import groups
from relctld.host.containment.seam import GRACE, PATIENCE, OomKills, unlimited
from relctld.host.process import comm, describe, start_ticks, stat

_MARK = "RELCTL_INSTANCE"
_NOBODY: Mapping[int, int] = MappingProxyType({})


class Sweep:
    """No cgroup: find what belongs to the VM, stop it all, then kill it all."""

    kind = "sweep"
    unenforced: Mapping[str, str] = unlimited("it takes a cgroup for the release, and there is none here")

    def __init__(self) -> None:
        self._vms: dict[str, Vm] = {}
        self._groups: dict[str, str] = {}

    def place(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:  # noqa: ARG002 the seam's
        """Remember its session; the mark is in its environment already."""
        self.remember(vm)

    def remember(self, vm: Vm) -> str | None:
        """Its pid is the number of its session. Which cgroup it was launched in shows as long as it is in no other."""
        self._vms[vm.instance] = vm
        group = groups.path_of(vm.pid)
        was_moved = any(groups.is_of(place, vm.instance) for place in (Path(group), *Path(group).parents))
        self._groups[vm.instance] = groups.path_of("self") if was_moved else group
        return None

    def settle(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:
        """Nothing is ever amiss."""

    def search(self, name: str, epoch: int, vm: Vm) -> str | None:
        """Nothing is ever amiss."""

    def holds(self, instance: str) -> bool | None:  # noqa: ARG002 the seam's
        """Nothing tells but a search."""
        return None

    def pids(self, name: str, epoch: int, instance: str) -> list[int]:  # noqa: ARG002 the seam's
        """What belongs to a VM and is in the cgroup where that was launched; whoever left it has another home."""
        launched_in = self._groups.get(instance)
        return [pid for pid in self._find(instance) if groups.path_of(pid) == launched_in]

    def let_go(self, name: str, epoch: int, instance: str) -> None:  # noqa: ARG002 the seam's
        """A cgroup holds this VM now."""
        self._forget(instance)

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:  # noqa: ARG002 the seam's
        """Ask if gentle, then freeze until no new one appears, so that nothing forks away, then kill."""
        found = self._find(instance)
        if found and gentle:
            _signal(found, signal.SIGTERM)
            found = self._until_gone(instance, GRACE)
        end = time.monotonic() + PATIENCE
        while found and time.monotonic() < end:
            frozen: dict[int, int] = {}
            while new := dict(found.items() - frozen.items()):
                _signal(new, signal.SIGSTOP)
                frozen |= new
                found = self._find(instance)
            _signal(frozen, signal.SIGKILL)
            found = self._until_gone(instance, max(0.01, end - time.monotonic()), frozen)
        if not found:
            self._forget(instance)
        return tuple(describe(pid) for pid in found)

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:  # noqa: ARG002 the seam's
        """Nothing tells but a search."""
        return False

    def oom_kills(self, name: str, epoch: int, instance: str) -> OomKills:  # noqa: ARG002 the seam's
        """Nothing tells."""
        return OomKills()

    def close(self) -> None:
        """There is nothing to take away."""

    def _forget(self, instance: str) -> None:
        self._vms.pop(instance, None)
        self._groups.pop(instance, None)

    def _find(self, instance: str) -> dict[int, int]:
        return belonging(instance, self._vms.get(instance))

    def _until_gone(self, instance: str, seconds: float, killed: Mapping[int, int] = _NOBODY) -> dict[int, int]:
        """What was killed may have lost, with its parent, what it was found by: it is looked at by itself."""
        end = time.monotonic() + seconds
        pause = 0.002
        while (found := self._find(instance) | _alive(killed)) and time.monotonic() < end:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return found


def belonging(instance: str, vm: Vm | None = None) -> dict[int, int]:
    """What carries this mark, is in the VM's session, or descends from such: pid to start ticks.

    epmd and the dead aside. Should another process have got the VM's pid, then its session is not the VM's.
    """
    mark = f"{_MARK}={instance}".encode()
    every = {pid: seen for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if (seen := stat(pid))}
    every.pop(os.getpid(), None)  # whoever started relctld from inside a node: it and what it supervises are not meant
    leader = every.get(vm.pid) if vm else None
    session = vm.pid if vm and (leader is None or leader.ticks == vm.ticks) else None
    since = vm.ticks if vm else 0  # nothing of a VM is older than it: fewer environments are to be read
    ours = {
        pid
        for pid, seen in every.items()
        if seen.session == session or (seen.ticks >= since and mark in _environment(pid))
    }
    while more := {pid for pid, seen in every.items() if seen.parent in ours} - ours:
        ours |= more
    alive = {pid: every[pid].ticks for pid in ours if every[pid].state not in "ZX"}
    return {pid: ticks for pid, ticks in alive.items() if comm(pid) != "epmd"}


def _alive(processes: Mapping[int, int]) -> dict[int, int]:
    """Those of these (pid to start ticks) that are still alive."""
    now = {pid: stat(pid) for pid in processes}
    return {
        pid: ticks for pid, ticks in processes.items() if (s := now[pid]) and s.ticks == ticks and s.state not in "ZX"
    }


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _signal(processes: Mapping[int, int], number: int) -> None:
    """Signal those that still are who they were: the start is compared behind a pidfd."""
    for pid, ticks in processes.items():
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if start_ticks(pid) == ticks:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)
