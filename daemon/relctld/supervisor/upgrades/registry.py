"""What operators ask for is judged and begun: one upgrade at a time for each release. `runner` carries it to its end.

Rule: what was asked again under the same id joins what runs, or hears how it ended.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from relctld.control.server import RefusedError
from relctld.core.notes import Note
from relctld.core.spec import Hook
from relctld.host.errors import in_words
from relctld.host.users import identity_of
from relctld.supervisor.history import History
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades import memory
from relctld.supervisor.upgrades.deploying import Deployments
from relctld.supervisor.upgrades.ledger import Ledger, at_rest
from relctld.supervisor.upgrades.leftovers import Leftovers, remove_all
from relctld.supervisor.upgrades.making import entry_of, make, versions_of
from relctld.supervisor.upgrades.neighbours import check_neighbours, run_beside
from relctld.supervisor.upgrades.offer import Wanted
from relctld.supervisor.upgrades.outcomes import told
from relctld.supervisor.upgrades.removing import finish, remove_version
from relctld.supervisor.upgrades.runner import RunHook, Runner
from relctld.supervisor.upgrades.taking import Tell
from relctld.supervisor.upgrades.versions import versions


class Upgrades:
    """Takes in what is asked for. On the loop."""

    def __init__(
        self,
        *,
        state_dir: Path,
        pool: Executor,
        runner: Runner,
        shell: Shell,
        nodes: Nodes,
        history: History,
        run_hook: RunHook,
    ) -> None:
        self._state_dir = state_dir
        self._pool = pool
        self._runner = runner
        self._shell = shell
        self._nodes = nodes
        self._history = history
        self._run_hook = run_hook
        self._loop = asyncio.get_running_loop()
        self._preparing: dict[str, str] = {}
        self._leftovers = Leftovers(pool)

    def resume(self) -> None:
        """Go on with the upgrades of a former self; before any request is heard."""
        begun = self._runner.resume()
        taken = {managed.spec.root for name, managed in self._shell.releases.items() if name in begun}
        for name, managed in self._shell.releases.items():
            # What lies in a root with an upgrade under way is that one's; that of nobody's release is nobody's to take.
            if name not in begun and not managed.unconfigured and managed.spec.root not in taken:
                self._leftovers.remove(name, remove_all, managed.spec.root, Ledger(self._state_dir, name))
        for name in at_rest(self._state_dir):
            self._leftovers.remove(name, Ledger(self._state_dir, name).drop_tarballs)

    async def go_on(self) -> None:
        """With what of it belongs to a release that a reload has brought back."""
        for name in sorted(self._runner.unfinished() - self._preparing.keys()):
            managed = self._shell.releases.get(name)
            if managed is not None and not managed.unconfigured:
                with contextlib.suppress(RefusedError, OSError):  # the first says that it goes on
                    async with self._prepared(managed, Ledger(self._state_dir, name), "relctld"):
                        pass

    async def close(self, *, gives_way: bool = False) -> None:
        """Leave what is under way to a later relctld. Who waits is told so; if it is our successor, answered by it."""
        await self._runner.close(gives_way=gives_way)

    def shown(self, name: str) -> dict[str, Any] | None:
        """`upgrade` of `status --json`."""
        running = self._runner.running(name)
        return None if running is None else running.shown()

    async def upgrade(self, name: str, request_id: str, args: dict[str, Any], by: tuple[int, str], tell: Tell) -> Any:
        """Upgrade or deploy a release (`deploy`), or only plan it (`plan`). Raises RefusedError."""
        managed, ledger = self._shell.releases[name], Ledger(self._state_dir, name)
        running = self._runner.running(name)
        if running is not None and running.transaction.journal.id == request_id:
            return await self._runner.joined(running, tell, wait=args["wait"])
        last = await self._work(ledger.last)
        if last.get("id") == request_id:
            await self._runner.look_anew(managed)
            return told(name, last)
        begun = self._loop.time()
        async with self._prepared(managed, ledger, by[1]):
            reader = await self._work(identity_of, by[0])
            wanted = Wanted(args.get("tarball"), args.get("version"), args.get("sha256"), reader)
            offer = await make(
                Deployments(managed, ledger, self._runner.tools(managed), tell),
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
                await self._work(ledger.begin, entry)
            except OSError as error:
                why = f"its journal cannot be written: {in_words(error)}"
                raise RefusedError("failed", why, "make room in state_dir") from error
            running = self._runner.start(managed, ledger, entry, begun, offer)
        return await self._runner.joined(running, tell, wait=args["wait"])

    async def remove(self, name: str, version: str, by: str) -> dict[str, Any]:
        """Remove an installed version. Raises RefusedError."""
        managed, ledger = self._shell.releases[name], Ledger(self._state_dir, name)
        async with self._prepared(managed, ledger, by):
            beside = run_beside(self._shell.releases, managed)
            gone = await remove_version(managed, ledger, self._runner.tools(managed), version, beside)
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
                if self._runner.running(name) is None:
                    await self._leftovers.removed(name, ledger.drop_tarballs)
            finally:
                del self._preparing[name]

    async def versions(self, name: str) -> dict[str, Any]:
        """What is installed, what runs, what a boot would bring. Raises RefusedError."""
        return await versions(self._shell.releases[name], self._nodes, self._runner.recipe, self._pool)

    async def _take_up(self, managed: Managed, ledger: Ledger) -> None:
        """An upgrade of a release that had left the config meanwhile comes to its end first. Raises RefusedError."""
        await self._leftovers.gone(managed.name)
        try:
            await self._work(finish, ledger)  # later it would delete what is installed anew
        except OSError as error:
            why = f"the removal of a version cannot be brought to its end: {in_words(error)}"
            raise RefusedError("failed", why, "see to its tree, then ask again") from error
        entry = await self._work(self._runner.launches.course(managed.name).found)
        if entry is not None and self._runner.running(managed.name) is None:
            self._runner.start(managed, ledger, entry)
            self._check_under_way(managed.name)

    def _check_under_way(self, name: str) -> None:
        if (running := self._runner.running(name)) is not None:
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
        return name in self._preparing or self._runner.has_journal(name)

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

    def _work(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self._loop.run_in_executor(self._pool, function, *args)
