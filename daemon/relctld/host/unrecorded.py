"""A VM whose record is damaged is found by what it holds, so that no second copy starts beside it.

Its stdout is its release's FIFO, it leads its session, and its environment has the mark and the epoch. Of several
the oldest is meant: what it started itself came later.
"""

import os
import re
from pathlib import Path

from relctld.core.state import Vm
from relctld.host.process import stat
from relctld.host.records import Recorded

_WANTED = (b"RELCTL_INSTANCE", b"RELCTL_EPOCH")


def find(output: Path) -> Recorded | None:
    """The VM that writes into this FIFO; looks at every process of the host."""
    try:
        fifo = os.stat(output, follow_symlinks=False)
    except OSError:
        return None
    found = [vm for entry in os.listdir("/proc") if entry.isdigit() and (vm := _vm(int(entry), fifo)) is not None]
    return min(found, key=lambda each: (each.vm.ticks, each.vm.pid), default=None)


def _vm(pid: int, fifo: os.stat_result) -> Recorded | None:
    try:
        if not os.path.samestat(os.stat(f"/proc/{pid}/fd/1"), fifo):
            return None
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = dict(line.split(b"=", 1) for line in file.read().split(b"\0") if b"=" in line)
    except OSError:
        return None
    process = stat(pid)
    instance, epoch = (environ.get(name, b"").decode("ascii", "replace") for name in _WANTED)
    if (
        process is None
        or process.state == "Z"
        or process.session != pid
        or not instance
        or not re.fullmatch(r"[0-9]{1,18}", epoch)
    ):
        return None
    return Recorded(int(epoch), Vm(pid, process.ticks, instance), opened=True)
