"""What a VM's process uses: memory, processor, threads, files. Blocks a little, so never on the loop."""

import os
import time
from dataclasses import dataclass

import psutil

from relctld.core.model import Vm

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes resident, percent of one core since the last look, threads, open files (None: not ours to see)."""

    rss_bytes: int
    cpu_percent: float
    threads: int
    fds: int | None


class VmStat:
    """Remembers the last look at each VM, so that processor use is of the time between two looks."""

    def __init__(self) -> None:
        self._last: dict[Vm, tuple[float, float]] = {}

    def look(self, vm: Vm) -> Usage | None:
        """The use of a VM, None where it is gone. The first look covers its life so far."""
        try:
            process = psutil.Process(vm.pid)
            with process.oneshot():
                times = process.cpu_times()
                rss, threads = process.memory_info().rss, process.num_threads()
                age = max(0.001, time.clock_gettime(time.CLOCK_BOOTTIME) - vm.ticks / _TICKS)
            try:
                fds = process.num_fds()
            except psutil.AccessDenied:
                fds = None
        except psutil.Error:
            self.forget(vm)
            return None
        now, used = time.monotonic(), times.user + times.system
        before, used_before = self._last.get(vm, (now - age, 0.0))
        percent = 100 * max(0.0, used - used_before) / max(0.001, now - before)
        if now - before > 0.5:  # two looks at once would only show noise
            self._last[vm] = (now, used)
        return Usage(rss, round(percent, 1), threads, fds)

    def forget(self, vm: Vm) -> None:
        """The VM is gone."""
        self._last.pop(vm, None)
