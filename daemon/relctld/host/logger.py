"""The logger's process: who holds its lock, one that is started or ended, and the FIFO by which it is told something.

RUN/logger.lock    flock, held for the logger's life; its pid and its version
RUN/logger.wake    a FIFO; it is there as long as the run directory is

Rule: a pid in the lock file counts only where the lock is held and the process is a logger of this run directory.
"""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from relctld.failpoints import Failpoint, reach
from relctld.host import process
from relctld.host.reaper import Reaper
from relctld.host.systemd import without_systemd

_LOCK, _WAKE = "logger.lock", "logger.wake"


def runs(run_dir: Path) -> bool:
    """Whether somebody holds the lock. Raises OSError."""
    fd = os.open(run_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def spawn(run_dir: Path, reaper: Reaper) -> tuple[int, int]:
    """A logger that is our child: pid and pidfd; to be watched by this reaper. Raises OSError."""
    reach(Failpoint.BEFORE_LOGGER)
    with reaper.spawning() as claim:
        child = subprocess.Popen(
            [sys.executable, "-m", "relctld.logger", "--run-dir", str(run_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=without_systemd(os.environ),
            cwd="/",
            start_new_session=True,
        )
        child.returncode = 0  # the reaper waits for it; Popen must not
        claim(child.pid)
    reach(Failpoint.AFTER_LOGGER)
    return child.pid, os.pidfd_open(child.pid)


def started_before(run_dir: Path) -> tuple[int, int] | None:
    """Pid and pidfd of a logger that a former daemon started; systemd's knows its INVOCATION_ID."""
    pid, _ = _holder(run_dir)
    if pid is None:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        by_systemd = any(line.startswith(b"INVOCATION_ID=") for line in environ)
        if _is_logger(pid, run_dir) and not by_systemd and runs(run_dir):
            return pid, pidfd
    os.close(pidfd)
    return None


def end_other(run_dir: Path, version: str) -> tuple[int, str] | None:
    """Tell a logger of another version to end: its pid and its version; None where there is none, or it is not ours."""
    pid, other = _holder(run_dir)
    if pid is None or other == version or not runs(run_dir):
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        ended = _is_logger(pid, run_dir) and process.send(pidfd, signal.SIGTERM)
    except OSError:
        return None
    finally:
        os.close(pidfd)
    return (pid, other) if ended else None


def wake(run_dir: Path, line: str) -> bool:
    """Say this to the logger; False where none listens: one that comes up reads all by itself. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(run_dir / _WAKE, 0o600)
    try:
        fd = os.open(run_dir / _WAKE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
    return True


def _holder(run_dir: Path) -> tuple[int | None, str]:
    """The pid and the version in the lock file, whether it is held or not."""
    with contextlib.suppress(OSError, ValueError):
        pid, *version = (run_dir / _LOCK).read_text().split()
        return int(pid), "".join(version)
    return None, ""


def _is_logger(pid: int, run_dir: Path) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"relctld.logger" in words and os.fsencode(run_dir) in words
