"""The gate, with real shells: what becomes of it when it opens, and that nothing does when it does not."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from relctld.host import gate, process
from relctld.host.gate import COMM, Gate, limit_lines, raise_gate, why_not_executed
from tests.host.seam import NOBODY, ROOT, Output, gone, kill, need_root, open_fds, public_folder, script
from tests.waiting import wait_until

pytestmark = pytest.mark.host

ENV = {"PATH": "/usr/bin:/bin", "PORT": "80"}
OF_THE_C_LIBRARY = 3 << 31  # signals 32 and 33, which glibc lets no program touch; our starter may ignore them
SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


class Gates:
    """Raises gates and ends what came of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = Output(folder)
        self.gates: list[Gate] = []

    def raised(self, *argv: str, env: Mapping[str, str] = ENV, **more: Any) -> Gate:
        given: dict[str, Any] = {"cwd": self.folder, "umask": 0o027, "identity": None, **more}
        raised = raise_gate(argv, env=env, output=self.output.fd, **given)
        self.gates.append(raised)
        return raised

    def opened(self, *argv: str, **more: Any) -> Gate:
        """Past its gate: its name is another's now."""
        raised = self.raised(*argv, **more)
        raised.open()
        wait_until(lambda: process.comm(raised.pid) == Path(argv[0]).name, what="exec")
        return raised

    def end(self, raised: Gate) -> tuple[int, str]:
        """Exit code (negative: signal) and last name."""
        self.gates.remove(raised)
        os.waitid(os.P_PID, raised.pid, os.WEXITED | os.WNOWAIT)
        name = process.comm(raised.pid)
        return os.waitstatus_to_exitcode(os.waitpid(raised.pid, 0)[1]), name

    def run(self, *argv: str, **more: Any) -> tuple[int, str]:
        raised = self.raised(*argv, **more)
        raised.open()
        return self.end(raised)

    def close(self) -> None:
        for raised in self.gates:
            kill(raised.pid)
            os.waitpid(raised.pid, 0)
        self.output.close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """/bin/sh is one of these; it goes by its name."""
    with public_folder() as folder:
        (folder / "sh").symlink_to(str(shutil.which(request.param)))
        monkeypatch.setattr(gate, "SHELL", str(folder / "sh"))
        yield request.param


@pytest.fixture
def gates() -> Iterator[Gates]:
    with public_folder() as folder:
        gates = Gates(folder)
        yield gates
        gates.close()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def fds(pid: int) -> dict[int, tuple[str, int]]:
    """fd to what it is and its access mode."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        flags = Path(f"/proc/{pid}/fdinfo/{name}").read_text().split("flags:")[1].split()[0]
        found[int(name)] = (os.readlink(f"/proc/{pid}/fd/{name}"), int(flags, 8) & os.O_ACCMODE)
    return found


def limit(pid: int, name: str) -> tuple[str, str]:
    """Soft and hard."""
    (line,) = (line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name))
    return tuple(line.removeprefix(name).split()[:2])  # type: ignore[return-value]


def environment(pid: int) -> dict[str, str]:
    data = Path(f"/proc/{pid}/environ").read_bytes()
    return dict(os.fsdecode(entry).split("=", 1) for entry in data.split(b"\0") if entry)


def added_by(shell: str) -> dict[str, str]:
    """What the docstring of the gate admits."""
    return {"SHLVL": "0"} if shell == "bash" else {}


def test_a_vm_gets_what_is_listed_here_and_nothing_else(gates: Gates, shell: str) -> None:
    ends = socket.socketpair()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN), signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        for end in ends:
            end.set_inheritable(True)
        os.environ["NOTIFY_SOCKET"] = "/run/none"
        gate.ignore_nothing()
        pid = gates.opened("/bin/sleep", "60").pid
    finally:
        del os.environ["NOTIFY_SOCKET"]
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGQUIT, before[1])
        for end in ends:
            end.close()
    out = str(gates.output.path)
    assert fds(pid) == {0: ("/dev/null", os.O_RDONLY), 1: (out, os.O_RDWR), 2: (out, os.O_RDWR)}
    said = status(pid)
    masks = {int(said[key], 16) & ~OF_THE_C_LIBRARY for key in ("SigPnd", "SigBlk", "SigIgn", "SigCgt")}
    assert masks == {0}
    assert said["Umask"] == "0027"
    assert environment(pid) == ENV | added_by(shell)
    assert os.readlink(f"/proc/{pid}/cwd") == str(gates.folder)
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\0" + b"60\0"
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
    assert limit(pid, "Max open files") == limit(os.getpid(), "Max open files")


def test_values_of_the_environment_are_not_touched(gates: Gates, shell: str) -> None:
    env = ENV | {
        "EMPTY": "",
        "LINES": "a\nb\n",
        "QUOTES": """'"`$HOME\\""",
        "UMLAUT": "grüße ☃",
        "BYTES": os.fsdecode(b"\xff\xfe"),
        "go": "mine",
        "ENV": "/nonexistent",
        "HOME": "/home/web",
    }
    pid = gates.opened("/bin/sleep", "60", env=env).pid
    assert environment(pid) == env | added_by(shell)


def test_names_and_arguments_survive(gates: Gates, shell: str) -> None:
    name = gates.folder / "a b'c\"d\n$HOME *;ü"
    script(name, '#!/bin/sh\nprintf \'%s\\0\' "$0" "$@"\n')
    arguments = ["", " ", "a b", "'", '"', "\n", "$HOME", "`id`", "*", "-n", "--", "\\", "☃", os.fsdecode(b"\xff")]
    assert gates.run(str(name), *arguments)[0] == 0
    assert gates.output.read() == b"".join(os.fsencode(word) + b"\0" for word in (str(name), *arguments))


def test_a_relative_program_is_below_the_directory(gates: Gates) -> None:
    script(gates.folder / "here", "#!/bin/sh\necho here\n")
    assert gates.run("./here")[0] == 0
    assert gates.output.read() == b"here\n"


def test_another_user_with_its_groups(gates: Gates, shell: str) -> None:
    need_root("another user")
    pid = gates.opened("/bin/sleep", "60", identity=NOBODY).pid
    said = status(pid)
    assert said["Uid"].split() == ["65534"] * 4
    assert said["Gid"].split() == ["65534"] * 4
    assert said["Groups"].split() == ["4", "24"]
    assert said["CapEff"] == "0" * 16
    assert said["NoNewPrivs"] == "0"


def test_limits_are_soft_and_hard(gates: Gates, shell: str) -> None:
    pid = gates.opened("/bin/sleep", "60", limits=limit_lines(100, 1_048_576, 64)).pid
    assert limit(pid, "Max open files") == ("100", "100")
    assert limit(pid, "Max core file size") == ("1048576", "1048576")


def test_without_a_limit_it_gets_what_the_daemon_was_given(gates: Gates, shell: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    pid = gates.opened("/bin/sleep", "60", limits=limit_lines(None, None, 77)).pid
    assert limit(pid, "Max open files") == ("77", str(hard))
    assert limit(pid, "Max core file size") == limit(os.getpid(), "Max core file size")


def test_a_limit_above_the_hard_one_is_met_as_far_as_it_goes(gates: Gates, shell: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    lines = ("ulimit -H -c 8", *limit_lines(hard + 1, 1_048_576, 64))
    # What root may not raise, its release's user may even less.
    pid = gates.opened("/bin/sleep", "60", limits=lines, identity=NOBODY if ROOT else None).pid
    assert limit(pid, "Max open files") == (str(hard), str(hard))
    assert limit(pid, "Max core file size") == ("4096", "4096")


# -- what cannot be executed -------------------------------------------------------------------


def nothing(path: Path) -> None:
    """No file."""


def no_interpreter(path: Path) -> None:
    script(path, "#!\t/nonexistent/sh -e\n")


def dos_line_ends(path: Path) -> None:
    script(path, "#!/bin/sh\r\necho\r\n")


def no_x_bit(path: Path) -> None:
    path.write_text("#!/bin/sh\n")


def a_fifo(path: Path) -> None:
    os.mkfifo(path, 0o755)


def below_a_file(path: Path) -> None:
    """Its directory is none."""


REASONS: list[tuple[Callable[[Path], object], str, int, str]] = [
    (nothing, "web", 127, "no such file or directory"),
    (no_interpreter, "web", 127, "its interpreter /nonexistent/sh does not exist"),
    (dos_line_ends, "web", 127, "its first line ends with CRLF, and no interpreter has a name like that"),
    (no_x_bit, "web", 126, "not executable"),
    (Path.mkdir, "web", 126, "is a directory"),
    (a_fifo, "web", 126, "not a regular file"),
    (below_a_file, "out/web", 127, "not a directory"),
]


@pytest.mark.parametrize(("make", "name", "code", "why"), REASONS, ids=[row[0].__name__ for row in REASONS])
def test_what_cannot_be_executed_never_had_another_name(
    gates: Gates, shell: str, make: Callable[[Path], object], name: str, code: int, why: str
) -> None:
    program = gates.folder / name
    make(program)
    if make is not a_fifo or shell != "bash":  # bash would look for a script in it, and wait for its writer
        ended, comm = gates.run(str(program))
        assert comm == COMM
        assert ended == code or (shell == "bash" and ended in (126, 127))
    assert why_not_executed((str(program),), gates.folder) == f"{program}: {why}"
    assert why_not_executed((name,), gates.folder) == f"{program}: {why}"


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(236)


@pytest.mark.parametrize(
    "content", [b"", elf(0xBEEF), b"MZ\x90\0\3\0"], ids=["empty", "of another machine", "of another system"]
)
def test_what_no_kernel_runs_is_refused_at_once(gates: Gates, content: bytes) -> None:
    """dash would take it for a script."""
    program = gates.folder / "web"
    program.write_bytes(content)
    program.chmod(0o755)
    before = open_fds()
    with pytest.raises(OSError, match="no program for this machine") as caught:
        gates.raised(str(program))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOEXEC, str(program))
    assert open_fds() == before


def test_a_text_without_a_first_line_of_its_own_is_a_script(gates: Gates, shell: str) -> None:
    script(gates.folder / "web", "echo plain\n")
    assert gates.run(str(gates.folder / "web"))[0] == 0
    assert gates.output.read() == b"plain\n"


def test_a_program_that_ends_with_127_itself_is_told_apart(gates: Gates) -> None:
    script(gates.folder / "web", "#!/bin/sh\nexit 127\n")
    assert gates.run(str(gates.folder / "web")) == (127, "web")


def test_why_is_found_where_the_interpreter_is_out_of_sight(gates: Gates) -> None:
    """Asked as a user who may not enter the interpreter's directory."""
    need_root("another user")
    (gates.folder / "hidden").mkdir(mode=0o700)
    script(gates.folder / "web", f"#!{gates.folder}/hidden/sh\n")
    asked = "import sys; from pathlib import Path; from relctld.host.gate import why_not_executed as w;"
    asked += "print(w((sys.argv[1],), Path('/')))"
    argv = [sys.executable, "-c", asked, str(gates.folder / "web")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[])
    assert done.stdout == f"{gates.folder}/web: its interpreter {gates.folder}/hidden/sh does not exist\n", done.stderr


# -- what ends at the gate ---------------------------------------------------------------------


def test_end_of_file_ends_the_gate_and_runs_nothing(gates: Gates, shell: str) -> None:
    raised = gates.raised("/usr/bin/touch", str(gates.folder / "touched"))
    raised.shut()
    assert gates.end(raised) == (125, COMM)
    assert not (gates.folder / "touched").exists()


_DIES = """
import os, sys, signal
from pathlib import Path
from relctld.host.gate import raise_gate
argv = ("/usr/bin/touch", sys.argv[1] + "/touched")
gate = raise_gate(argv, env={}, cwd=Path("/"), umask=0o22, output=1, identity=None)
print(gate.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_daemon_that_dies_before_it_opens_leaves_nothing(gates: Gates) -> None:
    argv = [sys.executable, "-c", _DIES, str(gates.folder)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=20)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: gone(int(done.stdout)), what="the end of the gate")
    assert not (gates.folder / "touched").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_gate(gates: Gates, shell: str, number: signal.Signals) -> None:
    raised = gates.raised("/usr/bin/touch", str(gates.folder / "touched"))
    wait_until(lambda: process.comm(raised.pid) == COMM, what="the gate")
    os.kill(raised.pid, number)
    assert gates.end(raised) == (-number, COMM)
    before = open_fds()
    with pytest.raises(BrokenPipeError):
        raised.open()
    # The number is still ours, and closed once: another thread's file might have it by then.
    assert open_fds() == before
    go = raised.go.fileno()
    raised.shut()
    assert open_fds() == before - {go}
    assert not (gates.folder / "touched").exists()


def test_what_cannot_even_be_raised_leaves_no_descriptor(gates: Gates) -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gates.raised("/bin/true", cwd=gates.folder / "nowhere")
    with pytest.raises(OSError, match="too long"):
        gates.raised("/bin/true", "x" * 3_000_000)
    assert open_fds() == before


def test_the_pipe_is_no_childs(gates: Gates) -> None:
    """Were a second child to hold the write end, the death of the daemon would leave the first gate standing."""
    first = gates.raised("/bin/true")
    second = gates.opened("/bin/sleep", "60")
    assert not any(name.startswith("pipe:") for name, _ in fds(second.pid).values())
    first.shut()
    assert gates.end(first) == (125, COMM)


def test_the_fifo_stays_a_fifo(gates: Gates) -> None:
    assert stat.S_ISFIFO(os.fstat(gates.output.fd).st_mode)
