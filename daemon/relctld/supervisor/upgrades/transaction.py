"""One hot upgrade: what it looks at, and how each act is carried out."""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import ReleaseError
from relctld.beam.package import relup
from relctld.beam.package.judge import Package, judge, judge_installed
from relctld.core.spec import Flavour
from relctld.core.transaction import Act, Disk, Enter, Journal, Life, Node, Phase, Step
from relctld.core.upgrade import after_failure, next_step
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Place, Recipe
from relctld.supervisor.upgrades import configuring, disk
from relctld.supervisor.upgrades.configuring import ConfiguringError, Version
from relctld.supervisor.upgrades.differences import differences
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger
from relctld.supervisor.upgrades.node import BACK, Look
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.tools import Tools


class Transaction(Stepping):
    """One hot upgrade under way. `package`: as it was judged just now, by who begins it."""

    def __init__(
        self, managed: Managed, ledger: Ledger, entry: Entry, tools: Tools, package: Package | None = None
    ) -> None:
        super().__init__(managed, ledger, entry, tools)
        self._package = package
        self._recipe: Recipe | None = None
        self._given_up = False
        self._before: bytes | str | None = None
        self._told = False

    # -- deciding ------------------------------------------------------------------------------

    def _next(self, seen: Disk, node: Node, now: float) -> Step:
        return next_step(self.journal, seen, node, now)

    def _after_failure(self, act: Act, why: str, now: float) -> Enter | None:
        if act is Act.FORGET:
            self._given_up = True
        return after_failure(self.journal, act, why, now)

    def _may_enter(self, journal: Journal) -> bool:
        """From COMMITTING on a launch brings the target. So it is not entered once the VM that soaked is gone."""
        return journal.phase is not Phase.COMMITTING or self._lives(journal.epoch, journal.incarnation)

    # -- looking -------------------------------------------------------------------------------

    async def _look(self) -> tuple[Disk, Node]:
        ground = await self._ground()
        seen, node = await asyncio.gather(
            self._work(disk.look, ground, self.journal, self._is_evaluated),
            self._node.look(self.journal, self._findings),
        )
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
            self._recipe = await self._work(self._tools.prepare, self._managed, self._luggage)
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

    # -- doing ---------------------------------------------------------------------------------

    async def _unpack(self) -> None:
        ground = await self._ground()
        package = await self._judged()
        await self._work(disk.unpack, ground, package, self._ledger.folder / (self._luggage.tarball or ""))

    async def _configure(self) -> None:
        ground = await self._ground()
        before = asyncio.ensure_future(self._compared_with())
        try:
            data = await self._evaluate(self.journal.target)
            await before
        finally:
            before.cancel()  # where the target's cannot be had, nobody asks for the other
        await self._work(disk.swap_in, ground, self.journal.target, data)

    async def _configure_back(self) -> None:
        ground = await self._ground()
        data = await self._evaluate(self.journal.origin)
        await self._work(disk.swap_in, ground, self.journal.origin, data)

    async def _register(self) -> None:
        ground = await self._ground()
        await self._work(disk.register, ground, self.journal)
        await self._node.reread()

    async def _install(self) -> None:
        j, package = self.journal, await self._judged()
        await self._tell_configuration()
        await self._node.install(j.id, package.script, self._install_env(), self._node_env(j.origin))
        self._findings = None

    async def _reinstall(self) -> None:
        j, package = self.journal, await self._judged()
        if package.back is None:
            raise HandlerError("its relup has no way back any more")
        await self._node.install(j.id + BACK, package.back, self._node_env(j.origin), self._node_env(j.target))
        self._findings = None

    async def _verify(self) -> None:
        package = await self._judged()
        script, applications = package.script, package.applications
        await self._load_protocols(self.journal.origin, self.journal.target)
        look = Look(
            applications=package.rel.applications,
            added=[name for name in relup.called(script, "start") if name in applications.added],
            removed=[name for name in relup.called(script, "stop") if name in applications.removed],
            config=await self._looked_for() if self.journal.phase is Phase.INSTALLED else "",
            modules=relup.modules_loaded(script),
            suspended=relup.suspended(script),
            protocols=package.modules.protocols,
            unchanged=package.applications.unchanged,
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
            # An install that failed has loaded nothing: what is in old code was so before.
            modules=relup.modules_loaded(back) if self.journal.phase is Phase.REINSTALLING else (),
            suspended=relup.suspended(back),
            protocols=package.modules.protocols,
            unchanged=package.applications.unchanged,
        )
        self._findings = await self._node.verify(look)

    async def _commit(self) -> None:
        ground = await self._ground()
        await self._work(self._locked, partial(disk.commit, ground, self.journal))

    async def _make_permanent(self) -> None:
        boot = self._version(self.journal.target).place.with_name("start")
        config = (await self._config_file(self.journal.target)).removesuffix(".config")
        await self._node.make_permanent(str(boot), config)

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
            contents = disk.read_package(self._ledger.folder / luggage.tarball, ground.root)
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

    async def _looked_for(self) -> str:
        """A file with the configuration that the node should have, once it is installed."""
        return await self._config_file(self.journal.target)

    async def _tell_configuration(self) -> None:
        """What differs in it is told before the install, once. That it cannot be told keeps nobody from upgrading."""
        if self._told:
            return
        before = await self._compared_with()
        try:
            if isinstance(before, str):
                raise ConfiguringError(before)
            after = await self._configuration(self.journal.target)
            self._tools.told({"configuration": await self._work(differences, before, after)})
        except (ConfiguringError, ReleaseError, OSError) as error:
            self._tools.told({"configuration_unknown": str(error)})
        self._told = True

    async def _compared_with(self) -> bytes | str:
        """The configuration of the version that runs, or why it is not known."""
        if self._before is None:
            try:
                self._before = await self._configuration(self.journal.origin)
            except (ConfiguringError, ReleaseError, OSError) as error:
                self._before = str(error)
        return self._before

    async def _configuration(self, version: str) -> bytes:
        path = Path(await self._config_file(version))
        return await self._work(configuring.read, path, self._version(version).identity)

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

    def _install_env(self) -> Mapping[str, str | None]:
        """Of the node, once the target is being installed."""
        return self._node_env(self.journal.target)

    async def _load_protocols(self, before: str, now: str) -> None:
        if self._luggage.flavour is Flavour.MIX:
            releases = Path(self._luggage.root) / "releases"
            old, new = (str(releases / version / "consolidated") for version in (before, now))
            await self._node.load_protocols(old, new)

    _ACTS: ClassVar[Mapping[Act, Callable[[Any], Awaitable[None]]]] = {
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
        Act.RESTART: Stepping._restart,
        Act.CLEAN: _clean,
        Act.FORGET: _forget,
    }
