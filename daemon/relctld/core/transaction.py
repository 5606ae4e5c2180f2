"""What the transactions on versions are made of: the journal, what disk and node say, the steps.

Rule: this is the vocabulary of `upgrade` (while the node runs), `emulator` (the same, with another emulator) and
      `switch` (by a restart), and decides nothing.
Words are release_handler's: `current` is what runs, `permanent` what a boot selects.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Way(StrEnum):
    """How the running version becomes the target: inside the node, there with a restart of the emulator between
    (`core.emulator`), or by a restart alone (`core.switch`)."""

    HOT = "hot"
    EMULATOR = "emulator"
    RESTART = "restart"


class Phase(StrEnum):
    """What the journal says last. Shown to operators as `upgrade.phase`. SWITCHING is for all but `core.upgrade`."""

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
    PREPARE = "prepare"
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
    Of an upgrade with another emulator: `boot`; `hybrid`, the version that the new emulator boots first, empty where
    the old one carries out the relup; `ends_anew`, whether the relup ends with a restart; `candidate`, as which the VM
    is launched while it is switching, and runs after it; `outage`, seconds in which nothing was served, `dark`, since
    when that is so now, monotonic.
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
    hybrid: str = ""
    ends_anew: bool = False
    candidate: str = ""
    outage: float = 0.0
    dark: float | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """What the tree says. `selects`: the version that every file names which chooses one; None where they disagree.

    `in_place`: all of the target is there, whole · `configured`: the version whose evaluated configuration lies where
    release_handler reads it · `swapped`: that replaced what was there, which is kept beside it · `listed`: the versions
    in RELEASES · `left`: something of the target is there that was not before · `readied`: as which version a candidate
    would boot now, empty where only the relup is laid ready; None where nothing is.
    """

    selects: str | None
    in_place: bool
    configured: frozenset[str]
    swapped: bool
    listed: frozenset[str]
    left: bool
    readied: str | None = None


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
    `ended`: how the latest VM ended, where none runs or another does by now. `boot`: the host's. `astray`: its
    release_handler reads what was laid ready for this upgrade, not the tree. `wanted`: by operators, to run.
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
    boot: str = ""
    astray: bool = False
    wanted: bool = True


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


def enter(j: Journal, phase: Phase, now: float, why: str = "") -> Enter:
    """A phase begins, with its time; what first went wrong is what is told in the end."""
    until = now + (j.soak if phase is Phase.SOAKING else j.timeout)
    return Enter(replace(j, phase=phase, until=until, why=j.why or why))


def taken_up(j: Journal, now: float) -> Journal:
    """The journal, new or of a former self: for how long that was dead counts against nobody."""
    return replace(j, until=max(j.until or now, now) if j.phase is Phase.SOAKING else now + j.timeout)


def limit(j: Journal) -> float | None:
    """When the phase is out of time; that a soak ends is no delay yet."""
    if j.until is None:
        return None
    return j.until + (j.timeout if j.phase is Phase.SOAKING else 0.0)


def is_late(j: Journal, now: float) -> bool:
    """Whether the phase is out of time."""
    end = limit(j)
    return end is not None and now >= end
