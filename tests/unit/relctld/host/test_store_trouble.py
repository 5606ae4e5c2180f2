"""The store on damaged files, on disks that are full or read-only: set aside or told, never taken for empty."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from relctld.core.state import Want
from relctld.host import store as module
from relctld.host.database import Kept
from tests.host.seam import need_root, open_fds
from tests.unit.relctld.host.desk import SEEDED, Desk, opened, seed, with_store

pytestmark = pytest.mark.host


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state dir#1?%20").mkdir()
    return tmp_path / "state dir#1?%20" / "state.db"


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
            events: list[asyncio.Future[int]] = []
            error = None
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
