"""`python -m relctld.logger --run-dir DIR`: one logger for one run directory, until SIGTERM.

DIR/logger.lock   a flock on it is held for as long as the process lives; it holds the pid
                  and, on a second line, the version
DIR/logger.wake   a FIFO: `plan`, `rotate NAME` and `mark NAME`, one order a line
DIR/logger.json   the plan (`policy`)

Exit status: 0 after SIGTERM, 2 usage, 75 another logger has the run directory.
"""

import fcntl
import os
import sys
import threading
import time

from relctld import __version__

from .hub import Hub
from .report import say

_STACK = 1 << 18
_LOCK_TRIES = 5


def lock(run_dir: str) -> str | None:
    """Take the run directory for as long as this process lives; None on success, else the pid of who has it."""
    path = os.path.join(run_dir, "logger.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == _LOCK_TRIES - 1:
                return (os.read(fd, 64).decode(errors="replace").split() or ["unknown"])[0]
        time.sleep(0.05)  # somebody may only have been asking whether a logger runs
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n{__version__}\n".encode(), 0)
    return None  # the fd stays open: closing it would let go of the lock


def main(arguments: list[str]) -> int:
    """Run until told to stop. (argparse would cost half a megabyte for one option.)"""
    if len(arguments) != 2 or arguments[0] != "--run-dir" or not os.path.isdir(arguments[1]):
        os.write(2, b"usage: python -m relctld.logger --run-dir DIR (an existing directory)\n")
        return 2
    run_dir = os.path.abspath(arguments[1])
    holder = lock(run_dir)
    if holder is not None:
        os.write(2, f"relctl-logger: cannot start: process {holder} has {run_dir}\n".encode())
        return 75
    os.umask(0)  # modes are given in full: 0640, 0751, 0600
    threading.stack_size(_STACK)
    hub = Hub(run_dir)
    say("info", "started")
    hub.run()
    say("info", "stopped")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    os._exit(status)  # not sys.exit: a worker may be stuck in a call that never returns
