"""The switch by restart against a model of disk and node: cut short anywhere, it ends rightly all the same.

Every run is repeated with one blow at every point, as in test_upgrade. What must hold after each single act: but for
the one launch that the journal grants, a boot brings the version that was there before, until it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from relctld.core.switch import NOTHING, is_targets, launches, next_step
from relctld.core.transaction import Act, Disk, Do, Enter, Finish, Journal, Life, Node, Phase, Step, Way, taken_up
from tests.machine.replay import follow

OLD, NEW = "1.0.0", "1.1.0"
BEGIN = Journal(
    "web", "u1", "ada", "2026-01-01T00:00:00Z", OLD, NEW, 3, "", 10.0, 300.0,
    reversible=True, way=Way.RESTART, boot="b1",
)  # fmt: skip
ENOUGH = 60


@dataclass(frozen=True)
class Fate:
    """What is there before, and how the world will behave where it does not do as it should."""

    origin: str = OLD
    starts: bool = True
    listed: bool = True  # what is there has a RELEASES
    boots: bool = True  # the target does
    wrong: Phase | None = None  # in which phase a look finds something wrong with the target
    ill: bool = False
    leave: bool = False
    mute: bool = False  # no look at the node comes to an end
    deaf: bool = False  # no restart is carried out


@dataclass
class World:
    """A tree and a node, and what acts make of them. `selects` and `current` are empty where there is nothing."""

    fate: Fate
    journal: Journal
    now: float = 0.0
    boot: str = "b1"
    unpacked: bool = False
    configured: set[str] = field(default_factory=set)
    epoch: int = 3
    incarnation: int = 1
    life: Life = Life.UP
    findings: tuple[str, ...] | None = None
    acts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.selects = self.current = self.permanent = self.fate.origin
        self.listed = {self.fate.origin} - {NOTHING} if self.fate.listed else set()
        if not self.fate.origin or not self.fate.starts:
            self.life, self.current = Life.GONE, NOTHING

    def step(self) -> Step:
        disk = Disk(
            self.selects or None, self.unpacked, frozenset(self.configured), False, frozenset(self.listed),
            left=self.unpacked or NEW in self.listed,
        )  # fmt: skip
        ill = "it says false" if self.fate.ill and self.journal.phase is Phase.SOAKING else ""
        known = frozenset(self.listed) if self.life is Life.UP else frozenset[str]()
        node = Node(self.life, self.epoch, f"i{self.incarnation}", self.current, self.permanent, known,
                    findings=self.findings, ill=ill)  # fmt: skip
        return next_step(self.journal, disk, node, self.now)

    def do(self, act: Act) -> None:
        self.acts.append(str(act))
        self.now += 1.0
        match act:
            case Act.UNPACK:
                self.unpacked = True
            case Act.CONFIGURE:
                self.configured.add(NEW)
            case Act.REGISTER:
                self.listed |= {OLD, NEW}
            case Act.SWITCH | Act.RESTART if self.fate.deaf:
                self.now += 60.0
            case Act.SWITCH:
                assert self.epoch == self.journal.epoch
                self.spawn()
            case Act.RESTART:
                self.spawn()
            case Act.VERIFY if self.fate.mute:
                self.now += 60.0
            case Act.VERIFY:
                self.findings = ("old code",) if self.journal.phase is self.fate.wrong else ()
            case Act.COMMIT:
                self.selects, self.listed = NEW, self.listed | {NEW}
            case Act.MAKE_PERMANENT:
                self.permanent = NEW
            case Act.CLEAN:
                self.unpacked, self.listed = False, {self.fate.origin} - {NOTHING} if self.fate.listed else set()
            case Act.FORGET:
                pass
            case _:
                raise AssertionError(f"a switch has no {act}")

    def spawn(self) -> None:
        """The next launch; one that fails is followed by another."""
        self.epoch += 1
        self.incarnation = 1
        version = launches(self.journal, self.epoch, self.boot)
        if self.journal.phase is Phase.COMMITTING:
            self.selects = NEW
        runs = self.selects if version is None else version
        assert runs != NEW or self.unpacked, "launched before it is there"
        self.findings = None
        if runs == NOTHING:
            self.life, self.current = Life.GONE, NOTHING
        elif runs == NEW and not self.fate.boots and self.journal.phase is Phase.SWITCHING:
            self.spawn()
        else:
            self.life, self.current, self.permanent = Life.UP, runs, self.selects

    def check(self) -> None:
        """A boot of the host brings what was decided, never anything between."""
        decided = NEW if self.journal.phase is Phase.COMMITTING else self.fate.origin
        brought = launches(self.journal, self.epoch + 2, "another")
        assert (self.selects if brought is None else brought) == decided, f"{self.journal.phase} brings {brought}"
        assert self.journal.phase is not Phase.COMMITTING or self.unpacked, "decided for what is not there"
        if is_targets(self.journal, self.epoch, self.boot) and self.journal.phase is Phase.CLEANING:
            assert self.current != NEW or self.life is Life.GONE, "taken away from under a VM"


BLOWS = ("killed before", "killed after", "vm dies", "dies while written", "restarts itself", "gone", "host reboots")


def run(world: World, blow: str | None = None, at: int = -1) -> Finish:
    """To the end; with one blow at the n-th step."""
    for count in range(ENOUGH):
        if count == at:
            if blow == "killed before":
                world.findings = None  # what was seen dies with the daemon, what was ordered not
                continue
            _strike(world, blow or "")
        step, seen = world.step(), world.epoch
        if count == at and blow == "dies while written" and isinstance(step, Enter):
            _strike(world, "vm dies")  # the next is launched by the journal before
        if isinstance(step, Enter) and not _stands(world, step.journal, seen):
            continue
        if end := follow(world, step):
            return end
        if count == at and blow == "killed after":
            world.findings = None
        world.check()
    raise AssertionError(f"no end in sight: {world.journal.phase}, {world.acts}")


def _stands(world: World, journal: Journal, seen: int) -> bool:
    """As `Switch._may_enter` says; `seen`: the epoch for which it was decided."""
    if journal.phase is Phase.SWITCHING:
        return world.epoch == journal.epoch
    if world.journal.phase is Phase.SWITCHING:
        return world.epoch == seen
    if journal.phase is Phase.COMMITTING and journal.starts:
        return world.life is Life.UP and (world.epoch, f"i{world.incarnation}") == (
            journal.epoch + 1,
            journal.incarnation,
        )
    return True


def _strike(world: World, blow: str) -> None:
    lives = world.life is not Life.GONE
    match blow:
        case "vm dies" if lives:
            world.spawn()
        case "restarts itself" if lives:
            world.incarnation += 1
            world.findings = None
        case "gone":
            world.life = Life.GONE
        case "host reboots":
            world.now, world.boot = 0.0, "b2"
            if world.fate.starts:
                world.spawn()


FATES = [
    Fate(),
    Fate(listed=False),
    Fate(origin=NOTHING),
    Fate(starts=False),
    Fate(origin=NOTHING, starts=False),
    Fate(boots=False),
    Fate(boots=False, origin=NOTHING),
    Fate(wrong=Phase.INSTALLED),
    Fate(wrong=Phase.SOAKING),
    Fate(wrong=Phase.SOAKING, origin=NOTHING),
    Fate(ill=True),
    Fate(mute=True),
    Fate(deaf=True),
]


def is_good(fate: Fate) -> bool:
    return fate.boots and not (fate.wrong or fate.ill or fate.mute or fate.deaf)


def world(fate: Fate) -> World:
    return World(fate, taken_up(replace(BEGIN, origin=fate.origin, starts=fate.starts, leave=fate.leave), 0.0))


def _length(fate: Fate) -> int:
    counted = world(fate)
    run(counted)
    return len(counted.acts) * 2 + 6


def assert_it_ended_rightly(after: World, end: Finish) -> None:
    """Done and verified, or it did not happen: disk and node agree, and nothing lies about."""
    version = NEW if end.ok else after.fate.origin
    assert after.selects == version
    assert after.unpacked is end.ok
    assert end.ok or NEW not in after.listed
    if after.life is Life.UP:
        assert after.current == version
    assert end.ok or end.why


@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_it_ends_rightly(fate: Fate) -> None:
    after = world(fate)
    end = run(after)
    assert end.ok is is_good(fate), end
    assert_it_ended_rightly(after, end)
    if fate.starts and fate.origin and not fate.deaf:
        assert after.life is Life.UP


@pytest.mark.parametrize("blow", BLOWS)
@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_it_ends_rightly_whatever_strikes_whenever(fate: Fate, blow: str) -> None:
    for at in range(_length(fate)):
        after = world(fate)
        end = run(after, blow, at)
        assert_it_ended_rightly(after, end)
        if blow.startswith("killed"):
            assert end.ok is is_good(fate), f"our death at {at} changed the outcome"


@pytest.mark.parametrize("fate", FATES, ids=repr)
def test_a_vm_that_comes_never_keeps_no_switch_for_ever(fate: Fate) -> None:
    for at in range(_length(fate)):
        after = world(fate)
        for count in range(ENOUGH):
            if count == at:
                after.life = Life.COMING
            if end := follow(after, after.step()):
                break
        assert end, f"{after.journal.phase} for ever, silent since {at}"
        assert end.ok is (after.selects == NEW)


def test_a_good_switch_takes_these_steps() -> None:
    after = world(Fate())
    run(after)
    assert after.acts == ["unpack", "configure", "register", "switch", "verify", "verify", "commit", "make-permanent"]


def test_a_first_install_takes_these_steps() -> None:
    after = world(Fate(origin=NOTHING))
    run(after)
    assert after.acts == ["unpack", "configure", "switch", "verify", "verify", "commit", "make-permanent"]


def test_what_rests_goes_on_resting() -> None:
    after = world(Fate(starts=False))
    run(after)
    assert after.acts == ["unpack", "configure", "register", "commit"]
    assert (after.life, after.epoch) == (Life.GONE, 3)


def test_one_that_crashes_again_and_again_is_switched_all_the_same() -> None:
    after = world(Fate())
    after.epoch += 4
    assert run(after).ok
    assert after.journal.epoch == 7


def test_one_launch_alone_is_of_the_target() -> None:
    journal = replace(BEGIN, phase=Phase.SWITCHING)
    assert launches(journal, 4, "b1") == NEW
    assert launches(journal, 5, "b1") is None
    assert launches(journal, 4, "another") is None
    assert launches(replace(journal, origin=NOTHING), 5, "b1") == NOTHING
    assert launches(replace(journal, phase=Phase.SOAKING), 4, "b1") is None
    assert launches(replace(journal, phase=Phase.COMMITTING), 9, "another") == NEW


def test_what_is_ill_is_left_where_that_was_asked_for() -> None:
    after = world(Fate(wrong=Phase.INSTALLED, leave=True))
    assert run(after) == Finish(ok=False, why="old code", left=True)
    assert (after.current, after.selects) == (NEW, OLD)


def test_a_reason_is_kept_through_what_follows() -> None:
    assert run(world(Fate(ill=True))).why == "in the soak: it says false"
    assert run(world(Fate(boots=False))).why == "the VM of 1.1.0 ended before it was ready"
    assert run(world(Fate(deaf=True))).why == "not started within 300 s"


def test_what_is_left_ill_leaves_nothing_set_aside() -> None:
    journal = replace(BEGIN, phase=Phase.INSTALLED, leave=True, origin=NEW, until=100.0)
    disk = Disk(NEW, True, frozenset({NEW}), True, frozenset({NEW}), left=True)
    node = Node(Life.UP, BEGIN.epoch + 1, "i1", NEW, findings=("old code",))
    assert next_step(journal, disk, node, 1.0) == Do(Act.TIDY)
    end = next_step(journal, replace(disk, swapped=False), node, 1.0)
    assert isinstance(end, Finish)
    assert end.left
