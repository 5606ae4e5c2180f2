"""The nouns: what a release is asked to be (spec), what it is doing (state), how it ended (exit).

Rule 1: everything here is frozen; a change makes a new value (`dataclasses.replace`).
Rule 2: durations are seconds, sizes are bytes, times are monotonic seconds; a time of type str is RFC 3339 UTC,
        made by the shell to be shown.
Rule 3: state, want and health are three fields. A restart is *want up* in STOPPING; nothing is a product.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from relctld.core.probes import AUTO, Probe


class Flavour(StrEnum):
    """The kinds of release we can launch, told apart by `beam.flavour`."""

    RELX = "relx"
    MIX = "mix"
    DISTILLERY = "distillery"
    PLAIN = "plain"


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


class Restart(StrEnum):
    """OTP's restart types: after any exit, after an abnormal one, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


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


class OnFull(StrEnum):
    """What becomes of a node's output when its log can take no more."""

    DROP = "drop"
    BLOCK = "block"


class OnHung(StrEnum):
    """What is done to a release whose probe says hung."""

    RESTART = "restart"
    REPORT = "report"


class OnFailure(StrEnum):
    """What becomes of a hot upgrade that is found to be ill once it is installed."""

    ROLLBACK = "rollback"
    LEAVE = "leave"


class OnStop(StrEnum):
    """What becomes of the nodes when relctld is stopped for good."""

    STOP = "stop"
    LEAVE = "leave"


# -- the spec --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays of automatic restarts: `first`, then `base * factor**n` up to `max`, each ± `jitter` of itself."""

    first: float = 0.0
    base: float = 1.0
    factor: float = 2.0
    max: float = 60.0
    jitter: float = 0.25


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """How a running release is asked whether it is well."""

    probe: Probe = AUTO
    interval: float = 5.0
    timeout: float = 2.0
    failures: int = 3
    action: OnHung = OnHung.RESTART


@dataclass(frozen=True, slots=True)
class LogSpec:
    """What the logger does with a release's output. None switches a limit off."""

    max_size: int | None = 50_000_000
    max_age: float | None = None
    keep: int = 10
    max_total: int | None = 1_000_000_000
    compress: str | None = "gzip"
    timestamps: bool = False
    markers: bool = True
    journal: bool = False
    on_full: OnFull = OnFull.DROP


@dataclass(frozen=True, slots=True)
class CrashSpec:
    """Crash dumps: how many are kept, how large one may grow, how long a VM may take to write one."""

    keep: int = 5
    max_size: int = 200_000_000
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class UpgradeSpec:
    """How a hot upgrade is carried out."""

    timeout: float = 300.0
    soak: float = 10.0
    on_failure: OnFailure = OnFailure.ROLLBACK
    allow_restart: bool = False
    keep_versions: int = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a VM; None leaves the system's. `nofile`, `core`: rlimits; the rest needs cgroup controllers."""

    nofile: int | None = None
    core: int | None = None
    memory_max: int | None = None
    cpu_weight: int | None = None
    tasks_max: int | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The node's name and cookie file, where they cannot be found out."""

    name: str | None = None
    cookie_file: Path | None = None


class Hook(StrEnum):
    """When an operator's command is run. A failing `pre_` hook aborts; the others only report."""

    PRE_START = "pre_start"
    POST_START = "post_start"
    POST_STOP = "post_stop"
    ON_CRASH = "on_crash"
    PRE_UPGRADE = "pre_upgrade"
    POST_UPGRADE = "post_upgrade"


_NO_ARGV: Mapping[Hook, tuple[str, ...]] = MappingProxyType({})
_NO_ENV: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Hooks:
    """One argv per hook, each bounded by `timeout`."""

    argv: Mapping[Hook, tuple[str, ...]] = field(default_factory=lambda: _NO_ARGV)
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """What the config says about one release: `[release.NAME]`."""

    name: str
    root: Path
    release_name: str | None = None
    flavour: Flavour | None = None
    enabled: bool = True
    command: tuple[str, ...] | None = None
    user: str | None = None
    group: str | None = None
    umask: int = 0o027
    cwd: Path | None = None
    env_file: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: _NO_ENV)
    inherit_env: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    restart: Restart = Restart.PERMANENT
    intensity: int = 5
    period: float = 60.0
    start_timeout: float = 60.0
    stop_timeout: float = 30.0
    retry_failed: float | None = None
    dump_on_kill: bool = False
    ready: Probe = AUTO
    backoff: Backoff = Backoff()
    health: HealthSpec = HealthSpec()
    log: LogSpec = LogSpec()
    crash: CrashSpec = CrashSpec()
    upgrade: UpgradeSpec = UpgradeSpec()
    limits: Limits = Limits()
    node: NodeSpec = NodeSpec()
    hooks: Hooks = field(default_factory=Hooks)


# -- the state -------------------------------------------------------------------------------------


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
