"""What a release's node says during its upgrade, and all that is asked of it. On the loop.

Rule: what is asked again does no harm: an order carries its tag, all else ends in the same state.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relctld.beam import hybrid
from relctld.beam.dist.evaluate import evaluate
from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkBusy, LinkLost
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.handler import orders, questions, replies
from relctld.beam.handler.replies import HandlerError, Processes, Survey
from relctld.beam.package import relup
from relctld.beam.package.relup import Script
from relctld.beam.term.terms import Atom, Term
from relctld.core.state import State, Want
from relctld.core.transaction import Install, Journal, Life, Node, Phase
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.nodes.whereabouts import Nowhere
from relctld.supervisor.recipe import Place

MAX_FRAME = 1 << 20
WITHIN = 15.0
LOOK_WITHIN = 60.0
LEAVE_WITHIN = 3.0
"""Seconds in which who still runs old code may leave it, before it is killed or told of."""

_EARLY = 0.5
"""Seconds in which most installs have ended: so long the order itself waits, later it is asked for."""
_OWN = "relctld-upgrade"
BACK = "-back"
"""Behind an upgrade's id: the tag of its way back."""
_ENDED = frozenset({State.STOPPED, State.FAILED})


class NodeError(Exception):
    """The node could not be asked, or could not do it; the text says why."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a version should be in the node: what `questions.VERIFY` takes."""

    applications: Mapping[str, str]
    added: Iterable[str]
    removed: Iterable[str]
    config: str
    modules: Iterable[str]
    suspended: Iterable[str]
    protocols: Iterable[str]
    unchanged: Iterable[str]


class NodeSide:
    """The node of one release."""

    def __init__(self, managed: Managed, nodes: Nodes) -> None:
        self._elsewhere = str(Place(managed.folder, managed.log_folder).candidate / "releases")
        self._managed = managed
        self._nodes = nodes

    async def look(self, journal: Journal, findings: tuple[str, ...] | None) -> Node:
        """What it says now; `findings`: of the last look at the version that runs."""
        state = self._managed.state
        if state.state in _ENDED and state.vm is None:
            return Node(Life.GONE, state.epoch, wanted=state.want is Want.UP)
        coming = Node(Life.COMING, state.epoch)
        if state.state is not State.RUNNING or state.incarnation is None:
            return coming
        try:
            survey = await self.survey()
        except (NodeError, HandlerError):
            return coming
        now = self._managed.state
        if (now.epoch, now.incarnation) != (state.epoch, state.incarnation) or now.incarnation is None:
            return coming  # it changed while it was asked
        order = survey.order
        if survey.current and journal.phase is not Phase.BEGUN:  # before, its list may be another's
            self._nodes.runs(self._managed.name, hybrid.shown(survey.current))
        return Node(
            Life.UP,
            now.epoch,
            now.incarnation,
            survey.current,
            survey.permanent,
            frozenset(survey.releases or ()),
            order.install if order and order.tag == journal.id else _passed(journal, order),
            order.install if order and order.tag == journal.id + BACK else None,
            findings,
            astray=bool(survey.elsewhere) and survey.elsewhere == self._elsewhere,
        )

    async def survey(self) -> Survey:
        """What release_handler knows. Raises NodeError, HandlerError."""
        return replies.survey(await self._ask(questions.SURVEY, {}, WITHIN))

    async def install(
        self,
        tag: str,
        script: Script,
        env: Mapping[str, str | None],
        before: Mapping[str, str | None],
    ) -> None:
        """Order what this script does; its end is to be looked for. Raises NodeError, HandlerError.

        No process is given up: release_handler would give it new code with its old state, and call that a success.
        """
        options: Term = [
            (Atom("update_paths"), Atom("true")),
            (Atom("suspend_timeout"), Atom("infinity")),
            (Atom("code_change_timeout"), Atom("infinity")),
        ]
        bindings: dict[str, Term] = {
            "Tag": tag.encode(),
            "Vsn": _string(script.to),
            "Options": options,
            "Env": _pairs(env),
            "EnvBefore": _pairs(before),
            "Purge": _atoms(relup.modules_purged(script)),
            "Grace": round(LEAVE_WITHIN * 1000),
            "Patience": round(_EARLY * 1000),
        }
        replies.outcome(await self._ask(orders.INSTALL, bindings, WITHIN))

    async def reread(self, *, astray: bool = False) -> None:
        """Let release_handler read RELEASES: the tree's, or (`astray`) what was laid ready. Raises NodeError."""
        way = (Atom("to" if astray else "from"), _string(self._elsewhere))
        replies.outcome(await self._ask(orders.REREAD, {"RelDir": way}, WITHIN))

    async def hybrid(self, version: str, boots: tuple[str, str], configs: tuple[str, str]) -> tuple[bytes, bytes]:
        """Its boot script and configuration, from files of origin and target. Raises NodeError, HandlerError."""
        names = ("Version", "FromBoot", "ToBoot", "FromConfig", "ToConfig")
        values = map(_string, (version, *boots, *configs))
        return replies.hybrid(await self._ask(questions.HYBRID, dict(zip(names, values, strict=True)), LOOK_WITHIN))

    async def make_permanent(self, boot: str, config: str) -> None:
        """Let the node boot from this when it restarts itself, and read the tree's RELEASES. Raises NodeError."""
        way = (Atom("from"), _string(self._elsewhere))
        bindings: dict[str, Term] = {"Boot": _string(boot), "Config": _string(config), "RelDir": way}
        replies.outcome(await self._ask(orders.PERMANENT, bindings, LOOK_WITHIN))

    async def repair(self, boot_file: str, config: str, env: Mapping[str, str]) -> None:
        """Give the applications a version's data again. Raises NodeError, HandlerError."""
        bindings: dict[str, Term] = {"BootFile": _string(boot_file), "ConfigFile": _string(config), "Env": _pairs(env)}
        replies.outcome(await self._ask(orders.REPAIR, bindings, LOOK_WITHIN))

    async def load_protocols(self, old: str, new: str) -> None:
        """Elixir's consolidated protocols of the version that runs now. Raises NodeError, HandlerError."""
        bindings = {"From": _string(old), "To": _string(new)}
        stuck = replies.names(await self._ask(orders.PROTOCOLS, bindings, LOOK_WITHIN))
        if stuck:
            raise HandlerError(f"protocols that could not be loaded: {', '.join(stuck)}")

    async def verify(self, look: Look) -> tuple[str, ...]:
        """What is wrong with the version that should run. Raises NodeError, HandlerError."""
        bindings: dict[str, Term] = {
            "Apps": [(Atom(name), _string(version)) for name, version in look.applications.items()],
            "Added": _atoms(look.added),
            "Removed": _atoms(look.removed),
            "ConfigFile": _string(look.config),
            "Modules": _atoms(look.modules),
            "Suspended": _atoms(look.suspended),
            "Except": _atoms(look.protocols),
            "Same": [_string(folder) for folder in look.unchanged],
        }
        deadline = asyncio.get_running_loop().time() + LEAVE_WITHIN
        while True:
            wrong, lingering = replies.findings(await self._ask(questions.VERIFY, bindings, LOOK_WITHIN))
            if wrong or not lingering or asyncio.get_running_loop().time() >= deadline:
                return wrong + lingering
            await asyncio.sleep(0.2)

    async def booted(self, version: str, applications: Mapping[str, str], erts: str = "") -> tuple[str, ...]:
        """What is wrong with a node that was started as this version; of an ERTS only where one is named.

        Raises NodeError, HandlerError.
        """
        apps: Term = [(Atom(name), _string(vsn)) for name, vsn in applications.items()]
        bindings = {"Version": _string(version), "Apps": apps, "Erts": _string(erts)}
        return replies.names(await self._ask(questions.BOOTED, bindings, LOOK_WITHIN))

    async def processes(self, script: Script) -> Processes:
        """Whom it will suspend, whom it kills or may kill, and who is in its way. Raises NodeError, HandlerError."""
        bindings: dict[str, Term] = {
            "Suspended": _atoms(relup.suspended(script)),
            "Killed": _atoms(relup.modules_killing(script)),
            "Spared": _atoms(relup.modules_sparing(script)),
            "Replaced": _atoms(relup.modules_purged(script)),
            "Patience": 500,
        }
        return replies.processes(await self._ask(questions.PROCESSES, bindings, WITHIN))

    async def let_go(self) -> None:
        """The result that the node kept is not needed any more."""
        with contextlib.suppress(NodeError):
            await self._ask(orders.RELEASE, {}, WITHIN)

    async def _ask(self, text: str, bindings: Mapping[str, Term], timeout: float) -> Term:
        watch = self._nodes.watch(self._managed.name)
        if watch is None:
            raise NodeError("its VM is gone")
        try:
            link: Link = await watch.second_link(_OWN, MAX_FRAME)
            return await evaluate(link, text, bindings, timeout)
        except Nowhere as nowhere:
            raise NodeError(nowhere.finding.detail) from nowhere
        except (LinkRefused, LinkLost, LinkBusy, CallFailed, CallTimeout) as error:
            raise NodeError(str(error)) from error


def _passed(journal: Journal, order: replies.Order | None) -> Install | None:
    """The install that was ordered came to its end if the way back was ordered after it."""
    return Install(done=True) if order and order.tag == journal.id + BACK else None


def _string(text: str) -> Term:
    return [ord(char) for char in text]


def _pairs(env: Mapping[str, str | None]) -> Term:
    return [(_string(name), Atom("unset") if value is None else _string(value)) for name, value in env.items()]


def _atoms(names: Iterable[str]) -> Term:
    return [Atom(name) for name in names]
