"""A hot upgrade as a transaction: `next_step(journal, disk, node, now) -> step`.

Rule 1: the same function drives normal progress and resumption. It remembers nothing: what was done is read from the
        journal, the disk and the node, so each normal run is a chain of recoveries.
Rule 2: a phase is entered, durably, before what it stands for is ordered.
Rule 3: acts are idempotent; only those that are orders (install, reinstall, restart) need a phase of their own.
Rule 4: until COMMITTING nothing on disk selects the target: whatever dies, a boot brings the origin back.
        From COMMITTING on the target is decided, and is what every boot is made to bring.

    BEGUN ─→ INSTALLING ─→ INSTALLED ─→ SOAKING ─→ COMMITTING ─→ done
      │           └───────────┴──────────┴→ UNDOING ─→ REINSTALLING ─→ RESTARTING
      └──── the node is another ────────────────┴───────────┴──────────────┴──→ CLEANING ─→ failed, nothing changed

Words are release_handler's: `current` is what runs, `permanent` what a boot selects.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never


class Way(StrEnum):
    """How the running version becomes the target: inside the node, or by a restart (`core.switch`)."""

    HOT = "hot"
    RESTART = "restart"


class Phase(StrEnum):
    """What the journal says last. Shown to operators as `upgrade.phase`. SWITCHING is of `core.switch` alone."""

    BEGUN = "begun"
    SWITCHING = "switching"
    INSTALLING = "installing"
    INSTALLED = "installed"
    SOAKING = "soaking"
    COMMITTING = "committing"
    UNDOING = "undoing"
    REINSTALLING = "reinstalling"
    RESTARTING = "restarting"
    CLEANING = "cleaning"


class Act(StrEnum):
    """What the shell is told to do, again if need be."""

    UNPACK = "unpack"
    CONFIGURE = "configure"
    REGISTER = "register"
    SWITCH = "switch"
    INSTALL = "install"
    VERIFY = "verify"
    COMMIT = "commit"
    MAKE_PERMANENT = "make-permanent"
    TIDY = "tidy"
    REPAIR = "repair"
    CONFIGURE_BACK = "configure-back"
    REINSTALL = "reinstall"
    VERIFY_BACK = "verify-back"
    RESTART = "restart"
    CLEAN = "clean"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Journal:
    """All that must survive us. `epoch`, `incarnation`: of the node that is upgraded, a later one booted from disk.

    `until`: when the phase ends (soaking) or is out of time (all others), monotonic; set as it is entered, and anew by
    each relctld that takes it up. `reversible`: the relup has a way down. `leave`: the operator wants to look at what
    is ill, so nothing is taken back once it is installed. `repaired`: REPAIR was done; marked when it is.
    `why`: what made it go back. `soak`, `timeout`: seconds. Of a switch by restart: `boot`, the host's boot in which it
    began, and `starts`, whether a VM of the target is started; its `origin` is empty where nothing could boot before.
    """

    release: str
    id: str
    by: str
    since: str
    origin: str
    target: str
    epoch: int
    incarnation: str
    soak: float
    timeout: float
    reversible: bool
    leave: bool = False
    phase: Phase = Phase.BEGUN
    until: float | None = None
    repaired: bool = False
    why: str = ""
    way: Way = Way.HOT
    boot: str = ""
    starts: bool = True


@dataclass(frozen=True, slots=True)
class Disk:
    """What the tree says. `selects`: the version that every file names which chooses one; None where they disagree.

    `in_place`: all of the target is there, whole · `configured`: the version whose evaluated configuration lies where
    release_handler reads it · `swapped`: that replaced what was there, which is kept beside it · `listed`: the versions
    in RELEASES · `left`: something of the target is there that was not before.
    """

    selects: str | None
    in_place: bool
    configured: frozenset[str]
    swapped: bool
    listed: frozenset[str]
    left: bool


class Life(StrEnum):
    """Whether the node can be spoken to. COMING: it boots, or waits to be started again; GONE: nobody will start it."""

    UP = "up"
    COMING = "coming"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Install:
    """An install in the node: under way (`done` is False), done, or failed for a reason in words."""

    done: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """What the node says. `installed`, `reinstalled`: by orders of this upgrade; None: not ordered in this boot of it.

    `findings`: what a look found wrong with the version that should run now; None: not looked since the last change.
    `ended`: how the latest VM ended, where none runs or another does by now.
    """

    life: Life
    epoch: int = 0
    incarnation: str = ""
    current: str = ""
    permanent: str = ""
    known: frozenset[str] = frozenset()
    installed: Install | None = None
    reinstalled: Install | None = None
    findings: tuple[str, ...] | None = None
    ill: str = ""
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Do:
    """Carry this out, then ask again."""

    act: Act


@dataclass(frozen=True, slots=True)
class Enter:
    """Make this journal durable, then ask again."""

    journal: Journal


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the node changes, or until then (monotonic)."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """It is over: done and verified, or it did not happen; `why` says what went wrong.

    `left`: it is installed, ill and not permanent, as it was asked for.
    """

    ok: bool
    why: str = ""
    left: bool = False


Step = Do | Enter | Wait | Finish

_UNDECIDED = frozenset({Phase.BEGUN, Phase.INSTALLING, Phase.INSTALLED, Phase.SOAKING, Phase.UNDOING})
_BOOTED = {
    Phase.BEGUN: "before anything was installed",
    Phase.INSTALLING: "during the install",
    Phase.INSTALLED: "before it was verified",
    Phase.SOAKING: "during the soak",
    Phase.UNDOING: "while it was taken back",
}

_LATE = {
    Phase.BEGUN: "not prepared",
    Phase.INSTALLING: "not installed",
    Phase.INSTALLED: "not verified",
    Phase.SOAKING: "not verified after the soak",
}


def next_step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    """What brings the upgrade closer to its end."""
    step = _step(j, disk, node, now)
    return _timed(step, now) if isinstance(step, Enter) else step


def taken_up(j: Journal, now: float) -> Journal:
    """The journal, new or of a former self: for how long that was dead counts against nobody."""
    return replace(j, until=max(j.until or now, now) if j.phase is Phase.SOAKING else now + j.timeout)


def _step(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if j.phase in _UNDECIDED and (node.life is Life.GONE or _is_another(j, node)):
        return _enter(j, Phase.CLEANING, why=j.why or _how_it_ended(j, node))
    match j.phase:
        case Phase.COMMITTING:
            return _committing(j, disk, node, now)
        case Phase.RESTARTING:
            return _restarting(j, node, now)
        case Phase.CLEANING:
            return _cleaning(j, disk, node)
        case Phase.SWITCHING:
            raise ValueError("no hot upgrade is switching")
    if node.life is Life.COMING:
        return _out_of_time(j) if _is_late(j, now) else Wait(_limit(j))
    match j.phase:
        case Phase.BEGUN:
            return _begun(j, disk, node, now)
        case Phase.INSTALLING:
            return _installing(j, node, now)
        case Phase.INSTALLED:
            return _judged(j, node, now, _enter(j, Phase.SOAKING))
        case Phase.SOAKING:
            return _soaking(j, node, now)
        case Phase.UNDOING:
            return _undoing(j, disk, node, now)
        case Phase.REINSTALLING:
            return _reinstalling(j, disk, node, now)
        case _ as never:
            assert_never(never)


def after_failure(j: Journal, act: Act, why: str, now: float) -> Enter | None:
    """What follows where an act cannot be done; None: it is tried again, for there is no other way to a good end."""
    match act:
        case Act.UNPACK | Act.CONFIGURE | Act.REGISTER | Act.SWITCH:
            return _timed(_enter(j, Phase.CLEANING, why=j.why or why), now)
        case Act.INSTALL | Act.VERIFY:
            return _timed(_enter(j, Phase.UNDOING, why=j.why or why), now)
        case Act.VERIFY_BACK | Act.REPAIR | Act.CONFIGURE_BACK | Act.REINSTALL:
            return _timed(_enter(j, Phase.RESTARTING), now)
        case Act.COMMIT | Act.MAKE_PERMANENT | Act.TIDY | Act.RESTART | Act.CLEAN | Act.FORGET:
            return None
        case _ as never:
            assert_never(never)


def _begun(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if _is_late(j, now):
        return _out_of_time(j)
    if not disk.in_place:
        return Do(Act.UNPACK)
    if j.target not in disk.configured:
        return Do(Act.CONFIGURE)
    if not {j.origin, j.target} <= disk.listed & node.known or node.permanent != j.origin:
        return Do(Act.REGISTER)
    return _enter(j, Phase.INSTALLING)


def _installing(j: Journal, node: Node, now: float) -> Step:
    install = node.installed
    if install is None or not install.done:
        if _is_late(j, now):
            return _out_of_time(j)  # it cannot be cancelled: it ends with its VM
        return Do(Act.INSTALL) if install is None else Wait(j.until)
    if install.error is not None:
        return _enter(j, Phase.UNDOING, why=f"the install failed: {install.error}")
    return _enter(j, Phase.INSTALLED)


def _soaking(j: Journal, node: Node, now: float) -> Step:
    if node.ill:
        return _enter(j, Phase.UNDOING, why=f"in the soak: {node.ill}")
    if j.until is not None and now < j.until:
        return Wait(j.until)
    return _judged(j, node, now, _enter(j, Phase.COMMITTING))


def _committing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if disk.selects != j.target:
        return Do(Act.COMMIT)
    if node.life is Life.UP and node.current != j.target:
        return Do(Act.RESTART)  # it restarted itself meanwhile, and that brings back what it was booted with
    if node.life is Life.UP and node.permanent != j.target:
        return Do(Act.RESTART if _is_late(j, now) else Act.MAKE_PERMANENT)
    if disk.swapped:
        return Do(Act.TIDY)
    waits = node.life is Life.COMING and not _is_late(j, now)
    return Wait(j.until) if waits else Finish(ok=True)


def _undoing(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if node.current == j.target and j.leave:
        return Do(Act.TIDY) if disk.swapped else Finish(ok=False, why=j.why, left=True)
    if node.current == j.target:
        way = Phase.REINSTALLING if j.reversible else Phase.RESTARTING
        return _enter(j, way)
    if node.findings is None:
        return _out_of_time(j) if _is_late(j, now) else Do(Act.VERIFY_BACK)
    if not node.findings:
        return _enter(j, Phase.CLEANING)
    if not j.repaired:
        return Do(Act.REPAIR)
    return _enter(j, Phase.RESTARTING)


def _reinstalling(j: Journal, disk: Disk, node: Node, now: float) -> Step:
    if node.life is Life.GONE or _is_another(j, node):
        return _enter(j, Phase.CLEANING)
    back = node.reinstalled
    if (back is None or not back.done or node.findings is None) and _is_late(j, now):
        return _out_of_time(j)
    if back is None:
        return Do(Act.REINSTALL if j.origin in disk.configured else Act.CONFIGURE_BACK)
    if not back.done:
        return Wait(j.until)
    if back.error is not None:
        return _enter(j, Phase.RESTARTING)
    if node.findings is None:
        return Do(Act.VERIFY_BACK)
    return _enter(j, Phase.RESTARTING if node.findings else Phase.CLEANING)


def _restarting(j: Journal, node: Node, now: float) -> Step:
    if node.epoch == j.epoch and node.life is not Life.GONE:
        return Do(Act.RESTART)
    waits = node.life is Life.COMING and not _is_late(j, now)
    return Wait(j.until) if waits else _enter(j, Phase.CLEANING)


def _cleaning(j: Journal, disk: Disk, node: Node) -> Step:
    if disk.left or disk.swapped or disk.selects != j.origin:
        return Do(Act.CLEAN)
    if node.life is Life.UP and j.target in node.known - disk.listed:
        return Do(Act.FORGET)
    return Finish(ok=False, why=j.why)


def _judged(j: Journal, node: Node, now: float, onwards: Step) -> Step:
    """Onwards, where a look finds nothing wrong."""
    if node.findings is None:
        return _out_of_time(j) if _is_late(j, now) else Do(Act.VERIFY)
    return _enter(j, Phase.UNDOING, why="; ".join(node.findings)) if node.findings else onwards


def _limit(j: Journal) -> float | None:
    """When the phase is out of time; that a soak ends is no delay yet."""
    if j.until is None:
        return None
    return j.until + (j.timeout if j.phase is Phase.SOAKING else 0.0)


def _is_late(j: Journal, now: float) -> bool:
    limit = _limit(j)
    return limit is not None and now >= limit


def _out_of_time(j: Journal) -> Enter:
    """Before the install nothing has happened to the node; after it a restart brings the origin back in any case."""
    back = Phase.CLEANING if j.phase is Phase.BEGUN else Phase.RESTARTING
    return _enter(j, back, why=j.why or f"{_LATE.get(j.phase, 'not taken back')} within {j.timeout:g} s")


def _is_another(j: Journal, node: Node) -> bool:
    """It booted since, from what the disk selects."""
    return node.life is Life.UP and (node.epoch, node.incarnation) != (j.epoch, j.incarnation)


def _how_it_ended(j: Journal, node: Node) -> str:
    when = _BOOTED[j.phase]
    if node.life is Life.GONE:
        return f"the node ended {when}"
    if node.epoch == j.epoch:
        more = ", behind its point of no return" if j.phase is Phase.INSTALLING else ""
        return f"the node restarted itself {when}{more}"
    return f"the VM died {when}"


def _enter(j: Journal, phase: Phase, *, why: str | None = None) -> Enter:
    return Enter(replace(j, phase=phase, why=j.why if why is None else why))


def _timed(step: Enter, now: float) -> Enter:
    j = step.journal
    return Enter(replace(j, until=now + (j.soak if j.phase is Phase.SOAKING else j.timeout)))
