"""The one way tests wait for the world: look again until it is so, or fail saying what was awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], timeout: float = 30.0, interval: float = 0.01, what: str | Callable[[], str] = ""
) -> T:
    """Returns the first true value of `condition`; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            awaited = what() if callable(what) else what or condition
            raise AssertionError(f"waited {timeout:g} s for {awaited} in vain")
        time.sleep(interval)
    return value
