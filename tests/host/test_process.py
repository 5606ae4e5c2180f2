"""Who is meant: a pid alone is never trusted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.core.state import ExitStatus, Vm
from relctld.host import process
from tests.host.seam import open_fds
from tests.waiting import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["/bin/sleep", "60"])
    yield child
    child.kill()
    child.wait()


def vm_of(child: subprocess.Popen[bytes]) -> Vm:
    ticks = process.start_ticks(child.pid)
    assert ticks is not None
    return Vm(child.pid, ticks, "")


def test_what_the_kernel_says(child: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: process.comm(child.pid) == "sleep")
    seen = process.stat(child.pid)
    assert seen is not None
    assert (seen.parent, seen.session) == (os.getpid(), os.getsid(0))
    assert seen.state in "SR"
    assert process.describe(child.pid) == f"pid {child.pid} (sleep)"
    assert process.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_name_of_any_kind_confuses_nothing() -> None:
    name = ") R 1 (\ufffd) ("
    text = "printf ') R 1 (\\377) (' >/proc/$$/comm; exec 1>&-; read -r _"
    child = subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: process.comm(child.pid) == name, what=lambda: process.comm(child.pid))
        seen = process.stat(child.pid)
        assert seen is not None
        assert (seen.parent, seen.session) == (os.getpid(), os.getsid(0))
        assert seen.ticks >= (process.start_ticks(os.getpid()) or 0)
    finally:
        child.communicate()


def test_what_is_gone_has_no_name_and_no_start(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert process.start_ticks(child.pid) is None
    assert process.stat(child.pid) is None
    assert process.comm(child.pid) == ""
    assert process.describe(child.pid) == f"pid {child.pid} (?)"


def test_only_the_very_same_process_is_opened(child: subprocess.Popen[bytes]) -> None:
    vm = vm_of(child)
    before = open_fds()
    pidfd = process.open_vm(vm)
    assert pidfd is not None
    assert process.send(pidfd, 0)
    others = [Vm(vm.pid, vm.ticks + change, "") for change in (-1, 1, 10_000)]
    others += [Vm(pid, vm.ticks, "") for pid in (1, 0, -1, 2**31, 2**70, 4_000_000)]
    assert [process.open_vm(other) for other in others] == [None] * len(others)
    child.kill()
    wait_until(lambda: (seen := process.stat(child.pid)) and seen.state == "Z")
    assert process.open_vm(vm) is None
    child.wait()
    assert process.open_vm(vm) is None
    assert not process.send(pidfd, signal.SIGTERM)
    process.close(pidfd)
    assert open_fds() == before


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("exit 0", ExitStatus(code=0)),
        ("exit 255", ExitStatus(code=255)),
        ("kill -9 $$", ExitStatus(signal="SIGKILL")),
        ("ulimit -c 0; kill -SEGV $$", ExitStatus(signal="SIGSEGV")),
        ("kill -40 $$", ExitStatus(signal="SIG40")),
    ],
)
def test_a_wait_status_in_words(text: str, status: ExitStatus) -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", text], {})
    assert process.status_of_wait(os.waitpid(pid, 0)[1]) == status
