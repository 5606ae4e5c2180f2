"""deploy and remove: what is asked for, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relctl.plan import plan_lines
from relctld.wire.messages import Problem, Progress, Reply, Request
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, result

PLAN: dict[str, Any] = {
    "way": "restart", "from": "1.0.0", "to": "1.1.0", "flavour": "mix", "erts": "13.1.5", "starts": True,
    "applications": {"added": {}, "changed": {"web": ["1.0.0", "1.1.0"]}, "removed": {}},
    "mended": ["lib/web-1.0.0/ebin/web.beam"], "disk_bytes": 4096, "files": 1,
}  # fmt: skip
DONE: dict[str, Any] = {"ok": True, "release": "web", "op": "deploy", "changed": True, "seconds": 2.9}


def deployed(request: Request) -> Iterator[Said]:
    """A first install."""
    yield Progress(request.id, {"plan": {**PLAN, "way": "install", "from": None, "mended": []}})
    for phase in ("switching", "installed", "soaking", "committing"):
        yield Progress(request.id, {"phase": phase, "why": ""})
    yield Reply(request.id, {**DONE, "from": "", "to": "1.1.0", "way": "restart"})


def test_a_first_install_is_told_in_order(relctl: Relctl, sock: Path, folder: Path) -> None:
    with FakeDaemon(sock, deployed) as daemon:
        ended = relctl("deploy", "web", "web", "--sha256", "ab", cwd=folder)
    wanted = {"tarball": str(folder / "web"), "sha256": "ab"}
    assert daemon.requests[0].args == {"release": "web", "plan": False, "wait": True} | wanted
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "web: 1.1.0",
        "  release       mix, ERTS 13.1.5; is started",
        "  disk          1 file, 4.1kB",
        "  way back      nothing installed",
        "  ✓ unpacked and configured (0.0 s)",
        "  ✓ the new version started (0.0 s)",
        "  ✓ verified (0.0 s)",
        "  ✓ soaked (0.0 s)",
        "  ✓ made permanent (0.0 s)",
        "web: deployed 1.1.0 (2.9 s)",
    ]


def failed(request: Request) -> Iterator[Said]:
    """A first install that does not come up."""
    yield Progress(request.id, {"plan": {**PLAN, "way": "install", "from": None, "mended": []}})
    yield Progress(request.id, {"phase": "switching", "why": ""})
    for phase in ("restarting", "cleaning"):
        yield Progress(request.id, {"phase": phase, "why": "the VM of 1.1.0 ended before it was ready"})
    yield Reply(request.id, None, Problem("failed", "to 1.1.0: it ended; nothing is installed, as before"))


def test_a_first_install_that_fails_has_no_version_to_go_back_to(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, failed):
        ended = relctl("deploy", "web", "/x/web.tar.gz")
    assert ended.code == 1
    assert "  ✓ the new version stopped (0.0 s)" in ended.out.splitlines()
    assert "version before" not in ended.out


def test_the_same_again_says_so_to_people_and_programs(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(**{**DONE, "changed": False})):
        assert relctl("deploy", "web", "/x/web.tar.gz").out == "web: web.tar.gz is deployed already\n"
        assert json.loads(relctl("deploy", "web", "/x/web.tar.gz", "--json").out)["changed"] is False


def test_a_plan_says_what_restarts_and_what_is_mended() -> None:
    assert plan_lines("web", PLAN) == [
        "web: 1.0.0 to 1.1.0",
        "  release       mix, ERTS 13.1.5; is restarted",
        "  applications  web 1.0.0 to 1.1.0",
        "  mended        lib/web-1.0.0/ebin/web.beam",
        "  disk          1 file, 4.1kB",
        "  way back      a restart into 1.0.0",
    ]
    assert "stays as it is" in plan_lines("web", {**PLAN, "starts": False})[1]


def test_a_restart_must_be_allowed_and_is_told(relctl: Relctl, sock: Path) -> None:
    done = {**DONE, "op": "upgrade", "from": "1.0.0", "to": "1.1.0", "way": "restart"}
    with FakeDaemon(sock, result(**done)) as daemon:
        ended = relctl("upgrade", "web", "1.1.0", "--allow-restart")
    assert daemon.requests[0].args["allow_restart"] is True
    assert ended.out == "web: upgraded 1.0.0 to 1.1.0, by a restart (2.9 s)\n"


def test_a_version_goes(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(ok=True, release="web", op="remove", changed=True, removed=["a", "b"])) as daemon:
        assert relctl("remove", "web", "1.0.0").out == "web: removed 1.0.0 (2 paths)\n"
    assert daemon.requests[0].args == {"release": "web", "version": "1.0.0"}


@pytest.mark.parametrize("words", [["deploy"], ["deploy", "web"], ["remove", "web"], ["remove"]])
def test_words_that_are_missing(relctl: Relctl, words: list[str]) -> None:
    ended = relctl(*words)
    assert (ended.code, "named" in ended.err) == (2, True), ended.err
