"""`upgrade`, `downgrade`, `deploy`, `remove`, `versions`: arguments checked, then asked of `Upgrades`."""

import re
from typing import Any, Protocol

from relctld.control.server import RefusedError, SendProgress
from relctld.wire.messages import MOST_SOAK

_LONGEST_PATH = 4096
_LONGEST_VERSION = 128


class Upgrades(Protocol):
    """What the supervisor does."""

    async def upgrade(
        self, name: str, request_id: str, args: dict[str, Any], by: tuple[int, str], tell: SendProgress
    ) -> dict[str, Any]: ...
    async def remove(self, name: str, version: str, by: str) -> dict[str, Any]: ...
    async def versions(self, name: str) -> dict[str, Any]: ...


async def upgrade(
    upgrades: Upgrades,
    op: str,
    name: str,
    args: dict[str, Any],
    request: tuple[str, tuple[int, str]],
    tell: SendProgress,
) -> dict[str, Any]:
    """An upgrade to a tarball or a version, a downgrade to a version or the one before, a deployment of a tarball.

    Raises RefusedError.
    """
    tarball, version = _text(args, "tarball", _LONGEST_PATH), _text(args, "version", _LONGEST_VERSION)
    if tarball is not None and (op == "downgrade" or version is not None):
        raise RefusedError("usage", f"{op} takes a version" + ("" if op == "downgrade" else " or a tarball"))
    if tarball is not None and not tarball.startswith("/"):
        raise RefusedError("usage", "tarball is an absolute path")
    if op == "upgrade" and tarball is None and version is None:
        raise RefusedError("usage", "upgrade needs a version or a tarball")
    if op == "deploy" and tarball is None:
        raise RefusedError("usage", "deploy needs a tarball")
    digest = _text(args, "sha256", 64)
    if digest is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
        raise RefusedError("usage", "sha256 is 64 hexadecimal digits")
    soak = args.get("soak_s")
    if soak is not None and (isinstance(soak, bool) or not isinstance(soak, int | float) or not 0 <= soak <= MOST_SOAK):
        raise RefusedError("usage", f"soak_s is a number of seconds up to {MOST_SOAK:g}")
    checked = {
        "tarball": tarball,
        "version": version,
        "sha256": digest,
        "soak_s": None if soak is None else float(soak),
        "plan": args.get("plan") is True,
        "deploy": op == "deploy",
        "allow_restart": args.get("allow_restart") is True,
        "wait": args.get("wait") is not False,
    }
    request_id, by = request
    result = await upgrades.upgrade(name, request_id, checked, by, tell)
    return {"ok": True, "release": name, "op": op, **result}


async def remove(upgrades: Upgrades, name: str, args: dict[str, Any], by: str) -> dict[str, Any]:
    """Remove an installed version. Raises RefusedError."""
    version = _text(args, "version", _LONGEST_VERSION)
    if version is None:
        raise RefusedError("usage", "remove needs a version")
    return {"ok": True, "release": name, "op": "remove", **await upgrades.remove(name, version, by)}


def _text(args: dict[str, Any], key: str, longest: int) -> str | None:
    text = args.get(key)
    if text is None:
        return None
    if not isinstance(text, str) or not text or len(text) > longest or "\0" in text:
        raise RefusedError("usage", f"{key} is a text of up to {longest} characters")
    return text
