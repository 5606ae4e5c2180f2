"""The watch of one node, against a node that a test plays: what is its fault, and what is not."""

import asyncio
import gc
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from relctld.beam.term.terms import Atom
from relctld.core.probes import AUTO, Verdict
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.host.listening import listeners
from relctld.host.records import Launched
from relctld.supervisor.nodes import dial
from relctld.supervisor.nodes.lookers import Lookers
from relctld.supervisor.nodes.watch import NodeWatch
from relctld.supervisor.nodes.whereabouts import Nowhere
from tests.fakes import relay
from tests.fakes.peer import COOKIE, NAME, Peer, peer
from tests.waiting import wait_until

pytestmark = pytest.mark.host

SPEC = ReleaseSpec("web", Path("/nowhere"))


@contextmanager
def relayed(port: int) -> Iterator[int]:
    """A process that has a node's flags and port; its pid."""
    with subprocess.Popen(relay.command(port, NAME, COOKIE.secret)) as process:
        try:
            wait_until(lambda: listeners(process.pid), what="its port")
            yield process.pid
        finally:
            process.kill()


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[NodeWatch, "asyncio.Future[Peer]"]]:
    """The watch of such a process, and the node that answers there."""
    async with peer() as (target, taken):
        with relayed(target.port) as pid, ThreadPoolExecutor(1) as pool:
            found = NodeWatch(Vm(pid, 0, ""), lambda: SPEC, Launched(), Lookers(pool), lambda _: None)
            yield found, taken
            found.close()


def test_another_process_under_the_nodes_name() -> None:
    async def scenario() -> None:
        async with watched() as (found, taken):
            asking = asyncio.create_task(found.ask(AUTO, 5.0))
            other = await taken
            ref, asker, call = await other.asked()
            assert call == ["os", "getpid", []]
            other.down(ref, asker, (ref, Atom("return"), list(map(ord, str(os.getpid())))))
            answer = await asking
            assert answer.verdict is Verdict.REFUSED
            why = f"{NAME} is pid {os.getpid()}, not the process that we started (pid {found.vm.pid})"
            assert answer.detail == why
            await ends(other)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_node_that_falls_silent_is_missed_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is given up is closed: else it would keep our name, and the next one would be refused for it."""
    monkeypatch.setattr(dial, "DIAL_WITHIN", 0.5)

    async def scenario() -> None:
        async with watched() as (found, taken):
            answer = await found.ask(AUTO, 0.2)
            assert (answer.verdict, answer.detail) == (Verdict.MISSED, "no answer within 0.2 s")
            other = await taken
            await other.asked()
            await ends(other)
            assert not found.linked

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_each_miss_is_a_question_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal may be repeated unasked for a while; silence may not: three of them end a node."""
    monkeypatch.setattr(dial, "DIAL_WITHIN", 0.3)
    monkeypatch.setattr(dial, "BOOTS_WITHIN", 0.0)

    async def scenario() -> None:
        knocks: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, writer: knocks.append(writer), "127.0.0.1", 0)
        with relayed(server.sockets[0].getsockname()[1]) as pid, ThreadPoolExecutor(1) as pool:
            found = NodeWatch(Vm(pid, 0, ""), lambda: SPEC, Launched(), Lookers(pool), lambda _: None)
            for asked in (1, 2, 3):
                assert (await found.ask(AUTO, 2.0)).verdict is Verdict.MISSED
                assert len(knocks) == asked
            found.close()
        server.close()
        for writer in knocks:
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_disk_that_hangs_is_not_held_against_a_node() -> None:
    """Its cookie lies there, and nobody has asked the node yet."""

    async def scenario() -> None:
        hung = threading.Event()
        pool = ThreadPoolExecutor(1)
        pool.submit(hung.wait)
        try:
            found = NodeWatch(Vm(os.getpid(), 0, ""), lambda: SPEC, Launched(), Lookers(pool), lambda _: None)
            answer = await found.ask(AUTO, 0.1)
            assert answer.verdict is Verdict.BUSY
            assert answer.detail == "its node is still looked for: /proc or its files answer late"
            found.close()
        finally:
            hung.set()
            pool.shutdown()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_to_have_no_node_costs_no_memory() -> None:
    """It is asked every second for ever: an error that is part of a cycle would lie there with all of its frames."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            found = NodeWatch(Vm(os.getpid(), 0, ""), lambda: SPEC, Launched(), Lookers(pool), lambda _: None)
            for _ in range(3):
                assert (await found.ask(AUTO, 5.0)).verdict is Verdict.NO_LINK
            await asyncio.get_running_loop().run_in_executor(pool, int)  # its thread has let go of the last one
            assert not [kept for kept in gc.get_objects() if isinstance(kept, Nowhere)]
            found.close()

    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(scenario(), 20))
    finally:
        gc.enable()


async def ends(other: Peer) -> None:
    """Until the connection ends; what is said before is of no interest."""
    with suppress(EOFError):
        while True:
            await other.heard()
