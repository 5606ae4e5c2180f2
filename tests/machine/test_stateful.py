"""Hypothesis plays host, operators and fate against one release; `host.py` asserts the promises of DESIGN §7.

`RELCTL_TESTS=long` looks much longer.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.lifecycle import next_deadline
from relctld.core.probes import WELL, Finding, Verdict
from relctld.core.spec import ReleaseSpec
from relctld.core.state import TRANSIENT, ExitStatus, Launch, Op, ReleaseState, State, Want
from tests.asked import LONG
from tests.machine.explore import LINKED, PLAIN, REPORTING, RICH
from tests.machine.host import NAME, ModelHost

ENOUGH = 200  # steps of a host that does all it is told, until every release must be at rest
STATUS = st.sampled_from([ExitStatus(0), ExitStatus(1), ExitStatus(signal="SIGSEGV"), ExitStatus()])

SPECS = [PLAIN, RICH, REPORTING, LINKED]


class OneRelease(RuleBasedStateMachine):
    """One release, whatever happens."""

    host: ModelHost

    @initialize(spec=st.sampled_from(SPECS), want=st.sampled_from(Want), chance=st.floats(0.0, 1.0))
    def begin(self, spec: ReleaseSpec, want: Want, chance: float) -> None:
        self.host = ModelHost(spec, ReleaseState(NAME, want=want), durable=want, chance=chance)
        self.host.post(ev.Booted(NAME))

    # -- operators -------------------------------------------------------------------------------

    @rule(op=st.sampled_from(Op), by=st.sampled_from(["ann", "bob"]))
    def ask(self, op: Op, by: str) -> None:
        self.host.ask(op, by)

    @precondition(lambda self: self.host.unanswered)
    @rule()
    def repeat(self) -> None:
        self.host.repeat()

    # -- what the daemon's helpers are at comes to its end -----------------------------------------

    @precondition(lambda self: self.host.writing)
    @rule(error=st.sampled_from([None, None, "disk full"]))
    def store_answers(self, error: str | None) -> None:
        self.host.store_answers(error)

    @precondition(lambda self: self.host.hooking is not None)
    @rule(error=st.sampled_from([None, None, "exit code 1"]))
    def hook_ends(self, error: str | None) -> None:
        self.host.hook_ends(error)

    @precondition(lambda self: self.host.spawning is not None)
    @rule(failed=st.booleans(), nothing_installed=st.booleans())
    def spawn_fails(self, failed: bool, nothing_installed: bool) -> None:
        self.host.spawn_ends(failed, nothing_installed)

    @precondition(lambda self: self.host.spawning is not None)
    @rule()
    def spawn_succeeds(self) -> None:
        self.host.spawn_ends()

    @precondition(lambda self: self.host.sweeping is not None)
    @rule(survivors=st.booleans())
    def sweep_ends(self, survivors: bool) -> None:
        self.host.sweep_ends(survivors)

    @precondition(lambda self: self.host.asking is not None)
    @rule(verdict=st.sampled_from(Verdict), credible=st.booleans())
    def probe_ends(self, verdict: Verdict, credible: bool) -> None:
        self.host.probe_ends(Finding(verdict, "so"), credible)

    @precondition(lambda self: self.host.process is not None)
    @rule(incarnation=st.sampled_from(["1.0", "2.0"]))
    def node_links(self, incarnation: str) -> None:
        self.host.link(incarnation)

    # -- the VM ----------------------------------------------------------------------------------

    @precondition(lambda self: self.host.process is not None)
    @rule(status=STATUS, left=st.integers(0, 2))
    def vm_ends(self, status: ExitStatus, left: int) -> None:
        self.host.vm_ends(status, left)

    # -- time, and the daemon --------------------------------------------------------------------

    @rule(times=st.integers(1, 4))
    def time_passes(self, times: int) -> None:
        """And nothing happens but what is due."""
        for _ in range(times):
            if next_deadline(self.host.state) is not None:
                self.host.tick()

    @rule(seconds=st.floats(0.0, 100.0))
    def late(self, seconds: float) -> None:
        """The clock jumps: the loop was late, or the host was paused."""
        self.host.now += seconds
        self.host.post(ev.Tick(NAME))

    @rule(spec=st.sampled_from(SPECS))
    def reload(self, spec: ReleaseSpec) -> None:
        self.host.reload(spec)

    @precondition(lambda self: not self.host.state.halted)
    @rule()
    def halt(self) -> None:
        self.host.post(ev.Halted(NAME))

    @rule(after=st.none() | st.integers(0, 6), spawned=st.booleans(), written=st.booleans(), vm_dies=st.booleans())
    def daemon_dies(self, after: int | None, spawned: bool, written: bool, vm_dies: bool) -> None:
        """Now, or after so many effects, in the middle of a step."""
        if after is None:
            self.host.daemon_dies(spawned, written, vm_dies)
        else:
            self.host.die_after = after

    # -- always ----------------------------------------------------------------------------------

    @invariant()
    def what_must_be_true_is_true(self) -> None:
        if hasattr(self, "host"):
            self.host.look()

    @invariant()
    def something_will_happen(self) -> None:
        """Each transient state has a deadline, so nothing waits for ever for what may never come."""
        if hasattr(self, "host"):
            s = self.host.state
            assert s.state not in TRANSIENT or s.deadline is not None
            assert (s.launch is Launch.SPAWN) == (self.host.spawning is not None), "a spawn is not awaited"
            assert (s.launch is Launch.HOOK) == (self.host.hooking is not None), "a hook is not awaited"
            assert s.sweeping == (self.host.sweeping is not None), "a sweep is not awaited"

    def teardown(self) -> None:
        """From here on the host does all it is told: the release comes to rest as wanted, and so do those who ask."""
        if not hasattr(self, "host"):
            return
        host = self.host
        host.die_after = None
        come_to_rest(host)
        assert not host.waiting, "somebody was never answered"
        if host.state.halted:
            assert host.state.state in (State.STOPPED, State.FAILED)
            host.daemon_dies(spawned=False, written=False)
            come_to_rest(host)
        wanted = host.state.want
        host.ask(Op.START if wanted is Want.UP else Op.STOP, "ann")
        come_to_rest(host)
        assert host.state.state is (State.RUNNING if wanted is Want.UP else State.STOPPED)
        assert isinstance(host.answers[f"{Op.START if wanted is Want.UP else Op.STOP}-{host.asked}"], fx.Done)


def come_to_rest(host: ModelHost) -> None:
    """Do what was ordered, else let time pass, until nothing is left to do."""
    for _ in range(ENOUGH):
        if host.writing:
            host.store_answers(None)
        elif host.hooking is not None:
            host.hook_ends(None)
        elif host.spawning is not None:
            host.spawn_ends()
        elif host.sweeping is not None:
            host.sweep_ends()
        elif host.asking is not None:
            host.probe_ends(WELL)
        elif host.process is not None and (host.process.told or host.process.killed):
            host.vm_ends(ExitStatus(0) if host.process.told else ExitStatus(signal="SIGKILL"), left=0)
        elif host.state.state in TRANSIENT:
            host.tick()
        else:
            return
    raise AssertionError(f"it never comes to rest: {host.state}")


TestOneRelease = OneRelease.TestCase
TestOneRelease.settings = settings(
    max_examples=5000 if LONG else 250,
    stateful_step_count=60 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
