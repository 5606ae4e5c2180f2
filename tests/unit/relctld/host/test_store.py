"""The store: what was told to be done is there, whatever is killed, locked or closed in the middle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relctld.core.state import Want
from relctld.host import store as module
from relctld.host.database import Kept
from tests.host.seam import open_fds
from tests.unit.relctld.host.desk import SEEDED, Desk, now, opened, seed, with_store

pytestmark = pytest.mark.host


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state dir#1?%20").mkdir()
    return tmp_path / "state dir#1?%20" / "state.db"


# -- what it keeps -----------------------------------------------------------------------------


def test_a_new_store_knows_nothing(path: Path) -> None:
    store = opened(path)
    assert (store.kept, store.error, store.set_aside) == ({}, None, None)
    assert store.events() == []


def test_wants_totals_and_events_come_back(path: Path) -> None:
    before = open_fds()
    seed(path)
    assert open_fds() == before
    store = opened(path)
    assert store.kept == SEEDED
    assert os.listdir(path.parent) == ["state.db"]
    rows = store.events()
    assert [(row.seq, row.release, row.event, row.fields) for row in rows] == [
        (number + 1, None, "tested", {"number": number}) for number in range(5)
    ]


def test_the_last_want_counts(path: Path) -> None:
    async def work(desk: Desk) -> None:
        await asyncio.gather(*(desk.want("web", random.choice(list(Want))) for _ in range(100)))
        await desk.want("web", Want.UP)

    with_store(path, work)
    assert opened(path).kept["web"].want is Want.UP


def test_counters_never_fall_and_the_last_exit_is_not_forgotten(path: Path) -> None:
    """A daemon that could not read its store begins to count at nothing."""

    async def work(desk: Desk) -> None:
        desk.store.put_totals("web", 0, 0, None)
        desk.store.put_totals("api", 2, 1, {"code": 0})
        await desk.event(0)

    seed(path)
    with_store(path, work)
    assert opened(path).kept["web"] == SEEDED["web"]
    assert opened(path).kept["api"] == Kept(Want.UP, 2, 1, {"code": 0})


def test_events_are_found_by_name_time_and_number(path: Path) -> None:
    async def work(desk: Desk) -> None:
        times = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.500Z", "2026-01-01T00:00:01.000Z"]
        for number, at in enumerate(times * 3):
            _ = desk.event(number, ("web", "api", None)[number % 3], at)
        await desk.event(9, "web", "2026-02-01T00:00:00.000Z")

    with_store(path, work, keep_seconds=1e9)
    store = opened(path)

    def numbers(**query: Any) -> list[int]:
        return [row.fields["number"] for row in store.events(**query)]

    assert numbers() == list(range(10))
    assert numbers(limit=3) == [7, 8, 9]
    assert numbers(names=["web"]) == [0, 3, 6, 9]
    assert numbers(names=["web", "api"], limit=2) == [7, 9]
    assert numbers(after=8) == [8, 9]
    assert numbers(after=2, limit=2) == [2, 3]
    assert numbers(after=100) == []
    assert numbers(names=["none"]) == []
    assert numbers(since="2026-01-15T00:00:00Z") == [9]
    assert numbers(since="2026-01-01T00:00:01Z") == [2, 5, 8, 9]
    assert numbers(since="2026-01-01T00:00:00Z") == list(range(10))
    assert numbers(since="2026-01-01T00:00:00.400Z", limit=2) == [1, 2]
    assert numbers(names=["api"], since="2026-01-01T00:00:00.500Z", after=3) == [4, 7]


def test_old_and_too_many_events_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def old(desk: Desk) -> None:
        for number in range(10):
            _ = desk.event(number, at=now(days=-40))
        await desk.event(10)

    async def more(desk: Desk) -> None:
        await asyncio.gather(*(desk.event(number) for number in range(50)))
        await desk.event(50)

    with_store(path, old)
    with_store(path, lambda desk: desk.event(11))  # a quiet host prunes too
    assert [row.seq for row in opened(path).events()] == [11, 12]
    monkeypatch.setattr(module, "_PRUNE_EVERY", 1)
    with_store(path, more, keep_events=20)
    assert [row.seq for row in opened(path).events()] == list(range(44, 64))
    with_store(path, lambda desk: desk.event(51), keep_seconds=-3600.0)  # all is old, this one too
    with_store(path, lambda desk: desk.event(52))
    assert [row.seq for row in opened(path).events()] == [65]


# -- kill -9 -----------------------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from pathlib import Path
from relctld.core.state import Want
from relctld.host.store import Store

async def main():
    store = Store(Path(sys.argv[1]), keep_seconds=1e9)
    store.open()
    assert store.error is None and store.set_aside is None, (store.error, store.set_aside)
    store.start(asyncio.get_running_loop(), print)
    for burst in range(10**6):
        last = None
        for number in range(20):
            name = f"r{number % 3}"
            last = asyncio.get_running_loop().create_future()
            store.put_event("2026-01-01T00:00:00.000Z", name, "tested", {},
                lambda seq, error: print("event", seq, flush=True))
            want = (Want.UP, Want.DOWN)[(burst + number) % 2]
            store.put_want(name, want, lambda _, error, name=name, want=want, last=last: (
                print("want", name, want, flush=True), last.set_result(None)))
        await last

asyncio.run(main())
"""


def test_what_was_told_to_be_done_survives_kill_9(path: Path) -> None:
    """At random moments; seq neither repeats nor has a gap."""
    told: list[int] = []
    wants: dict[str, str] = {}
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said = [writer.stdout.readline()]  # it works
        end = time.monotonic() + random.random() / 20
        while time.monotonic() < end:
            said.append(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        for words in (line.split() for line in said if line.endswith("\n")):
            if words[0] == "event":
                told.append(int(words[1]))
            else:
                wants[words[1]] = words[2]
    assert told == sorted(set(told))
    store = opened(path)
    assert (store.error, store.set_aside) == (None, None)
    there = [row.seq for row in store.events(limit=10**6)]
    assert there == list(range(1, len(there) + 1))
    assert told[-1] <= there[-1]
    assert set(wants) == set(store.kept) == {"r0", "r1", "r2"}


def test_the_last_want_told_survives_kill_9(path: Path) -> None:
    code = """
import asyncio, os, signal, sys
from pathlib import Path
from relctld.core.state import Want
from relctld.host.store import Store

async def main():
    store = Store(Path(sys.argv[1]), keep_seconds=1e9)
    store.open()
    store.start(asyncio.get_running_loop(), print)
    store.put_want("web", Want(sys.argv[2]), lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    await asyncio.sleep(60)

asyncio.run(main())
"""
    for want in (Want.UP, Want.DOWN, Want.UP):
        assert subprocess.run([sys.executable, "-c", code, path, want], check=False).returncode == -signal.SIGKILL
        assert opened(path).kept == {"web": Kept(want, 0, 0, None)}


# -- locks and the end -------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.execute("ROLLBACK")
    other.close()


def test_a_blocked_writer_blocks_nobody_else(path: Path) -> None:
    seed(path)

    async def work(desk: Desk) -> list[int]:
        with locked(path):
            assert desk.store.error is None
            events = [desk.event(number) for number in range(5, 1005)]
            want = asyncio.ensure_future(desk.want("web", Want.UP))
            await asyncio.sleep(0.1)
            assert len(await asyncio.to_thread(desk.store.events)) == 5  # readers go on
            assert not want.done()
        assert await want is None
        return await asyncio.gather(*events)

    seqs, desk = with_store(path, work)
    assert seqs == list(range(6, 1006))
    assert desk.troubles == []


def test_what_waits_for_a_blocked_disk_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING_EVENTS", 100)
    seed(path)

    async def work(desk: Desk) -> None:
        with locked(path):
            _ = desk.event(5)
            await asyncio.sleep(0.1)  # the writer has taken it
            wants = [asyncio.ensure_future(desk.want(f"r{number}", Want.UP)) for number in range(3)]
            await asyncio.sleep(0)
            for number in range(6, 1000):
                _ = desk.event(number)
            assert len(desk.store._jobs) == 100
        assert await asyncio.gather(*wants) == [None] * 3

    with_store(path, work)
    numbers = [row.fields["number"] for row in opened(path).events(limit=10**6)]
    assert numbers == [*range(6), *range(903, 1000)]


def test_the_close_does_not_wait_for_a_blocked_disk(path: Path) -> None:
    seed(path)

    async def work(desk: Desk) -> float:
        with locked(path):
            _ = desk.event(5)
            begun = time.monotonic()
            await asyncio.to_thread(desk.store.close, 0.3)
            return time.monotonic() - begun

    took, desk = with_store(path, work, close=False)
    assert 0.25 < took < 5
    assert desk.store._thread is not None
    desk.store._thread.join(30)


def test_the_close_writes_all_that_is_queued(path: Path) -> None:
    async def work(desk: Desk) -> None:
        for number in range(500):
            desk.store.put_event(now(), None, "tested", {"number": number}, lambda *_: None)

    with_store(path, work)
    assert [row.fields["number"] for row in opened(path).events(limit=1000)] == list(range(500))


def test_the_close_tries_once_more_though_the_disk_was_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY", 60.0)
    path.mkdir()

    async def work(desk: Desk) -> None:
        assert await desk.want("web", Want.UP) is not None
        desk.store.put_event(now(), None, "tested", {}, lambda *_: None)
        os.rmdir(path)

    with_store(path, work)
    assert len(opened(path).events()) == 1


def test_the_close_gives_up_where_nothing_can_be_written(path: Path) -> None:
    path.mkdir()

    async def work(desk: Desk) -> None:
        desk.store.put_event(now(), None, "tested", {}, lambda *_: None)

    begun = time.monotonic()
    _, desk = with_store(path, work)
    assert time.monotonic() - begun < 4
    assert desk.store._thread is not None
    assert not desk.store._thread.is_alive()


def test_it_is_not_everybodys_to_write(path: Path) -> None:
    seed(path)
    assert not stat.S_IMODE(path.stat().st_mode) & 0o022


def test_what_was_told_before_the_question_is_in_the_answer(tmp_path: Path) -> None:
    """The writer waits a moment for company; who asks does not see that."""

    async def work() -> None:
        store = module.Store(tmp_path / "state.db", keep_seconds=1e9)
        store.open()
        store.start(asyncio.get_running_loop(), lambda _: None)
        try:
            for number in range(1, 51):
                store.put_event("2024-05-01T12:00:00Z", "web", "starting", {"n": number}, lambda *_: None)
                rows = await asyncio.to_thread(store.events)
                assert rows[-1].fields["n"] == number
        finally:
            await asyncio.to_thread(store.close)

    asyncio.run(work())
