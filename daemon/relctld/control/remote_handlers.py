"""The four operations of a remote shell: arguments checked, then asked of `Sessions`."""

import base64
import binascii
import re
from typing import Any, Protocol

from relctld.control.access import Peer
from relctld.control.server import RefusedError, SendProgress

_TERM = re.compile(r"[A-Za-z0-9._+-]{1,32}")
_SESSION = re.compile(r"[0-9a-f]{32}")
_MOST_INPUT = 64 << 10
_LARGEST_SIDE = 10_000
_LARGEST = 1 << 62


class Sessions(Protocol):
    """What the supervisor does for remote shells. Each raises RefusedError."""

    async def attach(
        self, name: str, term: str, size: tuple[int, int], by: tuple[int, str], tell: SendProgress
    ) -> dict[str, Any]: ...
    def feed(self, session_id: str, uid: int, seq: int, data: bytes, ack: int) -> dict[str, Any]: ...
    def resize(self, session_id: str, uid: int, rows: int, cols: int) -> None: ...
    def hang_up(self, session_id: str, uid: int) -> None: ...


async def attach(
    sessions: Sessions, name: str, args: dict[str, Any], by: tuple[int, str], tell: SendProgress
) -> dict[str, Any]:
    """`remote`: answered when the shell has ended."""
    term = args.get("term", "")
    if not isinstance(term, str) or not _TERM.fullmatch(term):
        raise RefusedError("usage", "term is the name of a terminal, such as xterm-256color")
    return await sessions.attach(name, term, _size(args), by, tell)


def about_session(sessions: Sessions, op: str, args: dict[str, Any], peer: Peer) -> dict[str, Any]:
    """`remote-input`, `remote-resize` and `remote-close`: answered at once."""
    session = args.get("session")
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise RefusedError("usage", "session is what the progress of remote named")
    match op:
        case "remote-input":
            data = _data(args)
            return sessions.feed(session, peer.uid, _number(args, "seq"), data, _number(args, "ack"))
        case "remote-resize":
            sessions.resize(session, peer.uid, *_size(args))
        case _:
            sessions.hang_up(session, peer.uid)
    return {}


def _size(args: dict[str, Any]) -> tuple[int, int]:
    return _number(args, "rows", _LARGEST_SIDE), _number(args, "cols", _LARGEST_SIDE)


def _number(args: dict[str, Any], key: str, most: int = _LARGEST) -> int:
    value = args.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise RefusedError("usage", f"{key} is a number from 0 to {most}")
    return value


def _data(args: dict[str, Any]) -> bytes:
    text = args.get("data", "")
    try:
        if not isinstance(text, str):
            raise ValueError
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise RefusedError("usage", "data is base64") from None
    if len(data) > _MOST_INPUT:
        raise RefusedError("usage", f"at most {_MOST_INPUT} bytes of input at a time")
    return data
