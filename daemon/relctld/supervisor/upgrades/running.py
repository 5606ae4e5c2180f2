"""An upgrade under way, and those who wait for its end."""

import asyncio
from collections.abc import Callable
from typing import Any

from relctld.control.server import RefusedError
from relctld.supervisor.upgrades.outcomes import told
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.taking import Tell


class Running:
    """`begun`: when it was asked for (monotonic) · `detail`: what it is about, or what keeps it · `task`: its end."""

    def __init__(self, transaction: Stepping, begun: float) -> None:
        self.transaction = transaction
        self.begun = begun
        self.detail = ""
        self.task: asyncio.Task[dict[str, Any]] | None = None
        self._tells: list[Tell] = []

    def tell(self, word: dict[str, Any]) -> None:
        """A word to all who wait."""
        for each in tuple(self._tells):
            each(word)

    def shown(self) -> dict[str, Any]:
        """`upgrade` of `status --json`."""
        j = self.transaction.journal
        body = {"from": j.origin, "to": j.target, "phase": str(j.phase), "since": j.since, "by": j.by}
        return body | ({"detail": self.detail} if self.detail else {})

    async def end(self, tell: Tell, *, gives_way: Callable[[], bool]) -> dict[str, Any]:
        """Its end, for one who waits and is told of the way there; who leaves does not end it. Raises RefusedError.

        `gives_way`: whether a successor answers, where we must leave it.
        """
        assert self.task is not None
        self._tells.append(tell)
        try:
            return told(self.transaction.journal.release, await asyncio.shield(self.task))
        except asyncio.CancelledError:
            if self.task.cancelled():
                if gives_way():
                    await asyncio.get_running_loop().create_future()  # for ever: our successor answers
                raise RefusedError("failed", "relctld is stopping; a later one goes on with it") from None
            raise
        finally:
            self._tells.remove(tell)
