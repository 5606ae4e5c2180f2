"""One hot upgrade: look at disk and node, ask `next_step`, write down, do; and again, until it is over.

Rule 1: nothing is decided here. What cannot be done is put before the core (`after_failure`), or tried again.
Rule 2: what an act needs is found anew, in the journal, the tree or the node: whoever comes after us has no more.
"""

import asyncio
import contextlib
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import structlog

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import ReleaseError
from relctld.beam.package import relup
from relctld.beam.package.judge import Package, judge, judge_installed
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.tarball import read_tarball
from relctld.core.model import Flavour
from relctld.core.probes import ProcessProbe, Verdict
from relctld.core.upgrade import (
    Act,
    Disk,
    Do,
    Enter,
    Finish,
    Journal,
    Life,
    Node,
    Phase,
    Wait,
    after_failure,
    next_step,
)
from relctld.host import process
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Place, Recipe
from relctld.supervisor.upgrades import configuring, disk
from relctld.supervisor.upgrades.configuring import ConfiguringError, Version
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage
from relctld.supervisor.upgrades.node import Look, NodeError, NodeSide
from relctld.supervisor.upgrades.tools import Tools

log = structlog.get_logger()

T = TypeVar("T")

AGAIN = 1.0
"""Seconds until what could not be done is tried again, and between two looks when nothing tells of a change."""

SOON = 0.01
"""Seconds between two looks at an install that has just been ordered; twice as long each time."""

_FAILURES = (OSError, ReleaseError, PackageError, ConfiguringError, HandlerError)


class Transaction:
    """One upgrade under way. `package`: as it was judged just now, by who begins it."""

    def __init__(
        self, managed: Managed, ledger: Ledger, entry: Entry, tools: Tools, package: Package | None = None
    ) -> None:
        self.journal = entry.journal
        self._managed = managed
        self._ledger = ledger
        self._luggage: Luggage = entry.luggage
        self._tools = tools
        self._node = NodeSide(managed, tools.nodes)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._findings: tuple[str, ...] | None = None
        self._package = package
        self._recipe: Recipe | None = None
        self._pause = SOON
        self._given_up = False

    def poke(self) -> None:
        """Something of the release has changed."""
        self._changed.set()

    async def run(self) -> Finish:
        """To the end."""
        while True:
            try:
                seen, node = await self._look()
            except (OSError, ReleaseError, PackageError) as error:
                await self._wait_again(f"its tree cannot be read: {error}")
                continue
            step = next_step(self.journal, seen, node, self._loop.time())
            match step:
                case Finish():
                    return step
                case Enter(journal):
                    await self._enter(journal)
                case Do(act):
                    await self._do(act)
                case Wait(until):
                    await self._wait(until)

    # -- looking -------------------------------------------------------------------------------

    async def _look(self) -> tuple[Disk, Node]:
        ground = await self._ground()
        seen = await self._work(disk.look, ground, self.journal, self._is_evaluated)
        node = await self._node.look(self.journal, self._findings)
        if self.journal.phase is Phase.SOAKING and node.life is Life.UP:
            node = replace(node, ill="; ".join(await self._health()))
        if self._given_up:
            node = replace(node, known=seen.listed)
        return seen, node

    def _is_evaluated(self, version: str) -> bool:
        return configuring.is_evaluated(self._version(version))

    async def _ground(self) -> Ground:
        """The recipe is found once: an upgrade sees one environment from its beginning to its end."""
        if self._recipe is None:
            self._recipe = await self._work(self._tools.prepare, self._managed)
        recipe = self._recipe
        return Ground(self._luggage, recipe.env, recipe.switch.gid if recipe.switch else None)

    def _version(self, version: str) -> Version:
        assert self._recipe is not None
        recipe, luggage = self._recipe, self._luggage
        return Version(
            Path(luggage.root),
            luggage.flavour,
            luggage.name,
            version,
            recipe.env,
            recipe.identity,
            recipe.switch,
            recipe.cwd,
        )

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
        try:
            entered = await self._work(self._write, journal)
        except OSError as error:
            await self._wait_again(f"its journal cannot be written: {error}")
            return
        if entered:
            if journal.phase is not Phase.SOAKING or journal.soak:
                self._findings = None  # a soak of no time finds what was found a moment ago
            self.journal, self._pause = journal, SOON
            self._tools.entered(journal)

    def _write(self, journal: Journal) -> bool:
        """From COMMITTING on a launch brings the target. So it is not entered once the VM that soaked is gone."""
        with self._tools.lock:
            managed = self._managed
            same = (managed.state.epoch, managed.state.incarnation) == (journal.epoch, journal.incarnation)
            lives = same and managed.pidfd is not None and not process.has_ended(managed.pidfd)
            if journal.phase is Phase.COMMITTING and not lives:
                return False
            self._ledger.write(Entry(journal, self._luggage))
            return True

    # -- doing ---------------------------------------------------------------------------------

    async def _do(self, act: Act) -> None:
        try:
            await self._ACTS[act](self)
        except NodeError as error:
            log.info("upgrade.again", release=self._managed.name, act=str(act), error=str(error))
            await self._wait_again(str(error))
        except _FAILURES as error:
            await self._failed(act, str(error))

    async def _failed(self, act: Act, why: str) -> None:
        log.warning("upgrade.failure", release=self._managed.name, act=str(act), error=why)
        step = after_failure(self.journal, act, why, self._loop.time())
        if act is Act.FORGET:
            self._given_up = True
        if step is None:
            await self._wait_again(why)
        else:
            await self._enter(step.journal)

    async def _unpack(self) -> None:
        ground = await self._ground()
        package = await self._judged()
        await self._work(disk.unpack, ground, package, self._ledger.folder / (self._luggage.tarball or ""))

    async def _configure(self) -> None:
        await self._put_configuration(self.journal.target)

    async def _configure_back(self) -> None:
        await self._put_configuration(self.journal.origin)

    async def _put_configuration(self, version: str) -> None:
        ground = await self._ground()
        data = await self._evaluate(version)
        await self._work(disk.swap_in, ground, version, data)

    async def _register(self) -> None:
        ground = await self._ground()
        await self._work(disk.register, ground, self.journal)
        await self._node.reread()

    async def _install(self) -> None:
        j = self.journal
        await self._node.install(j, j.target, self._node_env(j.target), self._node_env(j.origin))
        self._findings = None

    async def _reinstall(self) -> None:
        j = self.journal
        await self._node.install(j, j.origin, self._node_env(j.origin), self._node_env(j.target), back=True)
        self._findings = None

    async def _verify(self) -> None:
        package = await self._judged()
        script, applications = package.script, package.applications
        await self._load_protocols(self.journal.origin, self.journal.target)
        look = Look(
            applications=package.rel.applications,
            added=[name for name in relup.called(script, "start") if name in applications.added],
            removed=[name for name in relup.called(script, "stop") if name in applications.removed],
            config=await self._config_file(self.journal.target) if self.journal.phase is Phase.INSTALLED else "",
            modules=relup.modules_loaded(script),
            suspended=relup.suspended(script),
            protocols=package.modules.protocols,
        )
        self._findings = await self._node.verify(look) + await self._health()

    async def _verify_back(self) -> None:
        package = await self._judged()
        await self._load_protocols(self.journal.target, self.journal.origin)
        back = package.back or package.script
        look = Look(
            applications=package.running.applications,
            added=package.applications.removed,
            removed=package.applications.added,
            config=await self._config_file(self.journal.origin),
            modules=relup.modules_loaded(back),
            suspended=relup.suspended(back),
            protocols=package.modules.protocols,
        )
        self._findings = await self._node.verify(look)

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
                if not left:
                    return (f"it is not well: {found.detail}",)
                await asyncio.sleep(min(spec.health.interval, AGAIN))
        return ()

    async def _commit(self) -> None:
        ground = await self._ground()
        await self._work(self._locked, partial(disk.commit, ground, self.journal))

    def _locked(self, change: Callable[[], None]) -> None:
        with self._tools.lock:
            change()

    async def _make_permanent(self) -> None:
        package = await self._judged()
        version = self._version(self.journal.target)
        boot = version.place.with_name("start")
        config = (await self._config_file(self.journal.target)).removesuffix(".config")
        await self._node.make_permanent(str(boot), config, relup.modules_purged(package.script))

    async def _tidy(self) -> None:
        ground = await self._ground()
        await self._work(self._locked, partial(disk.swap_out, ground, self.journal))
        await self._node.let_go()

    async def _repair(self) -> None:
        origin = self._version(self.journal.origin)
        config = await self._config_file(self.journal.origin)
        boot = str(origin.place.with_name("start.boot"))
        await self._node.repair(boot, config, self._node_env(self.journal.origin))
        await self._enter(replace(self.journal, repaired=True))

    async def _restart(self) -> None:
        epoch = self._managed.state.epoch
        await self._tools.restart(self._managed.name, f"{self.journal.id}/restart-{epoch}")

    async def _clean(self) -> None:
        ground = await self._ground()
        await self._work(disk.clean, ground, self.journal)
        await self._node.let_go()

    async def _forget(self) -> None:
        await self._node.reread()

    # -- what acts need ------------------------------------------------------------------------

    async def _judged(self) -> Package:
        """The package, judged once: as long as something of it is to be unpacked, from the tarball."""
        if self._package is None:
            self._package = await self._work(self._judge, await self._ground())
        return self._package

    def _judge(self, ground: Ground) -> Package:
        j, luggage = self.journal, self._luggage
        tree = ground.tree()
        if luggage.tarball is not None and j.phase is Phase.BEGUN:
            with open(self._ledger.folder / luggage.tarball, "rb") as file:
                contents = read_tarball(file)
            with disk.as_owner(ground.root):
                return judge(contents, tree, j.origin, luggage.name, luggage.flavour, platform.machine())
        with disk.as_owner(ground.root):
            return judge_installed(tree, j.origin, j.target)

    async def _evaluate(self, version: str) -> bytes:
        await self._managed.alone()
        folder, home = self._folder(version), self._managed.folder
        return await configuring.evaluate(self._version(version), folder, home, self._tools.commands, self._tools.pool)

    async def _config_file(self, version: str) -> str:
        """A file that the node can read, with the configuration that this version would boot with."""
        found = self._version(version)
        if not await self._work(configuring.is_computed, found):
            return str(found.source)
        path = self._folder(version) / "sys.config"
        if not await self._work(path.exists):
            await self._evaluate(version)
        return str(path)

    def _folder(self, version: str) -> Path:
        """It lives as long as the VM, which may boot from it when it restarts itself."""
        return Place(self._managed.folder, self._managed.log_folder).scratch / "upgrade" / version

    def _node_env(self, version: str) -> dict[str, str]:
        """What the start scripts export of a version, for whatever the node starts, or boots, by itself."""
        found = {"RELEASE_VSN": version}
        if self._luggage.flavour is Flavour.MIX:
            found["RELEASE_SYS_CONFIG"] = str(self._version(version).source).removesuffix(".config")
            found["RELEASE_VM_ARGS"] = str(self._version(version).place.with_name("vm.args"))
        return found

    async def _load_protocols(self, before: str, now: str) -> None:
        if self._luggage.flavour is Flavour.MIX:
            releases = Path(self._luggage.root) / "releases"
            old, new = (str(releases / version / "consolidated") for version in (before, now))
            await self._node.load_protocols(old, new)

    async def _work(self, function: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._tools.pool, partial(function, *args))

    _ACTS: ClassVar[Mapping[Act, Callable[["Transaction"], Awaitable[None]]]] = {
        Act.UNPACK: _unpack,
        Act.CONFIGURE: _configure,
        Act.REGISTER: _register,
        Act.INSTALL: _install,
        Act.VERIFY: _verify,
        Act.COMMIT: _commit,
        Act.MAKE_PERMANENT: _make_permanent,
        Act.TIDY: _tidy,
        Act.REPAIR: _repair,
        Act.CONFIGURE_BACK: _configure_back,
        Act.REINSTALL: _reinstall,
        Act.VERIFY_BACK: _verify_back,
        Act.RESTART: _restart,
        Act.CLEAN: _clean,
        Act.FORGET: _forget,
    }
