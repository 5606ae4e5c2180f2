"""The way to one node: found, knocked at, and asked whether it is the one we started.

Rule 1: a refusal is kept for a while. Each knock with a wrong cookie is an error in the release's own log, and each
        look at /proc costs some milliseconds.
Rule 2: what only the node's own port says ends the search; else every port of the VM's is tried.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from relctld.beam.dist import epmd
from relctld.beam.dist.handshake import Cookie
from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkLost, Target, connect, prepare
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.shown import text
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.host.records import Launched
from relctld.supervisor.nodes.lookers import Lookers
from relctld.supervisor.nodes.whereabouts import Whereabouts, locate

log = structlog.get_logger()

MAX_FRAME = 256 << 10
"""Bytes of an answer on the link that watches a node's life: what asks for more does so on a link of its own."""

DIAL_WITHIN = 5.0
KNOCK = 0.5
"""Seconds for a port that may not be the node's, and for epmd."""

REFUSED_FOR = 60.0
"""Seconds until a refusal that only an operator can mend is asked for again, unless the cookie changes before."""

LOOK_AGAIN = 5.0
"""Seconds for which a refusal is simply repeated."""

BOOTS_WITHIN = 10.0
"""Seconds of a VM's life in which what is refused may be meant for a moment only."""

_GETPID = prepare("os", "getpid", [])
_LASTING = frozenset({Refusal.WRONG_COOKIE, Refusal.NOT_ALLOWED, Refusal.TLS})
_CERTAIN = frozenset({Refusal.WRONG_COOKIE, Refusal.NOT_ALLOWED, Refusal.NAME_CONFLICT})
"""What only the node's own port says: no other is tried after it."""


@dataclass(slots=True)
class _Refused:
    """A refusal that is kept: repeated until `look_at`, asked for again at `until`, or when the cookie is another.

    Its words, not the error: one that is raised again and again grows by each frame it goes through.
    """

    kind: Refusal
    why: str
    look_at: float
    until: float
    cookie: Cookie

    def error(self) -> LinkRefused:
        """To be raised."""
        return LinkRefused(self.kind, self.why)


class Dialler:
    """Dials the node of one VM, as often as it must."""

    def __init__(self, vm: Vm, spec: Callable[[], ReleaseSpec], launched: Launched, lookers: Lookers) -> None:
        self.found: Whereabouts | None = None
        """Where the node is, as far as that is known."""
        self.had_link = False
        self.knocking = False
        """Whether it was found by the dialling that is under way, so that silence is the node's own."""
        self._vm = vm
        self._spec = spec
        self._launched = launched
        self._lookers = lookers
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._door: tuple[str, int] | None = None
        self._refused: _Refused | None = None

    @property
    def refusal(self) -> LinkRefused | None:
        """Why there is no link, where that was said."""
        return self._refused.error() if self._refused else None

    def repeat(self) -> None:
        """Raise what was refused a moment ago."""
        if self._refused is not None and self._loop.time() < self._refused.look_at:
            raise self._refused.error()

    async def dial(self) -> Link:
        """A link to the node. Raises Nowhere, LinkRefused."""
        self.knocking = False
        found = await self._lookers.look(locate, self._vm, self._spec(), self._launched)
        self._keep_refusing(found)
        self.found, self.knocking = found, True
        try:
            async with asyncio.timeout(DIAL_WITHIN):
                link = await self._knock(found)
                await self._check(link)
        except (LinkRefused, LinkLost, CallTimeout, CallFailed, TimeoutError, ValueError) as error:
            raise self._keep(*_refusal(error, found.node), found.cookie) from error
        self.had_link, self._refused = True, None
        log.debug("link.up", node=link.node, pid=self._vm.pid)
        return link

    async def beside(self, own: str, max_frame: int) -> Link:
        """A link under another name, where one stands already. Raises LinkRefused."""
        assert self.found is not None
        assert self._door is not None
        name = f"{own}@{self.found.node.partition('@')[2]}"
        target = replace(self._target(self.found, self._door, name), evict=True)
        return await connect(target, DIAL_WITHIN, max_frame=max_frame)

    def _keep(self, kind: Refusal, why: str, cookie: Cookie) -> LinkRefused:
        """Silence is not kept: each miss counts against the node, so each time it must have been asked."""
        now, lasting = self._loop.time(), kind in _LASTING
        passing = kind is Refusal.NO_ANSWER or now - self._begun <= BOOTS_WITHIN
        look_at = now + LOOK_AGAIN if lasting or not passing else now
        self._refused = _Refused(kind, why, look_at, now + (REFUSED_FOR if lasting else 0.0), cookie)
        return self._refused.error()

    def _keep_refusing(self, found: Whereabouts) -> None:
        """As long as nothing has changed that could help."""
        refused, now = self._refused, self._loop.time()
        if refused is not None and now < refused.until and refused.cookie == found.cookie:
            refused.look_at = now + LOOK_AGAIN
            raise refused.error()

    async def _knock(self, found: Whereabouts) -> Link:
        doors = await self._in_order(found)
        for door in doors[:-1]:
            try:
                return await self._connect(found, door, KNOCK)
            except LinkRefused as error:
                if error.kind in _CERTAIN:
                    raise
        return await self._connect(found, doors[-1], DIAL_WITHIN)

    async def _connect(self, found: Whereabouts, door: tuple[str, int], timeout: float) -> Link:
        target = self._target(found, door, found.own)
        try:
            link = await connect(target, timeout, max_frame=MAX_FRAME)
        except LinkRefused as error:
            if error.kind is not Refusal.NAME_CONFLICT:
                raise
            await asyncio.sleep(KNOCK)  # it may not have seen yet that a link of our former self ended
            link = await connect(target, timeout, max_frame=MAX_FRAME)
        self._door = door
        return link

    async def _in_order(self, found: Whereabouts) -> list[tuple[str, int]]:
        """The doors to knock at, the likeliest first; only that one where it is known."""
        if self._door is not None and self._door in found.doors:
            return [self._door]
        if found.certain:
            return [found.doors[0]]
        if found.epmd_port is not None:
            with contextlib.suppress(LinkRefused):
                port = await epmd.port_of(found.node.partition("@")[0], "127.0.0.1", found.epmd_port, KNOCK)
                known = [door for door in found.doors if door[1] == port]
                if known:
                    return known[:1]
        return list(found.doors)

    def _target(self, found: Whereabouts, door: tuple[str, int], own: str) -> Target:
        return Target(found.node, *door, found.cookie, own, found.tls)

    async def _check(self, link: Link) -> None:
        """That it is the VM we started; else the link is closed."""
        try:
            pid = text(await link.run(_GETPID, timeout=DIAL_WITHIN, high=True))
            if pid != str(self._vm.pid):
                why = f"{link.node} is pid {pid}, not the process that we started (pid {self._vm.pid})"
                raise LinkRefused(Refusal.WRONG_NODE, why)
        except BaseException:
            link.close()
            raise


def _refusal(error: Exception, node: str) -> tuple[Refusal, str]:
    if isinstance(error, LinkRefused):
        return error.kind, str(error)
    if isinstance(error, CallTimeout | TimeoutError):
        return Refusal.NO_ANSWER, f"no answer from {node}"
    return Refusal.CLOSED, str(error)
