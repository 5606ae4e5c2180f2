"""The beat of all channels: one timer for those of a loop, where a timer each took memory and woke us for nothing."""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

TICK_AFTER = 2.0  # seconds


class Member(Protocol):
    """Who wants to be reminded that time passes."""

    def beat(self) -> None:
        """TICK_AFTER has passed again."""


class Beat:
    """Tells its members every TICK_AFTER, as long as there are any."""

    def __init__(self) -> None:
        self._members: set[Member] = set()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, member: Member) -> None:
        """From now on; first within TICK_AFTER."""
        self._members.add(member)
        if self._timer is None:
            self._arm()

    def leave(self, member: Member) -> None:
        """No more, if it ever did."""
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_AFTER, self._strike)

    def _strike(self) -> None:
        self._arm()
        for member in tuple(self._members):
            member.beat()


_beats: WeakKeyDictionary[asyncio.AbstractEventLoop, Beat] = WeakKeyDictionary()


def of_the_loop() -> Beat:
    """The beat of the loop that runs."""
    return _beats.setdefault(asyncio.get_running_loop(), Beat())
