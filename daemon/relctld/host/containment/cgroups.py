"""A sub-cgroup per VM, and what can be done with a cgroup by its directory alone."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from relctld.core.model import Vm
from relctld.host.containment.seam import GRACE, PATIENCE
from relctld.host.process import comm, describe

_ENOUGH = 8


class Cgroups:
    """A sub-cgroup per VM, without controllers; they need none, `cgroup.kill` is core.

    OWN/relctl-<run dir>/NAME.e7.INSTANCE/{cgroup.procs, cgroup.events, cgroup.kill}

    The first letters of its mark make the name one VM's alone: a gate that was let go may be of the same epoch.
    """

    kind = "cgroup"

    def __init__(self, home: Path, spared: Path) -> None:
        self._home = home
        self._spared = spared

    def place(self, name: str, epoch: int, vm: Vm) -> None:
        """Make the group and move the gate into it."""
        group = self._group(name, epoch, vm.instance)
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(vm.pid))

    def remember(self, vm: Vm) -> None:
        """Its group is known by its name, epoch and mark."""

    def empty(self, name: str, epoch: int, instance: str, *, gentle: bool) -> tuple[str, ...]:
        """Spare epmd, ask the rest if gentle, then `cgroup.kill` and remove the group."""
        group = self._group(name, epoch, instance)
        try:
            left = self._empty(group, gentle=gentle)
        except FileNotFoundError:
            return ()
        if not left:
            with contextlib.suppress(OSError):
                _remove(group)
        return left

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:
        """By `cgroup.events`."""
        with contextlib.suppress(OSError):
            return not _populated(self._group(name, epoch, instance))
        return False

    def oom_killed(self, name: str, epoch: int, instance: str) -> bool:
        """By `memory.events`, which is there only where the memory controller is."""
        try:
            lines = (self._group(name, epoch, instance) / "memory.events").read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines)

    def close(self) -> None:
        """Remove our directory, unless a node still lives in it; also groups whose VM never passed its gate."""
        for group in _groups(self._home):
            with contextlib.suppress(OSError):
                _remove(group)
        with contextlib.suppress(OSError):
            self._home.rmdir()

    def _group(self, name: str, epoch: int, instance: str) -> Path:
        return self._home / f"{name}.e{epoch}.{instance[:_ENOUGH]}"

    def _empty(self, group: Path, *, gentle: bool) -> tuple[str, ...]:
        if not _populated(group):
            return ()
        for pid in _pids(group):
            if comm(pid) == "epmd":
                with contextlib.suppress(OSError):
                    (self._spared / "cgroup.procs").write_text(str(pid))
        if gentle:
            _ask(group)
            _wait_empty(group, GRACE)
        if _populated(group):
            (group / "cgroup.kill").write_text("1")
            _wait_empty(group, PATIENCE)
        return tuple(describe(pid) for pid in _pids(group)) if _populated(group) else ()


def _groups(home: Path) -> list[Path]:
    try:
        return [path for path in home.iterdir() if path.is_dir()]
    except OSError:
        return []


def _populated(group: Path) -> bool:
    fd = os.open(f"{group}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"populated 1" in os.read(fd, 4096)
    finally:
        os.close(fd)


def _pids(group: Path) -> list[int]:
    """All processes of a group, those of groups that its processes made below it too."""
    found = []
    for folder, _, files in os.walk(group):
        if "cgroup.procs" in files:
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()]
    return found


def _ask(group: Path) -> None:
    """SIGTERM to all. The group is read again behind the pidfds: who has left it meanwhile was given another's pid."""
    with contextlib.ExitStack() as stack:
        pidfds = {}
        for pid in _pids(group):
            with contextlib.suppress(OSError):
                pidfds[pid] = os.pidfd_open(pid)
                stack.callback(os.close, pidfds[pid])
        for pid in pidfds.keys() & set(_pids(group)):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfds[pid], signal.SIGTERM)


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):  # as a rule there are no groups below it
        group.rmdir()
        return
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()


def _wait_empty(group: Path, seconds: float) -> None:
    """Until nothing lives in the group; the kernel raises POLLPRI when that changes."""
    end = time.monotonic() + seconds
    with (group / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            if "populated 0" in events.read() or (rest := end - time.monotonic()) <= 0:
                return
            poll.poll(rest * 1000)
