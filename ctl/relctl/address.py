"""Which socket relctl speaks to, who chose it, and why nobody answers there.

Rule 1: knows paths, modes and `connect()`, nothing of ZeroMQ or of the protocol.
Rule 2: a plain connect() comes before ZeroMQ, which would try for ever where the kernel knows the answer at once.

The first of these that applies (CONTRACT, *Programs*):

    --socket PATH
    $RELCTL_SOCKET
    $XDG_RUNTIME_DIR/relctl/control.sock      the user's own daemon, where that socket exists
    $TMPDIR/relctl-UID/control.sock           the same, for a user without a run-time directory
    /run/relctl/control.sock                  the system's daemon

The user's own directories count only when they belong to the user and, under $TMPDIR, are closed to others (0700):
anybody can make a directory there.
"""

import os
import socket
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

from relctl.errors import UnreachableError, UsageError
from relctld.wire.messages import OPERATIONS

SYSTEM_SOCKET: Final = "/run/relctl/control.sock"
MAX_PATH: Final = 107
CONNECT_TIMEOUT: Final = 0.5
"""Seconds that a plain connect() may take: it blocks only where the daemon's backlog is full."""


class Address(NamedTuple):
    """A control socket. `origin` completes "chosen by"; `given`: the operator chose it."""

    path: str
    origin: str
    given: bool

    @property
    def events(self) -> str:
        """The path of the event socket, which lies beside the control socket."""
        return os.path.join(os.path.dirname(self.path), "events.sock")

    def is_renewed(self) -> bool:
        """Whether who listens there is about to become its successor: what was asked of it lies beside the socket."""
        return os.path.exists(os.path.join(os.path.dirname(self.path), OPERATIONS))

    def check(self) -> int:
        """The pid of who listens, 0 where it cannot be seen; UnreachableError says why nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_TIMEOUT)
            try:
                probe.connect(self.path)
            except (BlockingIOError, TimeoutError):
                return 0  # somebody listens, and is too busy to take one more
            except OSError as error:
                _explain(self, error)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], "little")


def choose(option: str | None, environ: Mapping[str, str]) -> Address:
    """The socket to speak to; raises UsageError where a path cannot be one."""
    if option is not None:
        return _given(option, "--socket")
    if environ.get("RELCTL_SOCKET"):
        return _given(environ["RELCTL_SOCKET"], "RELCTL_SOCKET")
    uid = os.getuid()
    if environ.get("XDG_RUNTIME_DIR"):
        own = os.path.join(environ["XDG_RUNTIME_DIR"], "relctl", "control.sock")
        if _is_own_socket(own, uid, forbidden=0o022):
            return Address(own, "your own daemon's default", given=False)
    private = os.path.join(environ.get("TMPDIR") or "/tmp", f"relctl-{uid}", "control.sock")  # noqa: S108 -- see _is_own_socket
    if _is_own_socket(private, uid, forbidden=0o077):
        return Address(private, "your own daemon's default", given=False)
    return Address(SYSTEM_SOCKET, "the system's default", given=False)


def absolute(path: str) -> str:
    """The path from the root; raises UsageError where the working directory is gone."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise UsageError(
            f"the working directory, where {path} would be, is gone", "cd, or name the whole path"
        ) from None


def _given(path: str, origin: str) -> Address:
    if not path:
        raise UsageError(f"{origin} is empty")
    path = absolute(path)
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise UsageError(f"the socket path of {origin} has {length} bytes, at most {MAX_PATH} are possible")
    return Address(path, origin, given=True)


def _is_own_socket(path: str, uid: int, forbidden: int) -> bool:
    """Is there a socket, in a directory of this user that has none of the `forbidden` permission bits?"""
    try:
        folder, file = os.lstat(os.path.dirname(path)), os.lstat(path)
    except OSError:
        return False
    private = stat.S_ISDIR(folder.st_mode) and folder.st_uid == uid and not folder.st_mode & forbidden
    return private and stat.S_ISSOCK(file.st_mode)


def _explain(address: Address, error: OSError) -> NoReturn:
    """Raise the UnreachableError that tells not running, wrong path and no permission apart."""
    path, folder = address.path, os.path.dirname(address.path)
    if isinstance(error, PermissionError) and (_is_socket(path) or not os.path.exists(path)):
        raise UnreachableError(
            f"no permission to use {_closed_door(path)}",
            "ask who administers relctld for membership in its group, or use sudo",
        )
    if isinstance(error, NotADirectoryError | FileNotFoundError):
        if address.given and not os.path.isdir(folder):
            why = f"wrong path {path}, chosen by {address.origin}: there is no directory {folder}"
            raise UnreachableError(why, "relctld keeps control.sock in its run directory")
        raise UnreachableError(f"relctld is not running (no socket {path}, {address.origin})", _status_hint(address))
    if isinstance(error, ConnectionRefusedError) and _is_socket(path):
        raise UnreachableError(f"relctld is not running (no one listens on {path})", _status_hint(address))
    why = "it is not a socket of relctld" if not _is_socket(path) else (error.strerror or str(error))
    raise UnreachableError(f"wrong path {path}, chosen by {address.origin}: {why}")


def _status_hint(address: Address) -> str:
    if address.path == SYSTEM_SOCKET:
        return "systemctl status relctld" + ("" if os.getuid() == 0 else ", or start a relctld of your own")
    if address.given:
        return f"start relctld, or choose another socket: this one is chosen by {address.origin}"
    system = f"; the system's one is reached by --socket {SYSTEM_SOCKET}" if _is_socket(SYSTEM_SOCKET) else ""
    return f"start your own relctld again{system}"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _closed_door(path: str) -> str:
    """The first thing on the way to `path` that does not let us pass, with its owner and mode."""
    parts = path.split("/")
    folders = ["/".join(parts[:n]) or "/" for n in range(1, len(parts))]
    door = next((folder for folder in folders if not os.access(folder, os.X_OK)), path)
    try:
        facts = os.stat(door)
    except OSError:
        return path
    owner = f"{_user_name(facts.st_uid)}:{_group_name(facts.st_gid)}"
    text = f"{door} (owner {owner}, mode {stat.S_IMODE(facts.st_mode):04o})"
    return text if door == path else f"{path}: {text} is closed"


def _user_name(uid: int) -> str:
    import pwd  # noqa: PLC0415 -- start-up: needed for one error only

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    import grp  # noqa: PLC0415 -- start-up: needed for one error only

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
