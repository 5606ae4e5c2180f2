"""Where a release's log is read from: its files, where this user may read them, else through relctld.

Rule 1: knows log directories and the `logs` operation, nothing of lines or of how they are shown.
Rule 2: the file system decides who may read a file; relctld's own table is for those who may not.
Rule 3: `relctld.logfiles` reads, here as in relctld: both ways show the same.

The first of these that holds the release (CONTRACT, *Files*):

    --log-dir DIR                       and nothing else
    RUN/log                             a link beside the control socket, left by relctld
    $XDG_STATE_HOME/relctl/log          your own daemon's default  } only where the socket was not chosen by the
    /var/log/relctl                     the system's default       } operator, and nobody answers on it
"""

import base64
import contextlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from relctl.address import Address
from relctl.errors import CannotError, UnreachableError
from relctl.values import micros
from relctld.logfiles import exits, tail
from relctld.logfiles.places import files_of

if TYPE_CHECKING:
    from relctl.client import Client, Follower

CHUNK: Final = 1 << 18
"""Bytes read from files at a time."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SYSTEM_LOGS: Final = "/var/log/relctl"


class Window(NamedTuple):
    """What of a log is shown: the last lines of what was written between two moments, or before the last exit."""

    lines: int | None
    since: str | None = None
    until: str | None = None
    crash: bool = False


class Part(NamedTuple):
    """Bytes that follow each other. `stamps`: from which place in them on they were written when (microseconds)."""

    data: bytes
    stamps: list[tuple[int, int]]
    more: bool


class Source(Protocol):
    """One release's log. Raises CannotError."""

    def begin(self, window: Window) -> None:
        """Go to where the window begins."""

    def read(self, *, stamped: bool) -> Part | None:
        """What comes next; None while relctld, which would know it, is away."""


class Door:
    """relctld, spoken to only where it is needed. `patient`: one that goes away is waited for."""

    def __init__(self, address: Address, note: Callable[[str], None]) -> None:
        self.address = address
        self.patient = False
        self._note = note
        self._client: Client | None = None
        self._follower: Follower | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._client is not None:
            self._client.__exit__(kind, error, at)

    def ask(self, op: str, args: dict[str, Any]) -> dict[str, Any] | None:
        """The result; None where it is away, and waited for."""
        from relctl.client import Client, Follower  # noqa: PLC0415 -- start-up: files are read without ZeroMQ

        if self._client is None:
            self._client = Client(self.address)
        if not self.patient:
            return self._client.ask(op, args)
        if self._follower is None:
            self._follower = Follower(self._client, self._note, reached=True)
        return self._follower.ask(op, args)

    def is_open(self) -> bool:
        """Does relctld answer?"""
        try:
            self.address.check()
        except UnreachableError:
            return False
        return True

    def last_exit(self, name: str) -> int | None:
        """When the release's VM exited last, as relctld knows it (microseconds); None where it cannot be asked."""
        try:
            reply = self.ask("status", {"names": [name]}) or {}
            (release,) = reply["releases"]
            return micros(release["last_exit"]["at"])
        except (CannotError, KeyError, TypeError, ValueError):
            return None


class Files:
    """The files of a release, read here."""

    def __init__(self, name: str, folder: str, door: Door | None) -> None:
        self._name, self._folder, self._door = name, folder, door
        self._reader: tail.Reader | None = None

    def begin(self, window: Window) -> None:
        """Go to where the window begins."""
        lines = window.lines
        try:
            if window.crash:
                exited = None if self._door is None else self._door.last_exit(self._name)
                place = exits.window_before_exit(self._folder, lines or 0, exited)
            else:
                since, until = (None if at is None else micros(at) for at in (window.since, window.until))
                place = tail.window(self._folder, lines, since, until)
        except OSError as error:
            raise _unreadable(error) from None
        if place is None:
            raise CannotError("impossible", "no VM of it exited, as far as its log and its last exit tell")
        self._reader = tail.Reader(self._folder, *place)

    def read(self, *, stamped: bool) -> Part | None:
        """What comes next."""
        assert self._reader is not None
        try:
            piece = self._reader.read(CHUNK, stamped=stamped)
        except OSError as error:
            raise _unreadable(error) from None
        return Part(*piece, len(piece.data) >= CHUNK)


class Asking:
    """A log that relctld reads for us. `closed`: what of it we may not read ourselves, if we know."""

    def __init__(self, name: str, door: Door, closed: str) -> None:
        self._name, self._door, self._closed = name, door, closed
        self._first: dict[str, Any] | None = None
        self._cursor: dict[str, Any] = {}
        self._end: dict[str, Any] = {}

    def begin(self, window: Window) -> None:
        """Go to where the window begins."""
        wanted = {key: value for key, value in window._asdict().items() if value is not None and value is not False}
        try:
            self._first = self._ask({**wanted, "stamps": True})
        except UnreachableError as error:
            if not self._closed:
                raise
            kind, message, hint = error.problem
            raise CannotError(kind, f"{message}, and {self._closed} may not be read by you", hint) from None

    def read(self, *, stamped: bool) -> Part | None:
        """What comes next; None while relctld is away."""
        reply, self._first = self._first, None
        if reply is None:
            reply = self._ask({"cursor": self._cursor, **self._end, **({"stamps": True} if stamped else {})})
        if reply is None:
            return None
        self._cursor = reply.get("cursor") or self._cursor
        self._end = {"end": reply["end"]} if reply.get("end") else {}
        try:
            data = base64.b64decode(reply.get("data") or b"")
            stamps = [(int(place), int(moment)) for place, moment in reply.get("stamps") or ()]
        except (ValueError, TypeError):
            raise CannotError("failed", "relctld sent log data that cannot be decoded") from None
        return Part(data, stamps, bool(reply.get("more")))

    def _ask(self, args: dict[str, Any]) -> dict[str, Any] | None:
        return self._door.ask("logs", {"release": self._name, **args})


def choose(name: str, log_dir: str | None, door: Door, environ: Mapping[str, str]) -> Source:
    """Where the log of a release is read from; raises CannotError."""
    if log_dir is not None:
        if not _is_log(folder := os.path.join(log_dir, name)):
            raise CannotError("impossible", f"there is no log of it in {log_dir}")
        return Files(name, folder, None)
    closed = ""
    for place in _places(door, environ) if _NAME.fullmatch(name) else ():
        if _is_log(folder := os.path.join(place, name)):
            if _may_read(folder):
                return Files(name, folder, door)
            closed = closed or folder
    return Asking(name, door, closed)


def _places(door: Door, environ: Mapping[str, str]) -> list[str]:
    """Directories in which releases' logs may be."""
    run_dir = os.path.dirname(door.address.path)
    with contextlib.suppress(OSError):
        return [os.path.join(run_dir, os.readlink(os.path.join(run_dir, "log")))]
    if door.address.given or door.is_open():
        return []
    state = environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):
        state = os.path.join(environ.get("HOME") or "/", ".local", "state")
    return [os.path.join(state, "relctl", "log"), _SYSTEM_LOGS]


def _is_log(folder: str) -> bool:
    """Is it a directory, and no link to one?"""
    try:
        return stat.S_ISDIR(os.lstat(folder).st_mode)
    except OSError:
        return False


def _may_read(folder: str) -> bool:
    try:
        paths = [os.path.join(folder, log.name) for log in files_of(folder)]
    except OSError:
        return False
    return all(os.access(path, os.R_OK) or not os.path.lexists(path) for path in paths)


def _unreadable(error: OSError) -> CannotError:
    return CannotError("failed", f"the log cannot be read: {error.strerror}: {error.filename}")
