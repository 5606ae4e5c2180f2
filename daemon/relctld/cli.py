"""The command `relctld`: arguments, config, exit codes.

Exit codes: 0 stopped as asked · 1 it could not run (another daemon holds the run directory, a directory cannot be
made) · 2 usage, or a config that cannot be used where no good one was ever kept.
"""

import argparse
import asyncio
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import structlog

from relctld import __version__, failpoints
from relctld.config import Access, Config, ConfigError, default_config_path, keep_good, load, load_or_last_good
from relctld.control.access import look_up
from relctld.control.sockets import LockedError
from relctld.host import allocator, reexec
from relctld.host.systemd import SYSTEMD_VARIABLES, take_listen_fds
from relctld.supervisor import trial
from relctld.supervisor.daemon import Daemon
from relctld.supervisor.ground import Ground, prepare
from relctld.supervisor.inforce import with_unknown_accounts
from relctld.supervisor.log import Pen, configure
from relctld.supervisor.succession import Succession

log = structlog.get_logger()


def main(argv: list[str] | None = None) -> int:
    """Run the daemon in the foreground."""
    allocator.be_thrifty()
    kept = reexec.Kept.of(os.environ, take_listen_fds(os.environ))
    failpoints.arm(os.environ)
    arguments = _parser().parse_args(argv)
    path = arguments.config or default_config_path(os.geteuid(), os.environ)
    if arguments.reexec_trial:
        return trial.answer(path, arguments.reexec_trial, os.environ)
    try:
        if arguments.check:
            return _check(path)
        config, error = load_or_last_good(path, uid=os.geteuid(), environ=os.environ)
    except ConfigError as bad:
        for problem in bad.problems:
            print(f"relctld: {problem}", file=sys.stderr)
        if not path.exists():
            print("relctld: hint: write it, [release.NAME] with a root, or name another with --config", file=sys.stderr)
        return 2
    return _run(config, error, kept, configure(verbose=arguments.verbose))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relctld", description="Supervise Erlang and Elixir releases.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the config (default: /etc/relctl/relctld.toml)")
    parser.add_argument("--check", action="store_true", help="judge the config and exit: 0 good, 2 not")
    parser.add_argument("--verbose", action="store_true", help="log debug messages too")
    parser.add_argument(reexec.TRIAL, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"relctld {__version__}")
    return parser


def _check(path: Path) -> int:
    config = with_unknown_accounts(load(path, uid=os.geteuid(), environ=os.environ))
    unknown = look_up(config.access).warnings if config.access != Access() else ()
    for warning in (*config.warnings, *unknown):
        print(f"relctld: warning: {warning}", file=sys.stderr)
    count = len(config.releases)
    print(f"{config.path}: good, {count} release{'' if count == 1 else 's'}")
    return 0


def _run(config: Config, error: ConfigError | None, kept: reexec.Kept, pen: Pen) -> int:
    environ = dict(os.environ)
    for variable in SYSTEMD_VARIABLES:
        os.environ.pop(variable, None)
    try:
        ground = prepare(config, str(error) if error else None, environ, kept)
        if error is None:
            _keep(config)
    except (OSError, LockedError) as problem:
        print(f"relctld: {problem}", file=sys.stderr)
        return 1
    succession, code = None, 0
    try:
        succession = asyncio.run(_live(ground))
    except Exception:  # no node notices: the next one goes on with them
        log.exception("surprise", cause="relctld itself")
        code = 1
    # A worker that hangs on a disk would keep the interpreter from ending; all that matters is written by now.
    pen.close()
    if succession is not None:
        _become(succession)
    os._exit(code)


async def _live(ground: Ground) -> Succession | None:
    return await Daemon(ground).run()


def _become(succession: Succession) -> NoReturn:
    """Does not return, not by an error either: systemd starts the next one then, and no node notices."""
    try:
        reexec.replace(*succession)
    except OSError as problem:
        os.write(2, f"relctld: cannot re-exec: {problem}\n".encode())
    except Exception:  # noqa: BLE001 whatever it is, it is told
        os.write(2, traceback.format_exc().encode())
    os._exit(1)


def _keep(config: Config) -> None:
    """A copy for a start with a broken config. Where it cannot be kept, the store says so about the same disk."""
    try:
        keep_good(config, config.state_dir)
    except OSError as problem:
        print(f"relctld: warning: no copy of the config could be kept: {problem}", file=sys.stderr)
