"""One hot upgrade whose relup restarts the emulator: a hot one, with what lies between two VMs (`core.emulator`)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from relctld.beam import hybrid
from relctld.core.emulator import after_failure, next_step
from relctld.core.exits import in_words
from relctld.core.state import Op, State
from relctld.core.transaction import Act, Disk, Enter, Journal, Node, Phase, Step
from relctld.host.process import boot_id
from relctld.supervisor.recipe import Place
from relctld.supervisor.upgrades import configuring, disk
from relctld.supervisor.upgrades.laying import clear, laid, lay
from relctld.supervisor.upgrades.transaction import Transaction

_AT_REST = (State.STOPPED, State.FAILED, State.BACKOFF)


class Renewal(Transaction):
    """One under way."""

    # -- deciding ------------------------------------------------------------------------------

    def _next(self, seen: Disk, node: Node, now: float) -> Step:
        return next_step(self.journal, seen, node, now)

    def _after_failure(self, act: Act, why: str, now: float) -> Enter | None:
        if act is Act.FORGET:
            self._given_up = True
        return after_failure(self.journal, act, why, now)

    def _may_enter(self, journal: Journal) -> bool:
        """Which version a launch brings is decided by these: for a VM to come, and for the one that soaked."""
        before, epoch = self.journal, self._managed.state.epoch
        if journal.phase is Phase.SWITCHING:
            return epoch == journal.epoch
        if journal.phase is Phase.RESTARTING and before.phase is Phase.SWITCHING:
            has_just_launched = epoch == before.epoch + 1 and journal.epoch == before.epoch
            return not has_just_launched
        return super()._may_enter(journal)

    # -- looking -------------------------------------------------------------------------------

    async def _look(self) -> tuple[Disk, Node]:
        j, state = self.journal, self._managed.state
        seen, node = await super()._look()
        readied, is_left = await self._work(laid, self._laid), await self._work(self._laid.exists)
        last = state.last_exit
        ended = in_words(last.cause, last.status, last.detail) if last and last.epoch in (j.epoch, j.epoch + 1) else ""
        seen = replace(seen, configured=frozenset({j.origin, j.target}), swapped=is_left, readied=readied)
        return seen, replace(node, boot=boot_id(), ended=ended, astray=node.astray and not self._given_up)

    @property
    def _laid(self) -> Path:
        return Place(self._managed.folder, self._managed.log_folder).candidate

    # -- doing ---------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """In the beginning all that the way there takes is evaluated and laid ready, while the old VM serves."""
        j, package = self.journal, await self._judged()
        candidate = j.hybrid if j.phase is Phase.BEGUN else j.target
        root = Path(self._luggage.root)
        files = {"RELEASES": hybrid.releases(root, package.running, package.rel, candidate)}
        if j.phase is Phase.BEGUN:
            await self._work(clear, self._laid)
            await self._tell_configuration()
            files |= await self._files_of(j.target)
            files[f"{j.target}/relup"] = hybrid.relup_of(package.script, j.origin)
        if j.hybrid and candidate == j.hybrid:
            files |= await self._files_of_hybrid()
        await self._work(lay, self._laid, self._version(j.target).identity, files, candidate)

    async def _files_of(self, version: str) -> dict[str, bytes]:
        """What release_handler reads of a version."""
        found = self._version(version)
        boot = await self._work(configuring.read, found.place.with_name("start.boot"), found.identity)
        return {f"{version}/start.boot": boot, f"{version}/sys.config": await self._configuration(version)}

    async def _files_of_hybrid(self) -> dict[str, bytes]:
        j = self.journal
        boots = tuple(str(self._version(each).place.with_name("start.boot")) for each in (j.origin, j.target))
        configs = (await self._config_file(j.origin), await self._config_file(j.target))
        boot, config = await self._node.hybrid(j.origin, (boots[0], boots[1]), configs)
        return {f"{j.hybrid}/start.boot": boot, f"{j.hybrid}/sys.config": config}

    async def _register(self) -> None:
        ground = await self._ground()
        await self._work(disk.register, ground, self.journal)
        is_laid = await self._work(laid, self._laid) is not None
        await self._node.reread(astray=is_laid and not self.journal.hybrid)

    async def _switch(self) -> None:
        state = self._managed.state
        if state.epoch == self.journal.epoch:
            await self._ordered(Op.START if state.state in _AT_REST else Op.RESTART, f"switch-{self.journal.candidate}")

    async def _verify(self) -> None:
        await super()._verify()
        j, package = self.journal, await self._judged()
        own = await self._work((Path(self._luggage.root) / f"erts-{package.erts}").is_dir)  # else it is the host's
        script = j.origin if j.candidate == j.hybrid else j.target
        booted = await self._node.booted(script, package.rel.applications, package.erts if own else "")
        self._findings = (*dict.fromkeys(booted + (self._findings or ())),)

    async def _tidy(self) -> None:
        await self._work(clear, self._laid)
        await self._node.let_go()

    async def _clean(self) -> None:
        await self._work(clear, self._laid)
        await super()._clean()

    # -- what acts need ------------------------------------------------------------------------

    def _install_env(self) -> dict[str, str | None]:
        """What the start of the hybrid set for it alone is for no one that the node starts."""
        assert self._recipe is not None
        j = self.journal
        own = hybrid.restored(self._luggage.flavour, self._recipe.env) if j.candidate else {}
        return {**own, **self._node_env(j.target)}

    async def _looked_for(self) -> str:
        """What lies there for release_handler is what the target shall have."""
        return str(self._laid / "releases" / self.journal.target / "sys.config")

    _ACTS: ClassVar[Mapping[Act, Callable[[Any], Awaitable[None]]]] = {
        **Transaction._ACTS,
        Act.PREPARE: _prepare,
        Act.REGISTER: _register,
        Act.SWITCH: _switch,
        Act.VERIFY: _verify,
        Act.TIDY: _tidy,
        Act.CLEAN: _clean,
    }
