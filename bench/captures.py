"""Who keeps what programs print: relctl's logger beside its peers, each with its files rotated at 50 MB.

A *flood* (`children/flood.c`) waits at a gate, so that all of a run are ready before the first byte. relctl is its
logger process, a FIFO for each release and a plan, for the daemon has no part in it; supervisord and circus run the
flood themselves; svlogd, s6-log, multilog and cat read a pipe. Nobody compresses, but for the row that says so.
"""

import contextlib
import os
import select
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.host.logger_rig import Rig as LoggerRig
from tests.waiting import wait_until

from bench.beats import CHILDREN
from bench.driver import BenchError
from bench.peers import VENV
from bench.rig import Rig

ROTATED_AT = 50_000_000
KEEP = 1000  # files: nothing is deleted before it was counted


class Job(NamedTuple):
    """So many numbered lines of so many bytes, written by one program."""

    name: str
    lines: int
    width: int

    @property
    def size(self) -> int:
        """All of it in bytes."""
        return self.lines * self.width


class Done(NamedTuple):
    """Of one flood: when it began and ended (monotonic ns), and its longest single write (ns)."""

    begun: int
    ended: int
    longest: int


def build_flood(folder: Path) -> Path:
    """The flood as a program. BenchError without a C compiler: a script would be the slowest part."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    program = folder / "flood"
    if not compiler:
        raise BenchError("no C compiler")
    subprocess.run([compiler, "-O2", "-o", str(program), str(CHILDREN / "flood.c")], check=True)
    return program


class Capture(ABC):
    """One tool that keeps what some floods print, in directories below `folder`. All of it ends with `close`."""

    name = ""

    def __init__(self, folder: Path, flood: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.flood = folder, flood
        self.gate, told = folder / "gate", folder / "told"
        os.mkfifo(self.gate)
        os.mkfifo(told)
        self._told, self._rest = os.open(told, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), b""
        self._started: list[subprocess.Popen[bytes]] = []
        self._opened = -1
        self.floods: list[int] = []

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Start the tool with these floods."""

    @abstractmethod
    def own(self) -> list[int]:
        """The processes of the tool itself."""

    @abstractmethod
    def files(self, name: str) -> list[Path]:
        """What was kept of one flood, oldest first."""

    def argv(self, job: Job) -> list[str]:
        """The command line of a flood."""
        return [str(self.flood), str(self.gate), str(self.folder / "told"), str(job.lines), str(job.width)]

    def begin(self, jobs: Sequence[Job]) -> Self:
        """Start, and wait until every flood stands at the gate."""
        self.start(jobs)
        self.floods = [int(words[1]) for words in self._hear("ready", len(jobs), 60.0)]
        if len(self.floods) < len(jobs):
            raise BenchError(f"{self.name}: {len(jobs) - len(self.floods)} floods did not start")
        return self

    def open_gate(self) -> None:
        """Let all floods go."""
        self._opened = os.open(self.gate, os.O_WRONLY | os.O_CLOEXEC)

    def done(self, count: int, seconds: float) -> list[Done]:
        """What the floods said at their end; fewer where time is up."""
        return [Done(*map(int, words[1:])) for words in self._hear("done", count, seconds)]

    def kept(self, name: str) -> int:
        """Bytes that its files hold now."""
        size = 0
        for file in self.files(name):
            with contextlib.suppress(FileNotFoundError):  # it is being rotated
                size += file.stat().st_size
        return size

    def whole(self, job: Job) -> int:
        """Lines that stand in the files whole, in order and once, up to the first that does not; -1: too many."""
        argv = [str(self.flood), "check", str(job.lines), str(job.width)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as checker:
            assert checker.stdin is not None
            assert checker.stdout is not None
            with contextlib.suppress(BrokenPipeError), checker.stdin as pipe:
                for file in self.files(job.name):
                    with file.open("rb") as kept:
                        shutil.copyfileobj(kept, pipe, 1 << 20)
            return int(checker.stdout.read())

    def found(self, job: Job) -> int:
        """Different lines of the flood that stand somewhere in its files whole."""
        rest = b"x" * (job.width - 11) + b"\n"
        numbers: set[bytes] = set()
        for file in self.files(job.name):
            with file.open("rb") as kept:
                numbers.update(line[:10] for line in kept if len(line) == job.width and line[10:] == rest)
        return len(numbers)

    def dropped(self) -> int | None:
        """Lines that the tool says it dropped; None: it says nothing of the kind."""
        return None

    def memory(self) -> int:
        """Bytes that the tool holds now: its resident pages."""
        return sum(_resident(pid) for pid in self.own())

    def _hear(self, word: str, count: int, seconds: float) -> list[list[str]]:
        heard: list[list[str]] = []
        end = time.monotonic() + seconds
        while len(heard) < count and select.select([self._told], [], [], max(0.0, end - time.monotonic()))[0]:
            *lines, self._rest = (self._rest + os.read(self._told, 65536)).split(b"\n")
            heard += [words for line in lines if (words := line.decode().split())[0] == word]
        return heard

    def _popen(self, argv: Sequence[str], stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL) -> int:
        process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, cwd=self.folder)
        self._started.append(process)
        return process.pid

    def close(self) -> None:
        """End what was started, floods first, and delete what was kept."""
        ours = {process.pid for process in self._started}
        for pid in self.floods:
            if pid not in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        for process in reversed(self._started):
            process.kill()
            process.wait()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # floods whose keeper is gone come to us
                pass
        for fd in (self._told, self._opened):
            if fd >= 0:
                os.close(fd)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Piped(Capture):
    """A process for each flood that reads a pipe."""

    def start(self, jobs: Sequence[Job]) -> None:
        self._own = []
        for job in jobs:
            read, write = os.pipe()
            self.where(job.name).mkdir(parents=True)
            self.prepare(self.where(job.name))
            self._own.append(self._popen(self.keeper(self.where(job.name)), stdin=read))
            self._popen(self.argv(job), stdout=write)
            os.close(read)
            os.close(write)

    def where(self, name: str) -> Path:
        """The directory of one flood's files."""
        return self.folder / "kept" / name

    def prepare(self, where: Path) -> None:
        """What else must stand there."""

    @abstractmethod
    def keeper(self, where: Path) -> list[str]:
        """The command that keeps its stdin in a directory."""

    def own(self) -> list[int]:
        return self._own

    def files(self, name: str) -> list[Path]:
        newest = self.where(name) / "current"
        return [*sorted(self.where(name).glob("@*")), *([newest] if newest.exists() else [])]


class Cat(_Piped):
    """`cat > file`: the limit. It rotates nothing."""

    name = "cat > file"

    def keeper(self, where: Path) -> list[str]:
        return ["sh", "-c", 'exec cat > "$1"', "sh", str(where / "current")]


class Svlogd(_Piped):
    """runit's."""

    name = "svlogd"

    def prepare(self, where: Path) -> None:
        (where / "config").write_text(f"s{ROTATED_AT}\nn{KEEP}\n")

    def keeper(self, where: Path) -> list[str]:
        return ["svlogd", str(where)]


class S6Log(_Piped):
    """s6's."""

    name = "s6-log"

    def keeper(self, where: Path) -> list[str]:
        return ["s6-log", f"n{KEEP}", f"s{ROTATED_AT}", str(where)]


class Multilog(_Piped):
    """daemontools'. A file of its holds 16 MB at most."""

    name = "multilog"

    def keeper(self, where: Path) -> list[str]:
        return ["multilog", f"n{KEEP}", f"s{min(ROTATED_AT, 16_777_215)}", str(where)]


class _Supervised(Capture):
    """One process that runs all floods; its files are NAME.log, NAME.log.1 and so on, the oldest last."""

    def own(self) -> list[int]:
        return [process.pid for process in self._started]

    def files(self, name: str) -> list[Path]:
        rotated = self.folder.glob(f"{name}.log.*")
        newest = self.folder / f"{name}.log"
        return [*sorted(rotated, key=lambda f: -int(f.suffix[1:])), *([newest] if newest.exists() else [])]


class Supervisord(_Supervised):
    """From PyPI, as in `peers`."""

    name = "supervisord"

    def start(self, jobs: Sequence[Job]) -> None:
        lines = ["[supervisord]", "nodaemon=true", f"logfile={self.folder}/s.log", f"pidfile={self.folder}/s.pid"]
        for job in jobs:
            lines += [
                f"[program:{job.name}]",
                f"command={' '.join(self.argv(job))}",
                "autorestart=false",
                "redirect_stderr=true",
                f"stdout_logfile={self.folder}/{job.name}.log",
                f"stdout_logfile_maxbytes={ROTATED_AT}",
                f"stdout_logfile_backups={KEEP}",
            ]
        (self.folder / "s.conf").write_text("\n".join(lines) + "\n")
        self._popen([str(VENV / "bin/supervisord"), "-c", str(self.folder / "s.conf")])


class Circus(_Supervised):
    """From PyPI, as in `peers`."""

    name = "circus"

    def start(self, jobs: Sequence[Job]) -> None:
        lines = [
            "[circus]",
            f"endpoint = ipc://{self.folder}/c.sock",
            f"pubsub_endpoint = ipc://{self.folder}/p.sock",
            "warmup_delay = 0",
        ]
        for job in jobs:
            lines += [
                f"[watcher:{job.name}]",
                f"cmd = {' '.join(self.argv(job))}",
                "copy_env = True",
                "respawn = False",
                "stdout_stream.class = FileStream",
                f"stdout_stream.filename = {self.folder}/{job.name}.log",
                f"stdout_stream.max_bytes = {ROTATED_AT}",
                f"stdout_stream.backup_count = {KEEP}",
            ]
        (self.folder / "c.ini").write_text("\n".join(lines) + "\n")
        self._popen([str(VENV / "bin/circusd"), str(self.folder / "c.ini")])


class Relctl(Capture):
    """relctl's logger, as the daemon starts it; a FIFO that the flood holds open as a VM does."""

    name = "relctl"
    compress: str | None = None

    def start(self, jobs: Sequence[Job]) -> None:
        self._rig = LoggerRig(self.folder / "log")
        for job in jobs:
            self._rig.add(job.name, max_size=ROTATED_AT, compress=self.compress)
        self._own = [self._rig.start().pid]
        at_work = [self._rig.run / "releases" / job.name / "log.json" for job in jobs]
        wait_until(lambda: all(file.exists() for file in at_work), what="the logger")  # as the others: it runs already
        for job in jobs:
            self._popen(self.argv(job), stdout=self._rig.fds[job.name])

    def own(self) -> list[int]:
        return self._own

    def files(self, name: str) -> list[Path]:
        return self._rig.files(name)

    def dropped(self) -> int | None:
        return sum(self._rig.counters(name).lines_dropped for name in self._rig.policies)

    def memory(self) -> int:
        """With what waits in memory files for the disk."""
        claimed = self._rig.run.glob("releases/*/claimed")
        return super().memory() + sum(file.stat().st_blocks * 512 for file in claimed)

    def close(self) -> None:
        super().close()
        self._rig.close()


def wanted(rig: Rig) -> list[type[Capture]]:
    """The tools that can run here, relctl and cat first; a word on each that cannot. `--only relctl`: these two."""
    if {driver.name for driver in rig.drivers} == {"relctl"}:
        return [Relctl, Cat]
    needs: dict[type[Capture], str | None] = {
        Svlogd: shutil.which("svlogd"),
        S6Log: shutil.which("s6-log"),
        Multilog: shutil.which("multilog"),
        Supervisord: shutil.which(VENV / "bin/supervisord"),
        Circus: shutil.which(VENV / "bin/circusd"),
    }
    for tool in (tool for tool, program in needs.items() if not program):
        print(f"absent: {tool.name}")
    return [Relctl, Cat, *(tool for tool, program in needs.items() if program)]


def cpu_ns(pids: Sequence[int]) -> int:
    """Processor time of these processes, ended threads included: CPUCLOCK_SCHED of each, see clock_getcpuclockid(3)."""
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def _resident(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0
