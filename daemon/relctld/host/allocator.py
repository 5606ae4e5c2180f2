"""How the C library gets our memory from the kernel. It is made for programs whose threads allocate side by side.

Ours take turns, for the interpreter lets one of them run at a time. So an arena for each (eight a processor) brings no
speed, only places where memory lies unused: half a megabyte with 100 releases. And a large block that was freed once
(the answer to `status`) would tell glibc to keep as much at hand for ever.

What a start, or an answer, needed for a moment leaves holes, and glibc keeps them: they are given back now and then.

Source: mallopt(3), malloc_trim(3), malloc.h.
"""

import asyncio
import ctypes
from concurrent.futures import Executor
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_LARGE: Final = 64 << 10
"""Bytes of a block that comes from the kernel by itself, and goes back to it once it is free."""

_EVERY: Final = 30.0
"""Seconds between two times that holes are given back."""


def be_thrifty() -> None:
    """For all threads from now on; before there are any. Nothing where the C library knows of no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Pages that lie unused go back to the kernel. Some milliseconds, without the interpreter: for a worker thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


async def stay_thrifty(pool: Executor) -> None:
    """Give back what lies unused, again and again, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY)
        await asyncio.get_running_loop().run_in_executor(pool, give_back)
