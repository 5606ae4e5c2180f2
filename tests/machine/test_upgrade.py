"""The upgrade machine against a model of disk and node: cut short anywhere, it ends rightly all the same.

Every run is repeated with one blow at every point: relctld dies before or after the act, the VM dies, the node restarts
itself inside its process. What must hold after each single act: a boot now brings the version that the journal says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from relctld.core.transaction import (
    Act,
    Disk,
    Do,
    Enter,
    Finish,
    Install,
    Journal,
    Life,
    Node,
    Phase,
    Step,
    Wait,
    taken_up,
)
from relctld.core.upgrade import next_step
from tests.machine.replay import follow

OLD, NEW = "1.0.0", "1.1.0"
BEGIN = Journal("web", "u1", "ada", "2026-01-01T00:00:00Z", OLD, NEW, 3, "i1", 10.0, 300.0, reversible=True)
ENOUGH = 60


@dataclass(frozen=True)
class Fate:
    """How the world will behave, where it does not do as it should."""

    install: str = "ok"  # ok | before | after | never
    wrong: Phase | None = None  # in which phase a look finds something wrong with the target
    ill: bool = False
    reversible: bool = True
    back: str = "ok"
    damaged: bool = False  # an install that failed left the old version's environment damaged
    repairable: bool = True
    leave: bool = False
    mute: bool = False  # no look at the node comes to an end
    stubborn: bool = False  # the node does not let itself be made permanent


@dataclass
class World:
    """A tree and a node, and what acts make of them."""

    fate: Fate
    journal: Journal
    now: float = 0.0
    selects: str = OLD
    unpacked: bool = False
    configured: set[str] = field(default_factory=set)
    swapped: bool = False
    listed: set[str] = field(default_factory=lambda: {OLD})
    life: Life = Life.UP
    epoch: int = 3
    incarnation: int = 1
    current: str = OLD
    permanent: str = OLD
    known: set[str] = field(default_factory=lambda: {OLD})
    installed: Install | None = None
    reinstalled: Install | None = None
    findings: tuple[str, ...] | None = None
    damaged: bool = False
    booted_with: str = OLD  # what the VM boots when it restarts itself
    acts: list[str] = field(default_factory=list)
    wanted: bool = True
    ended_by_us: bool = False

    def step(self) -> Step:
        disk = Disk(
            self.selects,
            self.unpacked,
            frozenset(self.configured),
            self.swapped,
            frozenset(self.listed),
            left=self.unpacked,
        )
        ill = "it says false" if self.fate.ill and self.current == NEW else ""
        node = Node(
            self.life,
            self.epoch,
            f"i{self.incarnation}",
            self.current,
            self.permanent,
            frozenset(self.known),
            self.installed,
            self.reinstalled,
            self.findings,
            ill,
            wanted=self.wanted,
        )
        return next_step(self.journal, disk, node, self.now)

    def do(self, act: Act) -> None:
        self.acts.append(str(act))
        self.now += 1.0
        if self._is_in_vain(act):
            self.now += 60.0
            return
        match act:
            case Act.UNPACK:
                self.unpacked = True
            case Act.CONFIGURE:
                self.configured.add(NEW)
                self.swapped = True
            case Act.CONFIGURE_BACK:
                self.configured.add(OLD)
                self.swapped = True
            case Act.REGISTER:
                self.listed |= {NEW}
                self.known = set(self.listed)
            case Act.INSTALL:
                self._install()
            case Act.VERIFY:
                self.findings = ("old code",) if self.journal.phase is self.fate.wrong else ()
            case Act.COMMIT:
                self.commit()
            case Act.MAKE_PERMANENT:
                self.permanent = self.booted_with = NEW
            case Act.TIDY:
                self.swapped = False
                self.configured.clear()
            case Act.REPAIR:
                self.damaged = not self.fate.repairable
                self.findings = None
                self.journal = replace(self.journal, repaired=True)
            case Act.REINSTALL:
                self._reinstall()
            case Act.VERIFY_BACK:
                self.findings = ("environment",) if self.damaged else ()
            case Act.RESTART:
                self.boot()
            case Act.CLEAN:
                self.unpacked = self.swapped = False
                self.configured.clear()
                self.selects = OLD
                self.listed -= {NEW}
            case Act.FORGET:
                self.known = set(self.listed)

    def _is_in_vain(self, act: Act) -> bool:
        looks = act in (Act.VERIFY, Act.VERIFY_BACK)
        return (self.fate.mute and looks) or (self.fate.stubborn and act is Act.MAKE_PERMANENT)

    def _install(self) -> None:
        match self.fate.install:
            case "ok":
                self.installed, self.current = Install(done=True), NEW
            case "before":
                self.installed, self.damaged = Install(done=True, error="bad beam"), self.fate.damaged
            case "after":
                self.restart_itself()
            case "never":
                self.installed = Install(done=False)
        self.findings = None

    def _reinstall(self) -> None:
        match self.fate.back:
            case "ok":
                self.reinstalled, self.current = Install(done=True), OLD
            case "before":
                self.reinstalled = Install(done=True, error="no way down")
            case "after":
                self.restart_itself()
            case "never":
                self.reinstalled = Install(done=False)
        self.findings = None

    def commit(self) -> None:
        self.selects = NEW
        self.listed = {OLD, NEW}

    def boot(self) -> None:
        """A new VM; what the launch does first is to make the files agree with the journal."""
        if self.journal.phase is Phase.COMMITTING:
            self.commit()
        self.epoch += 1
        self.incarnation = 1
        self._booted(self.selects)

    def restart_itself(self) -> None:
        self.incarnation += 1
        self._booted(self.booted_with)

    def _booted(self, version: str) -> None:
        self.life, self.current, self.booted_with, self.damaged = Life.UP, version, version, False
        self.permanent = self.selects
        self.known = set(self.listed)
        self.installed = self.reinstalled = self.findings = None

    def check(self) -> None:
        """A boot brings what was decided, never anything between."""
        decided = NEW if self.journal.phase is Phase.COMMITTING else OLD
        booted = NEW if self.journal.phase is Phase.COMMITTING else self.selects
        assert booted == decided, f"{self.journal.phase}: a boot brings {booted}"
        assert self.journal.phase is not Phase.COMMITTING or self.unpacked, "decided for what is not there"


BLOWS = ("killed before", "killed after", "vm dies", "dies while written", "restarts itself", "gone", "host reboots")


def run(world: World, blow: str | None = None, at: int = -1) -> Finish:
    """To the end; with one blow at the n-th step."""
    for count in range(ENOUGH):
        step = world.step()
        if count == at:
            if blow == "killed before":
                world.findings = None  # what was seen dies with the daemon, what was ordered not
                continue
            if blow == "dies while written" and isinstance(step, Enter):
                world.boot()  # by the journal before
                if step.journal.phase is Phase.COMMITTING:
                    continue  # it does not stand any more (`Stepping._may_enter`)
            else:
                _strike(world, blow or "")
                step = world.step()
        if end := follow(world, step):
            return end
        if count == at and blow == "killed after":
            world.findings = None
        world.check()
    raise AssertionError(f"no end in sight: {world.journal.phase}, {world.acts}")


def _strike(world: World, blow: str) -> None:
    match blow:
        case "vm dies":
            world.boot()
        case "restarts itself":
            world.restart_itself()
        case "gone":
            world.life = Life.GONE
            at_rest = world.journal.phase in (Phase.BEGUN, Phase.COMMITTING, Phase.CLEANING)
            world.ended_by_us = not at_rest and world.epoch == world.journal.epoch
        case "host reboots":
            world.now = 0.0
            world.boot()


FATES = [
    Fate(),
    Fate(install="before"),
    Fate(install="before", damaged=True),
    Fate(install="before", damaged=True, repairable=False),
    Fate(install="after"),
    Fate(install="never"),
    Fate(wrong=Phase.INSTALLED),
    Fate(wrong=Phase.SOAKING),
    Fate(wrong=Phase.INSTALLED, back="before"),
    Fate(wrong=Phase.INSTALLED, back="after"),
    Fate(wrong=Phase.INSTALLED, back="never"),
    Fate(ill=True),
    Fate(ill=True, reversible=False),
]


def world(fate: Fate) -> World:
    return World(fate, taken_up(replace(BEGIN, reversible=fate.reversible, leave=fate.leave), 0.0))


def cases() -> Iterator[tuple[Fate, str, int]]:
    for fate in FATES:
        length = _length(fate)
        for blow in BLOWS:
            for at in range(length):
                yield fate, blow, at


def _length(fate: Fate) -> int:
    counted = world(fate)
    run(counted)
    return len(counted.acts) * 2 + 6


def assert_it_ended_rightly(after: World, end: Finish) -> None:
    """Done and verified, or it did not happen: disk and node agree, and nothing lies about."""
    version = NEW if end.ok else OLD
    assert after.selects == version
    assert not after.swapped
    assert after.unpacked is end.ok
    assert after.listed == ({OLD, NEW} if end.ok else {OLD})
    if after.ended_by_us:
        assert (after.life is Life.UP) is after.wanted
    if after.life is Life.UP:
        assert (after.current, after.permanent) == (version, version)
        assert not after.damaged
        assert after.known == after.listed
    assert end.ok or end.why


@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_it_ends_rightly(fate: Fate) -> None:
    after = world(fate)
    end = run(after)
    assert end.ok is (fate == Fate())
    assert_it_ended_rightly(after, end)


@pytest.mark.parametrize("blow", BLOWS)
@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_it_ends_rightly_whatever_strikes_whenever(fate: Fate, blow: str) -> None:
    for at in range(_length(fate)):
        after = world(fate)
        end = run(after, blow, at)
        assert_it_ended_rightly(after, end)
        if blow.startswith("killed"):
            assert end.ok is (fate == Fate()), f"our death at {at} changed the outcome"


@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_what_operators_want_down_is_not_started_again(fate: Fate) -> None:
    for at in range(_length(fate)):
        after = world(fate)
        after.wanted = False
        assert_it_ended_rightly(after, run(after, "gone", at))


@pytest.mark.parametrize("fate", [Fate(mute=True), Fate(mute=True, install="before"), Fate(mute=True, back="before")])
def test_a_node_that_cannot_be_looked_at_is_restarted_in_the_end(fate: Fate) -> None:
    after = world(fate)
    end = run(after)
    assert "restart" in after.acts
    assert_it_ended_rightly(after, end)
    assert not end.ok


def test_what_is_decided_is_brought_by_a_restart_where_the_node_does_not_take_it() -> None:
    after = world(Fate(stubborn=True))
    end = run(after)
    assert "restart" in after.acts
    assert end == Finish(ok=True)
    assert_it_ended_rightly(after, end)


@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_a_link_that_never_comes_back_keeps_no_upgrade_for_ever(fate: Fate) -> None:
    for at in range(_length(fate)):
        after = world(fate)
        for count in range(ENOUGH):
            if count == at:
                after.life = Life.COMING
            if end := follow(after, after.step()):
                break
            after.check()
        assert end, f"{after.journal.phase} for ever, silent since {at}"
        assert end.ok is (after.selects == NEW)


def test_the_time_in_which_nobody_was_there_does_not_count() -> None:
    journal = replace(BEGIN, phase=Phase.INSTALLED, until=50.0)
    assert taken_up(journal, 1000.0).until == 1000.0 + BEGIN.timeout
    soaking = replace(journal, phase=Phase.SOAKING)
    assert (taken_up(soaking, 20.0).until, taken_up(soaking, 1000.0).until) == (50.0, 1000.0)


def test_what_is_ill_is_left_where_that_was_asked_for() -> None:
    after = world(Fate(wrong=Phase.INSTALLED, leave=True))
    assert run(after) == Finish(ok=False, why="old code", left=True)
    assert (after.current, after.selects, after.swapped) == (NEW, OLD, False)


def test_an_install_that_failed_is_taken_back_all_the_same() -> None:
    after = world(Fate(install="before", damaged=True, leave=True))
    assert_it_ended_rightly(after, run(after))


def test_a_good_upgrade_takes_these_steps() -> None:
    after = world(Fate())
    run(after)
    assert after.acts == ["unpack", "configure", "register", "install", "verify", "verify", "commit",
                          "make-permanent", "tidy"]  # fmt: skip


def test_two_strikes_end_rightly_too() -> None:
    for first in range(24):
        for second in range(first + 1, 26):
            after = world(Fate())
            counts = iter(range(ENOUGH))
            end: Finish | None = None
            for count in counts:
                step = after.step()
                if count in (first, second):
                    after.boot() if count == first else after.restart_itself()
                    step = after.step()
                if isinstance(step, Finish):
                    end = step
                    break
                if isinstance(step, Enter):
                    after.journal, after.findings = step.journal, None
                elif isinstance(step, Do):
                    after.do(step.act)
                elif step.until is not None:
                    after.now = step.until
                after.check()
            assert end is not None
            assert_it_ended_rightly(after, end)


def test_a_node_that_boots_is_waited_for() -> None:
    after = world(Fate())
    after.life = Life.COMING
    assert after.step() == Wait(BEGIN.timeout)


def test_an_install_that_never_ends_ends_with_its_vm() -> None:
    after = world(Fate(install="never"))
    end = run(after)
    assert "restart" in after.acts
    assert end == Finish(ok=False, why="not installed within 300 s")


def test_a_reason_is_kept_through_what_follows() -> None:
    assert run(world(Fate(install="before"))).why == "the install failed: bad beam"
    assert run(world(Fate(ill=True))).why == "in the soak: it says false"
    assert run(world(Fate(install="after"))).why == (
        "the node restarted itself during the install, behind its point of no return"
    )
