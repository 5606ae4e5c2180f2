"""The gate: a tiny `sh` that waits for a byte before it becomes the release.

While it waits, the daemon records the pid and places it in its cgroup, so no moment exists at which a VM runs
unrecorded or uncontained; end of file (the daemon is gone) ends it. Nothing of Python runs between fork and exec:
user, groups, umask and cwd are set by C code of `subprocess`, the limits here.

The gate names itself `relctl-gate` (/proc/PID/comm); exec changes that. So a process that ends by that name never
became the release, whatever its exit code.

It may wait long: all that takes time is done before. One variable may be named whose value comes only with the opening.

The environment goes through the shell as it is, but for what a shell keeps for itself (IFS, OPTIND, PPID, PS4, PWD,
_). Of its own it adds nothing (dash), or SHLVL=0 (bash).
"""

import contextlib
import errno
import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from relctld.failpoints import Failpoint, reach

COMM = "relctl-gate"
SHELL = "/bin/sh"

# 126 and 127 are the shell's own codes for an exec that failed; 125 says that the daemon never opened the gate.
_SCRIPT = """printf relctl-gate 2>/dev/null >/proc/$$/comm
echo 0 2>/dev/null >/proc/$$/oom_score_adj
{lines}{wait} || exit 125
exec "$@" </dev/null"""
_SHELLS_OWN = ("PWD", "OLDPWD", "SHLVL")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process runs as. None: as the daemon does."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A process that waits at its gate. `go` is the write end of its pipe; it ends with `open` or with `shut`."""

    pid: int
    go: FileIO

    def open(self, value: str = "") -> None:
        """Let it become the release; `value` is that of its late variable.

        Raises OSError where it is gone already; it is still to be shut then.
        """
        reach(Failpoint.BEFORE_OPEN)
        self.go.write(os.fsencode(value) + b"\n")
        reach(Failpoint.AFTER_OPEN)
        self.go.close()

    def shut(self) -> None:
        """End it, unless it was opened: it reads end of file."""
        self.go.close()


def raise_gate(
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    cwd: Path,
    umask: int,
    output: int,
    identity: Identity | None,
    limits: tuple[str, ...] = (),
    late: str | None = None,
) -> Gate:
    """Start the gate of `argv` in a session of its own; raises OSError with the reason.

    `output` is the fd of stdout and stderr; `limits` are lines of `ulimit`, see `limit_lines`; `late` names a variable
    of the environment whose value, one line, comes with the opening.
    """
    program = cwd / argv[0]
    if _is_foreign(program):
        raise OSError(errno.ENOEXEC, "no program for this machine", str(program))
    unset = [f"unset {' '.join(names)}"] if (names := [name for name in _SHELLS_OWN if name not in env]) else []
    wait = f"IFS= read -r {late} && export {late}" if late else "read -r _"
    script = _SCRIPT.format(lines="".join(f"{line}\n" for line in (*unset, *limits)), wait=wait)
    read, write = os.pipe2(os.O_CLOEXEC)
    reach(Failpoint.BEFORE_GATE)
    try:
        process = subprocess.Popen(
            [SHELL, "-c", script, "relctl-gate", *argv],
            stdin=read,
            stdout=output,
            stderr=output,
            env=dict(env),
            cwd=cwd,
            umask=umask,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=list(identity.groups) if identity else None,
            start_new_session=True,
        )
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    process.returncode = 0  # the reaper waits for it; Popen must not
    reach(Failpoint.AFTER_GATE)
    return Gate(process.pid, FileIO(write, "w"))


def ignore_nothing() -> None:
    """Handle, by doing nothing, every signal that this process ignores. Only in the main thread.

    exec resets a handler, but what is ignored stays so in all children, and a shell may not undo it. SIGPIPE and
    SIGXFSZ, which Python ignores, are reset by `subprocess`.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def limit_lines(nofile: int | None, core: int | None, soft_nofile: int) -> tuple[str, ...]:
    """What the gate says to `ulimit`. A limit above the hard one is met as far as it goes (`doctor` tells).

    `soft_nofile` is what the daemon was given: it raises its own, its children get the original.
    """
    wanted = soft_nofile if nofile is None else nofile
    which = "-S " if nofile is None else ""
    lines = [f"ulimit {which}-n {wanted} 2>/dev/null || ulimit -S -n $(ulimit -H -n)"]
    if core is not None:
        lines.append(f"ulimit -c {core // 512} 2>/dev/null || ulimit -S -c $(ulimit -H -c)")
    return tuple(lines)


def why_not_executed(argv: tuple[str, ...], cwd: Path) -> str:
    """The reason, in words, why an exec of `argv` fails; from the files, after the fact."""
    program = cwd / argv[0]
    text = shlex.quote(str(program))
    try:
        head = _head(program)
    except OSError as error:
        return f"{text}: {(error.strerror or str(error)).lower()}"
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].replace(b"\t", b" ").split(b" ")
        interpreter = next((os.fsdecode(word) for word in words if word), "")
        if interpreter.endswith("\r"):
            return f"{text}: its first line ends with CRLF, and no interpreter has a name like that"
        if interpreter and not os.path.exists(interpreter):
            return f"{text}: its interpreter {interpreter} does not exist"
    if not os.access(program, os.X_OK):
        return f"{text}: not executable"
    return f"{text}: cannot be executed by its user, or is no program for this machine"


def _head(program: Path) -> bytes:
    """How a regular file begins; never waited for (it may be a FIFO). Raises OSError."""
    fd = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EACCES, "is a directory" if stat.S_ISDIR(mode) else "not a regular file")
        return os.read(fd, 256)
    finally:
        os.close(fd)


def _is_foreign(program: Path) -> bool:
    """Whether it is a binary that the kernel will refuse: dash would then go through it as a script.

    32-bit programs may run, and any may where binfmt_misc knows more. What cannot be read is the gate's to tell.
    """
    try:
        head, own = _head(program), _head(Path("/proc/self/exe"))
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if set(os.listdir("/proc/sys/fs/binfmt_misc")) - {"register", "status"}:
            return False
    if head.startswith(b"\x7fELF"):
        bits, machine = slice(4, 5), slice(18, 20)
        return head[bits] == own[bits] and head[machine] != own[machine]
    return not head or b"\0" in head.split(b"\n")[0]
