"""Applies the access table in force.

Names of users and groups are looked up before the door opens. A name service that hangs keeps it closed for a moment
only: then the part of the table counts that needs no names, and the rest as soon as it is known.
"""

import asyncio
from concurrent.futures import Executor
from typing import Final

import structlog

from relctld.config import Access
from relctld.control.access import Peer, Table, look_up, without_names

log = structlog.get_logger()

_NAMES_WITHIN: Final = 2.0


class Doorkeeper:
    """`access`: of the config at the start. `table` is the one in force; a reload brings another."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._partly = self.table = without_names(access)

    def allows(self, peer: Peer, op: str) -> bool:
        """Whether this peer may ask for `op` now."""
        return self.table.allows(peer, op)

    async def look_up(self, errands: Executor) -> None:
        """Know the names, if they can be known soon."""
        looking = asyncio.get_running_loop().run_in_executor(errands, look_up, self._access)
        looking.add_done_callback(self._found)
        await asyncio.wait((looking,), timeout=_NAMES_WITHIN)

    def _found(self, work: "asyncio.Future[Table]") -> None:
        for warning in work.result().warnings:
            log.warning("config.warning", warning=warning)
        if self.table is self._partly:  # no reload brought another one meanwhile
            self.table = work.result()
