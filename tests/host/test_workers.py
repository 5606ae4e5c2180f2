"""The threads of what blocks."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from relctld.host import workers
from relctld.host.workers import Workers
from tests.waiting import wait_until

pytestmark = pytest.mark.host

NAME = "test-worker"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class Kept:
    """Something to be held."""


def test_who_worked_last_works_next_and_who_is_too_many_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LINGER", 0.2)
    pool, go = Workers(8, NAME), threading.Event()
    at_once = [pool.submit(go.wait, 20) for _ in range(8)]
    wait_until(lambda: len(threads()) == 8, what="eight threads")
    go.set()
    assert all(future.result(20) for future in at_once)

    def one_is_left() -> bool:
        pool.submit(threading.get_ident).result(20)
        return len(threads()) == 1

    wait_until(one_is_left, what="the end of those that have nothing to do")
    wait_until(lambda: not threads(), what="the end of the last")
    assert pool.submit(int, "7").result(20) == 7


def test_more_than_there_may_be_take_turns() -> None:
    pool, go = Workers(2, NAME), threading.Event()
    futures = [pool.submit(go.wait, 20) for _ in range(2)] + [pool.submit(int, "7") for _ in range(20)]
    given_up = pool.submit(int, "8")
    assert given_up.cancel()
    assert not any(future.done() for future in futures)
    go.set()
    assert [future.result(20) for future in futures] == [True] * 2 + [7] * 20


def test_what_fails_says_so_and_nothing_of_it_is_held() -> None:
    pool, kept = Workers(1, NAME), Kept()
    held = weakref.ref(kept)

    def fail(_: Kept) -> None:
        raise OSError("gone")

    gc.disable()
    try:
        future = pool.submit(fail, kept)
        with pytest.raises(OSError, match="gone"):
            future.result(20)
        del future, kept
        wait_until(lambda: held() is None, what="the end of what it was given")
        assert threads()  # which worked for the first time, and lives on
    finally:
        gc.enable()
