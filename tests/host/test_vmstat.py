"""What real processes use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from relctld.core.state import Vm
from relctld.host import process
from relctld.host.vmstat import VmStat
from tests.host.seam import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host

_BUSY = """
import threading, time
keep = bytearray(50_000_000)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
files = [open("/dev/null") for _ in range(20)]
print("ready", flush=True)
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[Vm]:
    child = subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield vm_of(child.pid)
    child.kill()
    child.wait()
    child.stdout.close()


def vm_of(pid: int) -> Vm:
    ticks = process.start_ticks(pid)
    assert ticks is not None
    return Vm(pid, ticks, "")


def test_what_it_uses(busy: Vm) -> None:
    use = VmStat().look(busy)
    assert use is not None
    assert 50_000_000 < use.rss_bytes < 200_000_000
    assert use.threads == 2
    assert use.fds == len(os.listdir(f"/proc/{busy.pid}/fd"))
    assert 0 < use.cpu_percent <= 110


def test_processor_use_is_of_the_time_between_two_looks(busy: Vm) -> None:
    stat = VmStat()
    stat.look(busy)
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 0.6)
    os.kill(busy.pid, 19)
    wait_until(lambda: (seen := process.stat(busy.pid)) and seen.state == "T")
    worked = stat.look(busy)
    assert worked is not None
    assert worked.cpu_percent > 5
    stopped = time.monotonic()
    wait_until(lambda: time.monotonic() - stopped > 0.6)
    idle = stat.look(busy)
    assert idle is not None
    assert idle.cpu_percent == 0


def test_two_looks_at_once_show_no_noise(busy: Vm) -> None:
    stat = VmStat()
    looks = [stat.look(busy) for _ in range(50)]
    assert all(look is not None and 0 <= look.cpu_percent <= 110 for look in looks)


def test_what_is_gone_or_another_by_the_same_pid_uses_nothing(busy: Vm) -> None:
    stat = VmStat()
    assert stat.look(Vm(busy.pid, busy.ticks - 1, "")) is None
    assert stat.look(Vm(4_000_000, 1, "")) is None
    child = subprocess.Popen(["/bin/sleep", "60"])
    vm = vm_of(child.pid)
    assert stat.look(vm) is not None
    child.kill()
    child.wait()
    assert stat.look(vm) is None
    assert not stat._last.keys() - {busy}


def test_another_users_files_are_not_ours_to_count() -> None:
    need_root("another user")
    code = "import sys; from relctld.host.vmstat import *; from relctld.host.process import start_ticks;"
    code += "print(VmStat().look(Vm(1, start_ticks(1), '')))"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, user=65534, group=65534, extra_groups=[])
    assert "fds=None" in done.stdout
