"""What holds all processes of a VM together, whatever they fork: one seam, a kind per world.

* `Cgroups`: a sub-cgroup per VM, below our own where that is delegated to us (or where no systemd
  manages cgroups and we may write). Complete: setsid, double-fork and a wiped environment change nothing.
* `Sweep`: nothing to hold them; they are found by `RELCTL_INSTANCE` in their environment, by the session of the VM,
  and as descendants of what was found. A process that wipes its environment, leaves the session *and* loses its
  parent escapes.

An epmd that a VM started is shared by all nodes of the host: it is spared by both.

What may block says nothing else: call it from a worker thread. `is_empty`, `oom_killed` and `remember` do not.
"""

import contextlib
import os
import select
import signal
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from relctld.core.model import Vm
from relctld.host.process import comm, describe, start_ticks, stat

GRACE = 0.5
"""Seconds that leftovers of a gentle end have after SIGTERM."""

PATIENCE = 1.0
"""Seconds that one sweep waits for what it killed."""

_MARK = "RELCTL_INSTANCE"
_ENOUGH = 8
_NOBODY: Mapping[int, int] = MappingProxyType({})


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


def choose(run_dir: Path) -> Containment:
    """The best kind that this world offers."""
    base = _own_cgroup()
    if base is not None:
        home = base / f"relctl-{zlib.crc32(os.fsencode(run_dir)):08x}"
        with contextlib.suppress(OSError):
            home.mkdir(exist_ok=True)
            if (home / "cgroup.kill").exists():
                return Cgroups(home, base)
    return Sweep()


def _own_cgroup() -> Path | None:
    """Our cgroup2 directory, if what is below it is ours to shape."""
    try:
        own = next(
            line[3:].strip() for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")
        )
        mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except (OSError, StopIteration):
        return None
    point = next((left.split()[4] for left, right in mounts if right.split()[0] == "cgroup2"), None)
    if point is None or ".." in own:
        return None
    path = Path(point + own)
    return path if os.access(path / "cgroup.procs", os.W_OK) and _is_ours(path) else None


def _is_ours(path: Path) -> bool:
    """Where systemd manages cgroups, only what it delegated is ours; it says so in an extended attribute."""
    if not Path("/run/systemd/system").is_dir():
        return True
    for attribute in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, attribute) == b"1":
                return True
    return False


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


class Sweep:
    """No cgroup: find what belongs to the VM, stop it all, then kill it all."""

    kind = "sweep"

    def __init__(self) -> None:
        self._vms: dict[str, Vm] = {}

    def place(self, name: str, epoch: int, vm: Vm) -> None:  # noqa: ARG002 the seam's
        """Remember its session; the mark is in its environment already."""
        self.remember(vm)

    def remember(self, vm: Vm) -> None:
        """Its pid is the number of its session."""
        self._vms[vm.instance] = vm

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
            self._vms.pop(instance, None)
        return tuple(describe(pid) for pid in found)

    def is_empty(self, name: str, epoch: int, instance: str) -> bool:  # noqa: ARG002 the seam's
        """Nothing tells but a search."""
        return False

    def oom_killed(self, name: str, epoch: int, instance: str) -> bool:  # noqa: ARG002 the seam's
        """Nothing tells."""
        return False

    def close(self) -> None:
        """There is nothing to take away."""

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
