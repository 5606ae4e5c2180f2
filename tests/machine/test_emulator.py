"""The machine of upgrades that restart the emulator, against a model: cut short anywhere, it ends rightly all the same.

As in test_upgrade. Here VMs are launched, and what a launch brings is asked of the journal, as the launcher asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from relctld.core.emulator import after_failure, launches, next_step
from relctld.core.transaction import (
    Act,
    Disk,
    Enter,
    Finish,
    Install,
    Journal,
    Life,
    Node,
    Phase,
    Step,
    Way,
    taken_up,
)
from tests.machine.replay import follow

OLD, NEW, HYBRID = "1.0.0", "1.1.0", "__new_emulator__1.0.0"
BEGIN = Journal(
    "web", "u1", "ada", "2026-01-01T00:00:00Z", OLD, NEW, 3, "3.1", 10.0, 300.0,
    reversible=False, way=Way.EMULATOR, boot="b1",
)  # fmt: skip
ENOUGH = 60


@dataclass(frozen=True)
class Fate:
    """What the relup says, and how the world behaves where it does not do as it should."""

    hybrid: bool = False
    ends_anew: bool = False
    boots: tuple[str, ...] = (OLD, NEW, HYBRID)  # those that come up
    install: str = "ok"  # ok | before | after | never
    wrong: Phase | None = None
    ill: bool = False
    leave: bool = False
    refuses: bool = False  # no restart that is ordered is carried out before the time is up


KINDS = [Fate(hybrid=True), Fate(ends_anew=True), Fate(hybrid=True, ends_anew=True)]
BAD = [
    change
    for kind in KINDS
    for change in (
        replace(kind, install="before"),
        replace(kind, install="after"),
        replace(kind, install="never"),
        replace(kind, boots=(OLD, NEW) if kind.hybrid else (OLD,)),
        replace(kind, boots=(OLD, HYBRID)) if kind.ends_anew else replace(kind, wrong=Phase.SOAKING),
        replace(kind, wrong=Phase.INSTALLED),
        replace(kind, ill=True),
        replace(kind, refuses=True),
    )
]


@dataclass
class World:
    """A tree, what is laid ready, and a node."""

    fate: Fate
    journal: Journal
    now: float = 0.0
    host: str = "b1"
    selects: str = OLD
    unpacked: bool = False
    laid: str | None = None
    listed: set[str] = field(default_factory=lambda: {OLD})
    life: Life = Life.UP
    epoch: int = 3
    incarnation: int = 1
    booted: str = OLD  # as what the VM was launched
    current: str = OLD
    permanent: str = OLD
    astray: bool = False
    known: set[str] = field(default_factory=lambda: {OLD})
    installed: Install | None = None
    findings: tuple[str, ...] | None = None
    acts: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def step(self) -> Step:
        disk = Disk(
            self.selects, self.unpacked, frozenset({OLD, NEW}), self.laid is not None, frozenset(self.listed),
            left=self.unpacked, readied=self.laid,
        )  # fmt: skip
        is_up = self.life is Life.UP
        node = Node(
            self.life, self.epoch, f"{self.epoch}.{self.incarnation}" if is_up else "", self.current if is_up else "",
            self.permanent, frozenset(self.known), self.installed, None, self.findings,
            "it says false" if self.fate.ill and self.current == NEW else "", boot=self.host, astray=self.astray,
        )  # fmt: skip
        return next_step(self.journal, disk, node, self.now)

    def do(self, act: Act) -> None:
        self.acts.append(str(act))
        self.now += 1.0
        match act:
            case Act.UNPACK:
                self.unpacked = True
            case Act.PREPARE:
                self.laid = self.journal.hybrid if self.journal.phase is Phase.BEGUN else NEW
            case Act.REGISTER:
                self.listed |= {NEW}
                self._reread(astray=self.laid is not None and not self.journal.hybrid)
            case Act.INSTALL:
                self._install()
            case Act.SWITCH | Act.RESTART:
                if self.fate.refuses and act is Act.SWITCH:
                    self.now += 60.0
                else:
                    self.boot()
            case Act.VERIFY:
                self.findings = ("old code",) if self.journal.phase is self.fate.wrong else ()
            case Act.VERIFY_BACK:
                self.findings = ()
            case Act.COMMIT:
                self.selects = NEW
            case Act.MAKE_PERMANENT:
                self._reread(astray=False)
            case Act.TIDY:
                self.laid = None
            case Act.CLEAN:
                self.unpacked, self.laid, self.selects = False, None, OLD
                self.listed -= {NEW}
            case Act.FORGET:
                self._reread(astray=False)
            case _:
                raise AssertionError(f"{act} is not for it")

    def _reread(self, *, astray: bool) -> None:
        self.astray = astray
        self.permanent, self.known = (OLD, {OLD, NEW}) if astray else (self.selects, set(self.listed))

    def _install(self) -> None:
        assert self.laid == self.journal.hybrid
        assert self.current == (HYBRID if self.fate.hybrid else OLD)
        match self.fate.install:
            case "ok":
                self.installed, self.current = Install(done=True), NEW
                self.permanent = "" if self.fate.hybrid else OLD  # the hybrid's entry goes
            case "before":
                self.installed = Install(done=True, error="bad beam")
            case "after":
                self.restart_itself()
            case "never":
                self.installed = Install(done=False)
        self.findings = None

    def boot(self) -> None:
        """One VM after the other, until one comes up."""
        while True:
            if self.journal.phase is Phase.COMMITTING:
                self.selects = NEW
            self.epoch += 1
            candidate = launches(self.journal, self.epoch, self.host)
            self.booted = candidate or self.selects
            self.ran.append(self.booted)
            assert candidate is None or self.laid == candidate, "a candidate without what it boots with"
            if self.booted in self.fate.boots:
                break
        self.incarnation = 1
        self.astray = candidate is not None
        self._came_up()

    def restart_itself(self) -> None:
        self.incarnation += 1
        self._came_up()

    def _came_up(self) -> None:
        self.life, self.current, self.permanent = Life.UP, self.booted, self.booted if self.astray else self.selects
        self.known = set(self.listed) | ({NEW} if self.astray else set())
        self.installed = self.findings = None

    def check(self) -> None:
        """Until it is decided, what the next launch but the granted one brings is the origin."""
        decided = NEW if self.journal.phase is Phase.COMMITTING else OLD
        assert launches(self.journal, self.epoch + 2, self.host) is None
        assert launches(self.journal, self.epoch + 1, "b9") is None
        assert self.journal.phase is Phase.COMMITTING or self.selects == decided or self.journal.phase is Phase.CLEANING


BLOWS = ("killed before", "killed after", "vm dies", "dies while written", "restarts itself", "gone", "host reboots",
         "run directory lost")  # fmt: skip


def _stands(world: World, journal: Journal, before: int) -> bool:
    """As `Renewal._may_enter` says, when the VM of the epoch `before` was followed by another meanwhile."""
    if journal.phase is Phase.RESTARTING and world.journal.phase is Phase.SWITCHING:
        return not (world.epoch == world.journal.epoch + 1 and journal.epoch == world.journal.epoch)
    return journal.phase not in (Phase.SWITCHING, Phase.COMMITTING) or journal.epoch == world.epoch != before


def run(world: World, blow: str | None = None, at: int = -1) -> Finish:
    """To the end; with one blow at the n-th step."""
    for count in range(ENOUGH):
        step = world.step()
        if count == at:
            if blow == "killed before":
                world.findings = None
                continue
            if blow == "dies while written" and isinstance(step, Enter):
                before = world.epoch
                world.boot()  # by the journal before
                if not _stands(world, step.journal, before):
                    continue
            else:
                strike(world, blow or "")
                step = world.step()
        if end := follow(world, step):
            return end
        if count == at and blow == "killed after":
            world.findings = None
        world.check()
    raise AssertionError(f"no end in sight: {world.journal}, {world.acts}")


def strike(world: World, blow: str) -> None:
    match blow:
        case "vm dies":
            world.boot()
        case "restarts itself":
            world.restart_itself()
        case "gone":
            world.life = Life.GONE
        case "host reboots":
            world.now, world.host, world.laid, world.epoch = 0.0, "b2", None, 0
            world.boot()
        case "run directory lost":
            world.laid, world.epoch = None, 0
            world.boot()


def world(fate: Fate) -> World:
    hybrid = HYBRID if fate.hybrid else ""
    journal = replace(BEGIN, hybrid=hybrid, ends_anew=fate.ends_anew, leave=fate.leave)
    return World(fate, taken_up(journal, 0.0))


def steps_of(fate: Fate) -> int:
    counted = world(fate)
    run(counted)
    return len(counted.acts) * 2 + 8


def assert_it_ended_rightly(after: World, end: Finish) -> None:
    """Done and verified, or it did not happen: disk and node agree, and nothing lies about."""
    version = NEW if end.ok else OLD
    assert after.selects == version
    assert after.laid is None
    assert after.unpacked is end.ok
    assert after.listed == ({OLD, NEW} if end.ok else {OLD})
    if after.life is Life.UP:
        assert (after.current, after.permanent, after.astray) == (version, version, False)
        assert after.known == after.listed
    assert end.ok or end.why


@pytest.mark.parametrize("fate", [*KINDS, *BAD], ids=str)
def test_it_ends_rightly(fate: Fate) -> None:
    after = world(fate)
    end = run(after)
    assert end.ok is (fate in KINDS), end
    assert_it_ended_rightly(after, end)


@pytest.mark.parametrize("blow", BLOWS)
@pytest.mark.parametrize("fate", [*KINDS, *BAD], ids=str)
def test_it_ends_rightly_whatever_strikes_whenever(fate: Fate, blow: str) -> None:
    for at in range(steps_of(fate)):
        after = world(fate)
        end = run(after, blow, at)
        assert_it_ended_rightly(after, end)
        if blow.startswith("killed"):
            assert end.ok is (fate in KINDS), f"our death at {at} changed the outcome"


@pytest.mark.parametrize("fate", KINDS, ids=str)
def test_two_strikes_end_rightly_too(fate: Fate) -> None:
    for first in range(steps_of(fate)):
        for second in range(first + 1, steps_of(fate)):
            after = world(fate)
            blows = {first: "vm dies", second: "restarts itself"}
            for count in range(ENOUGH):
                if count in blows:
                    strike(after, blows[count])
                if end := follow(after, after.step()):
                    assert_it_ended_rightly(after, end)
                    break
                after.check()
            else:
                raise AssertionError(f"no end in sight: {after.journal}, {after.acts}")


@pytest.mark.parametrize("fate", [*KINDS, *BAD], ids=str)
def test_a_vm_that_never_comes_up_keeps_no_upgrade_for_ever(fate: Fate) -> None:
    for at in range(steps_of(fate)):
        after = world(fate)
        for count in range(ENOUGH):
            if count == at:
                after.life = Life.COMING
            if follow(after, after.step()):
                break
            after.check()
        else:
            raise AssertionError(f"{after.journal.phase} for ever, silent since {at}")


@pytest.mark.parametrize(
    ("fate", "ran", "acts"),
    [
        (KINDS[0], [HYBRID], "unpack register prepare switch install verify verify commit make-permanent tidy"),
        (KINDS[1], [NEW], "unpack register prepare register install prepare switch verify verify commit "
                          "make-permanent tidy"),
        (KINDS[2], [HYBRID, NEW], "unpack register prepare switch install prepare switch verify verify commit "
                                  "make-permanent tidy"),
    ],
)  # fmt: skip
def test_a_good_one_takes_these_steps(fate: Fate, ran: list[str], acts: str) -> None:
    after = world(fate)
    run(after)
    assert (after.ran, " ".join(after.acts)) == (ran, acts)


def test_what_fails_before_the_first_switch_needs_no_restart() -> None:
    after = world(replace(KINDS[1], install="before"))
    assert run(after).why == "the install failed: bad beam"
    assert (after.ran, after.incarnation) == ([], 1)


def test_the_outage_is_counted_over_all_its_parts() -> None:
    refused = replace(KINDS[0], refuses=True)  # then the old VM serves on
    for fate, seconds in ((KINDS[0], 1.0), (KINDS[2], 2.0), (replace(KINDS[0], ill=True), 2.0), (refused, 0.0)):
        after = world(fate)
        run(after)
        assert after.journal.outage == seconds
        assert after.journal.dark is None


def test_the_time_that_the_host_was_down_is_no_outage_that_we_know() -> None:
    journal = replace(BEGIN, phase=Phase.SWITCHING, candidate=HYBRID, hybrid=HYBRID, dark=5.0, outage=1.0)
    after = replace(world(KINDS[0]), journal=journal, laid=None)
    strike(after, "host reboots")
    after.now = 9000.0
    assert not run(after).ok
    assert (after.journal.outage, after.journal.dark) == (1.0, None)


def test_what_is_ill_is_left_where_that_was_asked_for() -> None:
    after = world(replace(KINDS[0], wrong=Phase.INSTALLED, leave=True))
    assert run(after) == Finish(ok=False, why="old code", left=True)
    assert (after.current, after.selects, after.laid) == (NEW, OLD, None)


def test_an_act_that_fails_leads_back_by_the_right_way() -> None:
    switching = replace(BEGIN, phase=Phase.SWITCHING, candidate=HYBRID, hybrid=HYBRID)
    for journal, act, phase in (
        (BEGIN, Act.PREPARE, Phase.CLEANING),
        (BEGIN, Act.UNPACK, Phase.CLEANING),
        (replace(BEGIN, phase=Phase.INSTALLING), Act.INSTALL, Phase.UNDOING),
        (replace(BEGIN, phase=Phase.INSTALLING), Act.PREPARE, Phase.RESTARTING),
        (replace(switching, phase=Phase.INSTALLING), Act.INSTALL, Phase.RESTARTING),
        (replace(switching, phase=Phase.INSTALLED), Act.VERIFY, Phase.RESTARTING),
        (replace(BEGIN, phase=Phase.UNDOING), Act.REPAIR, Phase.RESTARTING),
    ):
        step = after_failure(journal, act, "why", 5.0)
        assert step is not None
        assert (step.journal.phase, step.journal.why) == (phase, "" if act is Act.REPAIR else "why")
        assert (step.journal.dark is not None) is (phase is Phase.RESTARTING)
    assert after_failure(replace(BEGIN, phase=Phase.COMMITTING), Act.COMMIT, "why", 5.0) is None
