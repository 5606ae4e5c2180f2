"""The link to one node, kept for as long as its VM lives, and what the node says of itself.

Rule 1: one link at a time, under one name. It is made when it is needed, by whoever needs it first; the others wait.
Rule 2: what a probe needs is its own `timeout`; to find and dial a node takes longer and goes on meanwhile.
Rule 3: a refusal is kept for a while. Each knock with a wrong cookie is an error in the release's own log.
Rule 4: we push nobody out of our own name: two daemons that did so to each other would never end. It is told.
Rule 5: a probe is missed only where the node itself was asked and was silent: not where we still look for it, not
        where it refused us, and not after it said that it lives.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkBusy, LinkLost, prepare
from relctld.beam.dist.refusals import LinkRefused, Refusal
from relctld.beam.term.shown import shown
from relctld.beam.term.terms import Atom, Pid, Term
from relctld.core.probes import WELL, AutoProbe, Finding, LinkProbe, MfaProbe, Verdict
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.host.records import Launched
from relctld.supervisor.nodes.dial import KNOCK, Dialler
from relctld.supervisor.nodes.lookers import Lookers
from relctld.supervisor.nodes.whereabouts import Nowhere, is_dumping

IDLE_AFTER = 4000.0
"""Seconds after its last use began that the second link is closed; longer than any use may take."""

SLACK = 0.1
"""Seconds beyond its timeout that a probe may take, for what is not the node's."""

SCRIPT_WITHIN = 10.0
"""Seconds for a start script to become the VM. One that stays beside it leaves us no node to be sure of."""

GRACE = 5.0
"""Seconds beyond `crash.timeout` that a VM may take to end after its distribution closed."""

_STATUS = prepare("init", "get_status", [])
_CONTROLLER = prepare("erlang", "whereis", [Atom("application_controller")])
_PASSING = frozenset({Refusal.CLOSED, Refusal.CONNECTION_REFUSED, Refusal.PROTOCOL})

Met = Callable[[str], None]
"""Told the node's incarnation: at the first link, and whenever it is another one."""


class NodeWatch:
    """Watches the node of one VM. On the loop."""

    def __init__(self, vm: Vm, spec: Callable[[], ReleaseSpec], launched: Launched, lookers: Lookers, met: Met) -> None:
        self.vm = vm
        self.overloaded = ""
        """Why the node counts as not responsive, told by who measures it; empty where it is."""
        self._spec = spec
        self._launched = launched
        self._lookers = lookers
        self._met = met
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._dialler = Dialler(vm, spec, launched, lookers)
        self._link: Link | None = None
        self._dialling: asyncio.Task[Link] | None = None
        self._second: Link | None = None
        self._second_lock = asyncio.Lock()
        self._second_idle: asyncio.TimerHandle | None = None
        self._was_up = False
        self._controller: Pid | None = None
        self._closed_since: float | None = None

    @property
    def node(self) -> str | None:
        """The node's name, as far as it is known."""
        return self._dialler.found.node if self._dialler.found else self._launched.node

    @property
    def epmd_port(self) -> int | None:
        """The port of the epmd that should know this node, if any should."""
        return self._dialler.found.epmd_port if self._dialler.found and self._dialler.had_link else None

    @property
    def linked(self) -> bool:
        """Whether the link stands."""
        return self._link is not None and self._link.stands

    def close(self) -> None:
        """The VM is gone."""
        if self._dialling is not None:
            self._dialling.cancel()
        if self._second_idle is not None:
            self._second_idle.cancel()
        for link in (self._link, self._second):
            if link is not None:
                link.close()

    async def ask(self, probe: LinkProbe, timeout: float) -> Finding:
        """What the node says to this probe, within about `timeout` seconds; if it lives, in twice that at most."""
        try:
            async with asyncio.timeout(timeout + SLACK):  # the call has its own; this bounds finding and dialling
                answer = await self._life(timeout)
        except TimeoutError:
            answer = self._silence(timeout)
        if isinstance(answer, Link):
            answer = await self._more(answer, probe, timeout)
        if answer.verdict is Verdict.NO_LINK and not isinstance(probe, AutoProbe):
            return replace(answer, verdict=Verdict.REFUSED)
        return answer

    def recognise(self, controller: Term) -> None:
        """Tell this boot of the node from another inside the same process, by a process that lives as long as it."""
        if isinstance(controller, Pid) and controller != self._controller:
            self._controller = controller
            self._met(f"{controller.id}.{controller.serial}")

    async def link(self) -> Link:
        """The link, made anew where it is lost. Raises Nowhere, LinkRefused."""
        if self._link is not None and self._link.stands:
            return self._link
        self._dialler.repeat()
        if self._dialling is None:
            self._dialling = self._loop.create_task(self._dial(), name=f"dial {self.vm.pid}")
            self._dialling.add_done_callback(self._dialled)
        dialling = self._dialling
        try:
            return await asyncio.shield(dialling)
        except asyncio.CancelledError:
            if dialling.cancelled():  # it was, not we: the VM ended
                raise LinkRefused(Refusal.CLOSED, "its VM ended") from None
            raise
        finally:
            del dialling  # what it failed with knows this frame: they would keep each other

    async def second_link(self, own: str, max_frame: int) -> Link:
        """A link beside that one, under another name, for what may take long or answer with much. Raises as `link`.

        It is kept while it is used and closed a while after.
        """
        await self.link()
        async with self._second_lock:
            if self._second is None or not self._second.stands:
                self._second = await self._dialler.beside(own, max_frame)
        if self._second_idle is not None:
            self._second_idle.cancel()
        self._second_idle = self._loop.call_later(IDLE_AFTER, self._second.close)
        return self._second

    # -- asking --------------------------------------------------------------------------------

    async def _life(self, timeout: float) -> Finding | Link:
        """The link, where the node says over it that it is started."""
        for last in (False, True):
            try:
                link = await self.link()
                return await self._status(link, timeout) or link
            except LinkLost as error:
                if last:
                    return self._no_link(LinkRefused(Refusal.CLOSED, str(error)))
            except LinkBusy as error:
                return Finding(Verdict.MISSED, str(error))
            except CallFailed as error:
                return Finding(Verdict.BUSY, str(error))
            except Nowhere as nowhere:
                return await self._explain(nowhere)
            except LinkRefused as error:
                return self._no_link(error)
        raise AssertionError("the second time returns")

    def _no_link(self, error: LinkRefused) -> Finding:
        """What a refusal says. A node that was never up may boot twice, and other ports may open before its own."""
        if error.kind is Refusal.NO_ANSWER:
            return Finding(Verdict.MISSED, str(error))
        if error.kind in _PASSING and not self._was_up:
            return Finding(Verdict.BUSY, f"booting: {error}")
        return Finding(Verdict.REFUSED, str(error))

    def _silence(self, timeout: float) -> Finding:
        """Nothing was heard in time."""
        refusal = self._dialler.refusal
        if refusal is not None and refusal.kind is not Refusal.NO_ANSWER:
            return self._no_link(refusal)  # as far as is known; it is being tried again
        if not self.linked and not self._dialler.knocking:
            return Finding(Verdict.BUSY, "its node is still looked for: /proc or its files answer late")
        return Finding(Verdict.MISSED, f"no answer within {timeout:g} s")

    async def _status(self, link: Link, timeout: float) -> Finding | None:
        """What is to be said of a node that is not started; None where it is.

        Two questions at once: one that is answered by no process, so that only a VM that hangs is silent, and one to
        `init`, which is a process of normal priority like any other.
        """
        controller, status = await link.run_all((_CONTROLLER, _STATUS), timeout=timeout, high=True)
        if isinstance(controller, CallTimeout):
            return Finding(Verdict.MISSED, f"hung: no answer within {timeout:g} s, at high priority either")
        if isinstance(controller, BaseException):
            raise controller
        self.recognise(controller)
        match status:
            case ("started", _):
                self._was_up = True
                return None
            case ("starting", _):
                return Finding(Verdict.BUSY, "booting: its applications are being started")
            case ("stopping", _):
                return Finding(Verdict.BUSY, "stopping: something in the node called init:stop")
            case CallTimeout():
                return Finding(Verdict.BUSY, f"overloaded: its init gives no answer within {timeout:g} s")
            case BaseException():
                raise status
            case _:
                return Finding(Verdict.BUSY, f"init says {shown(status, 100)}")

    async def _more(self, link: Link, probe: LinkProbe, timeout: float) -> Finding:
        """Whether a node that is started is also what it should be."""
        try:
            if isinstance(probe, MfaProbe):
                return await _function(link, probe, timeout)
            if self.overloaded:
                await link.run(_STATUS, timeout=timeout)
                self.overloaded = ""
        except CallTimeout:
            return Finding(Verdict.BUSY, self.overloaded)
        except (LinkLost, LinkBusy, CallFailed) as error:
            return Finding(Verdict.BUSY, str(error))
        return WELL

    async def _explain(self, nowhere: Nowhere) -> Finding:
        """A node that was there and listens no more is ending, or writes a crash dump: that takes its time."""
        late = self._loop.time() - self._begun > SCRIPT_WITHIN
        if nowhere.beside and late:
            return Finding(Verdict.NO_LINK, "its start script runs beside its VM, without exec: the process is alive")
        if nowhere.finding.verdict is not Verdict.BUSY or not self._was_up:
            return nowhere.finding
        since = self._closed_since = self._closed_since or self._loop.time()
        patience = self._spec().crash.timeout + GRACE
        if await self._lookers.look(is_dumping, self.vm.pid):
            why = "writing a crash dump"
        else:
            why = "its distribution is closed: it is ending, or was cut off on purpose"
            patience = float("inf")  # nobody knows that it hangs
        if self._loop.time() - since > patience:
            return Finding(Verdict.MISSED, f"{why}, for more than {patience:g} s")
        return Finding(Verdict.REFUSED, why)

    async def _dial(self) -> Link:
        link = await self._dialler.dial()
        self._link, self._closed_since = link, None
        with contextlib.suppress(LinkLost, LinkBusy, CallTimeout, CallFailed):
            self.recognise(await link.run(_CONTROLLER, timeout=KNOCK, high=True))
        return link

    def _dialled(self, task: "asyncio.Task[Link]") -> None:
        """Its outcome is for those who wait; nobody may. It is not kept: an error keeps each frame it went through."""
        self._dialling = None
        if not task.cancelled():
            task.exception()


async def _function(link: Link, probe: MfaProbe, timeout: float) -> Finding:
    what = f"{probe.module.removeprefix('Elixir.')}:{probe.function}()"
    try:
        said = await link.call(probe.module, probe.function, [], timeout=timeout)
    except CallTimeout:
        return Finding(Verdict.MISSED, f"{what} gave no answer within {timeout:g} s")
    except CallFailed as error:
        return Finding(Verdict.MISSED, f"{what} failed: {error.kind} {shown(error.reason, 200)}")
    return WELL if said in ("true", "ok") else Finding(Verdict.MISSED, f"{what} says {shown(said, 100)}")
