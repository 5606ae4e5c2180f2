"""Which process is meant: boot id + pid + start ticks, then a pidfd. A pid alone is never trusted.

The executable is shown, never compared: one and the same VM is sh, then erlexec, then beam.smp.
"""

import fcntl
import os
import select
import signal
import struct
from functools import cache
from typing import NamedTuple

from relctld.core.state import UNKNOWN_STATUS, ExitStatus, Vm

# struct pidfd_info of VER0 (64 bytes), include/uapi/linux/pidfd.h; exit information since Linux 6.15.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_PID = 1
_PIDFD_INFO_EXIT = 8


class Stat(NamedTuple):
    """Of /proc/PID/stat: the kernel's one letter for what it does (R, S, D, Z, T …), pids, start in clock ticks."""

    state: str
    parent: int
    session: int
    ticks: int


@cache
def boot_id() -> str:
    """The identity of this boot of the host."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat(pid: int) -> Stat | None:
    """What the kernel says of a process; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None
    return Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None where there is none."""
    found = stat(pid)
    return found.ticks if found else None


def comm(pid: int) -> str:
    """The name the kernel has for a process; it outlives the process's end until it is reaped."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().rstrip(b"\n").decode("utf-8", "replace")
    except OSError:
        return ""


def describe(pid: int) -> str:
    """A process in words, for an operator who must find it."""
    found = stat(pid)
    return f"pid {pid} ({comm(pid) or '?'}{', state D' if found and found.state == 'D' else ''})"


def open_vm(vm: Vm) -> int | None:
    """A pidfd of this very process, None where it is gone. The ticks are compared after the open: no race."""
    try:
        pidfd = os.pidfd_open(vm.pid)
    except (OSError, OverflowError):  # a damaged record may hold any number
        return None
    found = stat(vm.pid)
    if found and found.ticks == vm.ticks and found.state != "Z":
        return pidfd
    os.close(pidfd)
    return None


def has_ended(pidfd: int) -> bool:
    """Whether the process is gone, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def send(pidfd: int, number: int) -> bool:
    """Send a signal through a pidfd; False where the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def status_of_stranger(pidfd: int) -> ExitStatus | None:
    """How a process that is not our child ended, where the kernel tells (Linux 6.15), else unknown.

    None: ask again, its parent has not reaped it yet. A pidfd is readable before that.
    """
    info = bytearray(struct.pack("=Q", _PIDFD_INFO_PID | _PIDFD_INFO_EXIT) + bytes(56))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return UNKNOWN_STATUS
    if not struct.unpack_from("=Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    return status_of_wait(struct.unpack_from("=i", info, 60)[0])


def status_of_wait(status: int) -> ExitStatus:
    """A wait(2) status."""
    if os.WIFSIGNALED(status):
        return ExitStatus(signal=signal_name(os.WTERMSIG(status)))
    return ExitStatus(code=os.WEXITSTATUS(status))


def signal_name(number: int) -> str:
    """SIGKILL for 9; real-time signals have a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def close(pidfd: int) -> None:
    """Let go of a pidfd."""
    os.close(pidfd)
