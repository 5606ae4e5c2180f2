"""One switch by restart: what it looks at, and how each act is carried out (`core.switch` decides).

Rule: nothing here needs a node that can be spoken to, or release_handler: where there is a link, it is asked as well.
"""

import contextlib
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from relctld.beam.handler.replies import HandlerError, Survey
from relctld.beam.layout import ReleaseError
from relctld.beam.package.arrival import Arrival, Place, judge_arrival, judge_present
from relctld.beam.package.refusals import PackageError
from relctld.beam.package.tarball import read_tarball
from relctld.core.exits import in_words
from relctld.core.state import Op, State, Want
from relctld.core.switch import after_failure, is_targets, next_step
from relctld.core.transaction import Act, Disk, Enter, Journal, Life, Node, Phase, Step
from relctld.host import folders
from relctld.host.process import boot_id
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Place as RunPlace
from relctld.supervisor.recipe import Surroundings
from relctld.supervisor.upgrades import configuring, disk, site
from relctld.supervisor.upgrades.configuring import Version
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger
from relctld.supervisor.upgrades.node import NodeError
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.tools import Tools

_ENDED = (State.STOPPED, State.FAILED)
_AT_REST = (State.STOPPED, State.FAILED, State.BACKOFF)


class Switch(Stepping):
    """A switch under way. `arrival`: as it was judged just now, by who begins it."""

    def __init__(
        self, managed: Managed, ledger: Ledger, entry: Entry, tools: Tools, arrival: Arrival | None = None
    ) -> None:
        super().__init__(managed, ledger, entry, tools)
        self._arrival = arrival
        self._around: Surroundings | None = None
        self._evaluated = not entry.journal.starts
        self._unlisted = False
        self._seen = -1

    # -- deciding ------------------------------------------------------------------------------

    def _next(self, seen: Disk, node: Node, now: float) -> Step:
        return next_step(self.journal, seen, node, now)

    def _after_failure(self, act: Act, why: str, now: float) -> Enter | None:
        return after_failure(self.journal, act, why, now)

    def _may_enter(self, journal: Journal) -> bool:
        """Which version a launch brings is decided by these: for a VM to come, and for the one that soaked."""
        epoch = self._managed.state.epoch
        if journal.phase is Phase.SWITCHING:
            return epoch == journal.epoch
        if self.journal.phase is Phase.SWITCHING:
            return epoch == self._seen  # another one was launched as the target
        if journal.phase is Phase.COMMITTING and journal.starts:
            return self._lives(journal.epoch + 1, journal.incarnation)
        return True

    # -- looking -------------------------------------------------------------------------------

    async def _look(self) -> tuple[Disk, Node]:
        ground = await self._ground()
        seen: Disk = await self._work(site.look, ground, self.journal)
        if not self._evaluated:
            seen = replace(seen, configured=frozenset())
        if self._unlisted:
            seen = replace(seen, listed=seen.listed | {self.journal.origin, self.journal.target})
        node = await self._glance()
        if self.journal.phase is Phase.SOAKING and node.life is Life.UP:
            node = replace(node, ill="; ".join(await self._health()))
        return seen, node

    async def _glance(self) -> Node:
        """Which VM there is. What runs in it is known by its epoch: nobody else launches one for us."""
        j, state = self.journal, self._managed.state
        self._seen, last = state.epoch, state.last_exit
        ended = in_words(last.cause, last.status, last.detail) if last and last.epoch == j.epoch + 1 else ""
        if state.state in _ENDED and state.vm is None:
            return Node(Life.GONE, state.epoch, ended=ended, wanted=state.want is Want.UP)
        current = j.target if is_targets(j, state.epoch, boot_id()) else j.origin
        life = Life.UP if state.state is State.RUNNING else Life.COMING
        survey = Survey(None, None)
        if life is Life.UP and state.incarnation and j.phase in (Phase.COMMITTING, Phase.CLEANING):
            with contextlib.suppress(NodeError, HandlerError):
                survey = await self._node.survey()
        return Node(
            life,
            state.epoch,
            state.incarnation or "",
            current,
            survey.permanent,
            frozenset(survey.releases or ()),
            findings=self._findings,
            ended=ended,
        )

    async def _surroundings(self) -> Surroundings:
        """Found once: a switch sees one environment from its beginning to its end."""
        if self._around is None:
            self._around = await self._work(self._tools.surround, self._managed)
        return self._around

    async def _ground(self) -> Ground:
        around = await self._surroundings()
        return Ground(self._luggage, around.env, around.switch.gid if around.switch else None)

    # -- doing ---------------------------------------------------------------------------------

    async def _unpack(self) -> None:
        ground, around, arrival = await self._ground(), await self._surroundings(), await self._judged()
        tarball = self._ledger.folder / (self._luggage.tarball or "")
        await self._work(site.unpack, ground, arrival.placement, tarball, around.identity)

    async def _configure(self) -> None:
        """A configuration that cannot be evaluated would be found out by a boot, when the VM before is gone."""
        around, luggage, spec = await self._surroundings(), self._luggage, self._managed.spec
        version = Version(
            Path(luggage.root),
            luggage.flavour,
            luggage.name,
            self.journal.target,
            around.env,
            around.identity,
            around.switch,
            spec.cwd or spec.root,
        )
        if await self._work(configuring.is_computed, version):
            home = self._managed.folder
            folder = RunPlace(home, self._managed.log_folder).evaluation
            await self._managed.alone()
            try:
                await configuring.evaluate(version, folder, home, self._tools.commands, self._tools.pool)
            finally:
                await self._work(folders.remove, folder)
        self._evaluated = True

    async def _register(self) -> None:
        """So that release_handler knows both, whichever boots; where nobody knows what the origin was, it need not."""
        ground = await self._ground()
        try:
            await self._work(disk.register, ground, self.journal)
        except PackageError:
            self._unlisted = True

    async def _switch(self) -> None:
        state = self._managed.state
        if state.epoch == self.journal.epoch:
            await self._ordered(Op.START if state.state in _AT_REST else Op.RESTART, "switch")

    async def _verify(self) -> None:
        arrival, health = await self._judged(), await self._health()
        wrong: tuple[str, ...] = ()
        if self._managed.state.incarnation:
            wrong = await self._node.booted(self.journal.target, arrival.rel.applications)
        self._findings = wrong + health

    async def _commit(self) -> None:
        ground = await self._ground()
        await self._work(self._locked, partial(site.commit, ground, self.journal))

    async def _make_permanent(self) -> None:
        await self._node.reread()
        self._tools.nodes.runs(self._managed.name, self.journal.target)

    async def _forget(self) -> None:
        await self._node.reread()

    async def _tidy(self) -> None:
        await self._work(site.tidy, await self._ground())

    async def _clean(self) -> None:
        await self._work(site.clean, await self._ground())

    # -- what acts need ------------------------------------------------------------------------

    async def _judged(self) -> Arrival:
        """Judged once: as long as something of it is to be unpacked, from the tarball."""
        if self._arrival is None:
            self._arrival = await self._work(self._judge, await self._ground())
        return self._arrival

    def _judge(self, ground: Ground) -> Arrival:
        j, luggage = self.journal, self._luggage
        tree = None
        with contextlib.suppress(ReleaseError, FileNotFoundError):
            tree = ground.tree() if j.phase is Phase.BEGUN and j.origin else ground.tree(j.target)
        if luggage.tarball is None or j.phase is not Phase.BEGUN:
            if tree is None:
                tree = ground.tree(j.target)
            with disk.as_owner(ground.root):
                return judge_present(tree, j.target)
        with open(self._ledger.folder / luggage.tarball, "rb") as file:
            contents = read_tarball(file)
        place = Place(ground.root, tree if j.origin else None, luggage.name, luggage.flavour, platform.machine())
        with disk.as_owner(ground.root) if ground.root.exists() else contextlib.nullcontext():
            return judge_arrival(contents, place, at_rest=True, known=luggage.known)

    _ACTS: ClassVar[Mapping[Act, Callable[[Any], Awaitable[None]]]] = {
        Act.UNPACK: _unpack,
        Act.CONFIGURE: _configure,
        Act.REGISTER: _register,
        Act.SWITCH: _switch,
        Act.VERIFY: _verify,
        Act.COMMIT: _commit,
        Act.MAKE_PERMANENT: _make_permanent,
        Act.TIDY: _tidy,
        Act.RESTART: Stepping._restart,
        Act.CLEAN: _clean,
        Act.FORGET: _forget,
    }
