"""A sub-cgroup per VM, below our own, where that is ours to shape."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from relctld.core.spec import Limits
from relctld.core.state import Vm
from relctld.host.containment import groups
from relctld.host.containment.seam import OomKills, unlimited
from relctld.host.process import comm


class Cgroups:
    """Without controllers: a unit with its own could not be restarted beside a living node.

    OWN/relctl-<run dir>/NAME.e7.INSTANCE/
    """

    kind = "cgroup"
    unenforced: Mapping[str, str] = unlimited("it takes a relctld that runs as root under systemd")

    def __init__(self, home: Path, spared: Path) -> None:
        self._home = home
        self._spared = spared

    def place(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:  # noqa: ARG002 `unenforced` tells
        """Make the group and move the gate into it."""
        group = self._group(name, epoch, vm.instance)
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(vm.pid))

    def remember(self, vm: Vm) -> str | None:
        """Its group is known by its name, epoch and mark."""

    def settle(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:
        """Nothing is ever amiss."""

    def search(self, name: str, epoch: int, vm: Vm) -> str | None:
        """Nothing is ever amiss."""

    def holds(self, instance: str) -> bool:
        """Whether anything of a VM lives in its group, epmd aside."""
        found = [group for group in groups.below(self._home) if groups.is_of(group, instance)]
        return any(comm(pid) != "epmd" for group in found for pid in groups.pids(group))

    def pids(self, name: str, epoch: int, instance: str) -> list[int]:
        """What lives in the group of a VM."""
        return groups.pids(self._group(name, epoch, instance))

    def let_go(self, name: str, epoch: int, instance: str) -> None:
        """What was in the group of a VM is in another one now."""
        with contextlib.suppress(OSError):
            groups.remove(self._group(name, epoch, instance))

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """End all in the group, then remove it."""
        group = self._group(name, epoch, instance)
        left = groups.end(group, self._spared, gentle=gentle)
        if not left:
            with contextlib.suppress(OSError):
                groups.remove(group)
        return left

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """By `cgroup.events`."""
        with contextlib.suppress(OSError):
            return not groups.is_populated(self._group(name, epoch, instance))
        return False

    def oom_kills(self, name: str, epoch: int, instance: str) -> OomKills:
        """By `memory.events`, which is there only where the memory controller is."""
        return OomKills(groups.oom_kills(f"{self._home}/{groups.label(name, epoch, instance)}"))

    def close(self) -> None:
        """Remove our directory, unless a node still lives in it; also groups whose VM never passed its gate."""
        for group in groups.below(self._home):
            with contextlib.suppress(OSError):
                groups.remove(group)
        with contextlib.suppress(OSError):
            self._home.rmdir()

    def _group(self, name: str, epoch: int, instance: str) -> Path:
        return self._home / groups.label(name, epoch, instance)
