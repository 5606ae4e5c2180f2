"""The table of status: what it says, and that it can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from relctl.table import counts, is_good, notes, table, warnings
from tests.unit.relctl.samples import DUMPED, HALTED, OOM, down, release

LONG = "orders-" + 50 * "x" + "-service"


def plain(text: str, *_: str) -> str:
    return text


def marked(text: str, *colours: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colours else text


FLEET = [
    release("web"),
    down("api", "backoff", deadline_s=3.21, last_exit=HALTED, restarts=3, restarts_total=7),
    down("old", "failed", last_exit=OOM, restarts_total=5),
]


def test_on_a_pipe_each_release_is_one_line_with_its_note() -> None:
    assert table(FLEET, None, plain) == [
        "NAME  STATE    HEALTH  VERSION    PID  UPTIME  RESTARTS    MEM   CPU  NOTE",
        "web   running  well    1.2.3    12345    3d5h         0  123MB  0.3%",
        "api   backoff  -       -            -       -     7 (3)      -     -  restart in 3.2 s (halted, exit code 1)",
        "old   failed   -       -            -       -         5      -     -  oom, SIGKILL; see relctl logs old",
    ]


def test_at_80_columns_notes_stand_below() -> None:
    assert table(FLEET, 80, plain) == [
        "NAME  STATE    HEALTH  VERSION    PID  UPTIME  RESTARTS    MEM   CPU",
        "web   running  well    1.2.3    12345    3d5h         0  123MB  0.3%",
        "api   backoff  -       -            -       -     7 (3)      -     -",
        "  - restart in 3.2 s (halted, exit code 1)",
        "old   failed   -       -            -       -         5      -     -",
        "  - oom, SIGKILL; see relctl logs old",
    ]


def test_a_long_name_stands_above_its_row_uncut() -> None:
    lines = table([release("web"), release(LONG)], 80, plain)
    assert LONG in lines
    assert all(len(line) <= 80 for line in lines)
    row = lines[lines.index(LONG) + 1]
    assert row.index("running") == lines[0].index("STATE")


@pytest.mark.parametrize("width", [40, 52, 60, 80])
def test_on_a_narrow_terminal_the_less_telling_columns_are_left_out(width: int) -> None:
    lines = table(FLEET, width, plain)
    assert all(len(line) <= width for line in lines if not line.startswith("  - "))
    assert lines[0].split()[:3] == ["NAME", "STATE", "HEALTH"]
    assert "  - restart in 3.2 s (halted, exit code 1)" in lines


def test_the_table_in_the_readme_is_what_comes() -> None:
    uptime = {"uptime_s": 3 * 86400 + 7200.0, "os": {"rss_bytes": 310_000_000, "cpu_percent": 4.1}}
    fleet = [
        release("web", version="1.4.2", boot_version="1.4.2", pid=4711, **uptime),
        down("api", "backoff", deadline_s=3.2, last_exit=DUMPED, restarts=3, restarts_total=3),
        down("jobs", want="down"),
    ]
    shown = "\n".join(table(fleet, None, plain))
    assert f"```\n$ relctl status\n{shown}\n```" in (Path(__file__).parents[3] / "README.md").read_text()


def test_columns_stand_straight_under_colours() -> None:
    naked = [re.sub(r"\x1b\[[0-9]*m", "", line) for line in table(FLEET, 80, marked)]
    assert naked == table(FLEET, 80, plain)


def test_an_empty_fleet_says_so() -> None:
    assert table([], 80, plain) == ["no releases are configured"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (release(), []),
        (down(want="down"), []),
        (down(want="down", enabled=False), ["disabled"]),
        (down("web", "failed", last_exit=DUMPED), ["crash-dump, exit code 1; see relctl crashes web"]),
        (down(), ["wanted up, not started yet"]),
        (down(health_detail="nothing installed"), ["wanted up: nothing installed"]),
        (down(want="down", health_detail="nothing installed"), ["nothing installed"]),
        (down(last_exit=HALTED), ["wanted up: halted, exit code 1"]),
        (release(state="stopping", deadline_s=12.0), ["stopping, 12 s left"]),
        (release(health="hung", health_detail="3 probes missed"), ["3 probes missed"]),
        (release(restart_pending=["env", "limits.nofile"]), ["restart pending: env, limits.nofile"]),
        (release(unlimited="it is in no scope"), ["without its limits: it is in no scope"]),
        (release(unconfigured=True), ["not in the config any more"]),
        (release(boot_version="1.3.0"), ["a restart would boot 1.3.0"]),
        (release(log={"bytes_dropped": 12_345, "lines_dropped": 9}), ["12kB of log dropped"]),
        (release(upgrade={"from": "1", "to": "2", "phase": "soaking"}), ["upgrade 1 to 2: soaking"]),
        (
            release(upgrade={"from": "1", "to": "2", "phase": "undoing", "detail": "\x1bno"}),
            ["upgrade 1 to 2: undoing (\\x1bno)"],
        ),
    ],
)
def test_notes(item: dict[str, Any], expected: list[str]) -> None:
    assert notes(item) == expected


@pytest.mark.parametrize(
    ("item", "good"),
    [
        (release(), True),
        (release(health="degraded"), True),
        (release(health="unknown"), True),
        (release(health="unknown", health_detail="no probe"), True),
        (release(health="unknown", health_detail="not probed yet"), False),
        (release(health="hung"), False),
        (release(health="unreachable"), False),
        (release(state="starting"), False),
        (down(), False),
        ({}, False),
    ],
)
def test_what_is_good_enough_for_exit_0(item: dict[str, Any], good: bool) -> None:
    assert is_good(item) is good


def test_a_daemon_of_another_version_may_leave_fields_out() -> None:
    assert table([{"name": "web", "state": "running", "new": {"a": 1}}], 80, plain)[1].startswith("web   running")


def test_what_a_node_says_cannot_drive_the_terminal() -> None:
    lines = table([release(health="hung", health_detail="\x1b]0;gotcha\x07", version="\x1b[2J")], None, plain)
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def test_the_last_good_config_is_said() -> None:
    config = {"path": "/etc/relctl/relctld.toml", "error": "relctld.toml: [release.web] rooot: unknown key"}
    assert warnings({"config": config}) == [f"relctld runs on the last good config: {config['error']}"]
    assert warnings({"config": "/etc/relctl/relctld.toml"}) == warnings({}) == []


def test_counts() -> None:
    assert counts(FLEET) == "3 releases, 1 running well"
