"""Frames ↔ messages: bounded, strict and total.

Whatever bytes come in, `decode_request` gives a `Request` or raises `BadFrame`, in bounded time and memory; nothing
else is raised. Depth is bounded because Python's JSON scanner recurses.
"""

import json
import re
from typing import Any

from relctld.wire.messages import MAX_DEPTH, MAX_FRAME, OPS, VERSION, Problem, Progress, Reply, Request

_ID = re.compile(r"[0-9a-f]{32}")


class BadFrame(Exception):
    """A frame that is no message. `id` is the sender's, where it could be read: then it can be answered."""

    def __init__(self, message: str, id: str | None = None) -> None:
        super().__init__(message)
        self.id = id


def _load(frame: bytes) -> dict[str, Any]:
    if len(frame) > MAX_FRAME:
        raise BadFrame(f"frame of {len(frame)} bytes, at most {MAX_FRAME} are allowed")
    # Cheap and safe upper bound: brackets within strings count too, and no honest message has this many.
    if frame.count(b"[") + frame.count(b"{") > 1000 and _depth(frame) > MAX_DEPTH:
        raise BadFrame(f"nested deeper than {MAX_DEPTH}")
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise BadFrame("not JSON") from None
    if not isinstance(message, dict):
        raise BadFrame("not a JSON object")
    return message


def _depth(frame: bytes) -> int:
    depth = deepest = 0
    for byte in frame:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _id(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise BadFrame("id must be 32 hex digits")
    return id


def decode_request(frame: bytes) -> Request:
    """The request in `frame`; raises BadFrame."""
    message = _load(frame)
    id = _id(message)
    if message.get("v") != VERSION:
        raise BadFrame(f"protocol version {message.get('v')!r:.40}, this relctld speaks {VERSION}", id)
    op, args = message.get("op"), message.get("args", {})
    if not isinstance(op, str) or op not in OPS:
        raise BadFrame(f"unknown operation {op!r:.60}", id)
    if not isinstance(args, dict):
        raise BadFrame("args must be an object", id)
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
    """What the daemon says; raises BadFrame. Replies are the daemon's own: their size is not bounded here."""
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise BadFrame("not JSON") from None
    if not isinstance(message, dict):
        raise BadFrame("not a JSON object")
    id = _id(message)
    match message:
        case {"progress": dict(body)}:
            return Progress(id, body)
        case {"ok": True, "result": dict(result)}:
            return Reply(id, result)
        case {"ok": False, "error": {"kind": str(kind), "message": str(text), **rest}}:
            return Reply(id, None, Problem(kind, text, str(rest.get("hint", ""))))
    raise BadFrame("neither a reply nor a progress", id)


def _dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
