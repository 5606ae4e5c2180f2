"""The upgrades of all releases: one at a time for each, begun by operators, gone on with by every successor.

Rule 1: an upgrade belongs to nobody: who asked for it may leave, and relctld may die. What was asked again under the
        same id joins it, or hears how it ended.
Rule 2: `launches` is asked before every launch: what a boot brings is what the journal says.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from relctld.control.server import RefusedError
from relctld.core.effects import Done, Refused
from relctld.core.events import UpgradeBegun, UpgradeEnded
from relctld.core.model import Hook, Op, ReleaseSpec, Upgrading
from relctld.core.notes import Note
from relctld.core.transaction import Finish, Journal, Way, taken_up
from relctld.host.command import Commands
from relctld.host.users import identity_of
from relctld.supervisor.journal import Journal as History
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.parts import Parts
from relctld.supervisor.recipe import Place, Recipe, Surroundings
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades import memory
from relctld.supervisor.upgrades.deploying import Deployment, Deployments
from relctld.supervisor.upgrades.launches import Launches
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage, at_rest, under_way
from relctld.supervisor.upgrades.leftovers import Leftovers
from relctld.supervisor.upgrades.making import entry_of, make, transaction_of, versions_of
from relctld.supervisor.upgrades.neighbours import check_neighbours, run_beside
from relctld.supervisor.upgrades.offer import Offer, Wanted
from relctld.supervisor.upgrades.outcomes import outcome_of, told
from relctld.supervisor.upgrades.removing import finish, remove_leftovers, remove_version
from relctld.supervisor.upgrades.running import Running
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.taking import Tell
from relctld.supervisor.upgrades.tools import Ask, Tools
from relctld.supervisor.upgrades.versions import versions

log = structlog.get_logger()

RunHook = Callable[[Managed, Hook, Mapping[str, str]], Any]
"""Runs a release's hook; awaited, it is None or what went wrong."""

Prepare = Callable[[ReleaseSpec, Place], Recipe]


class Upgrades:
    """Holds what is under way. On the loop, but for `launches`."""

    def __init__(
        self,
        *,
        state_dir: Path,
        pool: Executor,
        prepare: Prepare,
        surroundings: Callable[[ReleaseSpec], Surroundings],
        shell: Shell,
        nodes: Nodes,
        commands: Commands,
        parts: Parts,
        history: History,
        run_hook: RunHook,
        ask: Ask,
        save: Callable[[Managed], None],
    ) -> None:
        self._state_dir = state_dir
        self._pool = pool
        self._prepare, self._surroundings = prepare, surroundings
        self._shell, self._nodes, self._commands = shell, nodes, commands
        self._parts, self._history, self._run_hook, self._ask, self._save = parts, history, run_hook, ask, save
        self._loop = asyncio.get_running_loop()
        self.launches = Launches(state_dir, lambda name: name in self._running or name in self._unfinished)
        self._running: dict[str, Running] = {}
        self._preparing: dict[str, str] = {}
        self._leftovers = Leftovers(pool)
        self._unfinished: frozenset[str] = frozenset()
        """The releases with a journal of a former self; one that is not in the config is not gone on with."""
        self._gives_way = False
        shell.stepped.append(self._stepped)

    def resume(self) -> None:
        """Go on with the upgrades of a former self; before any request is heard."""
        begun = self._unfinished = frozenset(under_way(self._state_dir))
        taken = {managed.spec.root for name, managed in self._shell.releases.items() if name in begun}
        for name, managed in self._shell.releases.items():
            ledger = Ledger(self._state_dir, name)
            if managed.unconfigured:
                continue  # nobody knows how its commands are run
            with contextlib.suppress(OSError):
                if name in begun and (entry := ledger.read()) is not None:
                    self._start(managed, ledger, entry, None)
                elif name in begun:
                    log.error("upgrade.damaged", release=name, folder=str(ledger.folder))
                elif managed.spec.root not in taken:  # else what lies there is of another's upgrade
                    self._leftovers.remove(name, remove_leftovers, managed.spec.root, ledger)
        for name in at_rest(self._state_dir):
            self._leftovers.remove(name, Ledger(self._state_dir, name).drop_tarballs)

    async def go_on(self) -> None:
        """With what of it belongs to a release that a reload has brought back."""
        for name in sorted(self._unfinished - self._running.keys() - self._preparing.keys()):
            managed = self._shell.releases.get(name)
            if managed is not None and not managed.unconfigured:
                with contextlib.suppress(RefusedError, OSError):  # the first says that it goes on
                    async with self._prepared(managed, Ledger(self._state_dir, name), "relctld"):
                        pass

    async def close(self, *, gives_way: bool = False) -> None:
        """Leave what is under way to a later relctld. Who waits is told so; if it is our successor, answered by it."""
        self._gives_way = gives_way
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def shown(self, name: str) -> dict[str, Any] | None:
        """`upgrade` of `status --json`."""
        running = self._running.get(name)
        return None if running is None else running.shown()

    # -- asked for -----------------------------------------------------------------------------

    async def upgrade(self, name: str, request_id: str, args: dict[str, Any], by: tuple[int, str], tell: Tell) -> Any:
        """Upgrade or deploy a release (`deploy`), or only plan it (`plan`). Raises RefusedError."""
        managed, ledger = self._shell.releases[name], Ledger(self._state_dir, name)
        running = self._running.get(name)
        if running is not None and running.transaction.journal.id == request_id:
            return await self._joined(running, tell, wait=args["wait"])
        last = await self._work(ledger.last)
        if last.get("id") == request_id:
            return told(name, last)
        begun = self._loop.time()
        async with self._prepared(managed, ledger, by[1]):
            reader = await self._work(identity_of, by[0])
            wanted = Wanted(args.get("tarball"), args.get("version"), args.get("sha256"), reader)
            offer = await make(
                Deployments(managed, ledger, self._tools(managed), tell),
                wanted,
                deploys=args["deploy"],
                with_configuration=args["plan"],
                may_restart=args["allow_restart"] or managed.spec.upgrade.allow_restart,
            )
            if offer is None:
                return {"changed": False}
            if args["plan"]:
                return {"changed": False, "plan": offer.plan}
            tell({"plan": offer.plan})
            await self._pre_upgrade(managed, *versions_of(offer))
            try:
                if offer.taken is not None:
                    await self._work(memory.remember, ledger, offer.taken)
                entry = entry_of(managed, request_id, by[1], offer, args.get("soak_s"))
                await self._work(ledger.write, entry)
            except OSError as error:
                why = f"its journal cannot be written: {error}"
                raise RefusedError("failed", why, "make room in state_dir") from error
            running = self._start(managed, ledger, entry, begun, offer)
        return await self._joined(running, tell, wait=args["wait"])

    async def remove(self, name: str, version: str, by: str) -> dict[str, Any]:
        """Remove an installed version. Raises RefusedError."""
        managed, ledger = self._shell.releases[name], Ledger(self._state_dir, name)
        async with self._prepared(managed, ledger, by):
            beside = run_beside(self._shell.releases, managed)
            gone = await remove_version(managed, ledger, self._tools(managed), version, beside)
        self._history.report(name, Note.REMOVED, {"versions": [version], "by": by})
        return {"changed": True, "version": version, "removed": list(gone)}

    @contextlib.asynccontextmanager
    async def _prepared(self, managed: Managed, ledger: Ledger, by: str) -> AsyncIterator[None]:
        """Nothing else is done to its versions meanwhile. Raises RefusedError."""
        name = managed.name
        self._check_free(name)
        self._preparing[name] = by
        try:
            await self._take_up(managed, ledger)
            yield
        finally:
            try:
                if name not in self._running:
                    await self._leftovers.removed(name, ledger.drop_tarballs)
            finally:
                del self._preparing[name]

    async def versions(self, name: str) -> dict[str, Any]:
        """What is installed, what runs, what a boot would bring. Raises RefusedError."""
        return await versions(self._shell.releases[name], self._nodes, self._recipe, self._pool)

    async def _take_up(self, managed: Managed, ledger: Ledger) -> None:
        """An upgrade of a release that had left the config meanwhile comes to its end first. Raises RefusedError."""
        await self._leftovers.gone(managed.name)
        try:
            await self._work(finish, ledger)  # later it would delete what is installed anew
        except OSError as error:
            why = f"the removal of a version cannot be brought to its end: {error}"
            raise RefusedError("failed", why, "see to its tree, then ask again") from error
        entry = await self._work(ledger.read)
        if entry is not None and managed.name not in self._running:
            self._start(managed, ledger, entry, None)
            self._check_under_way(managed.name)

    def _check_under_way(self, name: str) -> None:
        if (running := self._running.get(name)) is not None:
            j = running.transaction.journal
            why = f"an upgrade to {j.target} by {j.by} is under way ({j.phase})"
            raise RefusedError("busy", why, f"wait for its end: relctl status {name} --watch")

    def _check_free(self, name: str) -> None:
        self._check_under_way(name)
        if (by := self._preparing.get(name)) is not None:
            raise RefusedError("busy", f"an upgrade by {by} is being prepared", "ask again in a moment")
        check_neighbours(self._shell.releases, self._shell.releases[name], self.is_busy)

    def is_busy(self, name: str) -> bool:
        """Whether the tree of a release is being worked on, or will be by who takes up an upgrade."""
        return name in self._running or name in self._preparing or name in self._unfinished

    @contextlib.contextmanager
    def kept_away(self, name: str | None, by: str) -> Iterator[None]:
        """No upgrade of a release begins until the end of the block. Raises RefusedError."""
        if name is None:
            yield
            return
        self._check_free(name)
        self._preparing[name] = by
        try:
            yield
        finally:
            del self._preparing[name]

    async def _pre_upgrade(self, managed: Managed, before: str, after: str) -> None:
        """A first install has no tree yet in which the hook could be."""
        if not before:
            return
        error = await self._run_hook(managed, Hook.PRE_UPGRADE, {"RELCTL_FROM": before, "RELCTL_TO": after})
        if error is not None:
            raise RefusedError("failed", f"its {Hook.PRE_UPGRADE} hook failed: {error}", "nothing was changed")

    # -- under way -----------------------------------------------------------------------------

    def _start(
        self,
        managed: Managed,
        ledger: Ledger,
        entry: Entry,
        begun: float | None,
        offer: Offer | Deployment | None = None,
    ) -> Running:
        j = taken_up(entry.journal, self._loop.time())
        entry = replace(entry, journal=j)
        tools = replace(
            self._tools(managed),
            entered=self._entered,
            shown=lambda why: self._explain(managed.name, why),
            told=partial(self._tell, managed.name),
        )
        transaction = transaction_of(managed, ledger, entry, tools, offer)
        running = Running(transaction, begun or self._loop.time())
        self._running[managed.name] = running
        self._shell.post(UpgradeBegun(managed.name, Upgrading(j.id, j.target, j.by)))
        if begun is not None:
            self._history.report(
                managed.name, Note.UPGRADE_BEGUN, {"id": j.id, "from": j.origin, "to": j.target, "by": j.by}
            )
        running.task = self._loop.create_task(self._run(managed, ledger, running), name=f"upgrade {managed.name}")
        running.task.add_done_callback(_seen)
        return running

    async def _run(self, managed: Managed, ledger: Ledger, running: Running) -> dict[str, Any]:
        transaction = running.transaction
        end = await self._to_its_end(managed.name, transaction)
        outcome = outcome_of(managed, transaction.journal, end, self._loop.time() - running.begun)
        j = transaction.journal
        epoch = j.epoch + 1 if j.way is Way.RESTART and j.starts else j.epoch
        if managed.state.vm is not None and managed.state.epoch == epoch and (j.starts or j.origin == j.target):
            managed.launched = replace(managed.launched, version=outcome["runs"])
            self._save(managed)  # before the journal goes: whoever comes after us does this again, or finds it done
        while True:
            try:
                await self._work(ledger.close, outcome)
                break
            except OSError as error:
                self._explain(managed.name, f"its journal cannot be closed: {error}")
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

    async def _joined(self, running: Running, tell: Tell, *, wait: bool) -> dict[str, Any]:
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

    def _tools(self, managed: Managed) -> Tools:
        return Tools(
            nodes=self._nodes,
            commands=self._commands,
            pool=self._pool,
            prepare=self._recipe,
            surround=self._surround,
            order=self._order,
            ask=self._ask,
            lock=self.launches.locks[managed.name],
            entered=lambda _: None,
            shown=lambda _: None,
            told=lambda _: None,
        )

    def _recipe(self, managed: Managed, luggage: Luggage | None = None) -> Recipe:
        spec = managed.spec
        if luggage is not None:
            spec = replace(spec, root=Path(luggage.root), flavour=luggage.flavour, release_name=luggage.name)
        return self._prepare(spec, Place(managed.folder, managed.log_folder))

    def _surround(self, managed: Managed) -> Surroundings:
        return self._surroundings(managed.spec)

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
