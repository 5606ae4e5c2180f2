"""The store on real disks: full, damaged, locked, killed in the middle. What was told to be done is there."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from relctld.core.model import Want
from relctld.host import store as module
from relctld.host.database import Kept
from relctld.host.store import Store
from tests.host.seam import need_root, open_fds

pytestmark = pytest.mark.host

T = TypeVar("T")
Result = tuple[int | None, str | None]


class Desk:
    """A store whose writes can be awaited."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.troubles: list[str | None] = []

    async def want(self, name: str, want: Want) -> str | None:
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.store.put_want(name, want, lambda number, error: done.set_result((number, error)))
        return (await done)[1]

    def event(self, number: int, release: str | None = None, at: str | None = None) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def written(seq: int | None, error: str | None) -> None:
            assert (error, seq is None) == (None, False)
            done.set_result(seq or 0)

        self.store.put_event(at or now(), release, "tested", {"number": number}, written)
        return done


def now(days: float = 0.0) -> str:
    at = datetime.now(UTC) + timedelta(days=days)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_store(path: Path, work: Callable[[Desk], Awaitable[T]], *, close: bool = True, **more: Any) -> tuple[T, Desk]:
    """Open, work on a loop, close: what a daemon's life is to its store."""

    async def whole() -> tuple[T, Desk]:
        store = Store(path, **{"keep_seconds": 30 * 86400.0, **more})
        store.open()
        desk = Desk(store)
        store.start(asyncio.get_running_loop(), desk.troubles.append)
        try:
            return await asyncio.wait_for(work(desk), 30), desk
        finally:
            if close:
                await asyncio.to_thread(store.close)
            await asyncio.sleep(0)

    return asyncio.run(whole())


def opened(path: Path) -> Store:
    store = Store(path, keep_seconds=1.0)
    store.open()
    return store


def seed(path: Path) -> None:
    """Two wants, totals and five events."""

    async def work(desk: Desk) -> None:
        assert await desk.want("web", Want.DOWN) is None
        assert await desk.want("api", Want.UP) is None
        desk.store.put_totals("web", 7, 3, {"code": 1, "detail": "☃"})
        assert await asyncio.gather(*(desk.event(number) for number in range(5))) == [1, 2, 3, 4, 5]

    with_store(path, work)


SEEDED = {"web": Kept(Want.DOWN, 7, 3, {"code": 1, "detail": "☃"}), "api": Kept(Want.UP, 0, 0, None)}


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
            desk.event(number, ("web", "api", None)[number % 3], at)
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
            desk.event(number, at=now(days=-40))
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
from relctld.core.model import Want
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
from relctld.core.model import Want
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


# -- damage ------------------------------------------------------------------------------------


def randomly(seed: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(random.Random(seed).randbytes(20_000))

    return damage


def cut(length: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, length)


def overwritten(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\xa5" * 4096)

    return damage


def header(path: Path) -> None:
    path.write_bytes(b"SQLite format 4\0" + path.read_bytes()[16:])


DAMAGES = {
    **{f"random {n}": randomly(n) for n in range(3)},
    **{f"cut at {n}": cut(n) for n in (0, 1, 15, 16, 50, 100, 1000, 4095, 4096, 4097, 8192, 12288)},
    **{f"overwritten at {n}": overwritten(n) for n in (0, 4096, 8192)},
    "header": header,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_store_is_set_aside_and_a_fresh_one_works(path: Path, kind: str) -> None:
    seed(path)
    DAMAGES[kind](path)
    damaged = path.read_bytes()
    before = open_fds()
    store = opened(path)
    assert open_fds() == before
    assert store.error is None
    (aside,) = path.parent.glob("state.db.damaged-*")
    assert aside.read_bytes() == damaged
    assert store.set_aside is not None
    assert store.set_aside.startswith(f"{aside}: ")
    assert store.kept == {}

    async def work(desk: Desk) -> int:
        assert await desk.want("web", Want.UP) is None
        return await desk.event(1)

    first, desk = with_store(path, work)
    assert (desk.store.error, desk.store.set_aside, desk.troubles) == (None, None, [])
    assert first > 1_000_000_000_000, "seq must not repeat what subscribers saw before"
    second, _ = with_store(path, work)
    assert second == first + 1


def test_two_damages_in_a_row_are_both_kept(path: Path) -> None:
    for _ in range(3):
        path.write_bytes(b"garbage" * 1000)
        assert opened(path).set_aside is not None
    assert len(list(path.parent.glob("state.db.damaged-*"))) == 3


def test_random_bytes_in_it_are_never_an_exception(path: Path) -> None:
    """Not every damage shows; what was read is of the right types, and others' values are kept."""
    seed(path)
    whole = path.read_bytes()
    source = random.Random(1)
    for _ in range(150):
        for other in path.parent.iterdir():
            other.unlink()
        spoiled = bytearray(whole)
        for _ in range(source.choice((1, 4, 64))):
            spoiled[source.randrange(len(spoiled))] = source.randrange(256)
        path.write_bytes(spoiled)
        store = opened(path)
        for name, kept in store.kept.items():
            assert isinstance(name, str | None)
            assert isinstance(kept.want, Want | None)
            assert isinstance(kept.epoch, int)
            assert isinstance(kept.last_exit, dict | None)
        with suppress(sqlite3.Error):
            assert all(isinstance(row.fields, dict) for row in store.events())


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("UPDATE release SET want='uq' WHERE name='web'", Kept(None, 7, 3, SEEDED["web"].last_exit)),
        ("UPDATE release SET last_exit='{' WHERE name='web'", Kept(Want.DOWN, 7, 3, None)),
        ("UPDATE release SET last_exit='[1]' WHERE name='web'", Kept(Want.DOWN, 7, 3, None)),
        ("UPDATE release SET last_exit=CAST(x'ff22' AS TEXT) WHERE name='web'", Kept(Want.DOWN, 7, 3, None)),
        ("UPDATE release SET last_exit=x'00ff' WHERE name='web'", Kept(Want.DOWN, 7, 3, None)),
    ],
)
def test_a_damaged_value_takes_no_other_with_it(path: Path, sql: str, kept: Kept) -> None:
    seed(path)
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
        connection.execute("UPDATE event SET fields='{' WHERE seq=3")
    connection.close()
    store = opened(path)
    assert store.kept == SEEDED | {"web": kept}
    assert [row.fields for row in store.events()][1:4] == [{"number": 1}, {}, {"number": 3}]


def test_a_directory_in_its_place_is_told_and_left(path: Path) -> None:
    path.mkdir()
    store = opened(path)
    assert store.error == f"cannot use {path}: unable to open database file"
    error, desk = with_store(path, lambda desk: desk.want("web", Want.UP))
    assert error == f"cannot write {path}: unable to open database file"
    assert path.is_dir()
    assert desk.store.kept == {}


def test_a_newer_store_is_not_touched(path: Path) -> None:
    seed(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.execute("DROP TABLE release")
    connection.close()
    before = path.read_bytes()
    error, desk = with_store(path, lambda desk: desk.want("web", Want.UP))
    assert error is not None
    assert "its schema 99 is newer than 1, this relctld's" in error
    assert (desk.store.kept, desk.store.set_aside) == ({}, None)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state.db"]


# -- disks -------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    need_root("mounting a small disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    fd = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with suppress(OSError):
        while True:
            os.write(fd, bytes(512))
    os.close(fd)


def test_on_a_full_disk_wants_are_refused_and_events_wait_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.05)
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "state.db"

        async def work(desk: Desk) -> list[int]:
            assert await desk.event(0) == 1
            fill(disk)
            events, error = [], None
            while error is None:  # until the -wal has no room either
                events += [desk.event(number) for number in range(len(events) + 1, len(events) + 21)]
                error = await desk.want("web", Want.UP)
            assert error == desk.store.error == f"cannot write {path}: database or disk is full"
            events += [desk.event(number) for number in range(len(events) + 1, len(events) + 21)]
            assert await desk.want("web", Want.DOWN) == error
            assert not events[-1].done()
            (disk / "filler").unlink()
            seqs = await asyncio.gather(*events)
            assert await desk.want("web", Want.DOWN) is None
            assert desk.troubles == [error, None]
            return seqs

        seqs, _ = with_store(path, work)
        assert seqs == list(range(2, len(seqs) + 2))
        store = opened(path)
        assert [row.fields["number"] for row in store.events(limit=10**6)] == list(range(len(seqs) + 1))
        assert store.kept["web"].want is Want.DOWN


@pytest.mark.parametrize("how", ["ended well", "killed"])
@pytest.mark.parametrize("disk_is", ["full", "read-only"])
def test_a_disk_that_takes_nothing_more_makes_nobody_forget(tmp_path: Path, how: str, disk_is: str) -> None:
    with small_disk(tmp_path / "disk") as disk:
        seed(tmp_path / "state.db")
        path = disk / "state.db"
        if how == "killed":
            with_a_wal(tmp_path / "state.db")
        for file in tmp_path.glob("state.db*"):
            shutil.copy(file, disk)
        fill(disk)
        if disk_is == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        error, desk = with_store(path, lambda desk: desk.want("web", Want.UP))
        assert error is not None or (disk_is, how) == ("full", "killed")  # its -wal may have room for one want more
        assert desk.store.set_aside is None
        assert desk.store.kept == SEEDED


def with_a_wal(path: Path) -> None:
    """As SIGKILL leaves it: -wal and -shm are there and hold a change that the file has not."""
    code = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("UPDATE release SET want='up' WHERE name='web'")
connection.execute("UPDATE release SET want='down' WHERE name='web'")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert Path(f"{path}-wal").stat().st_size


def test_a_users_daemon_in_a_directory_that_it_may_not_write(tmp_path: Path) -> None:
    need_root("another user")
    folder = Path("/dev/shm") / f"relctl-test-{os.getpid()}-{random.randrange(10**9)}"
    folder.mkdir(mode=0o755)
    try:
        seed(folder / "state.db")
        code = """
import sys
from pathlib import Path
from relctld.host.store import Store
store = Store(Path(sys.argv[1]), keep_seconds=1.0)
store.open()
print(sorted(store.kept), store.error)
"""
        argv = [sys.executable, "-c", code, str(folder / "state.db")]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, text=True, check=True, user=65534, group=65534, extra_groups=[]
        )
        assert done.stdout.startswith("['api', 'web'] cannot use ")
    finally:
        shutil.rmtree(folder)


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
            begun = time.monotonic()
            events = [desk.event(number) for number in range(5, 1005)]
            want = asyncio.ensure_future(desk.want("web", Want.UP))
            assert time.monotonic() - begun < 0.5
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
            desk.event(5)
            await asyncio.sleep(0.1)  # the writer has taken it
            wants = [asyncio.ensure_future(desk.want(f"r{number}", Want.UP)) for number in range(3)]
            await asyncio.sleep(0)
            for number in range(6, 1000):
                desk.event(number)
            assert len(desk.store._jobs) == 100
        assert await asyncio.gather(*wants) == [None] * 3

    with_store(path, work)
    numbers = [row.fields["number"] for row in opened(path).events(limit=10**6)]
    assert numbers == [*range(6), *range(903, 1000)]


def test_the_close_does_not_wait_for_a_blocked_disk(path: Path) -> None:
    seed(path)

    async def work(desk: Desk) -> float:
        with locked(path):
            desk.event(5)
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
