"""The gate: a tiny `sh` that waits for a byte before it becomes the release.

While it waits, the daemon records the pid and places it in its cgroup, so no moment exists at which a VM runs
unrecorded or uncontained; end of file (the daemon is gone) ends it. Nothing of Python runs between fork and exec:
user, groups, umask and cwd are set by C code of `subprocess`, the limits here.

The gate names itself `relctl-gate` (/proc/PID/comm); exec changes that. So a process that ends by that name never
became the release, whatever its exit code.
"""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMM = "relctl-gate"

# 126 and 127 are the shell's own codes for an exec that failed; 125 says that the daemon never opened the gate.
_SCRIPT = """echo relctl-gate 2>/dev/null >/proc/$$/comm
read -r go || exit 125
echo 0 2>/dev/null >/proc/$$/oom_score_adj
{limits}exec "$@" </dev/null"""


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
    """A process that waits at its gate. `go` is the write end of its pipe."""

    pid: int
    go: int

    def open(self) -> None:
        """Let it become the release. Raises OSError where it is gone already."""
        try:
            os.write(self.go, b"\n")
        finally:
            os.close(self.go)

    def shut(self) -> None:
        """End it: it reads end of file."""
        with contextlib.suppress(OSError):
            os.close(self.go)


def raise_gate(
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    cwd: Path,
    umask: int,
    output: int,
    identity: Identity | None,
    limits: tuple[str, ...] = (),
) -> Gate:
    """Start the gate of `argv` in a session of its own; raises OSError with the reason.

    `output` is the fd of stdout and stderr; `limits` are lines of `ulimit`, see `limit_lines`.
    """
    script = _SCRIPT.format(limits="".join(f"{line}\n" for line in limits))
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, "relctl-gate", *argv],
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
    return Gate(process.pid, write)


def limit_lines(nofile: int | None, core: int | None, soft_nofile: int) -> tuple[str, ...]:
    """What the gate says to `ulimit`. A limit above the hard one is met as far as it goes (`doctor` tells).

    `soft_nofile` is what the daemon was given: it raises its own, its children get the original.
    """
    wanted = soft_nofile if nofile is None else nofile
    which = "-S " if nofile is None else ""
    lines = [f"ulimit {which}-n {wanted} 2>/dev/null || ulimit -S -n $(ulimit -H -n)"]
    if core is not None:
        lines.append(f"ulimit -c {core // 512} 2>/dev/null")
    return tuple(lines)


def why_not_executed(argv: tuple[str, ...], cwd: Path) -> str:
    """The reason, in words, why an exec of `argv` fails; from the files, after the fact."""
    program = Path(argv[0])
    path = program if program.is_absolute() else cwd / program
    text = shlex.quote(str(path))
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        return f"{text}: {(error.strerror or str(error)).lower()}"
    if head.startswith(b"#!"):
        interpreter = head[2:].split(b"\n")[0].split()
        if interpreter and not Path(os.fsdecode(interpreter[0])).exists():
            return f"{text}: its interpreter {os.fsdecode(interpreter[0])} does not exist"
    if not os.access(path, os.X_OK):
        return f"{text}: not executable"
    return f"{text}: cannot be executed by its user, or is no program for this machine"
