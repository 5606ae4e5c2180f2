"""A link against a node that the test plays: what a real one does seldom, or never."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relctld.beam.dist import beat, link
from relctld.beam.dist.frames import Message, Tick
from relctld.beam.dist.handshake import Flag
from relctld.beam.dist.link import CallFailed, CallTimeout, Kind, Link, LinkBusy, LinkLost, connect, prepare
from relctld.beam.term.terms import Atom, Pid, Reference
from tests.fakes.peer import CALLED, CREATION, FLAGS, NAME, OWN, USER, Peer, peer

STRANGER = Pid(Atom(NAME), 70, 0, CREATION)
MONITOR = Reference(Atom(NAME), CREATION, (1, 2, 3))
NOPROC = Atom("noproc")


def play(scene: Callable[[Link, Peer], Awaitable[None]], max_frame: int = 1 << 20, flags: int = FLAGS) -> None:
    """Links to a peer and plays; nothing may have gone wrong unseen."""
    trouble: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        async with asyncio.timeout(20), peer(flags) as (target, taken):
            linked = await connect(target, 5, max_frame=max_frame)
            try:
                await scene(linked, await taken)
            finally:
                linked.close()
                await linked.lost

    asyncio.run(run())
    assert trouble == []


async def ended(linked: Link, call: Awaitable[Any], text: str) -> None:
    """The link is lost, with this call and each further one."""
    assert text in await linked.lost
    with pytest.raises(LinkLost, match=text):
        await call
    with pytest.raises(LinkLost, match=text):
        await linked.call("erlang", "node", [], timeout=5)


def begin(linked: Link, timeout: float = 5) -> asyncio.Task[Any]:
    return asyncio.create_task(linked.call("m", "f", [1], timeout=timeout))


def test_a_call_runs_under_the_nodes_own_group_leader_with_a_monitor() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = asyncio.create_task(linked.call("m", "f", [b"x"], timeout=5, high=True))
        request = await node.heard()
        assert isinstance(request, Message)
        _, ref, asker, leader, function, options = request.control
        assert leader == USER
        assert function == (Atom("erpc"), Atom("execute_call"), 4)
        assert options == [Atom("monitor"), (Atom("priority"), Atom("high"))]
        assert request.payload == [ref, Atom("m"), Atom("f"), [b"x"]]
        assert isinstance(ref, Reference)
        assert isinstance(asker, Pid)
        assert ref.node == asker.node == OWN
        assert ref.creation == asker.creation > 3
        node.say((31, ref, asker, 0, CALLED))
        node.down(ref, asker, (ref, Atom("return"), 5))
        assert await call == 5
        assert (linked.node, linked.creation) == (NAME, CREATION)

    play(scene)


def test_answers_find_their_calls_in_any_order() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        calls = [begin(linked) for _ in range(3)]
        asked = [await node.asked() for _ in calls]
        assert len({ref for ref, _, _ in asked}) == 3
        for number, (ref, asker, _) in reversed(list(enumerate(asked))):
            node.down(ref, asker, (ref, Atom("return"), number))
        assert await asyncio.gather(*calls) == [0, 1, 2]

    play(scene)


@pytest.mark.parametrize(
    ("reason", "kind", "told"),
    [
        ((Atom("throw"), 1), Kind.THROW, 1),
        ((Atom("exit"), Atom("x")), Kind.EXIT, "x"),
        ((Atom("error"), Atom("undef"), []), Kind.ERROR, "undef"),
        ((Atom("error"), (Atom("erpc"), Atom("badarg"))), Kind.ERROR, ("erpc", "badarg")),
    ],
)
def test_failures(reason: tuple[Any, ...], kind: Kind, told: Any) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.down(ref, asker, (ref, *reason))
        with pytest.raises(CallFailed, match=f"cannot call m:f/1: {kind} ") as caught:
            await call
        assert (caught.value.kind, caught.value.reason) == (kind, told)

    play(scene)


@pytest.mark.parametrize("reason", [Atom("killed"), (MONITOR, Atom("return"), 1), (1, Atom("return"), 1)])
def test_any_other_end_of_the_process_is_an_exit(reason: Any) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.down(ref, asker, reason)
        with pytest.raises(CallFailed) as caught:
            await call
        assert (caught.value.kind, caught.value.reason) == (Kind.EXIT, reason)

    play(scene)


def test_a_spawn_that_fails() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.say((31, ref, asker, 0, Atom("system_limit")))
        with pytest.raises(CallFailed, match="system_limit"):
            await call

    play(scene)


def test_late_foreign_and_unknown_messages_are_dropped() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked, timeout=0.01)
        ref, asker, _ = await node.asked()
        with pytest.raises(CallTimeout, match=r"cannot call m:f/1: no answer from web@h within 0\.01 s"):
            await call
        call = begin(linked)
        node.down(ref, asker, (ref, Atom("return"), Atom("late")))
        node.down(MONITOR, asker, 1)
        node.say((21, 1))
        node.say((99, Atom("?")), 1)
        node.say((2, Atom(""), STRANGER), (Atom("rex"), 1))
        node.say((2, Atom(""), asker), Atom("hello"))
        ref, asker, _ = await node.asked()
        for answer in ("first", "second"):
            node.down(ref, asker, (ref, Atom("return"), Atom(answer)))
        assert await call == "first"

    play(scene)


def test_a_call_that_is_cancelled_is_forgotten() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        call.cancel()
        await asyncio.wait([call])
        node.down(ref, asker, (ref, Atom("return"), 1))
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.down(ref, asker, (ref, Atom("return"), 2))
        assert await call == 2

    play(scene)


def test_courtesies_among_nodes() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.say_bytes()
        assert await node.heard() == Tick()
        node.say((35, 17, CALLED, asker))
        assert await node.heard() == Message((36, 17, asker, CALLED), None)
        node.say((19, CALLED, asker, MONITOR))  # we live: nothing to say
        node.say((19, CALLED, STRANGER, MONITOR))
        assert await node.heard() == Message((21, STRANGER, CALLED, MONITOR, NOPROC), None)
        node.say((19, CALLED, Atom("rex"), MONITOR))
        assert await node.heard() == Message((21, Atom("rex"), CALLED, MONITOR, NOPROC), None)
        request = (Atom("io_request"), CALLED, MONITOR, Atom("getopts"))
        node.say((2, Atom(""), asker), request)
        assert await node.heard() == Message((6, asker, Atom(""), Atom("user")), request)
        node.down(ref, asker, (ref, Atom("return"), 1))
        assert await call == 1

    play(scene)


def test_an_idle_link_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        assert [await node.heard(), await node.heard()] == [Tick(), Tick()]

    monkeypatch.setattr(beat, "TICK_AFTER", 0.05)
    play(scene)


def test_the_peer_closes() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        await node.asked()
        node.close()
        await ended(linked, call, "the node closed the connection")

    play(scene)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ((1001).to_bytes(4, "big"), "a message of 1001 bytes, more than 1000"),
        (b"\0\0\0\1p", "cannot decode a term"),
        (b"\0\0\0\1q", "a message of type 113"),
    ],
)
def test_nonsense_ends_the_link(data: bytes, text: str) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        await node.asked()
        node.say_bytes(data)
        await ended(linked, call, text)

    play(scene, max_frame=1000)


def test_closing_ends_all_calls() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        calls = [begin(linked), asyncio.create_task(linked.captured("m", "f", [], timeout=5))]
        await node.heard()
        linked.close()
        linked.close()
        for call in calls:
            await ended(linked, call, "closed by us")
        await node.heard()
        with pytest.raises(EOFError):
            await node.heard()

    play(scene)


def test_more_calls_than_anybody_makes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = begin(linked)
        ref, asker, _ = await node.asked()
        with pytest.raises(LinkBusy, match="cannot call web@h: 1 calls are under way"):
            await linked.call("m", "f", [], timeout=5)
        node.down(ref, asker, (ref, Atom("return"), 1))
        assert await call == 1

    monkeypatch.setattr(link, "MAX_CALLS", 1)
    play(scene)


def test_an_argument_that_is_no_term_harms_nobody() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        with pytest.raises(ValueError, match="say Atom or bytes"):
            await linked.call("m", "f", ["text"], timeout=5)  # type: ignore[list-item]
        call = begin(linked)
        ref, asker, _ = await node.asked()
        node.down(ref, asker, (ref, Atom("return"), 1))
        assert await call == 1

    play(scene)


def test_the_cookie_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(linked: Link, node: Peer) -> None:
        assert "monster" not in repr(linked) + repr([getattr(linked, name) for name in Link.__slots__])

    with caplog.at_level(logging.DEBUG):
        play(scene)
    assert "monster" not in caplog.text


def test_a_node_that_takes_no_request_to_spawn_is_asked_through_rex() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        call = asyncio.create_task(linked.call("m", "f", [1], timeout=5, high=True))
        asker, asked = await node.asked_rex()
        assert asked == ["m", "f", [1]]
        node.say((2, Atom(""), asker), (Atom("rex"), 42))
        assert await call == 42

    play(scene, flags=FLAGS & ~Flag.SPAWN)


def test_several_at_once_end_each_by_itself() -> None:
    calls = [prepare("m", name, []) for name in ("well", "fails", "silent")]

    async def scene(linked: Link, node: Peer) -> None:
        asking = asyncio.create_task(linked.run_all(calls, timeout=0.2))
        asked = [await node.asked() for _ in calls]
        (well, asker, _), (fails, _, _), _ = asked
        node.down(fails, asker, (fails, Atom("error"), Atom("badarg"), []))
        node.down(well, asker, (well, Atom("return"), 1))
        first, second, third = await asking
        assert first == 1
        assert isinstance(second, CallFailed)
        assert (second.kind, second.reason) == (Kind.ERROR, "badarg")
        assert isinstance(third, CallTimeout)
        assert str(third) == f"cannot call m:silent/0: no answer from {NAME} within 0.2 s"

    play(scene)


def test_several_that_lose_their_link() -> None:
    async def scene(linked: Link, node: Peer) -> None:
        asking = asyncio.create_task(linked.run_all([prepare("m", "f", [])] * 2, timeout=5))
        await node.asked()
        linked.close()
        assert [type(error) for error in await asking] == [LinkLost, LinkLost]
        with pytest.raises(LinkLost):
            await linked.run_all([prepare("m", "f", [])], timeout=5)

    play(scene)
