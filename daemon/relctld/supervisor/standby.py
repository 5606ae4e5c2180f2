"""A gate that stands by for each running release: contained already, it needs only a byte to become the next VM.

What takes most of a restart's time is the start of a shell and its move into a cgroup (the kernel waits for all
processors). So it is done while the VM runs. Nothing is trusted to have stayed as it was: the launch reads its recipe
anew, and a gate that was raised for another one is let go (`launcher`).

Rule 1: one gate a release, raised when the release comes to run, for the epoch after; never two.
Rule 2: a release that rests, or is on its way there, has none: "stopped" means that no process is left.
Rule 3: who takes a gate owns it. Its end is told to whoever has it then.
Rule 4: it runs as the release's user, who may stop it or open it. So one that is let go is killed, with all that is in
        its cgroup, and one that is no gate any more is not used.
"""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from relctld.core.spec import Restart
from relctld.core.state import QUIET, ExitStatus, State, Want
from relctld.failpoints import Failpoint, reach
from relctld.host import process
from relctld.host.containment import Containment
from relctld.host.reaper import OnExit, Reaper
from relctld.supervisor.launcher import Launcher, Raised
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Place

log = structlog.get_logger()

_AT_ONCE = 4


class Standby:
    """A raised gate under the reaper's eyes."""

    def __init__(self, raised: Raised) -> None:
        self.raised = raised
        self._end: tuple[ExitStatus, str] | None = None
        self._tell: OnExit | None = None

    def ended(self, status: ExitStatus, comm: str) -> None:
        """The reaper's word; the pidfd is closed now."""
        self._end = status, comm
        if self._tell is not None:
            self._tell(status, comm)

    @property
    def watched(self) -> bool:
        """Whether somebody took it for a VM."""
        return self._tell is not None

    def watch(self, tell: OnExit) -> None:
        """From now on its end is `tell`'s; at once where it came already."""
        self._tell = tell
        if self._end is not None:
            tell(*self._end)

    @property
    def alive(self) -> bool:
        return self._end is None


class Standbys:
    """Keeps the gates. On the loop's thread; they are raised by a few threads: nothing is in a hurry."""

    def __init__(self, launcher: Launcher, reaper: Reaper, containment: Containment) -> None:
        self._launcher = launcher
        self._reaper = reaper
        self._containment = containment
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="standby")
        self._broom = ThreadPoolExecutor(1, thread_name_prefix="broom")
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, Standby] = {}
        self._ordered: dict[str, int] = {}
        self._closed = False

    def stepped(self, managed: Managed) -> None:
        """A release changed its state: it may need a gate, or need it no more."""
        state, name = managed.state, managed.name
        held = self._held.get(name)
        over = state.state in QUIET or state.want is Want.DOWN or state.halted
        if held is not None and (over or held.raised.epoch < state.epoch):
            self.let_go(name)
        elif held is None and _wanted(managed) and self._ordered.get(name) != state.epoch + 1 and not self._closed:
            self._ordered[name] = state.epoch + 1
            spec, place = managed.spec, Place(managed.folder, managed.log_folder)
            work = self._loop.run_in_executor(
                self._pool, partial(self._launcher.raise_ahead, spec, place, state.epoch + 1)
            )
            work.add_done_callback(lambda done: self._raised(managed, done))

    def take(self, name: str, epoch: int) -> Standby | None:
        """The gate for this epoch, which is the caller's now."""
        held = self._held.pop(name, None)
        if held is not None and held.alive and held.raised.epoch == epoch:
            return held
        if held is not None:
            self.dismiss(name, held)
        return None

    def let_go(self, name: str) -> None:
        """End the gate of this release, if it has one."""
        self._ordered.pop(name, None)
        if (held := self._held.pop(name, None)) is not None:
            self.dismiss(name, held)

    def dismiss(self, name: str, standby: Standby) -> None:
        """End a gate that is nobody's, whatever became of it."""
        raised = standby.raised
        reach(Failpoint.BEFORE_DISMISS)
        raised.gate.shut()
        if standby.alive:
            process.send(raised.pidfd, signal.SIGKILL)
        reach(Failpoint.AFTER_DISMISS)
        self._broom.submit(self._containment.empty, name, raised.epoch, raised.vm.instance, gentle=False)

    def close(self) -> None:
        """End all gates, and raise none any more."""
        self._closed = True
        for name in tuple(self._held):
            self.let_go(name)

    def _raised(self, managed: Managed, done: asyncio.Future[Raised]) -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            log.debug("standby.failed", release=managed.name, error=str(error))  # the start itself will say why
            return
        standby = Standby(done.result())
        self._reaper.watch(standby.raised.vm.pid, standby.raised.pidfd, standby.ended)
        if self._closed or managed.name in self._held or standby.raised.epoch != managed.state.epoch + 1:
            self.dismiss(managed.name, standby)
        else:
            self._held[managed.name] = standby
            self.stepped(managed)  # what happened meanwhile


def _wanted(managed: Managed) -> bool:
    """Whether a restart may follow: it runs well, and an end of it would not be the last."""
    state, spec = managed.state, managed.spec
    up = state.state is State.RUNNING and state.want is Want.UP and not state.halted
    return up and spec.restart is not Restart.TEMPORARY and not managed.unconfigured
