"""What surrounds the releases: disks, logs, limits, the config, relctld itself. Blocks, but for `states`."""

import importlib.metadata
import os
import resource
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relctld import __version__
from relctld.core.state import Health, State
from relctld.host.gate import Identity
from relctld.logger.policy import read_counters
from relctld.supervisor.doctor.findings import Finding, Kind, Severity
from relctld.supervisor.doctor.patient import Patient
from relctld.supervisor.inforce import UNENFORCED
from relctld.supervisor.launcher import make_crash_folder
from relctld.supervisor.managed import Managed

_FULL, _NEARLY = 0.01, 0.05
_LITTLE = 5 << 30
"""Bytes: with more than that left, a large disk is not nearly full."""

RELEASES = "releases"
"""What lies on the disk of a root."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a path, or of the nearest directory above it that is there; `what` lies there."""

    path: Path
    what: str
    device: int
    fs: os.statvfs_result

    @property
    def is_read_only(self) -> bool:
        return bool(self.fs.f_flag & os.ST_RDONLY)


def disk(path: Path, what: str) -> Disk:
    """Look at a file system. Raises OSError."""
    at = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    return Disk(at, what, at.stat().st_dev, os.statvfs(at))


def disks(seen: Iterable[Disk]) -> Iterator[Finding]:
    """Room and rights, told once for each file system; a part of it may be mounted read-only by itself."""
    alike: dict[tuple[int, bool], list[Disk]] = {}
    for each in seen:
        alike.setdefault((each.device, each.is_read_only), []).append(each)
    for group in alike.values():
        what = ", ".join(dict.fromkeys(each.what for each in group))
        where = f"the disk of {group[0].path} ({what})"
        if group[0].is_read_only:
            only_read = all(each.what == RELEASES for each in group)
            yield Finding(
                Kind.DISK_READ_ONLY, f"{where} is mounted read-only", None, Severity.WARNING if only_read else None
            )
        yield from _room(group[0].fs, where)


def _room(fs: os.statvfs_result, where: str) -> Iterator[Finding]:
    for unit, free, of, size in (
        ("bytes", fs.f_bavail, fs.f_blocks, fs.f_frsize),
        ("files", fs.f_favail, fs.f_files, 0),
    ):
        share = free / of if of else 1.0
        left = f"{where} has {share:.1%} of its {unit} left"
        if share < _FULL:
            yield Finding(Kind.DISK_FULL, left)
        elif share < _NEARLY and free * size < _LITTLE:
            yield Finding(Kind.DISK_NEARLY_FULL, left)


def logs(patient: Patient, identity: Identity) -> Iterator[Finding]:
    """Whether what the VM says, and its last words, can be written. Raises OSError."""
    error = read_counters(str(patient.place.run / "log.json")).error
    if error:
        yield patient.found(Kind.LOG_TROUBLE, error)
    crash = patient.place.log / "crash"

    def mend() -> str:
        make_crash_folder(patient.place.log, identity)
        fd = os.open(crash, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o750)  # noqa: S103  its group may look, as CONTRACT says
        finally:
            os.close(fd)
        return f"gave {crash} to {identity.name}"

    try:
        found = crash.lstat()
    except FileNotFoundError:
        if patient.vm is not None:
            yield patient.found(Kind.CRASH_FOLDER, f"{crash} is missing", mend)
        return
    if not stat.S_ISDIR(found.st_mode):
        yield patient.found(Kind.CRASH_FOLDER, f"{crash} is no directory: something else has its name")
    elif found.st_uid != identity.uid or found.st_mode & 0o300 != 0o300:
        owner = f"user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        yield patient.found(Kind.CRASH_FOLDER, f"{crash} belongs to {owner}, not to {identity.name}", mend)


def limits(patient: Patient, unenforced: Mapping[str, str]) -> Iterator[Finding]:
    """What of its limits the kernel will not give to us. `unenforced`: those of cgroups (`Containment.unenforced`)."""
    for key, why in unenforced.items():
        if getattr(patient.spec.limits, key) is not None:
            yield patient.found(Kind.LIMIT_UNENFORCED, f"{key} has no effect: {why}")
    wanted, (_, hard) = patient.spec.limits.nofile, resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is not None and os.geteuid() != 0 and hard != resource.RLIM_INFINITY and wanted > hard:
        yield patient.found(Kind.LIMIT_UNENFORCED, f"nofile = {wanted}, but this relctld may give {hard} at most")


def daemon(described: Mapping[str, Any]) -> Iterator[Finding]:
    """What relctld says of itself (`daemon status`)."""
    config = described["config"]
    if config["error"]:
        yield Finding(Kind.CONFIG_NOT_IN_FORCE, config["error"])
    for warning in config["warnings"]:
        if UNENFORCED not in warning:  # those are told of the release
            yield Finding(Kind.CONFIG_DOUBTFUL, warning)
    if described["store_error"]:
        yield Finding(Kind.STATE_TROUBLE, described["store_error"])
    try:
        installed = importlib.metadata.version("relctl")
    except importlib.metadata.PackageNotFoundError:
        return
    if installed != __version__:
        yield Finding(Kind.DAEMON_OUTDATED, f"relctld {__version__} runs, {installed} is installed")


def states(managed: Managed, patient: Patient) -> Iterator[Finding]:
    """What the shell knows without looking."""
    state = managed.state
    last = state.last_exit
    ended = f"; it last ended by {last.cause}{f': {last.detail}' if last.detail else ''}" if last else ""
    if state.state is State.FAILED:
        yield patient.found(Kind.RELEASE_FAILED, f"failed{ended}")
    elif state.state is State.BACKOFF:
        yield patient.found(Kind.RELEASE_FAILED, f"waits for its next start{ended}", None, Severity.WARNING)
    elif patient.vm is not None and state.health in (Health.HUNG, Health.DEGRADED):
        yield patient.found(Kind.NOT_WELL, f"{state.health}: {state.health_detail}")
    if managed.unlimited is not None and patient.vm is not None:
        yield patient.found(Kind.LIMIT_UNENFORCED, managed.unlimited)
    if keys := ", ".join(managed.restart_pending()):
        yield patient.found(Kind.RESTART_PENDING, keys)
    if managed.unconfigured:
        yield patient.found(Kind.UNCONFIGURED, "it is in no file of the config any more")
