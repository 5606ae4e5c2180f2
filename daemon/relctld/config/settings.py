"""What the config says about the daemon itself; about a release it is `relctld.core.spec.ReleaseSpec`.

Rule 1: frozen, like everything in `core.spec`; durations are seconds.
Rule 2: the defaults of `[daemon]` stand in `Daemon` and `Access` and nowhere else.
"""

from dataclasses import dataclass, field
from pathlib import Path

from relctld.core.spec import OnStop, ReleaseSpec


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the config, as it was read."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask for what: user names, `@group`, or `*` for everybody."""

    view: tuple[str, ...] = ("*",)
    operate: tuple[str, ...] = ("@relctl",)
    admin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Daemon:
    """The table `[daemon]` as written: None is what was not said."""

    include: tuple[str, ...] = ("releases.d/*.toml",)
    state_dir: Path | None = None
    log_dir: Path | None = None
    run_dir: Path | None = None
    on_stop: OnStop = OnStop.STOP
    events_keep: float = 30 * 86400.0
    metrics: str | None = None
    access: Access = Access()


@dataclass(frozen=True, slots=True)
class Config:
    """All that the daemon was told: `releases` in the order of the files, `warnings` one line each.

    `sources` is kept for the last good copy; it holds secrets (`env`), so it is never shown.
    """

    path: Path
    state_dir: Path
    log_dir: Path
    run_dir: Path
    on_stop: OnStop
    events_keep: float
    metrics: str | None
    access: Access
    releases: tuple[ReleaseSpec, ...]
    warnings: tuple[str, ...] = ()
    sources: tuple[Source, ...] = field(default=(), repr=False, compare=False)
