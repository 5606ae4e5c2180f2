"""The seam: what is asked of every kind of containment.

What may block says nothing else: call it from a worker thread. `is_empty`, `oom_killed` and `remember` do not.
"""

from typing import Protocol

from relctld.core.model import Vm

GRACE = 0.5
"""Seconds that leftovers of a gentle end have after SIGTERM."""

PATIENCE = 1.0
"""Seconds that one sweep waits for what it killed."""


class Containment(Protocol):
    """What is asked of every kind."""

    kind: str

    def place(self, name: str, epoch: int, vm: Vm) -> None:
        """Contain a process that waits at its gate. Raises OSError."""

    def remember(self, vm: Vm) -> None:
        """This VM of a former daemon is ours now."""

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """End what is left of a VM; describes what outlived SIGKILL for `PATIENCE` seconds."""

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """Whether nothing is left of a VM, where that can be seen at a glance; False where it takes a search."""

    def oom_killed(self, name: str, epoch: int, instance: str) -> bool:
        """Whether the kernel killed something of this VM for want of memory, where that can be known."""

    def close(self) -> None:
        """Take away what holds nothing any more."""
