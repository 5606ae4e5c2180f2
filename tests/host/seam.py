"""What the tests of the host seam share: root, a loop with a reaper, FIFOs, and processes that are ended by pid."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from relctld.host import fifo, process
from relctld.host.gate import Identity
from relctld.host.reaper import Reaper, become_subreaper
from relctld.host.signals import Signals
from tests.waiting import wait_until

T = TypeVar("T")

ROOT = os.geteuid() == 0
NOBODY = Identity(65534, 65534, (4, 24), "nobody", "/nonexistent", "/usr/sbin/nologin")
OURSELVES = Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()), "me", "/", "/bin/sh")


def need_root(why: str) -> None:
    """Skip with the reason; fail in a full run, which is one of root's."""
    if ROOT:
        return
    if os.environ.get("RELCTL_TEST_FULL") == "1" and os.environ.get("CI") == "true":
        pytest.fail(f"only root can test this: {why}")
    pytest.skip(f"only root can test this: {why}")


def epmd_binary() -> str:
    """A real epmd; without Erlang the test is skipped, but fails in a full run."""
    if found := shutil.which("epmd"):
        return found
    if os.environ.get("RELCTL_TEST_FULL") == "1":
        pytest.fail("no epmd: Erlang is not installed")
    pytest.skip("no epmd: Erlang is not installed")


@contextmanager
def public_folder() -> Iterator[Path]:
    """A directory that every user may enter, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody() -> tuple[str, ...]:
    """What stands before a command of Python's to make it one of `NOBODY`; skips where he cannot read the checkout."""
    us = ("setpriv", f"--reuid={NOBODY.uid}", f"--regid={NOBODY.gid}", "--clear-groups")
    if subprocess.run([*us, sys.executable, "-c", "import relctld.cli"], capture_output=True, check=False).returncode:
        pytest.skip("another user cannot read this checkout")
    return us


def open_fds() -> set[int]:
    """Ours."""
    return {int(name) for name in os.listdir("/proc/self/fd")} - {_listing()}


def _listing() -> int:
    fd = os.open("/", os.O_RDONLY)  # the number that the listing itself had
    os.close(fd)
    return fd


def children() -> list[int]:
    """Our children, zombies too."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (seen := process.stat(pid)) and seen.parent == os.getpid()]


def gone(pid: int) -> bool:
    """Whether it does not run any more; a zombie of another's does not either."""
    seen = process.stat(pid)
    return seen is None or seen.state in "ZX"


def with_reaper(work: Callable[[Reaper], Awaitable[T]], timeout: float = 30.0) -> T:
    """Run `work` on a loop of its own, with a reaper."""

    async def run() -> T:
        loop = asyncio.get_running_loop()
        signals = Signals(loop)
        reaper = Reaper(loop, signals)
        try:
            return await asyncio.wait_for(work(reaper), timeout)
        finally:
            reaper.close()
            signals.close()

    return asyncio.run(run())


async def until(condition: Callable[[], object], timeout: float = 30.0, what: str = "") -> None:
    """`wait_until` for a loop that must go on meanwhile."""
    await asyncio.to_thread(wait_until, condition, timeout, 0.01, what)


@contextmanager
def subreaper() -> Iterator[None]:
    """Orphans below us become our children, until the end of the block; those that are left are reaped."""
    assert become_subreaper()
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
        with suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


class Output:
    """A FIFO as a VM holds it, and what was written into it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out"
        fifo.make(self.path, os.geteuid(), os.getegid())
        self.fd = fifo.open_both_ways(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._seen = b""

    def read(self) -> bytes:
        """All that was written so far."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, 65536):
                self._seen += data
        return self._seen

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._reader)


def script(path: Path, text: str) -> Path:
    """An executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def kill(pid: int) -> None:
    """End a process that is known to be ours and unreaped."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
