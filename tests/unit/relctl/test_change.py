"""start, stop, restart and logs --rotate: waiting, and what is said at the end."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from relctld.wire.messages import Progress, Reply, Request
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, problem, result, silence
from tests.unit.relctl.samples import changing, done, failed, never_done, release, status
from tests.waiting import wait_until


def test_restart_waits_and_says_what_became_of_it(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, changing) as daemon:
        assert relctl("restart", "web") == (0, "web: restarted (pid 42, 1.2 s)\n", "")
    assert daemon.requests[0].args == {"names": ["web"], "all": False, "wait": True}


def test_all_and_no_wait_are_asked_for(relctl: Relctl, sock: Path) -> None:
    def accept(request: Request) -> Iterator[Said]:
        results = [done(request, name, accepted=True) for name in ("api", "web")]
        yield Reply(request.id, {"results": results})

    with FakeDaemon(sock, accept) as daemon:
        assert relctl("start", "--all", "--no-wait") == (0, "api: start accepted\nweb: start accepted\n", "")
    assert daemon.requests[0].args == {"names": [], "all": True, "wait": False}


def test_objects_come_in_the_order_asked_whoever_was_first(relctl: Relctl, sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        for name in ("c", "a", "b"):
            yield Progress(request.id, {"release": name, "result": done(request, name)})
        yield Reply(request.id, {"results": [done(request, name) for name in ("a", "b", "c")]})

    with FakeDaemon(sock, script):
        ended = relctl("stop", "a", "b", "c", "--json")
    objects = [json.loads(line) for line in ended.out.splitlines()]
    assert [item["release"] for item in objects] == ["a", "b", "c"]
    assert objects[0] == {"ok": True, "release": "a", "op": "stop", "changed": True, "seconds": 1.25, "pid": 42}
    assert ended.code == 0


def test_an_end_is_shown_before_the_others_have_one(relctl: Relctl, sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"release": "a", "result": done(request, "a")})
        while not release_it:
            yield 0.01
        yield Reply(request.id, {"results": [done(request, name) for name in ("a", "b")]})

    release_it: list[bool] = []
    with FakeDaemon(sock, script), relctl.popen("start", "a", "b") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"a: started")
        release_it.append(True)
        assert process.stdout.readline().startswith(b"b: started")
    assert process.returncode == 0


def test_the_first_failed_boot_is_told_with_its_last_lines(relctl: Relctl, sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        bad = failed(request, "web", "failed", "boot-failed, exit code 1", "relctl logs web")
        yield Reply(request.id, {"results": [bad | {"log": ["{badmatch,x}", "\x1b[2Jboo"]}]})

    with FakeDaemon(sock, script):
        ended = relctl("start", "web")
    assert ended == (
        1,
        "",
        "relctl: cannot start web: boot-failed, exit code 1\nrelctl: hint: relctl logs web\n"
        "relctl:   | {badmatch,x}\nrelctl:   | \\x1b[2Jboo\n",
    )


@pytest.mark.parametrize(
    ("kinds", "code"),
    [((), 0), (("busy",), 5), (("failed", "busy"), 1), (("busy", "failed"), 1), (("denied", "impossible"), 5)],
)
def test_the_worst_end_is_the_exit_code(relctl: Relctl, sock: Path, kinds: tuple[str, ...], code: int) -> None:
    def script(request: Request) -> Iterator[Said]:
        ends = [done(request, "good"), *(failed(request, kind, kind, "why") for kind in kinds)]
        yield Reply(request.id, {"results": ends})

    with FakeDaemon(sock, script):
        ended = relctl("stop", "good", *kinds)
    assert ended.code == code
    assert ended.err == "".join(f"relctl: cannot stop {kind}: why\n" for kind in kinds)


def test_a_release_without_a_result_counts_as_failed(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, result(results=[])):
        assert relctl("stop", "web") == (1, "", "relctl: cannot stop web: relctld says nothing of it\n")


def test_overtaken(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, problem("failed", "overtaken by stop of joe")):
        assert relctl("start", "web") == (1, "", "relctl: cannot start web: overtaken by stop of joe\n")


def test_timeout_ends_the_waiting_and_says_the_state(relctl: Relctl, sock: Path) -> None:
    answers = {"stop": never_done, "status": status(release("web", state="stopping"), release("api"))}
    with FakeDaemon(sock, answers):
        ended = relctl("stop", "web", "--timeout", "300ms")
        assert ended.code == 1
        assert re.sub(r"in \d+\.\d s", "in N s", ended.err) == (
            "relctl: cannot stop web: not done in N s, the operation goes on; its state is stopping\n"
            "relctl: hint: relctl status web\n"
        )
        ended = relctl("stop", "--json", "web", "api", "--timeout", "300ms")
        objects = [json.loads(line) for line in ended.out.splitlines()]
    assert [(item["release"], item["state"], item["error"]["kind"]) for item in objects] == [
        ("web", "stopping", "timeout"),
        ("api", "running", "timeout"),
    ]
    assert ended.code == 1


def test_timeout_before_the_daemon_said_anything(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, {"stop": silence, "status": status(release())}):
        ended = relctl("stop", "web", "--timeout", "200ms")
    assert ended.code == 1
    assert re.search(
        r"not done in \d+\.\d s, relctld has not said yet that it heard of it; its state is running", ended.err
    )


def test_ctrl_c_ends_the_waiting_only(relctl: Relctl, sock: Path) -> None:
    answers = {"stop": never_done, "status": status(release("web", state="killing"))}
    with FakeDaemon(sock, answers) as daemon, relctl.popen("stop", "web") as process:
        wait_until(lambda: daemon.requests, what="the request")
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert err.startswith("relctl: cannot stop web: interrupted after ")
    assert "its state is killing\n" in err


def test_progress_is_for_terminals(relctl: Relctl, sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"release": "web", "state": "stopping", "detail": "SIGTERM sent"})
        yield 0.6
        yield Reply(request.id, {"results": [done(request, "web")]})

    with FakeDaemon(sock, script):
        master, terminal = pty.openpty()
        with relctl.popen("stop", "web", stderr=terminal) as process:
            os.close(terminal)
            assert process.stdout is not None
            out = process.stdout.read()
        shown = ""
        with suppress(OSError):  # EIO: nobody holds the other end any more
            while data := os.read(master, 4096):
                shown += data.decode()
        os.close(master)
    assert out == b"web: stopped (pid 42, 1.2 s)\n"
    assert "stop: web stopping (SIGTERM sent), 0 s" in shown
    assert shown.endswith("\r\x1b[K")


def test_rotate(relctl: Relctl, sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        assert request.op == "rotate"
        yield Reply(request.id, {"results": [done(request, name) for name in request.args["names"]]})

    with FakeDaemon(sock, script):
        ended = relctl("logs", "--rotate", "web", "api")
    assert ended == (0, "web: log rotated (pid 42, 1.2 s)\napi: log rotated (pid 42, 1.2 s)\n", "")
