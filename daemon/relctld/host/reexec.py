"""Re-exec: this process becomes the installed code, with its pid, its children and some of its files.

What travels is {name: fd}, in RELCTLD_KEEP of the environment:

    lock                       the flock on RUN/lock
    control.sock, events.sock  the listening sockets: connections queue meanwhile
    vm.NAME.PID                the pidfd of a release's VM: its exit status is known, whenever it ended

Rule 1: a name is a promise that is looked at again: what does not fit is closed, and found anew as after kill -9.
Rule 2: nothing else stays open: Python makes every fd close-on-exec.
Rule 3: SIGTERM and SIGINT wait from `hold_signals` until the successor listens to them.
"""

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final, NamedTuple, NoReturn

from relctld.failpoints import Failpoint, reach
from relctld.host.reaper import Spawning
from relctld.host.systemd import without_systemd

TRIAL: Final = "--reexec-trial"
"""The option by which the installed code is tried: it takes the run directory, which must be the same."""

_VARIABLE: Final = "RELCTLD_KEEP"
_HELD: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_LONGEST: Final = 500


class Tried(NamedTuple):
    """What came of a trial: the version of the installed code, or why it cannot be used."""

    version: str
    error: str | None = None


def try_out(run_dir: str, environ: Mapping[str, str], timeout: float, spawning: Spawning) -> Tried:
    """Let the installed code, as a child, say whether it could take over. Blocks."""
    try:
        reach(Failpoint.BEFORE_TRIAL)
        with spawning():
            done = subprocess.run(
                [sys.executable, *sys.orig_argv[1:], TRIAL, run_dir],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=without_systemd(environ),
                timeout=timeout,
                check=False,
            )
        reach(Failpoint.AFTER_TRIAL)
    except subprocess.TimeoutExpired:
        return Tried("", f"it did not answer within {timeout:g} s")
    except OSError as error:
        return Tried("", f"it cannot be run: {error}")
    with contextlib.suppress(ValueError):
        match json.loads(done.stdout):
            case {"version": str(version), "error": str(why)}:
                return Tried(version, why)
            case {"version": str(version), "error": None} if done.returncode == 0:
                return Tried(version)
    said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return Tried("", said[-1].strip()[:_LONGEST] if said else f"it ended with {done.returncode} and said nothing")


def hold_signals() -> None:
    """From now on SIGTERM and SIGINT are the successor's. Only in the main thread.

    They are blocked here; one that another thread takes is passed to the main thread, where it waits.
    """
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    for number in _HELD:
        signal.signal(number, lambda number, _: signal.pthread_kill(main, number))


def release_signals() -> None:
    """The successor listens: what was held comes now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def replace(kept: Mapping[str, int], environ: Mapping[str, str], soft_nofile: int) -> NoReturn:
    """Become the installed code, now. Raises OSError."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # they would end it before it listens
        signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_nofile, hard))
    for fd in kept.values():
        os.set_inheritable(fd, True)
    body = json.dumps({"pid": os.getpid(), "fds": dict(kept)}, separators=(",", ":"))
    reach(Failpoint.BEFORE_EXEC)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environ, _VARIABLE: body})  # noqa: S606 no shell


class Kept:
    """What a former self left open, or with systemd. Each is taken by whoever needs it; the rest is closed."""

    def __init__(self, fds: Mapping[str, int], stored: Mapping[str, list[int]]) -> None:
        self._fds = dict(fds)
        self._stored = {name: list(of_name) for name, of_name in stored.items()}
        self.is_successor = bool(fds)

    @classmethod
    def of(cls, environ: MutableMapping[str, str], stored: Mapping[str, list[int]]) -> "Kept":
        """From the environment, where it is removed, and from what systemd `stored`."""
        text = environ.pop(_VARIABLE, "")
        fds: dict[str, int] = {}
        with contextlib.suppress(ValueError):
            match json.loads(text):
                case {"pid": int(pid), "fds": dict(named)} if pid == os.getpid():
                    fds = {name: fd for name, fd in named.items() if type(fd) is int and fd > 2}
        for name, fd in tuple(fds.items()):
            try:
                os.set_inheritable(fd, False)
            except OSError:
                del fds[name]
        return cls(fds, stored)

    def lock(self, path: str) -> int | None:
        """The fd of the lock file, if it is that of `path`."""
        return self._take("lock", lambda fd: os.path.samestat(os.fstat(fd), os.lstat(path)))

    def listener(self, name: str) -> int | None:
        """A listening socket."""
        return self._take(name, lambda fd: stat.S_ISSOCK(os.fstat(fd).st_mode))

    def vm(self, name: str, pid: int) -> int | None:
        """The pidfd of the VM of this release."""
        return self._take(vm_name(name, pid), lambda fd: _pid_of(fd) in (pid, -1))

    def close(self) -> list[str]:
        """Nobody needs the rest; under these names some of it still lies with systemd."""
        left = list(self._stored)
        for fd in (*self._fds.values(), *(fd for fds in self._stored.values() for fd in fds)):
            os.close(fd)
        self._fds.clear()
        self._stored.clear()
        return left

    def _take(self, name: str, fits: Callable[[int], bool]) -> int | None:
        stored = self._stored.pop(name, None)
        fds = stored or []
        if name in self._fds:
            fds = [self._fds.pop(name), *fds]
        found = None
        for fd in fds:
            with contextlib.suppress(OSError):
                if found is None and fits(fd):
                    found = fd
                    continue
            os.close(fd)
        if stored and found is None:
            self._stored[name] = []  # what does not fit still lies with systemd
        return found


def vm_name(name: str, pid: int) -> str:
    """The name under which a pidfd travels, or lies with systemd."""
    return f"vm.{name}.{pid}"


def _pid_of(pidfd: int) -> int | None:
    """The process of a pidfd; -1: it was reaped; None: this is no pidfd."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("Pid:")), None)
