"""What is asked of every tool, so that all are measured in the same way."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench.beats import Beats
from bench.measure import descendants
from relctld.host.containment import Sweep

STOP_WITHIN = 10
"""Seconds that each tool gives a child to stop, where it can be told."""


class Child(NamedTuple):
    """A child to be kept running. `deaf`: it ignores SIGTERM."""

    name: str
    deaf: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        return ("deaf",) if self.deaf else ()


class BenchError(Exception):
    """A bench could not run; the text says why."""


class Driver(ABC):
    """One tool with its children. What it starts carries a mark, by which all of it is found at the end."""

    name = ""

    def __init__(self, program: Path) -> None:
        self.beats = Beats(program)
        self.folder = Path(tempfile.mkdtemp(prefix="rb-"))
        self.mark = secrets.token_hex(16)
        self.environ = {**os.environ, "RELCTL_INSTANCE": self.mark}
        self.main: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self, children: Sequence[Child]) -> None:
        """Start the tool with these children."""

    @abstractmethod
    def status(self) -> list[str]:
        """The command that shows all children."""

    @abstractmethod
    def stop(self, name: str) -> list[str]:
        """The command that stops a child."""

    def begin(self, children: Sequence[Child], seconds: float = 120.0) -> Self:
        """Start, and wait until every child has begun."""
        self.start(children)
        missing = len(children) - len(self.beats.wait(len(children), seconds))
        if missing:
            raise BenchError(f"{self.name}: {missing} of {len(children)} children did not start")
        return self

    def own(self) -> list[int]:
        """The tool's own processes, without the children."""
        assert self.main is not None
        children = {beat.pid for beat in self.beats.latest.values()}
        return [pid for pid in (self.main.pid, *descendants(self.main.pid)) if pid not in children]

    def gates(self) -> list[int]:
        """What stands by for the next start of a child, of the tools that have such."""
        return []

    def kill(self, name: str) -> int:
        """SIGKILL to a child; the time of it (monotonic nanoseconds)."""
        pid = self.beats.latest[name].pid
        at = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        return at

    def restart(self, name: str, seconds: float = 30.0) -> float | None:
        """Milliseconds from SIGKILL to the first instruction of the next; None where it does not come."""
        at = self.kill(name)
        beats = self.beats.wait(1, seconds)
        return (beats[0].at - at) / 1e6 if beats else None

    def run(self, argv: Sequence[str], *, output: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a marked process."""
        with open(output or os.devnull, "ab") as file:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env=self.environ,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all that carries the mark; then the orphans are ours to reap."""
        if self.main is not None:
            self.main.kill()
        Sweep().empty("", 0, self.mark, gentle=False)
        if self.main is not None:
            self.main.wait()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        self.beats.__exit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)
