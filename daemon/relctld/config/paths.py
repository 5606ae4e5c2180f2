"""Where relctld's files are when nobody says otherwise.

             as root                          as a user
    config   /etc/relctl/relctld.toml         $XDG_CONFIG_HOME/relctl/relctld.toml
    state    /var/lib/relctl                  $XDG_STATE_HOME/relctl
    log      /var/log/relctl                  $XDG_STATE_HOME/relctl/log
    run      /run/relctl                      $XDG_RUNTIME_DIR/relctl, else $TMPDIR/relctl-UID

systemd's CONFIGURATION_DIRECTORY, STATE_DIRECTORY, LOGS_DIRECTORY and RUNTIME_DIRECTORY (of a list the first) win
over these, keys of `[daemon]` over both. Nothing here looks at the disk: who makes a directory checks whose it is.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOCKETS = ("control.sock", "events.sock")
SOCKET_BYTES = 107  # sockaddr_un.sun_path is 108, with its NUL


@dataclass(frozen=True, slots=True)
class Dirs:
    """The directories of a daemon."""

    state: Path
    log: Path
    run: Path


def default_config_path(uid: int, environ: Mapping[str, str]) -> Path:
    """The main file of the config of a daemon that runs as `uid`."""
    default = Path("/etc/relctl") if uid == 0 else _xdg(uid, environ, "XDG_CONFIG_HOME", ".config") / "relctl"
    return _systemd(environ, "CONFIGURATION_DIRECTORY", default) / "relctld.toml"


def default_dirs(uid: int, environ: Mapping[str, str]) -> Dirs:
    """The directories of a daemon whose config does not name them."""
    if uid == 0:
        dirs = Dirs(Path("/var/lib/relctl"), Path("/var/log/relctl"), Path("/run/relctl"))
    else:
        state = _xdg(uid, environ, "XDG_STATE_HOME", ".local/state") / "relctl"
        run = _absolute(environ.get("XDG_RUNTIME_DIR"))
        tmp = _absolute(environ.get("TMPDIR")) or Path("/tmp")  # noqa: S108  # the name is fixed, so clients find it
        dirs = Dirs(state, state / "log", run / "relctl" if run else tmp / f"relctl-{uid}")
    return Dirs(
        _systemd(environ, "STATE_DIRECTORY", dirs.state),
        _systemd(environ, "LOGS_DIRECTORY", dirs.log),
        _systemd(environ, "RUNTIME_DIRECTORY", dirs.run),
    )


def too_long(run_dir: Path) -> str:
    """What is wrong with the sockets' paths in `run_dir`; empty if nothing is."""
    longest = max((run_dir / name for name in SOCKETS), key=lambda path: len(os.fsencode(path)))
    size = len(os.fsencode(longest))
    if size <= SOCKET_BYTES:
        return ""
    return f"the socket path {longest} has {size} bytes, at most {SOCKET_BYTES} are possible"


def _systemd(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    return _absolute(environ.get(variable, "").partition(":")[0]) or default


def _xdg(uid: int, environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    return _absolute(environ.get(variable)) or _home(uid, environ) / below_home


def _home(uid: int, environ: Mapping[str, str]) -> Path:
    if home := _absolute(environ.get("HOME")):
        return home
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        return Path("/")


def _absolute(text: str | None) -> Path | None:
    """The XDG rule: a relative path counts as not set."""
    return Path(text) if text and text.startswith("/") else None
