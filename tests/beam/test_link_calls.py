"""What calls into a node come to: values, failures, silence, too much, and the end of the node under them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relctld.beam.dist.channel import MAX_UNSENT
from relctld.beam.dist.link import MAX_OUTPUT, CallFailed, CallTimeout, Kind, Link, LinkBusy, LinkLost, connect
from relctld.beam.term.terms import Atom, Export, Pid, Term
from tests import otps
from tests.beam.nodes import OWN, Node, node

pytestmark = pytest.mark.beam

APPLY = Export(Atom("erlang"), Atom("apply"), 3)


@pytest.fixture(params=list(otps.OTPS), scope="module")
def vm(request: pytest.FixtureRequest) -> Iterator[Node]:
    """One node for all tests that leave it as it was."""
    with node(request.param) as found:
        yield found


@pytest.fixture(params=list(otps.OTPS))
def own_vm(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node for this test alone."""
    with node(request.param) as found:
        yield found


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


@asynccontextmanager
async def linked(vm: Node) -> AsyncIterator[Link]:
    link = await connect(vm.target(), 5)
    try:
        yield link
    finally:
        link.close()
        await link.lost


async def failure(link: Link, module: str, function: str, args: list[Term]) -> tuple[Kind, Term]:
    with pytest.raises(CallFailed, match=f"cannot call {module}:{function}/{len(args)}: ") as caught:
        await link.call(module, function, args, timeout=5)
    return caught.value.kind, caught.value.reason


def chars(text: str) -> list[Term]:
    return [ord(char) for char in text]


@pytest.mark.parametrize("high", [False, True])
def test_a_value(vm: Node, high: bool) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            assert await link.call("lists", "sum", [[1, 2, 1 << 70]], timeout=5, high=high) == 3 + (1 << 70)
            me = await link.call("erlang", "self", [], timeout=5, high=high)
            assert isinstance(me, Pid)
            assert (me.node, me.creation) == (Atom(vm.name), link.creation)
            asked = [Atom("priority"), Atom("low")]  # answers what it was before
            before = await link.call("erlang", "process_flag", asked, timeout=5, high=high)
            assert before == Atom("high" if high else "normal")

    run(scenario())


def test_each_kind_of_failure(vm: Node) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            assert await failure(link, "erlang", "throw", [Atom("ball")]) == (Kind.THROW, Atom("ball"))
            assert await failure(link, "erlang", "exit", [Atom("normal")]) == (Kind.EXIT, Atom("normal"))
            assert await failure(link, "erlang", "error", [Atom("badarg")]) == (Kind.ERROR, Atom("badarg"))
            assert await failure(link, "erlang", "hd", [[]]) == (Kind.ERROR, Atom("badarg"))
            assert await failure(link, "nowhere", "no", []) == (Kind.ERROR, Atom("undef"))
            killed: list[Term] = [
                APPLY,
                [Atom("timer"), Atom("timer")],
                [Atom("kill_after"), Atom("sleep")],
                [[10], [5000]],
            ]
            assert await failure(link, "lists", "zipwith3", killed) == (Kind.EXIT, Atom("killed"))
            assert await link.call("erlang", "node", [], timeout=5) == Atom(vm.name)

    run(scenario())


def test_a_late_answer_is_nobodys(vm: Node) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            with pytest.raises(CallTimeout, match=r"cannot call timer:sleep/1: no answer from n.* within 0\.1 s"):
                await link.call("timer", "sleep", [300], timeout=0.1)
            with pytest.raises(CallTimeout):
                await link.captured("timer", "sleep", [300], timeout=0.1)
            assert await link.call("timer", "sleep", [600], timeout=5) == Atom("ok")  # by now both came

    run(scenario())


def test_a_hundred_calls_at_once(vm: Node) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            waits = [link.call("timer", "sleep", [300], timeout=10) for _ in range(100)]
            sums = [link.call("erlang", "+", [number, 1], timeout=10) for number in range(100)]
            answers = await asyncio.gather(*waits, *sums)
            assert answers == [Atom("ok")] * 100 + list(range(1, 101))

    run(scenario())


def test_what_is_printed_is_captured(vm: Node) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            output, value = await link.captured("io", "format", [chars("héł ~p~n"), [Atom("line")]], timeout=5)
            assert (output.decode(), value) == ("héł line\n", Atom("ok"))
            both = [link.captured("io", "put_chars", [chars(text)], timeout=5) for text in ("one", "two")]
            assert [output for output, _ in await asyncio.gather(*both)] == [b"one", b"two"]
            output, _ = await link.captured("io", "put_chars", [b"x" * (MAX_OUTPUT + 1)], timeout=20)
            assert len(output) == MAX_OUTPUT
            with pytest.raises(CallFailed) as caught:
                await link.captured("erlang", "exit", [Atom("gone")], timeout=5)
            assert (caught.value.kind, caught.value.reason) == (Kind.EXIT, Atom("gone"))
            assert await link.via_rex("erlang", "node", [], timeout=5) == Atom(vm.name)
            assert await link.via_rex("erlang", "throw", [Atom("ball")], timeout=5) == Atom("ball")

    run(scenario())


def test_what_a_call_prints_goes_to_the_nodes_own_output(own_vm: Node) -> None:
    async def scenario() -> None:
        user = [Atom("user")]
        async with linked(own_vm) as link:
            await link.call("io", "put_chars", [chars("printed early\n")], timeout=5)
            pid = await link.call("erlang", "whereis", user, timeout=5)
            await link.call("erlang", "unregister", user, timeout=5)
        async with linked(own_vm) as link:  # as if it were still booting
            await link.call("erlang", "register", [*user, pid], timeout=5)
            await link.call("io", "put_chars", [chars("printed late\n")], timeout=5)

    run(scenario())
    assert own_vm.printed(b"printed early")
    assert own_vm.printed(b"printed late")


def test_too_large_an_answer_ends_the_link(vm: Node) -> None:
    async def scenario() -> None:
        async with linked(vm) as link:
            large = await link.call("binary", "copy", [b"x", 15 << 20], timeout=30)
            assert isinstance(large, bytes)
            assert len(large) == 15 << 20
            with pytest.raises(LinkLost, match=r"cannot call n.*: .* a message of 16\d{6} bytes, more than 16777216"):
                await link.call("binary", "copy", [b"x", 16 << 20], timeout=30)
        async with linked(vm) as link:
            assert await link.call("erlang", "node", [], timeout=5) == Atom(vm.name)

    run(scenario())


def test_all_calls_end_with_the_node(own_vm: Node) -> None:
    async def scenario() -> None:
        async with linked(own_vm) as link:
            calls = [asyncio.ensure_future(link.call("timer", "sleep", [60_000], timeout=50)) for _ in range(10)]
            calls.append(asyncio.ensure_future(link.via_rex("timer", "sleep", [60_000], timeout=50)))
            await link.call("erlang", "node", [], timeout=5)
            own_vm.process.kill()
            for call in calls:
                with pytest.raises(LinkLost, match="the node closed the connection"):
                    await call
            with pytest.raises(LinkLost):
                await link.call("erlang", "node", [], timeout=5)

    run(scenario())


def test_a_node_that_hangs_costs_calls_but_not_memory(own_vm: Node) -> None:
    async def scenario() -> None:
        async with linked(own_vm) as link:
            own_vm.stop()
            with pytest.raises(CallTimeout):
                await link.call("erlang", "node", [], timeout=0.2)
            big = [bytes(MAX_UNSENT)]
            calls = [asyncio.ensure_future(link.call("erlang", "byte_size", big, timeout=20)) for _ in range(20)]
            done, waiting = await asyncio.wait(calls, timeout=0.2)
            for refused in done:  # some megabytes fit into the kernel's buffers, none of the rest into ours
                with pytest.raises(LinkBusy, match=f"cannot send to {own_vm.name}: it does not read"):
                    refused.result()
            assert done
            assert waiting
            assert not link.lost.done()
            own_vm.process.send_signal(signal.SIGCONT)
            assert await asyncio.gather(*waiting) == [MAX_UNSENT] * len(waiting)

    run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("otp", list(otps.OTPS))
def test_an_idle_link_outlives_a_short_net_ticktime(otp: str) -> None:
    async def scenario(vm: Node) -> None:
        async with linked(vm) as link:
            await asyncio.wait([link.lost], timeout=7)
            assert await link.call("erlang", "nodes", [Atom("hidden")], timeout=5) == [Atom(OWN)]

    with node(otp, "-kernel", "net_ticktime", "4") as vm:
        run(scenario(vm))
