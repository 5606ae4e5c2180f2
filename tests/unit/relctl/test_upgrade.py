"""upgrade, downgrade and versions: what is asked for, what is shown on the way, and how it ends."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relctl.completion import script
from relctld.wire.messages import Progress, Reply, Request
from tests.unit.relctl.conftest import Relctl, Terminal
from tests.unit.relctl.fake import FakeDaemon, Said, problem, result
from tests.unit.relctl.test_plan import PLAN
from tests.waiting import wait_until

DONE: dict[str, Any] = {"ok": True, "release": "web", "changed": True, "from": "1.0.0", "to": "1.1.0", "seconds": 2.9}
WHY = "it is not well: web:ready() says false"
TOLD = "\n".join(
    ["web: 1.0.0 to 1.1.0", *(f"  ✓ {word} (0.0 s)" for word in ("unpacked and configured", "installed in the node"))]
)


def upgrading(*phases: tuple[str, str] | dict[str, Any], end: Reply | None = None) -> Any:
    """Says the plan, and these phases and other words, then ends well, or with `end`."""

    def script(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"accepted": True})
        yield Progress(request.id, {"step": "reading", "bytes": 5, "of": 10})
        yield Progress(request.id, {"step": "judging"})
        yield Progress(request.id, {"plan": {"from": "1.0.0", "to": "1.1.0"}})
        for word in phases:
            yield Progress(request.id, word if isinstance(word, dict) else {"phase": word[0], "why": word[1]})
        if end is None:
            yield Reply(request.id, {**DONE, "op": request.op})
        else:
            yield end._replace(id=request.id)

    return script


def never_done(request: Request) -> Iterator[Said]:
    """The soak takes for ever."""
    yield Progress(request.id, {"plan": {"from": "1", "to": "2"}})
    while True:
        yield Progress(request.id, {"phase": "soaking", "why": ""})
        yield 0.2


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["web", "1.1.0"], {"version": "1.1.0"}),
        (["web", "/srv/web-1.1.0.tar.gz"], {"tarball": "/srv/web-1.1.0.tar.gz"}),
        (["web", "web-1.2.0.tar.gz"], {"tarball": "{cwd}/web-1.2.0.tar.gz"}),
        (["web", "web.tgz"], {"tarball": "{cwd}/web.tgz"}),
        (["web", "./web"], {"tarball": "{cwd}/web"}),
        (["web", "../web.tar"], {"tarball": "{parent}/web.tar"}),
        (["web", "2", "--soak", "1m"], {"version": "2", "soak_s": 60.0}),
        (["web", "--plan", "2"], {"version": "2", "plan": True}),
        (["web", "2", "--no-wait"], {"version": "2", "wait": False}),
        (["web", "/x.tar.gz", "--sha256", "ab"], {"tarball": "/x.tar.gz", "sha256": "ab"}),
    ],
)
def test_what_is_asked_for(relctl: Relctl, sock: Path, folder: Path, words: list[str], args: dict[str, Any]) -> None:
    with FakeDaemon(sock, result(**DONE)) as daemon:
        assert relctl("upgrade", *words, cwd=folder).code == 0
    places = {"cwd": str(folder), "parent": str(folder.parent)}
    wanted = {key: value.format(**places) if isinstance(value, str) else value for key, value in args.items()}
    assert daemon.requests[0].args == {"release": "web", "plan": False, "wait": True} | wanted


def test_downgrade_takes_a_version_or_none(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(**DONE)) as daemon:
        assert relctl("downgrade", "web").code == relctl("downgrade", "web", "v1.tar.gz").code == 0
    assert daemon.requests[0].args == {"release": "web", "plan": False, "wait": True}
    assert daemon.requests[1].args["version"] == "v1.tar.gz"


def test_plan_phases_and_end_are_told_in_order(relctl: Relctl, sock: Path) -> None:
    phases = [("installing", ""), ("installed", ""), ("soaking", ""), ("committing", "")]
    with FakeDaemon(sock, upgrading(*phases)):
        ended = relctl("upgrade", "web", "1.1.0")
    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if "✓" in line or "web" in line] == [
        *TOLD.splitlines(),
        "  ✓ verified (0.0 s)",
        "  ✓ soaked (0.0 s)",
        "  ✓ made permanent (0.0 s)",
        "web: upgraded 1.0.0 to 1.1.0 (2.9 s)",
    ]


def test_the_configuration_is_told_before_the_install(relctl: Relctl, sock: Path) -> None:
    change = {"application": "web", "key": "limit", "before": "10", "after": "20"}
    with FakeDaemon(sock, upgrading(("installing", ""), {"configuration": [change]}, ("installed", ""))):
        assert "  configuration\n      web limit: 10 to 20\n  ✓ installed" in relctl("upgrade", "web", "1.1.0").out
        assert "configuration" not in relctl("--json", "upgrade", "web", "1.1.0").out
    with FakeDaemon(sock, upgrading(("installing", ""), {"configuration_unknown": "no such file\x1b"})):
        assert "  configuration cannot be compared: no such file\\x1b\n" in relctl("upgrade", "web", "1.1.0").out


def test_what_goes_wrong_is_told_where_it_does(relctl: Relctl, sock: Path) -> None:
    phases = [("installing", ""), ("installed", ""), *((word, WHY) for word in ("undoing", "reinstalling", "cleaning"))]
    [end] = problem("failed", f"to 1.1.0: {WHY}; it runs 1.0.0 as before", "relctl logs web")(Request("", "", {}))
    assert isinstance(end, Reply)
    with FakeDaemon(sock, upgrading(*phases, end=end)):
        ended = relctl("upgrade", "web", "1.1.0")
        assert ended.code == 1
        assert ended.err == (
            f"relctl: cannot upgrade web: to 1.1.0: {WHY}; it runs 1.0.0 as before\nrelctl: hint: relctl logs web\n"
        )
        assert [line for line in ended.out.splitlines() if "✓" in line or "✗" in line] == [
            *TOLD.splitlines()[1:],
            f"  ✗ verifying: {WHY}",
            "  ✓ the version before installed again (0.0 s)",
        ]
        ended = relctl("--json", "upgrade", "web", "1.1.0")
    assert json.loads(ended.out) == {
        "ok": False,
        "release": "web",
        "op": "upgrade",
        "error": {
            "kind": "failed",
            "message": f"to 1.1.0: {WHY}; it runs 1.0.0 as before",
            "hint": "relctl logs web",
        },
    }


def test_a_phase_that_does_not_get_on_says_why(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, upgrading(("committing", ""), ("committing", "no space left"), ("committing", ""))):
        ended = relctl("upgrade", "web", "1.1.0")
    assert "  · still making it permanent: no space left\n" in ended.out


def test_json_is_one_object(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, upgrading(("installing", ""))):
        ended = relctl("downgrade", "web", "--json")
    assert json.loads(ended.out) == {**DONE, "op": "downgrade"}
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)


def test_a_plan_alone(relctl: Relctl, sock: Path) -> None:
    said = {"ok": True, "release": "web", "op": "upgrade", "changed": False, "plan": PLAN}
    with FakeDaemon(sock, result(**said)):
        ended = relctl("upgrade", "web", "1.1.0", "--plan")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("web: 1.0.0 to 1.1.0\n  applications  web 1.0.0 to 1.1.0, + extra 1, - old 2\n")
        told = json.loads(relctl("upgrade", "web", "1.1.0", "--plan", "--json").out)
    assert told.pop("seconds") >= 0
    assert told == said


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"changed": False}, "web: 1.1.0 runs already\n"),
        ({"changed": True, "accepted": True, "from": "1", "to": "2"}, "web: 1 to 2 is under way\n"),
    ],
)
def test_other_good_ends(relctl: Relctl, sock: Path, said: dict[str, Any], line: str) -> None:
    with FakeDaemon(sock, result(ok=True, **said)):
        assert relctl("upgrade", "web", "1.1.0") == (0, line, "")


@pytest.mark.parametrize(("kind", "code"), [("busy", 5), ("impossible", 5), ("usage", 2), ("failed", 1), ("denied", 5)])
def test_refusals(relctl: Relctl, sock: Path, kind: str, code: int) -> None:
    with FakeDaemon(sock, problem(kind, "why", "next")):
        said = "relctl: cannot downgrade web: why\nrelctl: hint: next\n"
        assert relctl("downgrade", "web") == (code, "", said)


@pytest.mark.parametrize(
    ("words", "fate", "hint"),
    [
        ([], "it goes on: (unpacking and configuring|soaking)", "relctl: hint: relctl status web\n"),
        (["--plan"], "nothing was changed", ""),
    ],
)
def test_ctrl_c_ends_the_waiting_only(relctl: Relctl, sock: Path, words: list[str], fate: str, hint: str) -> None:
    with FakeDaemon(sock, never_done), relctl.popen("upgrade", "web", "2", *words) as process:
        assert process.stdout is not None
        while b"configured" not in process.stdout.readline():  # then it has heard of the next phase
            continue
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    said = rf"relctl: cannot upgrade web: interrupted after [0-9.]+ s, {fate}\n{re.escape(hint)}"
    assert re.fullmatch(said, err.decode())


def test_on_a_terminal_it_is_folded_painted_and_shows_progress(relctl: Relctl, sock: Path, terminal: Terminal) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"plan": PLAN})
        yield Progress(request.id, {"phase": "soaking", "why": ""})
        while "soaking, 0 s" not in terminal.read():
            yield 0.01
        yield Reply(request.id, DONE)

    env = relctl.environ(TERM="xterm", COLUMNS="80", NO_COLOR="")
    with FakeDaemon(sock, script):
        relctl("upgrade", "web", "1.1.0", stdout=terminal.slave, stderr=terminal.slave, env=env)
        wait_until(lambda: "2.9 s" in terminal.read(), what="the end")
    assert "\x1b[32m✓\x1b[0m soaked" in terminal.shown
    assert "web: \x1b[32mupgraded\x1b[0m 1.0.0 to 1.1.0 (2.9 s)" in terminal.shown
    plan = terminal.shown.partition("  instructions")[0].replace("\r\n", "\n")
    assert max(map(len, plan.rpartition("\x1b[K")[2].splitlines())) <= 80


def test_versions(relctl: Relctl, sock: Path) -> None:
    found = [{"version": "1.0.0", "status": "permanent", "running": True, "boots": True, "erts": "13", "error": None}]
    with FakeDaemon(sock, result(release="web", versions=found, releases_error="RELEASES is damaged")):
        ended = relctl("versions", "web")
        told = json.loads(relctl("versions", "web", "--json").out)
    assert ended.out == "VERSION  STATUS     ERTS\n1.0.0    permanent  13    runs, boots\n"
    assert ended.err == "relctl: warning: RELEASES is damaged; an upgrade mends that\n"
    assert told == {"release": "web", **found[0]}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_verbs_and_their_flags(shell: str) -> None:
    text = script(shell)
    assert all(verb in text for verb in ("upgrade", "downgrade", "versions"))
    assert all(flag in text for flag in ("plan", "soak", "sha256"))
