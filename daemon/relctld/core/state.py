"""The nouns of the state: what a release is doing (state), who asked for it (request), how it ended (exit).

Rule 1: everything here is frozen; a change makes a new value (`dataclasses.replace`).
Rule 2: durations are seconds, times are monotonic seconds; a time of type str is RFC 3339 UTC, made by the shell to be
        shown.
Rule 3: state, want and health are three fields. A restart is *want up* in STOPPING; nothing is a product.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a release is doing. STARTING to BACKOFF are transient: they always have a deadline."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLING = "killing"
    BACKOFF = "backoff"
    FAILED = "failed"


class Want(StrEnum):
    """What the operator last asked for; only verbs change it."""

    UP = "up"
    DOWN = "down"


class Health(StrEnum):
    """What the probes last said (CONTRACT, *JSON*)."""

    UNKNOWN = "unknown"
    WELL = "well"
    DEGRADED = "degraded"
    HUNG = "hung"
    UNREACHABLE = "unreachable"


class Cause(StrEnum):
    """Why a VM ended (CONTRACT, *JSON*, `cause`)."""

    STOPPED = "stopped"
    HALTED = "halted"
    KILLED = "killed"
    OOM = "oom"
    CRASH_DUMP = "crash-dump"
    BOOT_FAILED = "boot-failed"
    HUNG = "hung"
    VM_RESTARTED = "vm-restarted"
    EXEC_FAILED = "exec-failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Vm:
    """An OS process that is, or is about to become, a VM. Its identity is boot id + pid + start ticks."""

    pid: int
    ticks: int
    instance: str


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: an exit code, a signal's name, or neither (unknown: it was not our child)."""

    code: int | None = None
    signal: str | None = None


UNKNOWN_STATUS = ExitStatus()


@dataclass(frozen=True, slots=True)
class LastExit:
    """The end of the latest epoch, or of its attempt to start."""

    at: str
    status: ExitStatus
    cause: Cause
    pid: int | None
    detail: str = ""
    epoch: int = 0


class Op(StrEnum):
    """Requests of operators that a release carries out."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked for `op`; the reply goes to `id`. `by`: the operator's user name, `since`: when it came."""

    id: str
    op: Op
    by: str
    since: float


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that is true once the VM of `epoch` runs (start, restart) or is gone (stop)."""

    request: Request
    epoch: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was taken up, for who hears it again after a crash. `epoch`: of the VM that it starts or ends."""

    id: str
    op: Op
    epoch: int


@dataclass(frozen=True, slots=True)
class Upgrading:
    """A hot upgrade is under way: other requests are refused meanwhile, its own carry its `id` and a slash."""

    id: str
    target: str
    by: str


class Ending(StrEnum):
    """Why we are ending a VM; None in the state means that nobody asked and its end is a surprise."""

    STOP = "stop"
    RESTART = "restart"
    HUNG = "hung"
    BOOT_TIMEOUT = "boot-timeout"
    SHUTDOWN = "shutdown"


class Launch(StrEnum):
    """What of a launch is in flight in the shell: its end comes as an event and is always awaited."""

    NONE = "none"
    HOOK = "hook"
    SPAWN = "spawn"


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """What one release is doing.

    `deadline`: when the state must change by itself · `poll_at`: when its repeated act is due (a probe; SIGTERM
    again) · `epoch`: number of the VM generation, never reset · `restarts`: times of the automatic restarts
    within the period · `delays`: backoff delays served in a row · `since`: when the state was entered ·
    `unheard`: probes missed in a row, those too that do not count among the `misses` ·
    `started`: when the VM was · `incarnation`: names the boot of the node within its process, where a link told ·
    `sweeping`: a sweep is in flight, its end is always awaited · `recording`: requests on their way to the store, or
    to the run directory · `asked`: the latest requests, oldest first · `halted`: the daemon is stopping, nothing
    starts any more · `told`: that KILLING takes unusually long was reported · `upgrading`: the hot upgrade under way,
    told by who carries it out.
    """

    name: str
    state: State = State.STOPPED
    want: Want = Want.DOWN
    health: Health = Health.UNKNOWN
    health_detail: str = ""
    epoch: int = 0
    vm: Vm | None = None
    incarnation: str | None = None
    launch: Launch = Launch.NONE
    ending: Ending | None = None
    dumping: bool = False
    sweeping: bool = False
    deadline: float | None = None
    poll_at: float | None = None
    since: float = 0.0
    started: float | None = None
    well_since: float | None = None
    been_well: bool = False
    misses: int = 0
    unheard: int = 0
    restarts: tuple[float, ...] = ()
    restarts_total: int = 0
    delays: int = 0
    last_exit: LastExit | None = None
    waiters: tuple[Waiter, ...] = ()
    recording: tuple[Request, ...] = ()
    asked: tuple[Asked, ...] = ()
    halted: bool = False
    told: bool = False
    upgrading: Upgrading | None = None


TRANSIENT = frozenset({State.STARTING, State.STOPPING, State.KILLING, State.BACKOFF})
QUIET = frozenset({State.STOPPED, State.FAILED})
