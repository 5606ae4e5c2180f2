"""A model of the host and of the shell: what `supervisor.py` and `host/` do, without a process, a disk or a clock.

It carries out effects and keeps the truth (which VM lives, what it left, what is durable) beside what the core
believes. Every promise of DESIGN §7 that the core can keep is asserted where the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.lifecycle import check, next_deadline, step, to_keep
from relctld.core.probes import Finding
from relctld.core.spec import Hook, ReleaseSpec
from relctld.core.state import QUIET, ExitStatus, Op, ReleaseState, Request, State, Vm, Want

NAME = "web"
AT = "2024-05-01T12:00:00Z"


class DaemonDied(Exception):  # noqa: N818 not an error: it is what the test does to the daemon
    """The daemon was killed between two effects."""


@dataclass
class Process:
    """A VM of the model."""

    vm: Vm
    epoch: int
    told: bool = False
    killed: bool = False


@dataclass
class ModelHost:
    """One release on one host, under one daemon after another."""

    spec: ReleaseSpec
    state: ReleaseState = field(default_factory=lambda: ReleaseState(NAME))
    now: float = 1000.0
    chance: float = 0.5

    process: Process | None = None
    pids: int = 100
    left: int = 0

    # what the daemon's helpers are at; gone when it dies
    spawning: int | None = None
    hooking: int | None = None
    sweeping: int | None = None
    asking: int | None = None
    writing: list[fx.Record] = field(default_factory=list)

    # what outlives a daemon
    durable: Want = Want.DOWN
    saved: ReleaseState | None = None

    waiting: dict[str, Op] = field(default_factory=dict)
    unanswered: dict[str, Op] = field(default_factory=dict)
    answers: dict[str, fx.Done | fx.Refused] = field(default_factory=dict)
    asked: int = 0
    die_after: int | None = None
    reloaded: bool = False

    # -- the shell -----------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        """Let the core take one step and carry out what it orders; the daemon may die amid."""
        self.state, effects = step(self.state, event, self.spec, self.now)
        check(self.state)
        try:
            for effect in effects:
                self._carry_out(effect)
        except DaemonDied:
            self.daemon_dies(spawned=self.pids % 2 == 0, written=self.pids % 3 == 0)
        else:
            self.look()

    def _carry_out(self, effect: fx.Effect) -> None:
        if self.die_after is not None:
            if self.die_after == 0:
                self.die_after = None
                raise DaemonDied
            self.die_after -= 1
        match effect:
            case fx.Save():
                self.saved = to_keep(self.state)
            case fx.SpawnVm():
                self._spawn(effect.epoch)
            case fx.SignalVm():
                assert self.process is not None, "a signal for a VM that is gone"
                assert self.process.epoch == effect.epoch, "a signal for another VM"
                self.process.told |= effect.signal is fx.Signal.STOP
                self.process.killed |= effect.signal is fx.Signal.KILL
            case fx.Sweep():
                assert self.process is None, "a sweep beside a VM that lives"
                assert self.sweeping is None, "two sweeps at once"
                self.sweeping = effect.epoch
            case fx.RunHook(hook=Hook.PRE_START):
                assert self.hooking is None, "two pre_start hooks at once"
                self.hooking = effect.epoch
            case fx.CancelHook():
                assert self.hooking is not None, "no hook to cancel"
            case fx.AskProbe():
                assert self.asking != effect.epoch or self.reloaded, "two probes of one VM at once"
                self.asking = effect.epoch
            case fx.RecordWant() | fx.RecordRequest():
                self.writing.append(effect)
            case fx.Answer():
                self._answer(effect)
            case fx.Report() | fx.RunHook() | fx.Ignored():
                pass

    def _spawn(self, epoch: int) -> None:
        assert self.process is None, "a second VM"
        assert self.spawning is None, "a second VM is on its way"
        assert self.sweeping is None, "a sweep is under way, it may hit the new VM"
        assert not self.left, "something of the last VM is left"
        assert self.saved is not None
        assert self.saved.epoch == epoch, "a VM that no saved state knows"
        self.spawning = epoch

    def _answer(self, answer: fx.Answer) -> None:
        id_, op = answer.request.id, answer.request.op
        assert self.waiting.pop(id_, None) is op, f"{id_} is answered, and nobody waits"
        self.answers[id_] = answer.outcome
        if not isinstance(answer.outcome, fx.Done):
            return
        if op is Op.STOP:
            assert self.nothing_left(), "stop was answered before it was true"
        else:
            assert self.process is not None, "start was answered before it was true"
            assert self.process.epoch == self.state.epoch

    def nothing_left(self) -> bool:
        """The truth: no VM, none on its way, nothing left of one."""
        return self.process is None and self.spawning is None and not self.left

    def look(self) -> None:
        """What must be true at any time."""
        s = self.state
        assert s.state not in QUIET or (self.nothing_left() and self.sweeping is None), f"{s.state} is not quiet"
        assert (s.vm is None) == (self.process is None), "the core is wrong about the VM"
        assert s.state is not State.RUNNING or s.want is Want.UP, "it runs and nobody wants it"
        assert self.saved is None or self.saved == to_keep(s), "what is saved is old"
        assert set(self.waiting) == {*(w.request.id for w in s.waiters), *(r.id for r in s.recording)}
        assert self.writing or s.want is self.durable, "the want is not what is recorded"

    # -- what may happen -----------------------------------------------------------------------------

    def ask(self, op: Op, by: str) -> None:
        """An operator asks."""
        self.asked += 1
        request = Request(f"{op}-{self.asked}", op, by, self.now)
        self.waiting[request.id] = op
        self.post(ev.Requested(NAME, request))

    def repeat(self) -> None:
        """A client that was not answered by the daemon that died repeats its request."""
        id_, op = self.unanswered.popitem()
        self.waiting[id_] = op
        self.post(ev.Requested(NAME, Request(id_, op, "ann", self.now)))

    def store_answers(self, error: str | None) -> None:
        """The oldest write ends."""
        written = self.writing.pop(0)
        if isinstance(written, fx.RecordRequest):
            error = None
        elif error is None:
            self.durable = written.want
        self.post(ev.Recorded(NAME, written.request_id, error))

    def hook_ends(self, error: str | None) -> None:
        """pre_start ends."""
        epoch, self.hooking = self.hooking, None
        assert epoch is not None
        self.post(ev.HookFinished(NAME, epoch, Hook.PRE_START, error, AT, self.chance))

    def spawn_ends(self, failed: bool = False, nothing_installed: bool = False) -> None:
        """The VM is past its gate, or none came."""
        epoch, self.spawning = self.spawning, None
        assert epoch is not None
        if failed:
            self.post(ev.SpawnFailed(NAME, epoch, "no", nothing_installed, AT, self.chance))
        else:
            self.post(ev.VmSpawned(NAME, epoch, self._new(epoch)))

    def _new(self, epoch: int) -> Vm:
        self.pids += 1
        self.process = Process(Vm(self.pids, self.pids, "i"), epoch)
        return self.process.vm

    def vm_ends(self, status: ExitStatus, left: int, seen: bool = True) -> None:
        """The VM is gone and leaves `left` processes; `seen` by a daemon, or while there was none."""
        gone, self.process, self.left = self.process, None, left
        assert gone is not None
        if seen:
            self.post(ev.VmExited(NAME, gone.epoch, status, AT))

    def sweep_ends(self, survivors: bool = False) -> None:
        """The sweep ends; `survivors` in state D may be left of what was there."""
        epoch, self.sweeping = self.sweeping, None
        assert epoch is not None
        left = ("pid 7 (D)",) if survivors and self.left else ()
        self.left = len(left)
        self.post(ev.Swept(NAME, epoch, left, self.chance))

    def probe_ends(self, finding: Finding, credible: bool = True) -> None:
        """The probe answers, or misses."""
        epoch, self.asking = self.asking, None
        assert epoch is not None
        self.post(ev.Probed(NAME, epoch, finding, credible))

    def link(self, incarnation: str) -> None:
        """A link to the node stands."""
        assert self.process is not None
        self.post(ev.Linked(NAME, self.process.epoch, incarnation, AT))

    def reload(self, spec: ReleaseSpec) -> None:
        """The config changed; a probe that was asked before may still be under way."""
        before, self.spec, self.reloaded = self.spec, spec, True
        self.post(ev.Reconfigured(NAME, before))

    def tick(self) -> None:
        """The timer fires at the next deadline."""
        at = next_deadline(self.state)
        assert at is not None
        self.now = max(self.now, at)
        self.post(ev.Tick(NAME))

    def daemon_dies(self, spawned: bool, written: bool, vm_dies: bool = False) -> None:
        """kill -9; a new daemon comes up. `spawned`: the VM on its way made it; `written`: the writes did."""
        if self.spawning is not None and spawned:
            self._new(self.spawning)
        if written and (wants := [each.want for each in self.writing if isinstance(each, fx.RecordWant)]):
            self.durable = wants[-1]
        self.spawning = self.hooking = self.sweeping = self.asking = None
        self.writing.clear()
        self.unanswered |= self.waiting
        self.waiting.clear()
        if self.process is not None and vm_dies:
            self.vm_ends(ExitStatus(), left=1, seen=False)
        if self.saved is None:
            self.state = ReleaseState(NAME, want=self.durable)
            self.post(ev.Booted(NAME))
        else:
            self.state = self.saved
            vm = self.process.vm if self.process else None
            self.post(ev.Resumed(NAME, vm, self.durable, AT))
