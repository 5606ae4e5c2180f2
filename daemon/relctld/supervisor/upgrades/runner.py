"""The upgrades under way: carried to their ends, told of, gone on with by every successor.

Rule 1: an upgrade belongs to nobody: who asked for it may leave, and relctld may die.
Rule 2: `launches` is asked before every launch: what a boot brings is what the journal says.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from relctld.core.effects import Done, Refused
from relctld.core.events import UpgradeBegun, UpgradeEnded
from relctld.core.notes import Note
from relctld.core.spec import Hook
from relctld.core.state import Op, Upgrading
from relctld.core.transaction import Finish, Journal, Way, taken_up
from relctld.host.command import Commands
from relctld.host.errors import in_words
from relctld.supervisor.history import History
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.parts import Parts
from relctld.supervisor.recipe import Place, Recipe, Surroundings
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades.deploying import Deployment
from relctld.supervisor.upgrades.launches import Launches
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage, under_way
from relctld.supervisor.upgrades.making import transaction_of
from relctld.supervisor.upgrades.neighbours import run_beside
from relctld.supervisor.upgrades.offer import Offer
from relctld.supervisor.upgrades.outcomes import outcome_of
from relctld.supervisor.upgrades.running import Running
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.taking import Tell
from relctld.supervisor.upgrades.tools import Ask, Tools

log = structlog.get_logger()

RunHook = Callable[[Managed, Hook, Mapping[str, str]], Any]
"""Runs a release's hook; awaited, it is None or what went wrong."""


class Runner:
    """Runs at most one for each release. On the loop, but for `launches`."""

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        pool: Executor,
        launcher: Launcher,
        shell: Shell,
        nodes: Nodes,
        commands: Commands,
        parts: Parts,
        history: History,
        run_hook: RunHook,
        ask: Ask,
        save: Callable[[Managed], None],
        look_anew: Callable[[Managed], Awaitable[None]],
    ) -> None:
        self._state_dir = state_dir
        self._pool = pool
        self._launcher, self._shell, self._nodes, self._commands = launcher, shell, nodes, commands
        self._parts, self._history, self._run_hook, self._ask = parts, history, run_hook, ask
        self._save = save
        self.look_anew = look_anew
        """Look at the tree of a release once more: who is told of an end shall see it."""
        self._loop = asyncio.get_running_loop()
        self.launches = Launches(state_dir, run_dir)
        self._running: dict[str, Running] = {}
        self._unfinished: frozenset[str] = frozenset()
        """The releases with a journal of a former self; one that is not in the config is not gone on with."""
        self._gives_way = False
        shell.stepped.append(self._stepped)

    def resume(self) -> frozenset[str]:
        """Go on with the upgrades of a former self; the releases that have one."""
        begun = self._unfinished = frozenset(under_way(self._state_dir))
        for name in begun:
            self.launches.course(name).is_left = True
        for name, managed in self._shell.releases.items():
            if name not in begun or managed.unconfigured:  # then nobody knows how its commands are run
                continue
            ledger = Ledger(self._state_dir, name)
            with contextlib.suppress(OSError):
                if (entry := self.launches.course(name).found()) is not None:
                    self.start(managed, ledger, entry)
                else:
                    log.error("upgrade.damaged", release=name, folder=str(ledger.folder))
        return begun

    async def close(self, *, gives_way: bool) -> None:
        """Leave what is under way to a later relctld. Who waits is told so; if it is our successor, answered by it."""
        self._gives_way = gives_way
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def running(self, name: str) -> Running | None:
        """The one of this release."""
        return self._running.get(name)

    def unfinished(self) -> frozenset[str]:
        """The releases whose journal of a former self nobody goes on with."""
        return self._unfinished - self._running.keys()

    def has_journal(self, name: str) -> bool:
        """Whether this release may have one: an upgrade runs, or a former self left one."""
        return name in self._running or name in self._unfinished

    def start(
        self,
        managed: Managed,
        ledger: Ledger,
        entry: Entry,
        begun: float | None = None,
        offer: Offer | Deployment | None = None,
    ) -> Running:
        """Begin it, or go on with it. `begun`: when it was asked for, and `offer`, where it has just been."""
        j = taken_up(entry.journal, self._loop.time())
        entry = replace(entry, journal=j)
        tools = replace(
            self.tools(managed),
            entered=self._entered,
            shown=lambda why: self._explain(managed.name, why),
            told=partial(self._tell, managed.name),
        )
        transaction = transaction_of(managed, ledger, entry, tools, offer)
        running = Running(transaction, begun or self._loop.time())
        self._running[managed.name] = running
        self.launches.course(managed.name).begin(entry)
        self._shell.post(UpgradeBegun(managed.name, Upgrading(j.id, j.target, j.by)))
        if begun is not None:
            self._history.report(
                managed.name, Note.UPGRADE_BEGUN, {"id": j.id, "from": j.origin, "to": j.target, "by": j.by}
            )
        running.task = self._loop.create_task(self._run(managed, running), name=f"upgrade {managed.name}")
        running.task.add_done_callback(_seen)
        return running

    async def _run(self, managed: Managed, running: Running) -> dict[str, Any]:
        transaction = running.transaction
        end = await self._to_its_end(managed.name, transaction)
        outcome = outcome_of(managed, transaction.journal, end, self._loop.time() - running.begun)
        j = transaction.journal
        epoch = j.epoch + 1 if j.way is Way.RESTART and j.starts else j.epoch
        if managed.state.vm is not None and managed.state.epoch == epoch and (j.starts or j.origin == j.target):
            managed.launched = replace(managed.launched, version=outcome["runs"])
            self._save(managed)  # before the journal goes: whoever comes after us does this again, or finds it done
        await self.look_anew(managed)
        while True:
            try:
                await self._work(self.launches.course(managed.name).close, outcome)
                break
            except OSError as error:
                self._explain(managed.name, f"its journal cannot be closed: {in_words(error)}")
                await asyncio.sleep(1.0)
        if end.ok:
            await self._prune(managed, transaction)
        self._running.pop(managed.name, None)
        self._unfinished -= {managed.name}
        self._shell.post(UpgradeEnded(managed.name))
        note = Note.UPGRADED if end.ok else Note.UPGRADE_FAILED
        fields = ("id", "from", "to", "by", "seconds", "outage_s", *(() if end.ok else ("why", "runs")))
        self._history.report(managed.name, note, {key: outcome[key] for key in fields if key in outcome})
        if end.ok:
            await self._after(managed, transaction.journal)
        return outcome

    async def _prune(self, managed: Managed, transaction: Stepping) -> None:
        """What is beyond `keep_versions` goes, but for what runs, what boots, and the way back."""
        keep = managed.spec.upgrade.keep_versions
        if gone := await transaction.prune(keep, run_beside(self._shell.releases, managed)):
            self._history.report(managed.name, Note.REMOVED, {"versions": gone, "by": f"keep_versions = {keep}"})

    async def _to_its_end(self, name: str, transaction: Stepping) -> Finish:
        """Whatever surprises there are on the way: it is tried again, from what journal, tree and node say."""
        while True:
            try:
                return await transaction.run()
            except Exception as error:
                log.exception("surprise", release=name)
                self._explain(name, f"it goes on after a surprise, which relctld's log tells: {error!r}")
                await asyncio.sleep(1.0)

    async def _after(self, managed: Managed, j: Journal) -> None:
        error = await self._run_hook(managed, Hook.POST_UPGRADE, {"RELCTL_FROM": j.origin, "RELCTL_TO": j.target})
        if error is not None:
            fields = {"epoch": managed.state.epoch, "hook": str(Hook.POST_UPGRADE), "error": error}
            self._history.report(managed.name, Note.HOOK_FAILED, fields)

    async def joined(self, running: Running, tell: Tell, *, wait: bool) -> dict[str, Any]:
        """The end of an upgrade for one who waits; who leaves does not end it."""
        if not wait:
            j = running.transaction.journal
            return {"changed": True, "accepted": True, "from": j.origin, "to": j.target}
        return await running.end(tell, gives_way=lambda: self._gives_way)

    def _entered(self, journal: Journal) -> None:
        running = self._running.get(journal.release)
        if running is not None:
            running.detail = journal.why
            running.tell({"phase": str(journal.phase), "why": journal.why})
        fields = {"id": journal.id, "phase": str(journal.phase), "why": journal.why}
        self._history.report(journal.release, Note.UPGRADE_PHASE, fields)

    def _tell(self, name: str, word: dict[str, Any]) -> None:
        self._running[name].tell(word)

    def _explain(self, name: str, why: str) -> None:
        running = self._running.get(name)
        if running is not None and running.detail != why:
            running.detail = why
            running.tell({"phase": str(running.transaction.journal.phase), "why": why})

    def _stepped(self, managed: Managed) -> None:
        if (running := self._running.get(managed.name)) is not None:
            running.transaction.poke()

    def tools(self, managed: Managed) -> Tools:
        """What an upgrade of this release works with; nobody is told of anything yet."""
        return Tools(
            nodes=self._nodes,
            commands=self._commands,
            pool=self._pool,
            prepare=self.recipe,
            surround=self._surround,
            order=self._order,
            ask=self._ask,
            course=self.launches.course(managed.name),
            entered=lambda _: None,
            shown=lambda _: None,
            told=lambda _: None,
        )

    def recipe(self, managed: Managed, luggage: Luggage | None = None) -> Recipe:
        """How it would be launched now, or what the luggage names. Blocking; raises as `read_recipe`."""
        spec = managed.spec
        if luggage is not None:
            spec = replace(spec, root=Path(luggage.root), flavour=luggage.flavour, release_name=luggage.name)
        return self._launcher.recipe(spec, Place(managed.folder, managed.log_folder))

    def _surround(self, managed: Managed) -> Surroundings:
        return self._launcher.surroundings(managed.spec)

    def _order(self, name: str, op: Op, request_id: str) -> asyncio.Future[str]:
        done: asyncio.Future[str] = self._loop.create_future()

        def answered(outcome: Done | Refused) -> None:
            if not done.done():
                done.set_result(outcome.why if isinstance(outcome, Refused) else "")

        self._parts.request(name, op, request_id, "relctld", answered)
        return done

    def _work(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self._loop.run_in_executor(self._pool, function, *args)


def _seen(task: "asyncio.Task[dict[str, Any]]") -> None:
    """Its end is for those who wait; nobody may."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("surprise", what="upgrade", error=repr(error))
