"""Re-exec, a planned crash with fds kept: the installed code is tried, then this process becomes it.

Trial   a child of the new code loads config and store read-only and says ok; else nothing happens, and it is told
Quiet   launches, durable writes and those who only look are waited for, shortly; nothing is decided any more
Kept    {name: fd} (`host.reexec`), operations.json; all else the successor reads as after kill -9
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from relctld import __version__
from relctld.control.server import RefusedError, Server
from relctld.core.notes import Note
from relctld.host import reexec
from relctld.host.reaper import Reaper
from relctld.host.records import take_operations, write_operations
from relctld.supervisor.history import History
from relctld.supervisor.parts import Parts
from relctld.supervisor.shell import Shell
from relctld.supervisor.tasks import Tasks
from relctld.supervisor.vms import SPAWN

log = structlog.get_logger()

TRIAL_WITHIN: Final = 20.0
_LAUNCHED_WITHIN: Final = 2.0
_RECORDED_WITHIN: Final = 1.0
_LOOKED_WITHIN: Final = 0.3
_LOOK_AGAIN: Final = 0.01


class Succession(NamedTuple):
    """What the successor is given: fds by name, the environment and the file limit that we were given."""

    fds: Mapping[str, int]
    environ: Mapping[str, str]
    soft_nofile: int


class Trial:
    """Tries the installed code on demand. `go`: it is fit; False where we are about to end anyway."""

    def __init__(
        self,
        *,
        run_dir: Path,
        environ: Mapping[str, str],
        reaper: Reaper,
        history: History,
        errands: Executor,
        go: Callable[[], bool],
    ) -> None:
        self._run_dir = run_dir
        self._environ = environ
        self._reaper = reaper
        self._history = history
        self._errands = errands
        self._go = go
        self._under_way = False

    async def reexec(self, by: str) -> dict[str, Any]:
        """Try it, and give way to it; who asked is answered by the successor. Raises RefusedError."""
        if self._under_way:
            raise RefusedError("busy", "a re-exec is under way")
        self._under_way = True
        try:
            tried = await asyncio.get_running_loop().run_in_executor(
                self._errands,
                reexec.try_out,
                str(self._run_dir),
                self._environ,
                TRIAL_WITHIN,
                self._reaper.spawning,
            )
            if tried.error is not None:
                self._history.report(None, Note.REEXEC_REFUSED, {"by": by, "error": tried.error})
                raise RefusedError(
                    "failed",
                    f"the installed code is not fit: {tried.error}",
                    f"relctld {__version__} goes on as it was; mend that, then ask again",
                )
            if not self._go():
                raise RefusedError("impossible", "relctld is stopping")
            fields = {"by": by, "version": tried.version, "before": __version__}
            self._history.report(None, Note.DAEMON_REEXEC, fields)
        finally:
            self._under_way = False
        await asyncio.get_running_loop().create_future()  # for ever: our successor answers
        raise AssertionError


async def become_quiet(shell: Shell, tasks: Tasks, server: Server) -> None:
    """Let what is nearly done be done."""
    await asyncio.gather(tasks.settle(SPAWN, _LAUNCHED_WITHIN), _recorded(shell), server.settle(_LOOKED_WITHIN))


async def _recorded(shell: Shell) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _RECORDED_WITHIN
    while any(m.state.recording for m in shell.releases.values()) and loop.time() < end:  # noqa: ASYNC110 the core does not tell
        await asyncio.sleep(_LOOK_AGAIN)


def leave_word(run_dir: Path, server: Server, parts: Parts) -> None:
    """Write down what was asked of us. Where that cannot be, a repeat is a request of its own."""
    operations = server.operations.to_keep()
    under_way = {body["id"] for body in operations if "args" in body}
    body = {"version": __version__, "operations": operations, "parts": parts.to_keep(under_way)}
    try:
        write_operations(run_dir, body)
    except OSError as error:
        log.error("operations.unsaved", error=str(error))


def take_word(run_dir: Path, server: Server, parts: Parts, pid: int) -> None:
    """Go on with what a former self was asked for."""
    match take_operations(run_dir):
        case {"version": str(before), "operations": list(operations), "parts": dict(kept)}:
            parts.take_over(kept)
            server.take_over(operations, {"version": __version__, "before": before, "pid": pid})
