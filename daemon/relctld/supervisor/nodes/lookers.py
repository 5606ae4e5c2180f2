"""What must be looked up in /proc and in files: in worker threads, and a few at a time.

A look holds a VM's whole environment. A hundred at once, when a hundred VMs boot, took 2 MB that lay in holes ever
after, and no less time: the interpreter lets one of them run.

Rule: one that hangs, on a disk of its own release, is gone round. It costs the others a moment, once.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AT_ONCE: Final = 4

_HANGS_AFTER: Final = 0.2
"""Seconds after which a look is no longer counted."""


class Lookers:
    """Looks, in the threads of `pool`. On the loop."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def look(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What `work` returns, or raises."""
        async with self._turn:
            looking = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
            looking.add_done_callback(_seen)
            await asyncio.wait([looking], timeout=_HANGS_AFTER)
        try:
            return await looking
        finally:
            del looking  # an error knows this frame: they would keep each other


def _seen(looking: "asyncio.Future[Any]") -> None:
    """Its outcome is for who waits; they may have given up."""
    if not looking.cancelled():
        looking.exception()
