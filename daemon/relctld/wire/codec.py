"""Frames ↔ messages: bounded, strict and total.

Whatever bytes come in, `decode_request` gives a `Request` or raises `FrameError`, in bounded time and memory;
nothing else is raised. Depth needs no limit of ours: the JSON scanner ends at Python's recursion limit.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from relctld.wire.messages import MAX_FRAME, OPS, VERSION, Problem, Progress, Reply, Request

_ID = re.compile(r"[0-9a-f]{32}")
_DEPTH = 3  # of a message's body, its result and a list in it
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class FrameError(Exception):
    """A frame that is no message. `id` is the sender's, where it could be read: then it can be answered."""

    def __init__(self, message: str, id: str | None = None) -> None:
        super().__init__(message)
        self.id = id


def _load(frame: bytes) -> dict[str, Any]:
    if len(frame) > MAX_FRAME:
        raise FrameError(f"frame of {len(frame)} bytes, at most {MAX_FRAME} are allowed")
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise FrameError("not JSON") from None
    if not isinstance(message, dict):
        raise FrameError("not a JSON object")
    return message


def _id(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise FrameError("id must be 32 hex digits")
    return id


def decode_request(frame: bytes) -> Request:
    """The request in `frame`; raises FrameError."""
    message = _load(frame)
    id = _id(message)
    if message.get("v") != VERSION:
        raise FrameError(f"protocol version {message.get('v')!r:.40}, this relctld speaks {VERSION}", id)
    op, args = message.get("op"), message.get("args", {})
    if not isinstance(op, str) or op not in OPS:
        raise FrameError(f"unknown operation {op!r:.60}", id)
    if not isinstance(args, dict):
        raise FrameError("args must be an object", id)
    return Request(id, op, args)


def encode_request(request: Request) -> bytes:
    """The frame of a request."""
    return _dump({"v": VERSION, "id": request.id, "op": request.op, "args": request.args})


def encode_reply(reply: Reply) -> bytes:
    """The frame of a reply."""
    if reply.problem is None:
        return _dump({"v": VERSION, "id": reply.id, "ok": True, "result": reply.result or {}})
    return _dump({"v": VERSION, "id": reply.id, "ok": False, "error": reply.problem._asdict()})


def encode_progress(progress: Progress) -> bytes:
    """The frame of a word on a request under way."""
    return _dump({"v": VERSION, "id": progress.id, "progress": progress.body})


def decode_answer(frame: bytes) -> Reply | Progress:
    """What the daemon says; raises FrameError. Replies are the daemon's own: their size is not bounded here."""
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise FrameError("not JSON") from None
    if not isinstance(message, dict):
        raise FrameError("not a JSON object")
    id = _id(message)
    match message:
        case {"progress": dict(body)}:
            return Progress(id, body)
        case {"ok": True, "result": dict(result)}:
            return Reply(id, result)
        case {"ok": False, "error": {"kind": str(kind), "message": str(text), **rest}}:
            return Reply(id, None, Problem(kind, text, str(rest.get("hint", ""))))
    raise FrameError("neither a reply nor a progress", id)


def _dump(message: dict[str, Any]) -> bytes:
    return "".join(_pieces(message, _DEPTH)).encode("utf-8", "backslashreplace")


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """Its JSON, one item of a list after the other: json holds a string for each name and value until it is done."""
    match value:
        case {} if depth and value:
            for number, (key, item) in enumerate(value.items()):
                yield f"{',' if number else '{'}{_encode(key)}:"
                yield from _pieces(item, depth - 1)
            yield "}"
        case [*items] if depth and items and isinstance(value, list):
            for number, item in enumerate(items):
                yield "," if number else "["
                yield from _pieces(item, depth - 1)
            yield "]"
        case _:
            yield _encode(value)
