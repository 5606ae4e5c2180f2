"""status, once and watched: what is shown, and its exit code."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.relctl.conftest import Relctl, Terminal
from tests.unit.relctl.fake import FakeDaemon, problem
from tests.unit.relctl.samples import DAEMON, down, release, status
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("names", "code"), [([], 3), (["web"], 0), (["off"], 3), (["late"], 3), (["web", "off"], 3), (["web", "deg"], 0)]
)
def test_status_exit_code(relctl: Relctl, sock: Path, names: list[str], code: int) -> None:
    fleet = [release(), down("off", want="down"), down("late"), release("deg", health="degraded")]
    with FakeDaemon(sock, status(*fleet)):
        assert relctl("status", *names).code == code


def test_status_without_names_does_not_mind_what_is_wanted_down(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, status(release(), down("off", want="down"))):
        done = relctl("status")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == ["NAME", "web", "off"]


def test_status_json_is_one_object_as_it_came(relctl: Relctl, sock: Path) -> None:
    fleet = [release("b"), release("a", beam={"new": [1]})]
    with FakeDaemon(sock, status(*fleet)):
        done = relctl("status", "a", "b", "--json")
    assert json.loads(done.out) == {"daemon": DAEMON, "releases": [fleet[1], fleet[0]]}
    assert done.out.count("\n") == 1


def test_status_of_an_unknown_release(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, problem("unknown-release", "unknown release wbe", "did you mean web?")):
        done = relctl("status", "wbe")
    assert done == (5, "", "relctl: cannot status wbe: unknown release wbe\nrelctl: hint: did you mean web?\n")


def test_status_warns_of_the_last_good_config(relctl: Relctl, sock: Path) -> None:
    daemon = DAEMON | {"config": {"path": "/x.toml", "error": "x.toml: not TOML"}}
    with FakeDaemon(sock, status(release(), daemon=daemon)):
        done = relctl("status")
    assert done.err == "relctl: warning: relctld runs on the last good config: x.toml: not TOML\n"
    assert done.code == 0


def test_colour_is_for_terminals_and_not_under_no_color(relctl: Relctl, sock: Path, terminal: Terminal) -> None:
    with FakeDaemon(sock, status(release())):
        assert "\x1b" not in relctl("status").out
        relctl("status", stdout=terminal.slave, env=relctl.environ(NO_COLOR="1", TERM="xterm"))
        assert "\x1b" not in wait_until(terminal.read)
        relctl("status", stdout=terminal.slave, env=relctl.environ(NO_COLOR="", TERM="xterm"))
        wait_until(lambda: "\x1b[32mrunning\x1b[0m" in terminal.read(), what="green")


def test_watch_redraws_in_place_and_outlives_the_daemon(relctl: Relctl, sock: Path, terminal: Terminal) -> None:
    daemon = FakeDaemon(sock, status(release()))
    daemon.start()
    env = relctl.environ(NO_COLOR="1", TERM="xterm", COLUMNS="80")
    with relctl.popen("status", "--watch", stdout=terminal.slave, env=env) as process:
        wait_until(lambda: terminal.read().count("\x1b[4A") >= 1, what="a second picture over the first")
        assert "relctld 0.1.0, pid 77: 1 release, 1 running well" in terminal.shown
        daemon.stop()
        wait_until(lambda: "! relctld is not running" in terminal.read(), what="the note")
        assert re.search(r"! what stands below is [0-9.]+ s old", terminal.shown)
        daemon.start()
        seen = len(terminal.shown)
        wait_until(lambda: "1 running well" in terminal.read()[seen:].rpartition("old")[2], what="a new picture")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    daemon.stop()
    assert terminal.read().endswith("\x1b[J\x1b[?7h")


def test_watch_without_a_daemon_at_first_is_an_error(relctl: Relctl) -> None:
    assert relctl("status", "--watch").code == 4


def test_watch_json_is_an_object_a_line(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, status(release())), relctl.popen("status", "--watch", "--json") as process:
        assert process.stdout is not None
        pictures: list[dict[str, Any]] = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert [picture["releases"][0]["name"] for picture in pictures] == ["web", "web"]
    assert process.returncode == 0
