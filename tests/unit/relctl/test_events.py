"""events: each one once, in order, whatever happens to the daemon meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relctld.wire.messages import Reply, Request, release_topic
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, Script
from tests.waiting import wait_until

Event = dict[str, Any]


def event(seq: int, name: str | None = "web") -> Event:
    return {"seq": seq, "at": f"2026-01-01T00:00:{seq % 60:02}Z", "release": name, "event": "started", "pid": seq}


def store(events: list[Event]) -> Script:
    """Serves a store that a test appends to: after a seq the oldest, else the newest, `limit` at most."""

    def script(request: Request) -> Iterator[Said]:
        args = request.args
        found = [e for e in events if not args["names"] or e["release"] in args["names"]]
        found = [e for e in found if e["seq"] > args.get("after", -1) and e["at"] >= args.get("since", "")]
        oldest = "after" in args or "since" in args
        page = found[: args["limit"]] if oldest else found[-args["limit"] :]
        yield Reply(request.id, {"events": page, "last": events[-1]["seq"] if events else 0})

    return script


def seqs(out: str) -> list[int]:
    return [json.loads(line)["seq"] for line in out.splitlines()]


def test_lines(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, store([event(1), event(2, None)])):
        done = relctl("events")
    assert done == (
        0,
        "2026-01-01T00:00:01Z web          started pid=1\n2026-01-01T00:00:02Z relctld      started pid=2\n",
        "",
    )


def test_the_last_hundred_or_all_since(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, store([event(n) for n in range(1, 3501)])):
        assert seqs(relctl("events", "--json").out) == list(range(3401, 3501))
        assert seqs(relctl("events", "--json", "--since", "2000-01-01T00:00:00Z").out) == list(range(1, 3501))


def test_only_of_some_releases(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, store([event(1), event(2, "api"), event(3)])) as daemon:
        assert seqs(relctl("events", "--json", "api").out) == [2]
    assert daemon.requests[0].args["names"] == ["api"]


def test_none_at_all(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, store([])):
        assert relctl("events") == (0, "", "")


def test_following_shows_each_event_once_across_restarts(relctl: Relctl, sock: Path) -> None:
    events = [event(1)]
    daemon = FakeDaemon(sock, store(events))
    daemon.start()
    with relctl.popen("events", "-f", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert seqs(process.stdout.readline().decode()) == [1]
        events.append(event(2))  # no notice: lost before the subscription stood
        assert seqs(process.stdout.readline().decode()) == [2]
        events.append(event(3))
        for _ in range(3):
            daemon.publish(release_topic("web"))
        assert seqs(process.stdout.readline().decode()) == [3]
        daemon.stop()
        assert b"waiting for it" in process.stderr.readline()
        events.extend([event(4), event(5, "api")])
        daemon.start()
        assert b"relctld is back" in process.stderr.readline()
        assert [seqs(process.stdout.readline().decode()) for _ in range(2)] == [[4], [5]]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    daemon.stop()
    assert process.returncode == 0


def test_a_notice_wakes_at_once(relctl: Relctl, sock: Path) -> None:
    events = [event(1)]
    with FakeDaemon(sock, store(events)) as daemon, relctl.popen("events", "-f", "web", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        asked = len(daemon.requests)
        wait_until(lambda: len(daemon.requests) > asked, what="the first look without a notice")
        events.append(event(2))
        daemon.publish(release_topic("web"))
        assert seqs(process.stdout.readline().decode()) == [2]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0
