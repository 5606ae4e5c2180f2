"""The loop that all transactions share."""

from __future__ import annotations

import asyncio
from typing import Any

from relctld.core.transaction import Act, Disk, Do, Enter, Finish, Journal, Life, Node, Step
from relctld.supervisor.upgrades.stepping import AGAIN, Stepping

DISK = Disk("1.0.0", in_place=True, configured=frozenset(), swapped=False, listed=frozenset(), left=True)
CLEAN, COMMIT = Do(Act.CLEAN), Do(Act.COMMIT)


class Played(Stepping):
    """Told what to do next, and what is seen then; what it did and how long it rested are kept."""

    def __init__(self, *script: tuple[Step, str]) -> None:
        self.script = list(script)
        self.did: list[Act | float] = []
        self._loop = asyncio.get_running_loop()

    async def _look(self) -> tuple[Disk, Node]:
        return DISK, Node(Life.UP, current=self.script[0][1])

    def _next(self, seen: Disk, node: Node, now: float) -> Step:
        return self.script.pop(0)[0]

    async def _do(self, act: Act) -> None:
        self.did.append(act)

    async def _pass(self, seconds: float) -> None:
        self.did.append(seconds)

    async def _enter(self, journal: Journal) -> None:
        raise NotImplementedError

    def _after_failure(self, act: Act, why: str, now: float) -> Enter | None:
        raise NotImplementedError


def did(*script: tuple[Step, str]) -> list[Any]:
    async def play() -> list[Any]:
        played = Played(*script, (Finish(ok=True), ""))
        await played.run()
        return played.did

    return asyncio.run(play())


def test_what_changed_nothing_is_not_done_again_at_once() -> None:
    assert did((CLEAN, "1.0.0"), (CLEAN, "1.0.0"), (CLEAN, "1.0.0")) == [
        Act.CLEAN, AGAIN, Act.CLEAN, AGAIN, Act.CLEAN,
    ]  # fmt: skip


def test_what_goes_on_is_not_held_up() -> None:
    assert did((CLEAN, "1.0.0"), (COMMIT, "1.0.0"), (CLEAN, "1.0.0"), (CLEAN, "1.1.0")) == [
        Act.CLEAN, Act.COMMIT, Act.CLEAN, Act.CLEAN,
    ]  # fmt: skip
