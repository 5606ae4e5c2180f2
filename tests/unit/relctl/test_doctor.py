"""doctor: what is shown, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, problem, result


def finding(severity: str = "error", **more: Any) -> dict[str, Any]:
    return {
        "release": "web",
        "finding": "releases-torn",
        "severity": severity,
        "detail": "it ends \x1b[2J in the middle",
        "mend": "relctl doctor --fix web",
        "fixable": True,
        **more,
    }


def test_findings(relctl: Relctl, sock: Path) -> None:
    host = finding("note", release=None, finding="epmd-listens-everywhere", fixable=False)
    with FakeDaemon(sock, result(findings=[finding(), host])) as daemon:
        done = relctl("doctor")
        told = [json.loads(line) for line in relctl("doctor", "--json").out.splitlines()]
    assert done.code == 1
    assert done.out.splitlines() == [
        "error    web releases-torn: it ends \\x1b[2J in the middle",
        "         → relctl doctor --fix web",
        "note     epmd-listens-everywhere: it ends \\x1b[2J in the middle",
        "         → relctl doctor --fix web",
        "1 error, 1 note; --fix would mend 1",
    ]
    assert told == [finding(), host]
    assert (daemon.asked, daemon.requests[0].args) == (["doctor", "doctor"], {"names": []})


def test_mended(relctl: Relctl, sock: Path) -> None:
    failed = finding("warning", fixed=False, error="no space left on device")
    with FakeDaemon(sock, result(findings=[finding(fixed=True, did="wrote it anew"), failed])) as daemon:
        done = relctl("doctor", "--fix", "web")
    assert done.code == 1
    assert done.out.splitlines()[1:] == [
        "         → mended: wrote it anew",
        "warning  web releases-torn: it ends \\x1b[2J in the middle",
        "         → could not be mended: no space left on device; relctl doctor --fix web",
        "1 error, 1 warning; 1 mended",
    ]
    assert (daemon.asked, daemon.requests[0].args) == (["doctor-fix"], {"names": ["web"]})


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([finding("note")], 0), ([finding("warning")], 1), ([finding(fixed=True, did="so")], 0)],
)
def test_exit_codes(relctl: Relctl, sock: Path, findings: list[dict[str, Any]], code: int) -> None:
    with FakeDaemon(sock, result(findings=findings)):
        assert relctl("doctor").code == code


def test_nothing_and_no_permission(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(findings=[])):
        assert relctl("doctor").out == "nothing to find fault with\n"
    with FakeDaemon(sock, problem("denied", "doctor-fix is for admins")):
        assert relctl("doctor", "--fix").code == 5
