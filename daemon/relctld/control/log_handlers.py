"""`logs`: arguments checked, then asked of `ReadLog`."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from relctld.control.server import RefusedError

LOG_CHUNK = 256 << 10
"""Bytes in one reply."""

_MOST_LINES = 1_000_000_000
_LARGEST_FILE = 1 << 62
_LARGEST_HEAD = 1 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Cursor = dict[str, Any]


class Asked(NamedTuple):
    """Which part of a log. Moments are microseconds since the epoch; a cursor goes on where an earlier reply ended."""

    lines: int | None
    since: int | None
    until: int | None
    crash: bool
    stamped: bool
    cursor: Cursor | None
    end: Cursor | None


class Part(NamedTuple):
    """A part of a log, the place behind it, the place to read up to, and when it was written (`tail.Piece`)."""

    data: bytes
    stamps: list[tuple[int, int]]
    cursor: Cursor
    end: Cursor | None


ReadLog = Callable[[str, Asked], Awaitable[Part | None]]
"""(release, which part) -> the part; None: before an exit, and no VM exited. Raises OSError."""


async def logs(read: ReadLog, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """A part of a log, and how to ask for the next one."""
    since, until = _moment(args, "since"), _moment(args, "until")
    lines = _lines(args)
    asked = Asked(
        10 if lines is None and since is until is None else lines,
        since,
        until,
        args.get("crash") is True,
        args.get("stamps") is True,
        _cursor(args, "cursor"),
        _cursor(args, "end"),
    )
    try:
        part = await read(name, asked)
    except OSError as error:
        raise RefusedError("failed", f"the log cannot be read: {error}") from None
    if part is None:
        raise RefusedError("impossible", "no VM of it exited, as far as its log and its last exit tell")
    reply: dict[str, Any] = {"data": base64.b64encode(part.data).decode(), "cursor": part.cursor}
    reply["more"] = len(part.data) >= LOG_CHUNK
    if part.end is not None:
        reply["end"] = part.end
    if asked.stamped:
        reply["stamps"] = part.stamps
    return reply


def _lines(args: dict[str, Any]) -> int | None:
    lines = args.get("lines")
    if lines is None or (isinstance(lines, int) and not isinstance(lines, bool) and 0 <= lines <= _MOST_LINES):
        return lines
    raise RefusedError("usage", f"lines is a number from 0 to {_MOST_LINES}")


def _moment(args: dict[str, Any], key: str) -> int | None:
    text = args.get(key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // timedelta(microseconds=1)
    except (TypeError, ValueError, OverflowError):
        pass
    raise RefusedError("usage", f"{key} is a time in RFC 3339")


def _cursor(args: dict[str, Any], key: str) -> Cursor | None:
    cursor: Cursor | None = args.get(key)
    match cursor:
        case None:
            return None
        case {"after": str(), "offset": int(offset), "head": [int(length), int()]}:
            if 0 <= offset <= _LARGEST_FILE and 0 <= length <= _LARGEST_HEAD:
                return cursor
    raise RefusedError("usage", f"{key} is what an earlier reply held")
