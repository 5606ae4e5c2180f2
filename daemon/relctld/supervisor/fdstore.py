"""The pidfd of each living VM is left with systemd, in the fd store of our unit.

So the end of a VM is known with its exit status even where it came while no relctld was there: the kernel tells it to
who had the pidfd open before (Linux 6.15). What lies there is what lives: a VM's pidfd is taken out at its end, and a
start takes out what it does not know.
"""

import asyncio
from collections.abc import Iterable

from relctld.host.reexec import vm_name
from relctld.host.systemd import Notifier
from relctld.supervisor.managed import Managed

_AGAIN = 0.1
"""Seconds after which what systemd had no room for is sent again."""


class FdStore:
    """Follows the releases. Outside systemd it does nothing."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._loop = asyncio.get_running_loop()
        self._stored: dict[str, str] = {}
        self._again = False

    def follow(self, managed: Managed) -> None:
        """A release made a step: it may have another VM, or none."""
        name, vm, pidfd = managed.name, managed.state.vm, managed.pidfd
        wanted = vm_name(name, vm.pid) if vm is not None and pidfd is not None else None
        if not self._notifier.active or wanted == self._stored.get(name):
            return
        if (former := self._stored.pop(name, None)) is not None:
            self._notifier.remove_fd(former)
        if wanted is not None and pidfd is not None:
            self._stored[name] = wanted
            self._notifier.store_fd(wanted, pidfd)
        self._flush_soon()

    def take_out(self, names: Iterable[str]) -> None:
        """Nobody needs what lies there under these names."""
        for name in names:
            self._notifier.remove_fd(name)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._notifier.waiting and not self._again:
            self._again = True
            self._loop.call_later(_AGAIN, self._flush)

    def _flush(self) -> None:
        self._again = False
        self._notifier.flush()
        self._flush_soon()
