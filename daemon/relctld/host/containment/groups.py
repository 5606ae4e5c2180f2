"""What can be done with the cgroup of a VM by its directory alone, whoever made it.

    GROUP/{cgroup.procs, cgroup.events, cgroup.kill, memory.events, …}

None of it needs a controller, but for `memory.events`; `cgroup.kill` is there since Linux 5.14.
"""

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from relctld.core.state import Vm
from relctld.host.containment.seam import GRACE, PATIENCE
from relctld.host.process import comm, describe

_ENOUGH = 8
_ROUNDS = 100


def label(name: str, epoch: int, instance: str) -> str:
    """What a group is called. The first letters of the mark make it one VM's: a gate let go may share its epoch."""
    return f"{name}.e{epoch}.{instance[:_ENOUGH]}"


def mount() -> Path | None:
    """Where the second version of cgroups is mounted."""
    with contextlib.suppress(OSError):
        lines = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return next((Path(left.split()[4]) for left, right in lines if right.split()[0] == "cgroup2"), None)
    return None


def path_of(pid: int | str) -> str:
    """The group of a process as the kernel names it, from the root of our cgroup namespace on; empty where unknown."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "")
    except OSError:
        return ""


def made_for(vm: Vm, top: Path) -> Path | None:
    """The group that was made for this VM, by whatever kind of containment; None where it is in none."""
    path = Path(path_of(vm.pid).removeprefix("/"))
    names = [place for place in (path, *path.parents) if is_of(place, vm.instance)]
    return top / names[-1] if names else None


def is_of(group: Path, instance: str) -> bool:
    """Whether a group was made for the VM of this mark, by its name."""
    return bool(instance) and f".{instance[:_ENOUGH]}" in group.name


def is_populated(group: Path) -> bool:
    """Whether a process lives in it or below it. Raises OSError."""
    try:
        with open(f"{group}/cgroup.events", "rb", buffering=0) as events:
            return b"populated 1" in events.read(4096)
    except OSError as error:
        raise _as_gone(error) from None


def end(group: Path, spared: Path, *, gentle: bool) -> tuple[str, ...]:
    """Move epmd to `spared`, ask the rest if gentle, then `cgroup.kill`; describes what outlived that.

    Blocks. Raises OSError. A group may go at any moment: systemd takes away a scope as soon as it is empty.
    """
    try:
        return _end(group, spared, gentle=gentle)
    except OSError as error:
        if isinstance(_as_gone(error), FileNotFoundError):
            return ()
        raise


def _end(group: Path, spared: Path, *, gentle: bool) -> tuple[str, ...]:
    if not is_populated(group):
        return ()
    for pid in pids(group):
        if comm(pid) == "epmd":
            with contextlib.suppress(OSError):
                (spared / "cgroup.procs").write_text(str(pid))
    if gentle:
        _ask(group)
        _wait_empty(group, GRACE)
    if is_populated(group):
        (group / "cgroup.kill").write_text("1")
        _wait_empty(group, PATIENCE)
    return tuple(describe(pid) for pid in pids(group)) if is_populated(group) else ()


def _as_gone(error: OSError) -> OSError:
    """What an open file of a removed group says, as what its path says."""
    return FileNotFoundError(errno.ENOENT, "is gone", error.filename) if error.errno == errno.ENODEV else error


def oom_kills(group: Path | str) -> int | None:
    """How often the kernel killed for want of memory in it and below; None where that cannot be known.

    It is looked up before each probe of each node: so by a path that is text, and without a reader of lines.
    """
    try:
        with open(f"{group}/memory.events", "rb", buffering=0) as events:
            found = events.read(4096)
    except OSError:
        return None
    _, name, rest = found.partition(b"\noom_kill ")
    return int(rest.split(b"\n", 1)[0]) if name else None


def below(home: Path) -> list[Path]:
    """The groups right below; none where there is no such directory."""
    try:
        return [path for path in home.iterdir() if path.is_dir()]
    except OSError:
        return []


def move(found: Callable[[], Iterable[int]], group: Path) -> None:
    """Move what is found into a group, until nothing is found outside: what forks meanwhile is found too, epmd aside.

    Raises OSError.
    """
    for _ in range(_ROUNDS):
        outside = [pid for pid in found() if comm(pid) != "epmd" and not path_of(pid).endswith(f"/{group.name}")]
        if not outside:
            return
        for pid in outside:
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))
    raise OSError(errno.EAGAIN, "its processes fork faster than they can be moved", str(group))


def remove(group: Path) -> None:
    """Take away an empty group, and those below it. Raises OSError."""
    with contextlib.suppress(OSError):  # as a rule there are no groups below it
        group.rmdir()
        return
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()


def pids(group: Path) -> list[int]:
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
        for pid in pids(group):
            with contextlib.suppress(OSError):
                pidfds[pid] = os.pidfd_open(pid)
                stack.callback(os.close, pidfds[pid])
        for pid in pidfds.keys() & set(pids(group)):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfds[pid], signal.SIGTERM)


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
