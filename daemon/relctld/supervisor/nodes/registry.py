"""The watches of all releases: one a VM, from its gate to its end; and the epmds that their nodes need."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

import structlog

from relctld.beam.dist import epmd
from relctld.beam.dist.refusals import LinkRefused
from relctld.control.server import RefusedError
from relctld.core.events import Event, Linked
from relctld.core.notes import Note
from relctld.core.probes import Finding, LinkProbe, Verdict
from relctld.core.state import Vm
from relctld.supervisor.history import History, timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.lane import Lane
from relctld.supervisor.nodes.lookers import Lookers
from relctld.supervisor.nodes.talk import TalkError, application, evaluate
from relctld.supervisor.nodes.watch import NodeWatch

log = structlog.get_logger()

EPMD_EVERY = 5.0
EPMD_WITHIN = 2.0


class Known(NamedTuple):
    """What is known of a node: its name, the version that it says it runs, and `beam` of `status --json`."""

    node: str | None = None
    version: str | None = None
    beam: dict[str, Any] | None = None


class Nodes:
    """Holds a watch for each living VM. `post` takes events for the core."""

    def __init__(self, pool: Executor, history: History, post: Callable[[Event], None]) -> None:
        self._lookers = Lookers(pool)
        self._history = history
        self._post = post
        self._watches: dict[str, NodeWatch] = {}
        self._lanes: dict[str, Lane] = {}
        self._silent: set[int] = set()
        self._epmds: asyncio.Task[None] | None = None

    def begin(self, managed: Managed, epoch: int, vm: Vm) -> None:
        """A VM lives; its former one is gone."""
        self.end(managed.name)

        def met(incarnation: str) -> None:
            self._post(Linked(managed.name, epoch, incarnation, timestamp()))
            lane.rebooted()

        watch = NodeWatch(vm, lambda: managed.spec, managed.launched, self._lookers, met)
        self._watches[managed.name] = watch
        lane = self._lanes[managed.name] = Lane(managed, watch, self._history)
        if self._epmds is None:
            self._epmds = asyncio.get_running_loop().create_task(self._watch_epmds(), name="epmds")

    def end(self, name: str) -> None:
        """The VM is gone."""
        if (lane := self._lanes.pop(name, None)) is not None:
            lane.close()
        if (watch := self._watches.pop(name, None)) is not None:
            watch.close()

    def close(self) -> None:
        """Watch nobody any more."""
        for name in tuple(self._watches):
            self.end(name)
        if self._epmds is not None:
            self._epmds.cancel()

    def watch(self, name: str) -> NodeWatch | None:
        """The watch of a release's VM, if one lives."""
        return self._watches.get(name)

    async def ask(self, name: str, probe: LinkProbe, timeout: float) -> Finding:
        """What a release's node says to a probe."""
        watch = self._watches.get(name)
        if watch is None:
            return Finding(Verdict.BUSY, "its VM is gone")
        answer = await watch.ask(probe, timeout)
        if answer.verdict is Verdict.WELL and watch.epmd_port in self._silent:
            return Finding(Verdict.WELL, f"no epmd answers on port {watch.epmd_port}: other nodes cannot find it")
        return answer

    async def evaluate(
        self, name: str, op: str, language: str, what: dict[str, Any], seconds: float, by: str
    ) -> dict[str, Any]:
        """Evaluate an expression, or call a function, for an operator. Raises RefusedError."""
        watch, begun = self._watches.get(name), asyncio.get_running_loop().time()
        if watch is None:
            raise RefusedError("impossible", f"{name} does not run", f"relctl start {name}")
        call = op == "rpc"
        expression = application(what["module"], what["function"], what["args"]) if call else what["text"]
        ok = False
        try:
            said = await evaluate(watch, expression, "erlang" if call else language, seconds)
            ok = said.ok
        except TalkError as error:
            raise RefusedError(error.kind, str(error), error.hint) from error
        finally:  # it may have done something even where there is no answer: halt(), for one
            took = round(asyncio.get_running_loop().time() - begun, 3)
            self._history.report(name, Note.EVALUATED, {"op": op, "by": by, "ok": ok, "seconds": took})
        return {"ok": said.ok, "value": said.value, "output": said.output, "seconds": took}

    def runs(self, name: str, version: str) -> None:
        """What a release's node was heard to run."""
        if (lane := self._lanes.get(name)) is not None:
            lane.runs(version)

    def known(self, name: str) -> Known:
        """What a release's node told so far."""
        watch, lane = self._watches.get(name), self._lanes.get(name)
        return Known(watch.node, lane.version, lane.shown()) if watch and lane else Known()

    async def _watch_epmds(self) -> None:
        """A dead epmd harms no link that stands; it is told all the same."""
        while True:
            await asyncio.sleep(EPMD_EVERY)
            ports = {watch.epmd_port for watch in self._watches.values()} - {None}
            self._silent &= {port for port in ports if port is not None}
            for port in sorted(port for port in ports if port is not None):
                try:
                    error = await _silence(port)
                except Exception:
                    log.exception("surprise", cause="epmd")
                    continue
                if error is not None and port not in self._silent:
                    self._silent.add(port)
                    self._history.report(None, Note.EPMD_LOST, {"port": port, "detail": error})
                elif error is None and port in self._silent:
                    self._silent.discard(port)
                    self._history.report(None, Note.EPMD_BACK, {"port": port})


async def _silence(port: int) -> str | None:
    """Why the epmd on this port does not answer; None where it does."""
    try:
        await epmd.names("127.0.0.1", port, EPMD_WITHIN)
    except LinkRefused as error:
        return str(error)
    return None
