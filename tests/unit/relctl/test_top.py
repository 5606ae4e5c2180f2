"""top: what is shown at which width, in which order, once and live."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from relctl.vitals import SORTS, arranged, vitals
from tests.unit.relctl.conftest import Relctl, Terminal
from tests.unit.relctl.fake import FakeDaemon, problem
from tests.unit.relctl.samples import DAEMON, HALTED, down, release, status
from tests.waiting import wait_until


def plain(text: str, *_: str) -> str:
    return text


def marked(text: str, *colours: str) -> str:
    return f"<{','.join(colours)}>{text}</>" if colours else text


def beam(**changed: Any) -> dict[str, Any]:
    return {
        "memory": {"total": 2_100_000_000},
        "run_queue": 3,
        "schedulers": 2,
        "processes": {"count": 960_000, "limit": 1_048_576},
        "ports": {"count": 40, "limit": 65_536},
        "atoms": {"count": 21_000, "limit": 1_048_576},
        "ets": {"count": 100, "limit": 8192},
        "reductions_per_s": 1_234_567.0,
        "nodes": ["a@h", "b@h"],
        "alarms": [],
        "thresholds": [],
        "age_s": 2.0,
    } | changed


FLEET = [
    release("web", beam=beam(thresholds=["processes"]), os={"rss_bytes": 2_400_000_000, "cpu_percent": 150.0}),
    release("api", health="unreachable", health_detail="wrong cookie"),
    down("old", "backoff", deadline_s=3.21, last_exit=HALTED),
]


def test_on_a_pipe_each_node_is_one_line() -> None:
    assert vitals(FLEET, None, plain) == [
        "NAME  STATE    HEALTH       CPU%   BEAM    RSS  RUNQ  PROC%  ATOM%  PORTS  REDS/s    UP  NODES  NOTE",
        "web   running  well          150  2.1GB  2.4GB     3  91.6!    2.0     40    1.2M  3d5h      2"
        "  processes at 91.6% of 1048576",
        "api   running  unreachable   0.3      -  123MB     -      -      -      -       -  3d5h      -"
        "  no link to the node: wrong cookie",
        "old   backoff  -               -      -      -     -      -      -      -       -     -      -"
        "  restart in 3.2 s (halted, exit code 1)",
    ]


def test_at_80_columns() -> None:
    assert vitals(FLEET, 80, plain) == [
        "NAME STATE   HEALTH      CPU%  BEAM   RSS RUNQ PROC% ATOM% PORTS REDS/s   UP",
        "web  running well         150 2.1GB 2.4GB    3 91.6!   2.0    40   1.2M 3d5h",
        "  - processes at 91.6% of 1048576",
        "api  running unreachable  0.3     - 123MB    -     -     -     -      - 3d5h",
        "  - no link to the node: wrong cookie",
        "old  backoff -              -     -     -    -     -     -     -      -    -",
        "  - restart in 3.2 s (halted, exit code 1)",
    ]


@pytest.mark.parametrize("width", range(60, 140))
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    long = release("a-release-with-a-long-name", beam=beam())
    lines = vitals([*FLEET, long], width, plain)
    assert all(len(line) <= width for line in lines)
    assert all(head in lines[0] for head in ("NAME", "STATE", "HEALTH", "CPU%", "BEAM", "RSS", "RUNQ", "PROC%"))


def test_wider_terminals_show_all_columns() -> None:
    assert vitals(FLEET, 100, plain)[0].split() == vitals(FLEET, None, plain)[0].split()[:-1]


def test_each_threshold_is_marked_and_said() -> None:
    crossed = ["atoms", "ets", "memory", "ports", "processes", "run_queue"]
    lines = vitals([release("web", beam=beam(thresholds=crossed, run_queue=45))], 130, marked)
    for cell in ("2.1GB!", "45!", "91.6!", "2.0!", "40!"):
        assert f"<red>{cell}</>" in lines[1]
    assert lines[2:] == [
        "  - atoms at 2.0% of 1048576",
        "  - ets at 1.2% of 8192",
        "  - memory has grown a lot within the hour",
        "  - ports at 0.1% of 65536",
        "  - processes at 91.6% of 1048576",
        "  - 45 processes wait for 2 schedulers",
    ]


@pytest.mark.parametrize(
    ("item", "notes"),
    [
        (release(beam=beam()), []),
        (release(), ["no link to the node"]),
        (release(beam=beam(age_s=44.0)), ["the node was last heard 44 s ago"]),
        (release(beam=beam(alarms=["{disk,1}"])), ["1 alarm: {disk,1}"]),
        (release(beam=beam(alarms=["x" * 90, "\x1b"])), [f"2 alarms: {'x' * 59}…, …"]),
        (release(beam=beam(), health="degraded", health_detail="slow"), ["slow"]),
        (release(beam=beam(thresholds=["new\x1b"])), ["new\\x1b at -% of -"]),
        (down("web", "failed", last_exit=HALTED), ["halted, exit code 1; see relctl logs web"]),
        (down(want="down"), []),
    ],
)
def test_notes(item: dict[str, Any], notes: list[str]) -> None:
    assert vitals([item], 80, plain)[2:] == [f"  - {note}" for note in notes]


@pytest.mark.parametrize(
    ("by", "names"),
    [*((by, "web api old") for by in ("cpu", "mem", "runq", "procs")), ("name", "api old web")],
)
def test_the_most_stands_first(by: str, names: str) -> None:
    assert [item["name"] for item in arranged(FLEET[::-1], by)] == names.split()
    assert by in SORTS


def test_nothing_and_objects_of_another_version() -> None:
    assert vitals([], 80, plain) == ["no releases are configured"]
    odd = {"name": "web", "state": "running", "pid": 3, "os": 5, "beam": {"memory": 7, "processes": None, "nodes": 2}}
    assert vitals(arranged([odd, {}], "procs"), 80, plain)[1].startswith("?")


def test_once_needs_no_terminal(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, status(*FLEET)) as daemon:
        done = relctl("top", "--once", "--sort", "name")
        assert relctl("top", "old", "web", "--once").out.splitlines()[1].startswith("web")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == ["NAME", "api", "old", "web"]
    assert [request.args for request in daemon.requests] == [{"names": []}, {"names": ["old", "web"]}]


def test_json_is_an_object_a_line(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, status(*FLEET)):
        done = relctl("top", "--once", "--json", "--sort", "name")
        assert [json.loads(line) for line in done.out.splitlines()] == [FLEET[1], FLEET[2], FLEET[0]]
        with relctl.popen("top", "web", "--json", "--interval", "100ms") as process:
            assert process.stdout is not None
            assert [json.loads(process.stdout.readline())["name"] for _ in range(3)] == ["web"] * 3
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        assert process.returncode == 0


def test_it_draws_over_itself(relctl: Relctl, sock: Path, terminal: Terminal) -> None:
    env = relctl.environ(NO_COLOR="1", TERM="xterm", COLUMNS="80")
    words = ("top", "--interval", "100ms")
    with FakeDaemon(sock, status(*FLEET)), relctl.popen(*words, stdout=terminal.slave, env=env) as process:
        wait_until(lambda: terminal.read().count("\x1b[9A") >= 2, what="a picture over the one before")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    lines = re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", terminal.read()).replace("\r", "").splitlines()
    head = f"relctld 0.1.0, pid {DAEMON['pid']}: 3 releases, 1 running well"
    assert lines[:9] == [head, "", *vitals(FLEET, 80, plain)]


def test_what_cannot_be(relctl: Relctl, sock: Path) -> None:
    assert relctl("top", "--interval", "10ms") == (
        2, "", "relctl: cannot top: --interval is too short: at least 100ms\nrelctl: hint: relctl help top\n"
    )  # fmt: skip
    assert relctl("top", "--sort", "size").err.startswith("relctl: cannot top: argument --sort: invalid choice: 'size'")
    assert relctl("top", "--once").code == 4
    with FakeDaemon(sock, problem("unknown-release", "no release is named wbe", "did you mean web?")):
        assert relctl("top", "wbe", "--once").code == 5


def test_the_last_good_config_is_said(relctl: Relctl, sock: Path) -> None:
    daemon = DAEMON | {"config": {"path": "/x.toml", "error": "not TOML"}}
    with FakeDaemon(sock, status(release(), daemon=daemon)):
        done = relctl("top", "--once")
    assert done.err == "relctl: warning: relctld runs on the last good config: not TOML\n"
