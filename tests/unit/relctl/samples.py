"""Objects as relctld sends them (CONTRACT, *JSON*)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from relctld.wire.messages import Progress, Reply, Request
from tests.unit.relctl.fake import Said, Script

DAEMON: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 77,
    "started_at": "2026-01-01T00:00:00Z",
    "uptime_s": 3600.0,
    "config": "/etc/relctl/relctld.toml",
}

HALTED: dict[str, Any] = {"at": "2026-01-01T00:00:00Z", "code": 1, "signal": None, "cause": "halted", "pid": 9}
OOM: dict[str, Any] = {"at": "2026-01-01T00:00:00Z", "code": None, "signal": "SIGKILL", "cause": "oom", "pid": 9}
DUMPED: dict[str, Any] = HALTED | {"cause": "crash-dump"}


def release(name: str = "web", **fields: Any) -> dict[str, Any]:
    """A release that runs well, but for `fields`."""
    return {
        "name": name,
        "enabled": True,
        "state": "running",
        "want": "up",
        "health": "well",
        "health_detail": "",
        "version": "1.2.3",
        "boot_version": "1.2.3",
        "flavour": "relx",
        "node": f"{name}@127.0.0.1",
        "pid": 12345,
        "epoch": 7,
        "uptime_s": 277_200.0,
        "restarts": 0,
        "restarts_total": 0,
        "deadline_s": None,
        "last_exit": None,
        "restart_pending": [],
        "upgrade": None,
        "log": {"bytes_dropped": 0, "lines_dropped": 0},
        "os": {"rss_bytes": 123_000_000, "cpu_percent": 0.31, "threads": 30, "fds": 40},
        "beam": None,
        "unconfigured": False,
        "unlimited": None,
    } | fields


def down(name: str = "web", state: str = "stopped", **fields: Any) -> dict[str, Any]:
    """A release without a VM."""
    gone = {"health": "unknown", "version": None, "pid": None, "node": None, "uptime_s": None, "os": None}
    return release(name, state=state, **(gone | fields))


def status(*releases: dict[str, Any], daemon: dict[str, Any] | None = None) -> Script:
    """Answers `status` as the daemon does: all of them, or those asked for, in that order."""
    known = {item["name"]: item for item in releases}

    def script(request: Request) -> Iterator[Said]:
        names = request.args.get("names") or list(known)
        found = [known[name] for name in names if name in known]
        yield Reply(request.id, {"daemon": daemon or DAEMON, "releases": found})

    return script


def done(request: Request, name: str, **fields: Any) -> dict[str, Any]:
    """The good end of a changing verb."""
    return {"ok": True, "release": name, "op": request.op, "changed": True, "seconds": 1.25, "pid": 42} | fields


def failed(request: Request, name: str, kind: str, message: str, hint: str = "") -> dict[str, Any]:
    """The bad end of a changing verb."""
    return {
        "ok": False,
        "release": name,
        "op": request.op,
        "error": {"kind": kind, "message": message, "hint": hint},
    }


def changing(request: Request) -> Iterator[Said]:
    """Does what it is asked, and says so on the way."""
    yield Progress(request.id, {"accepted": True})
    for name in request.args["names"]:
        yield Progress(request.id, {"release": name, "state": "starting", "detail": ""})
    yield Reply(request.id, {"results": [done(request, name) for name in request.args["names"]]})


def never_done(request: Request) -> Iterator[Said]:
    """Accepts, and is busy for ever."""
    yield Progress(request.id, {"accepted": True})
    for name in request.args["names"]:
        yield Progress(request.id, {"release": name, "state": "stopping", "detail": ""})
    while True:
        yield 0.3
        yield Progress(request.id, {"accepted": True})


def data(text: bytes, offset: int = 0, more: bool = False) -> dict[str, Any]:
    """What `logs` answers."""
    return {"data": base64.b64encode(text).decode(), "cursor": {"offset": offset}} | ({"more": True} if more else {})
