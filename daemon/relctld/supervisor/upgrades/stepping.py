"""What every transaction does: look, ask the core for the next step, write down, do; and again, until it is over.

Rule 1: nothing is decided here. What cannot be done is put before the core, or tried again.
Rule 2: what an act needs is found anew, in the journal, the tree or the node: whoever comes after us has no more.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import structlog

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import ReleaseError
from relctld.beam.package.refusals import PackageError
from relctld.config import EnvFileError
from relctld.core.probes import ProcessProbe, Verdict
from relctld.core.state import Op, State
from relctld.core.transaction import Act, Disk, Do, Enter, Finish, Journal, Node, Phase, Step, Wait
from relctld.host import process
from relctld.host.errors import in_words
from relctld.host.users import UnknownUserError
from relctld.supervisor.managed import Managed
from relctld.supervisor.upgrades import removing
from relctld.supervisor.upgrades.configuring import ConfiguringError
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage
from relctld.supervisor.upgrades.node import NodeError, NodeSide
from relctld.supervisor.upgrades.tools import Tools

log = structlog.get_logger()

T = TypeVar("T")

AGAIN = 1.0
"""Seconds until what could not be done is tried again, and between two looks when nothing tells of a change."""

SOON = 0.01
"""Seconds between two looks at an install that has just been ordered; twice as long each time."""

HANGS_AFTER = 3.0
"""Seconds after which operators are told that a write hangs."""

_FAILURES = (OSError, ReleaseError, PackageError, ConfiguringError, HandlerError)


class Stepping:
    """One transaction under way. What it looks at, who decides and what the acts are: its heir says."""

    _ACTS: ClassVar[Mapping[Act, Callable[[Any], Awaitable[None]]]] = {}

    def __init__(self, managed: Managed, ledger: Ledger, entry: Entry, tools: Tools) -> None:
        self.journal = entry.journal
        self._managed = managed
        self._ledger = ledger
        self._luggage: Luggage = entry.luggage
        self._tools = tools
        self._node = NodeSide(managed, tools.nodes)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._findings: tuple[str, ...] | None = None
        self._pause = SOON

    def poke(self) -> None:
        """Something of the release has changed."""
        self._changed.set()

    async def run(self) -> Finish:
        """To the end. An act that changed nothing of what is seen is not done again at once."""
        done: tuple[Act, Disk, Node] | None = None
        while True:
            try:
                seen, node = await self._look()
            except (UnknownUserError, EnvFileError) as error:
                await self._wait_again(str(error))
                continue
            except (OSError, ReleaseError, PackageError) as error:
                await self._wait_again(f"its tree cannot be read: {in_words(error)}")
                continue
            step = self._next(seen, node, self._loop.time())
            match step:
                case Finish():
                    return step
                case Enter(journal):
                    await self._enter(journal)
                case Do(act):
                    if done == (act, seen, node):
                        await self._pass(AGAIN)
                    done = (act, seen, node)
                    await self._do(act)
                case Wait(until):
                    await self._wait(until)

    def _lives(self, epoch: int, incarnation: str) -> bool:
        """Whether this VM is the latest, and lives; any incarnation of it where none is told."""
        state, pidfd = self._managed.state, self._managed.pidfd
        same = state.epoch == epoch and incarnation in ("", state.incarnation)
        return same and pidfd is not None and not process.has_ended(pidfd)

    async def prune(self, keep: int, beside: frozenset[str]) -> list[str]:
        """Remove the oldest versions, when it is over, but for those that others run (`beside`); those that went."""
        needed = {self.journal.origin, self.journal.target, *beside}
        try:
            gone: list[str] = await self._work(removing.prune, await self._ground(), self._ledger, needed, keep)
        except Exception:  # whatever it is: the upgrade is done
            log.exception("upgrade.not-pruned", release=self._managed.name)
            return []
        if gone:
            with contextlib.suppress(NodeError, HandlerError):
                await self._node.reread()
        return gone

    async def _ground(self) -> Ground:
        raise NotImplementedError

    async def _look(self) -> tuple[Disk, Node]:
        """What disk and node say now. Raises OSError, ReleaseError, PackageError, UnknownUserError, EnvFileError."""
        raise NotImplementedError

    def _next(self, seen: Disk, node: Node, now: float) -> Step:
        raise NotImplementedError

    def _after_failure(self, act: Act, why: str, now: float) -> Enter | None:
        raise NotImplementedError

    def _may_enter(self, journal: Journal) -> bool:
        """Whether that still stands which this phase is entered for; under the lock of who launches,
        before it is written and after."""
        raise NotImplementedError

    # -- waiting -------------------------------------------------------------------------------

    async def _wait(self, until: float | None) -> None:
        pause = AGAIN if self.journal.phase is Phase.SOAKING else self._pause
        self._pause = min(self._pause * 2, AGAIN / 4)
        if until is not None:
            pause = min(pause, max(0.0, until - self._loop.time()))
        await self._pass(pause)

    async def _wait_again(self, why: str) -> None:
        self._tools.shown(why)
        await self._pass(AGAIN)

    async def _pass(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    # -- entering ------------------------------------------------------------------------------

    async def _enter(self, journal: Journal) -> None:
        writing = asyncio.ensure_future(self._work(self._write, journal))
        if not (await asyncio.wait({writing}, timeout=HANGS_AFTER))[0]:
            self._tools.shown("its journal is not written yet: the disk of state_dir does not answer")
        try:
            entered = await writing
        except OSError as error:
            await self._wait_again(f"its journal cannot be written: {in_words(error)}")
            return
        if entered:
            if journal.phase is not Phase.SOAKING or journal.soak:
                self._findings = None  # a soak of no time finds what was found a moment ago
            self.journal, self._pause = journal, SOON
            self._tools.entered(journal)

    def _write(self, journal: Journal) -> bool:
        """What a launch brings depends on some phases. They are not entered once it is another one than was seen."""
        return self._tools.course.enter(Entry(journal, self._luggage), lambda: self._may_enter(journal))

    # -- doing ---------------------------------------------------------------------------------

    async def _do(self, act: Act) -> None:
        try:
            await self._ACTS[act](self)
        except NodeError as error:
            log.info("upgrade.again", release=self._managed.name, act=str(act), error=str(error))
            await self._wait_again(str(error))
        except _FAILURES as error:
            await self._failed(act, in_words(error))

    async def _failed(self, act: Act, why: str) -> None:
        log.warning("upgrade.failure", release=self._managed.name, act=str(act), error=why)
        step = self._after_failure(act, why, self._loop.time())
        if step is None:
            await self._wait_again(why)
        else:
            await self._enter(step.journal)

    async def _restart(self) -> None:
        await self._ordered(Op.RESTART, "restart")

    async def _ordered(self, op: Op, what: str) -> None:
        """One that was refused before anything came of it is not asked for again at once."""
        epoch = self._managed.state.epoch
        refused = await self._tools.order(self._managed.name, op, f"{self.journal.id}/{what}-{epoch}")
        if refused and self._managed.state.epoch == epoch:
            await self._wait_again(f"it cannot {op}: {refused}")

    # -- what acts need ------------------------------------------------------------------------

    async def _health(self) -> tuple[str, ...]:
        """What the release's own probes say of it now: is it ready, is it well; asked as often as it may miss one."""
        spec = self._managed.spec
        probes = dict.fromkeys(
            probe for probe in (spec.ready, spec.health.probe) if not isinstance(probe, ProcessProbe)
        )
        for probe in probes:
            for left in reversed(range(spec.health.failures)):
                found = await self._tools.ask(self._managed, probe, spec.health.timeout)
                if found.verdict in (Verdict.WELL, Verdict.NO_LINK):
                    break
                if self._managed.state.state is not State.RUNNING:
                    return ()  # it ends: that is what is wrong
                if not left:
                    return (f"it is not well: {found.detail}",)
                await asyncio.sleep(min(spec.health.interval, AGAIN))
        return ()

    def _locked(self, change: Callable[[], None]) -> None:
        with self._tools.course.lock:
            change()

    async def _work(self, function: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._tools.pool, partial(function, *args))
