"""The upgrades of all releases: one at a time for each, begun by operators, gone on with by every successor.

Rule 1: an upgrade belongs to nobody: who asked for it may leave, and relctld may die. What was asked again under the
        same id joins it, or hears how it ended.
Rule 2: `candidate` and `settle` come before every launch: what a boot brings is what the journal says.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from relctld.beam.layout import NothingInstalled
from relctld.beam.package.judge import Package
from relctld.control.server import RefusedError
from relctld.core.effects import Done, Refused
from relctld.core.events import UpgradeBegun, UpgradeEnded
from relctld.core.model import Hook, OnFailure, Op, ReleaseSpec, Upgrading
from relctld.core.notes import Note
from relctld.core.switch import NOTHING, launches
from relctld.core.upgrade import Finish, Journal, Phase, taken_up
from relctld.host import tree as files
from relctld.host.command import Commands
from relctld.host.process import boot_id
from relctld.host.users import identity_of
from relctld.supervisor.journal import Journal as History
from relctld.supervisor.journal import timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.parts import Parts
from relctld.supervisor.recipe import Place, Recipe
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades import disk
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger, under_way
from relctld.supervisor.upgrades.offer import Offer, Offers, Tell, Wanted
from relctld.supervisor.upgrades.tools import Ask, Tools
from relctld.supervisor.upgrades.transaction import Transaction
from relctld.supervisor.upgrades.versions import versions

log = structlog.get_logger()

RunHook = Callable[[Managed, Hook, Mapping[str, str]], Any]
"""Runs a release's hook; awaited, it is None or what went wrong."""

Prepare = Callable[[ReleaseSpec, Place], Recipe]


class _Running:
    """An upgrade under way, and those who wait for its end."""

    def __init__(self, transaction: Transaction, begun: float) -> None:
        self.transaction = transaction
        self.begun = begun
        self.tells: list[Tell] = []
        self.detail = ""
        self.task: asyncio.Task[dict[str, Any]] | None = None

    def tell(self, word: dict[str, Any]) -> None:
        for each in tuple(self.tells):
            each(word)


class Upgrades:
    """Holds what is under way. On the loop, but for `settle`."""

    def __init__(
        self,
        *,
        state_dir: Path,
        pool: Executor,
        prepare: Prepare,
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
        self._prepare = prepare
        self._shell, self._nodes, self._commands = shell, nodes, commands
        self._parts, self._history, self._run_hook, self._ask = parts, history, run_hook, ask
        self._save = save
        self._loop = asyncio.get_running_loop()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._running: dict[str, _Running] = {}
        self._preparing: dict[str, str] = {}
        self._tidied: dict[str, asyncio.Future[None]] = {}
        self._unfinished: frozenset[str] = frozenset()
        """The releases with a journal of a former self; one that is not in the config is not gone on with."""
        self._gives_way = False
        shell.stepped.append(self._stepped)

    def resume(self) -> None:
        """Go on with the upgrades of a former self; before any request is heard."""
        begun = self._unfinished = frozenset(under_way(self._state_dir))
        for name, managed in self._shell.releases.items():
            ledger = Ledger(self._state_dir, name)
            with contextlib.suppress(OSError):
                if name not in begun:
                    self._tidied[name] = self._work(_remove_leftovers, managed.spec.root, ledger)
                elif (entry := ledger.read()) is not None:
                    self._start(managed, ledger, entry, None)
                else:
                    log.error("upgrade.damaged", release=name, folder=str(ledger.folder))

    async def close(self, *, gives_way: bool = False) -> None:
        """Leave what is under way to a later relctld. Who waits is told so; if it is our successor, answered by it."""
        self._gives_way = gives_way
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def settle(self, spec: ReleaseSpec, recipe: Recipe) -> bool:
        """Before a launch: what was decided is brought to its end on disk; whether there was such.

        Blocking. Raises what the tree does.
        """
        with self._locks[spec.name]:
            entry = self._under_way(spec.name)
            if entry is None or entry.journal.phase is not Phase.COMMITTING:
                return False
            ground = Ground(entry.luggage, recipe.env, recipe.switch.gid if recipe.switch else None)
            disk.commit(ground, entry.journal)
            disk.swap_out(ground, entry.journal)
            return True

    def candidate(self, spec: ReleaseSpec, epoch: int) -> str | None:
        """The version that this launch starts though no file selects it; None: what the files select.

        Blocking. Raises NothingInstalled where a first install is under way and not decided yet, and OSError.
        """
        with self._locks[spec.name]:
            entry = self._under_way(spec.name)
            version = None if entry is None else launches(entry.journal, epoch, boot_id())
        if version == NOTHING:
            raise NothingInstalled(f"{spec.root} is being installed")
        return version

    def _under_way(self, name: str) -> Entry | None:
        """What the journal says; no restart waits for the disk of the state directory without need."""
        if name not in self._running and name not in self._unfinished:
            return None
        return Ledger(self._state_dir, name).read()

    def shown(self, name: str) -> dict[str, Any] | None:
        """`upgrade` of `status --json`."""
        running = self._running.get(name)
        if running is None:
            return None
        j = running.transaction.journal
        body = {"from": j.origin, "to": j.target, "phase": str(j.phase), "since": j.since, "by": j.by}
        return body | ({"detail": running.detail} if running.detail else {})

    # -- asked for -----------------------------------------------------------------------------

    async def upgrade(self, name: str, request_id: str, args: dict[str, Any], by: tuple[int, str], tell: Tell) -> Any:
        """Upgrade a release, or only plan it (`plan`). Raises RefusedError."""
        managed, ledger = self._shell.releases[name], Ledger(self._state_dir, name)
        running = self._running.get(name)
        if running is not None and running.transaction.journal.id == request_id:
            return await self._joined(running, tell, wait=args["wait"])
        last = await self._work(ledger.last)
        if last.get("id") == request_id:
            return self._told(name, last)
        self._check_free(name)
        await self._take_up(managed, ledger)
        self._preparing[name] = by[1]
        begun = self._loop.time()
        try:
            tools = self._tools(managed)
            reader = await self._work(identity_of, by[0])
            wanted = Wanted(args.get("tarball"), args.get("version"), args.get("sha256"), reader)
            offer = await Offers(managed, ledger, tools, tell).make(wanted, with_configuration=args["plan"])
            if offer is None:
                return {"changed": False}
            if args["plan"]:
                return {"changed": False, "plan": offer.plan}
            tell({"plan": offer.plan})
            await self._hook(managed, Hook.PRE_UPGRADE, offer)
            entry = Entry(_journal(managed, request_id, by[1], offer, args.get("soak_s")), offer.luggage)
            try:
                await self._work(ledger.write, entry)
            except OSError as error:
                why = f"its journal cannot be written: {error}"
                raise RefusedError("failed", why, "make room in state_dir") from error
            running = self._start(managed, ledger, entry, begun, offer.package)
        finally:
            del self._preparing[name]
            if name not in self._running:
                await self._work(ledger.drop_tarballs)
        return await self._joined(running, tell, wait=args["wait"])

    async def versions(self, name: str) -> dict[str, Any]:
        """What is installed, what runs, what a boot would bring. Raises RefusedError."""
        return await versions(self._shell.releases[name], self._nodes, self._recipe, self._pool)

    async def _take_up(self, managed: Managed, ledger: Ledger) -> None:
        """An upgrade of a release that had left the config meanwhile comes to its end first. Raises RefusedError."""
        if (tidied := self._tidied.pop(managed.name, None)) is not None:
            await tidied
        entry = await self._work(ledger.read)
        if entry is not None and managed.name not in self._running:
            self._start(managed, ledger, entry, None)
        self._check_free(managed.name)

    def _check_free(self, name: str) -> None:
        if (running := self._running.get(name)) is not None:
            j = running.transaction.journal
            why = f"an upgrade to {j.target} by {j.by} is under way ({j.phase})"
            raise RefusedError("busy", why, f"wait for its end: relctl status {name} --watch")
        if (by := self._preparing.get(name)) is not None:
            raise RefusedError("busy", f"an upgrade by {by} is being prepared", "ask again in a moment")

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

    async def _hook(self, managed: Managed, hook: Hook, offer: Offer) -> None:
        package = offer.package
        more = {"RELCTL_FROM": package.running.version, "RELCTL_TO": package.version}
        error = await self._run_hook(managed, hook, more)
        if error is not None:
            raise RefusedError("failed", f"its {hook} hook failed: {error}", "nothing was changed")

    # -- under way -----------------------------------------------------------------------------

    def _start(
        self, managed: Managed, ledger: Ledger, entry: Entry, begun: float | None, package: Package | None = None
    ) -> _Running:
        j = taken_up(entry.journal, self._loop.time())
        entry = replace(entry, journal=j)
        tools = replace(self._tools(managed), entered=self._entered, shown=lambda why: self._explain(managed.name, why))
        running = _Running(Transaction(managed, ledger, entry, tools, package), begun or self._loop.time())
        self._running[managed.name] = running
        self._shell.post(UpgradeBegun(managed.name, Upgrading(j.id, j.target, j.by)))
        if begun is not None:
            self._history.report(
                managed.name, Note.UPGRADE_BEGUN, {"id": j.id, "from": j.origin, "to": j.target, "by": j.by}
            )
        running.task = self._loop.create_task(self._run(managed, ledger, running), name=f"upgrade {managed.name}")
        running.task.add_done_callback(_seen)
        return running

    async def _run(self, managed: Managed, ledger: Ledger, running: _Running) -> dict[str, Any]:
        transaction = running.transaction
        end = await self._to_its_end(managed.name, transaction)
        outcome = self._outcome(managed, transaction.journal, end, self._loop.time() - running.begun)
        while True:
            try:
                await self._work(ledger.close, outcome)
                break
            except OSError as error:
                self._explain(managed.name, f"its journal cannot be closed: {error}")
                await asyncio.sleep(1.0)
        self._running.pop(managed.name, None)
        if managed.state.vm is not None and managed.state.epoch == transaction.journal.epoch:
            managed.launched = replace(managed.launched, version=outcome["runs"])
            self._save(managed)
        self._shell.post(UpgradeEnded(managed.name))
        note = Note.UPGRADED if end.ok else Note.UPGRADE_FAILED
        told = ("id", "from", "to", "by", "seconds", *(() if end.ok else ("why", "runs")))
        self._history.report(managed.name, note, {key: outcome[key] for key in told})
        if end.ok:
            await self._after(managed, transaction.journal)
        return outcome

    async def _to_its_end(self, name: str, transaction: Transaction) -> Finish:
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

    def _outcome(self, managed: Managed, j: Journal, end: Finish, seconds: float) -> dict[str, Any]:
        runs = j.target if end.ok or end.left else j.origin
        return {
            "id": j.id,
            "ok": end.ok,
            "from": j.origin,
            "to": j.target,
            "by": j.by,
            "why": end.why,
            "runs": runs,
            "left": end.left,
            "restarted": managed.state.epoch != j.epoch or managed.state.incarnation != j.incarnation,
            "seconds": round(seconds, 3),
        }

    async def _joined(self, running: _Running, tell: Tell, *, wait: bool) -> dict[str, Any]:
        """The end of an upgrade for one who waits; who leaves does not end it."""
        j = running.transaction.journal
        if not wait or running.task is None:
            return {"changed": True, "accepted": True, "from": j.origin, "to": j.target}
        running.tells.append(tell)
        try:
            return self._told(j.release, await asyncio.shield(running.task))
        except asyncio.CancelledError:
            if running.task.cancelled():
                if self._gives_way:
                    await self._loop.create_future()  # for ever: our successor answers
                raise RefusedError("failed", "relctld is stopping; a later one goes on with it") from None
            raise
        finally:
            running.tells.remove(tell)

    def _told(self, name: str, outcome: dict[str, Any]) -> dict[str, Any]:
        """How it ended, for the operator. Raises RefusedError."""
        if outcome["ok"]:
            return {"changed": True, **outcome}
        if outcome.get("left"):
            why = f"{outcome['why']}; it runs {outcome['runs']}, and a restart would bring {outcome['from']}"
            raise RefusedError("failed", f"to {outcome['to']}: {why}", f"relctl restart {name} takes it back")
        after = "after a restart" if outcome["restarted"] else "and never stopped"
        why = f"{outcome['why']}; it runs {outcome['runs']} as before, {after}"
        hint = f"nothing of the attempt is left; its log may say more: relctl logs {name}"
        raise RefusedError("failed", f"to {outcome['to']}: {why}", hint)

    def _entered(self, journal: Journal) -> None:
        running = self._running.get(journal.release)
        if running is not None:
            running.detail = journal.why
            running.tell({"phase": str(journal.phase), "why": journal.why})
        fields = {"id": journal.id, "phase": str(journal.phase), "why": journal.why}
        self._history.report(journal.release, Note.UPGRADE_PHASE, fields)

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
            restart=self._restart,
            ask=self._ask,
            lock=self._locks[managed.name],
            entered=lambda _: None,
            shown=lambda _: None,
        )

    def _recipe(self, managed: Managed) -> Recipe:
        return self._prepare(managed.spec, Place(managed.folder, managed.log_folder))

    def _restart(self, name: str, request_id: str) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._loop.create_future()

        def answered(_: Done | Refused) -> None:
            if not done.done():
                done.set_result(None)

        self._parts.request(name, Op.RESTART, request_id, "relctld", answered)
        return done

    def _work(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self._loop.run_in_executor(self._pool, function, *args)


def _journal(managed: Managed, request_id: str, by: str, offer: Offer, soak: float | None) -> Journal:
    state, spec = managed.state, managed.spec.upgrade
    return Journal(
        release=managed.name,
        id=request_id,
        by=by,
        since=timestamp(),
        origin=offer.package.running.version,
        target=offer.package.version,
        epoch=state.epoch,
        incarnation=state.incarnation or "",
        soak=spec.soak if soak is None else soak,
        timeout=spec.timeout,
        reversible=offer.package.back is not None,
        leave=spec.on_failure is OnFailure.LEAVE,
    )


def _remove_leftovers(root: Path, ledger: Ledger) -> None:
    """Of a plan, or of an offer that was being judged, when a former self ended."""
    ledger.drop_tarballs()
    with contextlib.suppress(OSError):
        files.remove(root, disk.STAGING)


def _seen(task: "asyncio.Task[dict[str, Any]]") -> None:
    """Its end is for those who wait; nobody may."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("surprise", what="upgrade", error=repr(error))
