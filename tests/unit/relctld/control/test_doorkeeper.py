"""Who may come in while the name service is silent, and once it has spoken."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import pytest

from relctld.config import Access
from relctld.control.access import Peer, look_up
from relctld.control.doorkeeper import Doorkeeper

P = ParamSpec("P")
T = TypeVar("T")

NOBODY = pwd.getpwnam("nobody")
STRANGER = Peer(NOBODY.pw_uid, NOBODY.pw_gid, os.getpid())
ACCESS = Access(view=("*",), operate=("nobody",))


class Silent(ThreadPoolExecutor):
    """A name service that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(1)
        self.speaks = threading.Event()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def late() -> T:
            self.speaks.wait()
            return fn(*args, **kwargs)

        return super().submit(late)


def may(keeper: Doorkeeper) -> list[str]:
    return [op for op in ("status", "stop", "reload") if keeper.allows(STRANGER, op)]


@pytest.mark.skipif(STRANGER.uid == os.geteuid(), reason="nobody is we, who may do all")
def test_what_needs_no_names_counts_until_they_are_known() -> None:
    async def work() -> None:
        keeper = Doorkeeper(ACCESS)
        with Silent() as names:
            looking = asyncio.create_task(keeper.look_up(names))
            await asyncio.sleep(0)
            assert may(keeper) == ["status"]
            names.speaks.set()
            await looking
        assert may(keeper) == ["status", "stop"]

    asyncio.run(work())


def test_names_that_come_late_do_not_undo_a_reload() -> None:
    async def work() -> None:
        keeper = Doorkeeper(ACCESS)
        with Silent() as names:
            looking = asyncio.create_task(keeper.look_up(names))
            await asyncio.sleep(0)
            keeper.table = newer = look_up(Access())
            names.speaks.set()
            await looking
        assert keeper.table is newer

    asyncio.run(work())
