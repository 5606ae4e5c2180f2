"""What the daemon orders and what it is told back: the plan and the counters.

RUN/logger.json               the plan, written by the daemon, read by the logger after `plan` in RUN/logger.wake
RUN/releases/NAME/log.json    counters, written by the logger (beside `fifo_out`)

Both are replaced whole (temporary name, then rename) and never fsynced: the run directory does not outlive the host.
This file knows no other of the logger; the daemon may import it.
"""

import contextlib
import errno
import json
import os
from typing import Any, Literal, NamedTuple

PLAN_VERSION = 1


class LogPolicy(NamedTuple):
    """How the output of one release is kept. Sizes in bytes; None = off. Immutable."""

    name: str
    fifo_out: str  # made by the daemon before the plan names it; held open by the VM and the daemon
    fifo_claimed: str  # the logger's own; a file on tmpfs, see `claimed`. Nobody else may open it
    dir: str
    max_size: int | None = 50_000_000
    keep: int | None = 10
    max_total: int | None = 1_000_000_000
    compress: Literal["gzip"] | None = "gzip"
    on_full: Literal["drop", "block"] = "drop"
    max_age: float | None = None  # seconds, as `age` reads them
    journal: bool = False  # its lines are sent to systemd's journal too,
    version: str | None = None  # with these two of the VM that runs; both null where they are not
    epoch: int | None = None
    timestamps: bool = False  # before each line
    markers: bool = True  # the daemon's marks are written

    @property
    def limit(self) -> int | None:
        """The size at which `current` is rotated: `max_size`, else half of `max_total`, so that this holds."""
        return self.max_size if self.max_size or not self.max_total else max(1, self.max_total // 2)

    def beside(self, name: str) -> str:
        """The path of `name` in RUN/releases/NAME."""
        return os.path.join(os.path.dirname(self.fifo_out), name)


class Counters(NamedTuple):
    """What became of a release's bytes since its run directory was made, across restarts of the logger.

    What the logger adds of its own is in neither figure. `error`: why nothing can be written now. `marked`: the number
    of the last mark that was written.
    """

    bytes_in: int = 0
    bytes_out: int = 0
    bytes_dropped: int = 0
    lines_dropped: int = 0
    error: str | None = None
    marked: int = 0
    journal_dropped: int = 0  # bytes of the log that were not sent to the journal


def write_plan(path: str, policies: list[LogPolicy]) -> None:
    """Replace the plan; then write `plan` and a newline into RUN/logger.wake."""
    plan = {"v": PLAN_VERSION, "releases": [p._asdict() for p in policies]}
    replace(path, json.dumps(plan, indent=1).encode())


def read_plan(path: str) -> list[LogPolicy]:
    """The plan as it stands. FileNotFoundError when there is none yet, ValueError when it makes no sense."""
    with open(path, "rb") as file:
        try:
            plan = json.load(file)
            if plan["v"] != PLAN_VERSION:
                raise ValueError(f"version {plan['v']}, not {PLAN_VERSION}")
            policies = [_policy(**entry) for entry in plan["releases"]]
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(f"cannot read {path}: {err}") from err
    if len({p.name for p in policies}) != len(policies):
        raise ValueError(f"cannot read {path}: a release is named twice")
    return policies


def _policy(**entry: Any) -> LogPolicy:
    policy = LogPolicy(**entry)
    for key in ("name", "fifo_out", "fifo_claimed", "dir"):
        if not isinstance(entry[key], str) or not entry[key]:
            raise TypeError(f"{key}: expected a string")
    for key in ("max_size", "keep", "max_total"):
        value = getattr(policy, key)
        if value is not None and (type(value) is not int or value < 0):
            raise TypeError(f"{key}: expected a number of at least 0, or null")
    if policy.max_age is not None and not (type(policy.max_age) in (int, float) and policy.max_age > 0):
        raise TypeError("max_age: expected seconds, or null")
    if type(policy.journal) is not bool:
        raise TypeError("journal: expected true or false")
    if type(policy.version) not in (str, type(None)) or type(policy.epoch) not in (int, type(None)):
        raise TypeError("version: expected a string, epoch: a number, or null")
    if policy.compress not in ("gzip", None) or policy.on_full not in ("drop", "block"):
        raise ValueError("compress: gzip or null; on_full: drop or block")
    for key in ("timestamps", "markers"):
        if type(getattr(policy, key)) is not bool:
            raise TypeError(f"{key}: expected true or false")
    return policy


def write_counters(path: str, counters: Counters) -> None:
    """Replace the counters of one release."""
    replace(path, json.dumps(counters._asdict()).encode())


def read_counters(path: str) -> Counters:
    """The counters of one release; zeros where none were written yet, or where what stands there is not ours."""
    try:
        with open(path, "rb") as file:
            return Counters(**json.load(file))
    except (OSError, ValueError, TypeError):
        return Counters()


def replace(path: str, data: bytes) -> None:
    """Give `path` new contents such that a reader sees the old or the new ones, whole. Mode 0640."""
    temporary = path + ".tmp"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # left by a writer that was killed; O_EXCL because a link may stand there
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        if os.write(fd, data) < len(data):  # as much as a file system that is full still takes, without an error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
    finally:
        os.close(fd)
    os.rename(temporary, path)
