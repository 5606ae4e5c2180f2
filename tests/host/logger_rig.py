"""A real logger process with FIFOs, held open as a VM holds them, and writers of numbered lines."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from relctld.logfiles.names import listing
from relctld.logger.policy import Counters, LogPolicy, read_counters, write_plan
from tests.waiting import wait_until

_WRITER = """
import os, sys
path, first, count, width, per_write = sys.argv[1], *map(int, sys.argv[2:])
fd = os.open(path, os.O_RDWR)
for start in range(first, first + count, per_write):
    lines = [b"%09d" % n for n in range(start, min(start + per_write, first + count))]
    os.write(fd, b"".join(line + b" " + b"x" * (width - 11) + b"\\n" for line in lines))
"""


class Rig:
    """A run directory in memory, a log directory, at most one logger, any writers; all ended by `close`."""

    def __init__(self, logs: Path, run: Path | None = None) -> None:
        self.logs = logs
        self.run = run or Path(tempfile.mkdtemp(prefix="relctl-test-", dir="/dev/shm"))
        self.policies: dict[str, LogPolicy] = {}
        self.fds: dict[str, int] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logger: subprocess.Popen[bytes] | None = None

    def add(self, name: str, **policy: Any) -> LogPolicy:
        """A release in the plan: with no limits but those given."""
        folder = self.run / "releases" / name
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / "out"
        if name not in self.fds:
            os.mkfifo(out, 0o600)
            self.fds[name] = os.open(out, os.O_RDWR)
        off: dict[str, Any] = {"max_size": None, "keep": None, "max_total": None, "compress": None, "on_full": "drop"}
        off |= {"dir": str(self.logs / name)} | policy
        self.policies[name] = LogPolicy(name, str(out), str(folder / "claimed"), **off)
        self.plan()
        return self.policies[name]

    def plan(self) -> None:
        write_plan(str(self.run / "logger.json"), list(self.policies.values()))
        if (self.run / "logger.wake").exists():
            self.order("plan")

    def order(self, line: str) -> None:
        fd = os.open(self.run / "logger.wake", os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, line.encode() + b"\n")
        os.close(fd)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        clock = self.run / "clock"
        module = ["tests.host.clocked_logger", str(clock)] if clock.exists() else ["relctld.logger"]
        with (self.run / "stderr").open("ab") as stderr:
            self.logger = subprocess.Popen(
                [sys.executable, "-m", *module, "--run-dir", str(self.run)],
                stderr=stderr,
                env={**os.environ, **environment},
            )
        self.processes.append(self.logger)
        return self.logger

    def set_clock(self, now: float) -> None:
        """Have the logger's wall clock show this, seconds since the epoch; first before it starts."""
        ahead = (int(now * 1e9) - time.time_ns()).to_bytes(8, sys.byteorder, signed=True)
        fd = os.open(self.run / "clock", os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(fd, ahead, 0)
        os.close(fd)

    def kill(self) -> None:
        assert self.logger is not None
        self.logger.kill()
        self.logger.wait(10)

    def stop(self) -> int:
        assert self.logger is not None
        self.logger.send_signal(signal.SIGTERM)
        return self.logger.wait(10)

    def write(self, name: str, data: bytes) -> None:
        os.write(self.fds[name], data)

    def writer(
        self, name: str, count: int, width: int = 100, first: int = 0, per_write: int = 1
    ) -> subprocess.Popen[bytes]:
        """A process that writes `count` numbered lines of `width` bytes."""
        arguments = map(str, (self.run / "releases" / name / "out", first, count, width, per_write))
        process = subprocess.Popen([sys.executable, "-c", _WRITER, *arguments])
        self.processes.append(process)
        return process

    def files(self, name: str) -> list[Path]:
        """Oldest first, `current` last."""
        folder = Path(self.policies[name].dir)
        rotated = listing(str(folder)) if folder.exists() else []
        return [f for f in [*(folder / log.name for log in rotated), folder / "current"] if f.exists()]

    def size(self, name: str) -> int:
        """Bytes on the disk; a file may go while they are counted."""
        total = 0
        for file in self.files(name):
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
        return total

    def logged(self, name: str) -> bytes:
        """All that the log holds. Call when nothing rotates or compresses."""
        return b"".join(
            gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in self.files(name)
        )

    def counters(self, name: str) -> Counters:
        return read_counters(str(self.run / "releases" / name / "log.json"))

    def said(self) -> str:
        return (self.run / "stderr").read_text()

    def wait_logged(self, name: str, end: bytes, timeout: float = 40.0) -> None:
        """Until the log ends with these bytes."""

        def there() -> bool:
            try:
                tails = [f.read_bytes()[-len(end) :] for f in self.files(name)[-2:] if f.suffix != ".gz"]
            except FileNotFoundError:  # it is being rotated
                return False
            return bool(tails) and (tails[-1] or tails[0]).endswith(end)

        wait_until(there, timeout, what=f"{end!r} in the log of {name}")

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for fd in self.fds.values():
            os.close(fd)
        shutil.rmtree(self.run)


def numbered(count: int, width: int = 100, first: int = 0) -> bytes:
    """What `Rig.writer` writes."""
    return b"".join(b"%09d " % n + b"x" * (width - 11) + b"\n" for n in range(first, first + count))


def assert_once_in_order(got: bytes, count: int, width: int = 100) -> None:
    """Each line exactly once, in order; says where it first differs instead of showing megabytes."""
    want = numbered(count, width)
    if got != want:
        at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
        raise AssertionError(f"{len(got)} bytes, not {len(want)}; differs at {at}: {got[at - 50 : at + 250]!r}")
