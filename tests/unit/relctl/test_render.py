"""Words for people, from objects."""

from __future__ import annotations

import pytest

from relctl import render


def plain(text: str, *_: str) -> str:
    return text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0.0 s"), (-1, "0.0 s"), (3.21, "3.2 s"), (42, "42 s"), (312, "5m12s"), (11_100, "3h05m")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1000, "1.0kB"), (12_345, "12kB"), (999_600, "1.0MB"), (3e9, "3.0GB")],
)
def test_sizes(count: float | None, text: str) -> None:
    assert render.size(count) == text


def test_events_are_one_line_each() -> None:
    event = {
        "seq": 7,
        "at": "2026-01-01T00:00:00Z",
        "release": "web",
        "event": "exited",
        "cause": "halted",
        "code": 1,
        "signal": None,
        "by": "joe doe",
        "vm": {"pid": 3, "up": True},
        "keys": ["a", "b"],
        "said": "two\nlines",
    }
    assert render.event_line(event, plain) == (
        "2026-01-01T00:00:00Z web          exited cause=halted code=1 "
        'by="joe doe" vm={pid=3 up=yes} keys=[a,b] said=two\\nlines'
    )
    assert "relctld" in render.event_line({"at": "x", "release": None, "event": "reloaded"}, plain)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({"release": "web", "op": "start", "changed": True, "pid": 4, "seconds": 2}, "web: started (pid 4, 2.0 s)"),
        ({"release": "web", "op": "start", "changed": False, "pid": 4}, "web: already running"),
        ({"release": "web", "op": "stop", "changed": False}, "web: already stopped"),
        ({"release": "web", "op": "stop", "changed": True, "seconds": 70}, "web: stopped (1m10s)"),
        ({"release": "web", "op": "restart", "accepted": True}, "web: restart accepted"),
        ({"release": "web", "op": "rotate", "changed": True}, "web: log rotated"),
    ],
)
def test_the_good_ends(result: dict[str, object], line: str) -> None:
    assert render.changed_line(result, plain) == line


def test_fields_know_units() -> None:
    value = {"uptime_s": 3.0, "rss_bytes": 5000, "on": True, "nested": {"keys": ["a"], "none": None}}
    assert render.fields(value) == [
        "uptime_s: 3.0 s",
        "rss_bytes: 5.0kB",
        "on: yes",
        "nested:",
        "  keys: a",
        "  none: -",
    ]
