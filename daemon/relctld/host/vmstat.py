"""What a VM's process uses: memory, processor, threads, files. Blocks a little, so never on the loop.

One read of /proc/PID/stat tells all but the files, and whose it is: a `status` of 100 releases takes 3 ms of it.
"""

import os
import time
from dataclasses import dataclass

from relctld.core.state import Vm
from relctld.host.process import start_ticks

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _THREADS, _START, _RSS = 11, 12, 17, 19, 21  # of /proc/PID/stat, counted after the command's name

_MANY = 1_000  # VMs remembered before the dead ones are sought out


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes resident, percent of one core since the last look, threads, open files (None: not ours to see)."""

    rss_bytes: int
    cpu_percent: float
    threads: int
    fds: int | None


def age(vm: Vm) -> float:
    """Seconds since a VM was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - vm.ticks / _TICKS


class VmStat:
    """Remembers the last look at each VM, so that processor use is of the time between two looks."""

    def __init__(self) -> None:
        self._last: dict[Vm, tuple[float, float]] = {}

    def look(self, vm: Vm) -> Usage | None:
        """The use of a VM, None where it is gone. The first look covers its life so far."""
        fields = _stat(vm.pid)
        if not fields or fields[_START] != vm.ticks:  # gone, and another process may have its pid
            self.forget(vm)
            return None
        now, used = time.monotonic(), (fields[_UTIME] + fields[_STIME]) / _TICKS
        before, used_before = self._last.get(vm, (now - age(vm), 0.0))
        percent = 100 * max(0.0, used - used_before) / max(0.001, now - before)
        if len(self._last) > _MANY:
            self._last = {known: seen for known, seen in self._last.items() if start_ticks(known.pid) == known.ticks}
        if now - before > 0.5:  # two looks at once would only show noise
            self._last[vm] = (now, used)
        return Usage(fields[_RSS] * _PAGE, round(percent, 1), fields[_THREADS], _files(vm.pid))

    def forget(self, vm: Vm) -> None:
        """The VM is gone."""
        self._last.pop(vm, None)


def _stat(pid: int) -> tuple[int, ...]:
    """The numbers of /proc/PID/stat, its state as 0; nothing where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return (0, *map(int, file.read().rpartition(b")")[2].split()[1:]))
    except OSError:
        return ()


def _files(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
