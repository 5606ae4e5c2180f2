"""One bad node beside ten good ones, each asked every 20 ms over its own link, all on one loop as in the daemon.

The figure is how long the good ones' answers take, before and while the other one is bad:

    hangs          SIGSTOP, asked every 20 ms all the same
    floods         a process in it sends to our node as fast as it can: small messages, large ones, requests for i/o
    answers much   16 MB, which the limit of a frame refuses and the link does not survive; as many bytes as the link
                   of `relctl eval` takes; as many terms, of the smallest kind, as a message may have
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.beam.nodes import Node, node

from bench.measure import summary, table
from relctld.beam.dist.frames import MAX_TERMS
from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkBusy, LinkLost, Prepared, connect, prepare
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.term.terms import Atom, Term
from relctld.supervisor.nodes import dial, talk

GOOD = 10
BEAT = 0.02
"""Seconds between two questions to a node."""
WITHIN = 1.0
"""Seconds that an answer may take, as a probe's does."""

STATUS = prepare("init", "get_status", [])
FLAGS = ("+S", "1:1", "+SDcpu", "1", "+A", "1")
FLOODER = """register(flooder, spawn(fun() ->
    receive {To, What} -> (fun Flood() -> To ! What, Flood() end)() end end))."""
OUR_NAME = (Atom("relctld_flood"), Atom("relctld@127.0.0.1"))
AROUND = 10  # terms of a message around the answer
_FAILED = (CallFailed, CallTimeout, LinkLost, LinkBusy, LinkRefused)

Badness = Callable[[Node, Link], Awaitable[None]]
"""Makes a node bad, for ever or until it is cancelled."""


class Bad(NamedTuple):
    """`frame`: what its link lets through, bytes."""

    name: str
    make: Badness
    frame: int = dial.MAX_FRAME


def run(seconds: float) -> dict[str, Any]:
    """Target: less than 50 ms added."""
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(node("25", *FLAGS)) for _ in range(GOOD)]
        gc.freeze()  # as the daemon does; we have all of pytest in memory
        results = asyncio.run(_all(good, seconds))
        gc.unfreeze()
    rows = [
        [name, *(f"{r[when][key]:.1f}" for key in ("p99", "max") for when in ("alone", "beside")),
         f"{r['beside']['max'] - r['alone']['max']:+.1f}", f"{r['cpu alone']:.0f}", f"{r['cpu beside']:.0f}"]
        for name, r in results.items()
    ]  # fmt: skip
    head = ("ms", "p99 alone", "beside", "max alone", "beside", "added", "cpu % alone", "beside")
    print(f"Answers of {GOOD} nodes, each asked every {BEAT * 1000:.0f} ms, while one more is bad:")
    print(table(head, rows), "\n")
    return results


async def _all(good: list[Node], seconds: float) -> dict[str, Any]:
    links = [await connect(each.target(), 5.0, max_frame=dial.MAX_FRAME) for each in good]
    results = {}
    for bad in BAD:
        with node("25", *FLAGS, "-eval", FLOODER) as sick:
            link = await connect(sick.target(), 5.0, max_frame=bad.frame)
            alone, cpu_alone = await _answers([*links, link], seconds)
            badness = asyncio.ensure_future(bad.make(sick, link))
            await asyncio.sleep(0.5)
            beside, cpu_beside = await _answers(links, seconds)
            if badness.done():
                badness.result()
            badness.cancel()
            link.close()
        results[bad.name] = {
            "alone": summary(alone), "beside": summary(beside), "cpu alone": cpu_alone, "cpu beside": cpu_beside
        }  # fmt: skip
    for each in links:
        each.close()
    return results


async def _answers(links: list[Link], seconds: float) -> tuple[list[float], float]:
    """Milliseconds that each answer took, WITHIN where it did not come; our processor in percent of a core."""
    took: list[float] = []
    before, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(_ask(link, took, number * BEAT / GOOD, seconds) for number, link in enumerate(links)))
    return took, (time.process_time() - before) / (time.perf_counter() - begun) * 100


async def _ask(link: Link, took: list[float], first: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + first
    end = due + seconds
    while due < end:
        await asyncio.sleep(due - loop.time())
        with contextlib.suppress(CallTimeout):
            await link.run(STATUS, timeout=WITHIN, high=True)
        took.append((loop.time() - due) * 1000)  # from when it was due: a loop that is late is seen
        due = max(due + BEAT, loop.time())


async def _hang(sick: Node, link: Link) -> None:
    sick.stop()
    asked = set()
    while True:
        question = asyncio.ensure_future(_swallow(link))
        asked.add(question)
        question.add_done_callback(asked.discard)
        await asyncio.sleep(BEAT)


async def _swallow(link: Link) -> None:
    with contextlib.suppress(*_FAILED):
        await link.run(STATUS, timeout=WITHIN, high=True)


def _flood(what: Term) -> Badness:
    go = prepare("erlang", "send", [Atom("flooder"), (OUR_NAME, what)])

    async def make(sick: Node, link: Link) -> None:
        while True:  # a link that is cut is made anew with the next probe, after a second
            with contextlib.suppress(*_FAILED):
                await link.run(go, timeout=5.0)
            await asyncio.wait([link.lost])
            await asyncio.sleep(1.0)
            with contextlib.suppress(*_FAILED):
                link = await connect(sick.target(), 5.0, max_frame=dial.MAX_FRAME)

    return make


async def _flood_with_io(_sick: Node, link: Link) -> None:
    """Each of these we pass on to the node's `user`."""
    ours = link._pid
    request = (Atom("io_request"), ours, ours, (Atom("put_chars"), Atom("unicode"), b""))
    await link.call("erlang", "send", [Atom("flooder"), (ours, request)], timeout=5.0)


async def _refused(sick: Node, link: Link) -> None:
    much = prepare("binary", "copy", [b"\0", 16 << 20])
    while True:
        with contextlib.suppress(*_FAILED):
            link = await connect(sick.target(), 5.0, max_frame=dial.MAX_FRAME)
            await link.run(much, timeout=5.0)
        link.close()
        await asyncio.sleep(BEAT)


async def _largest(_sick: Node, link: Link) -> None:
    await _again(link, prepare("binary", "copy", [b"\0", talk.MAX_FRAME - 1000]))


async def _smallest(_sick: Node, link: Link) -> None:
    much = prepare("lists", "duplicate", [MAX_TERMS - AROUND, []])
    await _again(link, much)


async def _again(link: Link, much: Prepared) -> None:
    while True:
        with contextlib.suppress(CallTimeout):
            await link.run(much, timeout=5.0)
        await asyncio.sleep(BEAT)


BAD = (
    Bad("hangs", _hang),
    Bad("floods: small", _flood((Atom("hello"), 1))),
    Bad("floods: 16 kB of []", _flood([[]] * 16_000)),
    Bad("floods: 100 kB of []", _flood([[]] * 100_000)),
    Bad("floods: i/o", _flood_with_io),
    Bad("answers 16 MB", _refused),
    Bad("answers 1 MB", _largest, talk.MAX_FRAME),
    Bad("answers all []", _smallest),
)
