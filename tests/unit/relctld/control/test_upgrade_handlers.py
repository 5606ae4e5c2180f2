"""The arguments of upgrade and downgrade: what is refused, and what the supervisor is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relctld.control import upgrade_handlers
from relctld.control.server import RefusedError

ASKED = ("1" * 32, (1000, "ann"))
CHECKED = {"tarball": None, "version": None, "sha256": None, "soak_s": None, "plan": False, "wait": True} | {
    "deploy": False,
    "allow_restart": False,
}


class Recorder:
    """Stands where the supervisor stands."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def upgrade(
        self, name: str, request_id: str, args: dict[str, Any], by: tuple[int, str], tell: Any
    ) -> dict[str, Any]:
        self.asked.append((name, request_id, args, by))
        return {"changed": True}

    async def remove(self, name: str, version: str, by: str) -> dict[str, Any]:
        self.asked.append((name, version, by))
        return {"changed": True}

    async def versions(self, name: str) -> dict[str, Any]:
        return {}


def ask(recorder: Recorder, op: str, **args: Any) -> dict[str, Any]:
    return asyncio.run(upgrade_handlers.upgrade(recorder, op, "web", args, ASKED, lambda _: None))


@pytest.mark.parametrize(
    ("op", "args", "why"),
    [
        ("upgrade", {}, "upgrade needs a version or a tarball"),
        ("upgrade", {"tarball": "/x.tar.gz", "version": "2"}, "upgrade takes a version or a tarball"),
        ("upgrade", {"tarball": "x.tar.gz"}, "tarball is an absolute path"),
        ("upgrade", {"tarball": 1}, "tarball is a text of up to 4096 characters"),
        ("upgrade", {"tarball": "/" * 4097}, "tarball is a text of up to 4096 characters"),
        ("upgrade", {"tarball": "/a\0b"}, "tarball is a text of up to 4096 characters"),
        ("upgrade", {"version": ""}, "version is a text of up to 128 characters"),
        ("upgrade", {"version": ["2"]}, "version is a text of up to 128 characters"),
        ("upgrade", {"version": "2", "sha256": "abc"}, "sha256 is 64 hexadecimal digits"),
        ("upgrade", {"version": "2", "sha256": 64 * "g"}, "sha256 is 64 hexadecimal digits"),
        ("upgrade", {"version": "2", "soak_s": "1"}, "soak_s is a number of seconds up to 604800"),
        ("upgrade", {"version": "2", "soak_s": True}, "soak_s is a number of seconds up to 604800"),
        ("upgrade", {"version": "2", "soak_s": -1}, "soak_s is a number of seconds up to 604800"),
        ("upgrade", {"version": "2", "soak_s": float("nan")}, "soak_s is a number of seconds up to 604800"),
        ("upgrade", {"version": "2", "soak_s": 1e9}, "soak_s is a number of seconds up to 604800"),
        ("downgrade", {"tarball": "/x.tar.gz"}, "downgrade takes a version"),
        ("deploy", {}, "deploy needs a tarball"),
        ("deploy", {"tarball": "x.tar.gz"}, "tarball is an absolute path"),
    ],
)
def test_arguments_that_are_refused(op: str, args: dict[str, Any], why: str) -> None:
    recorder = Recorder()
    with pytest.raises(RefusedError) as raised:
        ask(recorder, op, **args)
    assert (raised.value.problem.kind, raised.value.problem.message) == ("usage", why)
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("op", "args", "checked"),
    [
        ("upgrade", {"version": "2"}, {"version": "2"}),
        ("upgrade", {"tarball": "/x", "sha256": 64 * "A"}, {"tarball": "/x", "sha256": 64 * "A"}),
        ("upgrade", {"version": "2", "soak_s": 0, "plan": True}, {"version": "2", "soak_s": 0.0, "plan": True}),
        ("upgrade", {"version": "2", "wait": False, "plan": "yes"}, {"version": "2", "wait": False}),
        ("downgrade", {}, {}),
        ("downgrade", {"version": "1"}, {"version": "1"}),
    ],
)
def test_what_the_supervisor_is_asked(op: str, args: dict[str, Any], checked: dict[str, Any]) -> None:
    recorder = Recorder()
    assert ask(recorder, op, **args) == {"ok": True, "release": "web", "op": op, "changed": True}
    assert recorder.asked == [("web", ASKED[0], CHECKED | checked, ASKED[1])]


def test_a_deployment_and_a_removal() -> None:
    recorder = Recorder()
    reply = ask(recorder, "deploy", tarball="/x.tar.gz", allow_restart="yes")
    assert (reply["op"], reply["changed"]) == ("deploy", True)
    assert recorder.asked[0][2] == CHECKED | {"tarball": "/x.tar.gz", "deploy": True}
    asyncio.run(upgrade_handlers.remove(recorder, "web", {"version": "1.0.0"}, "ann"))
    assert recorder.asked[1] == ("web", "1.0.0", "ann")
    with pytest.raises(RefusedError, match="remove needs a version"):
        asyncio.run(upgrade_handlers.remove(recorder, "web", {}, "ann"))
