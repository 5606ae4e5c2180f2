"""What can be blocked for a daemon, and how its answers are timed meanwhile."""

import contextlib
import ctypes
import os
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.asking import Asker
from tests.running import Relctld

BLOCKED_FOR = 10.0
_FAN_CLASS_CONTENT, _FAN_CLOEXEC, _FAN_MARK_ADD, _FAN_ACCESS_PERM, _AT_FDCWD = 4, 1, 1, 0x20000, -100


def run(*command: object) -> None:
    """Run a command of the system; its words are in the error."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@contextmanager
def disk(at: Path) -> Iterator[Path]:
    """A small ext4 of its own, mounted at a directory; it can be frozen."""
    image = at.with_name(f"{at.name}.image")
    with image.open("wb") as file:
        file.truncate(32 << 20)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", image)
    at.mkdir(parents=True)
    run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        run("umount", at)


@contextmanager
def frozen(at: Path) -> Iterator[None]:
    """Every write below this mount waits in the kernel, beyond SIGKILL, until the end."""
    run("fsfreeze", "--freeze", at)
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", at)


@contextmanager
def unreadable(file: Path) -> Iterator[Callable[[], bool]]:
    """Every read of this file waits in the kernel until the end: who must permit it (fanotify(7)) says nothing.

    Tells whether somebody waits.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
    assert watcher >= 0, os.strerror(ctypes.get_errno())
    try:
        marked = libc.fanotify_mark(
            watcher, _FAN_MARK_ADD, ctypes.c_uint64(_FAN_ACCESS_PERM), _AT_FDCWD, os.fsencode(file)
        )
        assert marked == 0, os.strerror(ctypes.get_errno())
        yield lambda: bool(select.select([watcher], [], [], 0)[0])
    finally:
        os.close(watcher)


@contextmanager
def name_service(daemon: Relctld, folder: Path) -> Iterator[None]:
    """Every look-up of a user or a group waits until the end. The daemon must have a mount namespace of its own.

    A FIFO stands where the file of users was: to open it waits for a writer.
    """
    files = {name: Path("/etc") / name for name in ("passwd", "group")}
    inside = ("nsenter", "--target", daemon.pid, "--mount")
    for name, file in files.items():
        os.mkfifo(folder / name)
        run(*inside, "mount", "--bind", folder / name, file)
    try:
        yield
    finally:
        for name, file in files.items():
            run(*inside, "umount", "--lazy", file)
            with contextlib.suppress(OSError):  # nobody waits there
                fd = os.open(folder / name, os.O_WRONLY | os.O_NONBLOCK)
                with contextlib.suppress(BlockingIOError):
                    while True:  # some for each of those who wait
                        os.write(fd, file.read_bytes())
                os.close(fd)


def seconds_of_answers(daemon: Relctld, until: Callable[[], bool], at_least: int = 50) -> list[float]:
    """How long `status` took, asked again and again."""
    taken: list[float] = []
    with Asker(daemon.socket) as asker:
        asker.result("status")  # the first one pays for the connection
        while len(taken) < at_least or not until():
            begun = time.monotonic()
            asker.result("status")
            taken.append(time.monotonic() - begun)
            asker.receive(0.05)  # nothing comes: a pause
    return taken


def assert_in_time(taken: list[float]) -> None:
    """The promise: 50 ms. One in twenty may be late, for a machine that has others to serve."""
    taken = sorted(taken)
    assert statistics.median(taken) < 0.05, taken
    assert taken[len(taken) * 95 // 100] < 0.25, taken
