"""What takes time is a named task, and kept until it is done: the loop itself would let go of it."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Those of the daemon that are about releases. A name begins with what is done: `spawn web`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def make(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one that somebody waits for, or may cancel."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start one that nobody needs to hold."""
        _ = self.make(name, work)

    async def settle(self, what: str, seconds: float) -> None:
        """Wait for those that do this, but no longer than so many seconds."""
        if under_way := [task for task in self._tasks if task.get_name().startswith(f"{what} ")]:
            await asyncio.wait(under_way, timeout=seconds)

    async def close(self) -> None:
        """End all of them."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
