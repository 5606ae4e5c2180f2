"""The nouns of the specification: what the config says a release shall be.

Rule 1: everything here is frozen; a change makes a new value (`dataclasses.replace`).
Rule 2: durations are seconds, sizes are bytes.
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


class Restart(StrEnum):
    """OTP's restart types: after any exit, after an abnormal one, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class OnHung(StrEnum):
    """What is done to a release whose probe says hung."""

    RESTART = "restart"
    REPORT = "report"


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


class OnFull(StrEnum):
    """What becomes of a node's output when its log can take no more."""

    DROP = "drop"
    BLOCK = "block"


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


class OnFailure(StrEnum):
    """What becomes of a hot upgrade that is found to be ill once it is installed."""

    ROLLBACK = "rollback"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class UpgradeSpec:
    """How a hot upgrade is carried out."""

    timeout: float = 300.0
    soak: float = 10.0
    on_failure: OnFailure = OnFailure.ROLLBACK
    allow_restart: bool = False
    keep_versions: int = 3


class OnStop(StrEnum):
    """What becomes of the nodes when relctld is stopped for good."""

    STOP = "stop"
    LEAVE = "leave"


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
