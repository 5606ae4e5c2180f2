"""A store whose writes can be awaited, and one with something in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from relctld.core.state import Want
from relctld.host.database import Kept
from relctld.host.store import Store

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
