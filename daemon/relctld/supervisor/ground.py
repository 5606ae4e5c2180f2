"""What a daemon stands on: what it was given, and what must be right before anything runs: directories, lock, store."""

import contextlib
import errno
import os
import resource
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from relctld.config import Config
from relctld.control import sockets
from relctld.host.gate import ignore_nothing
from relctld.host.reaper import become_subreaper
from relctld.host.reexec import Kept
from relctld.host.store import Store
from relctld.supervisor import resume
from relctld.supervisor.metrics import import_metrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ground:
    """`config`: the one of the start, `error` what is wrong with the one on disk where it is the last good one ·
    `environ`: our own · `kept`: by a former self · `started`: when · `lock`: held as long as it is open ·
    `soft_nofile`: the limit that we were given, which our children get.
    """

    config: Config
    error: str | None
    environ: Mapping[str, str]
    kept: Kept
    started: datetime
    lock: int
    soft_nofile: int
    store: Store


def prepare(config: Config, error: str | None, environ: Mapping[str, str], kept: Kept) -> Ground:
    """Raises OSError, LockedError."""
    started = datetime.now(UTC)
    os.umask(0o022)
    if not kept.is_successor:  # else SIGTERM and SIGINT wait until they are listened to
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # not the end of us, and not before we listen
        signal.signal(number, signal.SIG_IGN)
    ignore_nothing()
    run_dir = config.run_dir
    run_dir.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    if run_dir.stat().st_uid != os.geteuid() or run_dir.is_symlink():
        why = "it belongs to somebody else; relctld keeps its sockets there"
        raise PermissionError(errno.EPERM, why, str(run_dir))
    if run_dir.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        why = "everybody may write it, and take the sockets' place: chmod o-w it"
        raise PermissionError(errno.EPERM, why, str(run_dir))
    (run_dir / "releases").mkdir(mode=0o711, exist_ok=True)
    lock = sockets.lock(run_dir, kept.lock(f"{run_dir}/lock"))
    for path, mode in ((config.state_dir, 0o700), (config.log_dir, 0o751)):
        with contextlib.suppress(OSError):  # told by the store and the logger, who need them
            path.mkdir(mode=mode, parents=True, exist_ok=True)
    _show_logs(run_dir / "log", config.log_dir)
    elsewhere = resume.claim_run_dir(config.state_dir, run_dir)
    if elsewhere is not None:
        raise sockets.LockedError(elsewhere)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not become_subreaper():
        log.warning("subreaper.refused")
    store = Store(config.state_dir / "state.db", keep_seconds=config.events_keep)
    store.open()
    if config.metrics is not None:
        import_metrics()  # all of our code is imported at the start: pip may replace the files at any time
    return Ground(config, error, environ, kept, started, lock, soft, store)


def _show_logs(link: Path, log_dir: Path) -> None:
    """RUN/log leads to the logs: so relctl finds them also while no daemon runs."""
    with contextlib.suppress(OSError):  # then relctl asks the daemon
        if link.is_symlink() and link.readlink() == log_dir:
            return
        new = link.with_name("log.new")
        new.unlink(missing_ok=True)
        new.symlink_to(log_dir)
        new.rename(link)
