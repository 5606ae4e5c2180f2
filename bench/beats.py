"""The child that says when it began, and the FIFO where it says so."""

import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

CHILDREN = Path(__file__).parent / "children"


class Beat(NamedTuple):
    """One beginning: monotonic nanoseconds, pid, the name the child was given."""

    at: int
    pid: int
    name: str


def build(folder: Path) -> tuple[Path, str]:
    """The child as a program, and a word on it where it is not what it should be."""
    program = folder / "beat"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    for flags in (["-static"], []) if compiler else ():
        argv = [str(compiler), "-O2", *flags, "-o", str(program), str(CHILDREN / "beat.c")]
        if subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
            return program, "" if flags else "the child is linked dynamically: its start costs a little more"
    shutil.copy(CHILDREN / "beat.sh", program)
    program.chmod(0o755)
    return program, "no C compiler: the child is a shell script, and its clock counts hundredths of a second"


class Beats:
    """A FIFO of beginnings, one for each tool."""

    def __init__(self, program: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="relctl-bench-")
        self.program = program
        self.fifo = Path(self._folder.name) / "beats"
        os.mkfifo(self.fifo, 0o600)
        self._fd = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""
        self.latest: dict[str, Beat] = {}

    def argv(self, name: str, *words: str) -> list[str]:
        """The command line of a child."""
        return [str(self.program), str(self.fifo), name, *words]

    def wait(self, count: int, seconds: float) -> list[Beat]:
        """The next `count` beginnings; fewer where time is up."""
        beats: list[Beat] = []
        end = time.monotonic() + seconds
        while len(beats) < count:
            readable, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                break
            *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
            for line in lines:
                at, pid, name = line.decode().split(maxsplit=2)
                beats.append(Beat(int(at), int(pid), name))
                self.latest[name] = beats[-1]
        return beats

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._folder.cleanup()
