"""The seam: what is asked of every kind of containment.

What may block says nothing else: call it from a worker thread. `is_empty`, `oom_kills` and `remember` do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from relctld.core.spec import Limits
from relctld.core.state import Vm

GRACE = 0.5
"""Seconds that leftovers of a gentle end have after SIGTERM."""

PATIENCE = 1.0
"""Seconds that one sweep waits for what it killed."""


@dataclass(frozen=True, slots=True)
class OomKills:
    """How often the kernel killed for want of memory: in a VM's own group, and in all groups of VMs together.

    A group goes with the last process in it: then only the second number tells.
    """

    own: int | None = None
    together: int = 0

    def since(self, before: "OomKills") -> bool:
        """Whether there was one more."""
        return self.together > before.together if self.own is None else self.own > (before.own or 0)


class Containment(Protocol):
    """What is asked of every kind."""

    @property
    def kind(self) -> str:
        """What it is called in `daemon status`: the kind that a VM would get now."""

    @property
    def unenforced(self) -> Mapping[str, str]:
        """The keys of `Limits` that have no effect here, and why."""

    def place(self, name: str, epoch: int, vm: Vm, limits: Limits) -> str | None:
        """Contain a process that waits at its gate; what is amiss, though it is contained. Raises OSError."""

    def remember(self, vm: Vm) -> str | None:
        """This VM of a former daemon is ours now; what is amiss with its containment. For `settle` to mend."""

    def search(self, name: str, epoch: int, vm: Vm) -> str | None:
        """What is amiss with a VM of a former daemon though no glance told. Raises OSError."""

    def settle(self, name: str, epoch: int, vm: Vm, limits: Limits) -> None:
        """Contain a running VM as it should have been from its gate on. Raises OSError, ManagerError."""

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """End what is left of a VM; describes what outlived SIGKILL for `PATIENCE` seconds."""

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """Whether nothing is left of a VM, where that can be seen at a glance; False where it takes a search."""

    def oom_kills(self, name: str, epoch: int, instance: str) -> OomKills:
        """How often the kernel killed for want of memory, where that can be known."""

    def close(self) -> None:
        """Take away what holds nothing any more; place nothing any more."""


def unlimited(why: str) -> Mapping[str, str]:
    """`unenforced` where no limit of a cgroup has an effect."""
    return dict.fromkeys(("memory_max", "cpu_weight", "tasks_max"), why)
