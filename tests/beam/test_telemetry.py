"""What real VMs answer to our questions, and that nothing of sasl is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from relctld.beam.dist.link import CallFailed, Link, connect
from relctld.beam.slowlane import SLOW, decode_slow
from relctld.beam.telemetry import FAST_TIMEOUT, Sample, batch, decode_batch, reading
from relctld.beam.term.terms import Atom, Term
from relctld.core.thresholds import Watch, judge
from tests import otps
from tests.beam.nodes import OWN, Node, node

pytestmark = pytest.mark.beam


@pytest.fixture(params=list(otps.OTPS), scope="module")
def vm(request: pytest.FixtureRequest) -> Iterator[tuple[str, Node]]:
    with node(request.param) as found:
        yield request.param, found


async def _sample(link: Link, before: Sample | None = None) -> Sample:
    answer = await link.call(*batch(link.node), timeout=FAST_TIMEOUT)
    return decode_batch(answer, before, time.monotonic())


def test_every_fast_value_is_known(vm: tuple[str, Node]) -> None:
    otp, found = vm

    async def scenario() -> tuple[Sample, Sample, int]:
        link = await connect(found.target(), 10)
        try:
            first = await _sample(link)
            await link.call("timer", "sleep", [50], timeout=5)
            return first, await _sample(link, first), link.creation
        finally:
            link.close()

    first, second, creation = asyncio.run(scenario())
    unknown = [name for name in Sample.__slots__ if getattr(second, name) is None]
    assert unknown == []
    assert (second.otp, second.os_pid, second.creation) == (otp, found.process.pid, creation)
    assert second.boot == first.boot
    assert second.memory is not None
    assert all(second.memory.values())
    assert second.memory["total"] > 1_000_000  # type: ignore[operator]
    for use in (second.processes, second.ports, second.atoms, second.ets):
        assert use.count is not None
        assert use.limit is not None
        assert 0 < use.count < use.limit
    assert second.nodes == ()
    assert second.hidden_nodes == (OWN,)
    assert second.wall_ms is not None
    assert first.wall_ms is not None
    assert second.wall_ms >= first.wall_ms + 50
    assert second.reductions_per_s is not None
    assert second.reductions_per_s > 0
    assert judge(Watch(), reading(second), 0.0)[1] == ()


def test_an_item_that_fails_costs_itself_only(vm: tuple[str, Node]) -> None:
    async def scenario() -> Sample:
        link = await connect(vm[1].target(), 10)
        try:
            module, function, args = batch(link.node)
            calls = args[3]
            assert isinstance(calls, list)
            bad: list[Term] = [[*call[:3], [*call[3], 1, 2, 3]] for call in calls[:1]]  # type: ignore[index,misc]
            return decode_batch(
                await link.call(module, function, [*args[:3], bad + calls[1:]], timeout=FAST_TIMEOUT), None, 0.0
            )
        finally:
            link.close()

    sample = asyncio.run(scenario())
    assert sample.memory is None
    assert sample.run_queue is not None
    assert sample.otp == vm[0]


def test_the_slow_lane_without_sasl(vm: tuple[str, Node]) -> None:
    async def scenario() -> tuple[dict[str, Term], dict[str, str]]:
        link = await connect(vm[1].target(), 10)
        answers, failed = {}, {}
        try:
            for key, question in SLOW.items():
                try:
                    call = question.module, question.function, question.args
                    answers[key] = await link.call(*call, timeout=question.timeout)
                except CallFailed as error:
                    failed[key] = repr(error.reason)
        finally:
            link.close()
        return answers, failed

    answers, failed = asyncio.run(scenario())
    slow = decode_slow(answers)
    assert list(failed) == ["alarms", "releases"]
    assert all("noproc" in reason for reason in failed.values())
    assert slow.applications is not None
    assert {application.name for application in slow.applications} == {"kernel", "stdlib"}
    assert all(application.version[0].isdigit() for application in slow.applications)
    assert (slow.alarms, slow.releases) == (None, None)


def test_the_slow_lane_with_sasl() -> None:
    """Debian's OTP has sasl; the wheel's has not."""

    async def scenario(found: Node) -> dict[str, Term]:
        link = await connect(found.target(), 10)
        try:
            await link.call("alarm_handler", "set_alarm", [(Atom("disk"), [b"/var", 97])], timeout=5)
            return {
                key: await link.call(question.module, question.function, question.args, timeout=question.timeout)
                for key, question in SLOW.items()
            }
        finally:
            link.close()

    with node("25", "-eval", "ok = application:start(sasl)") as found:
        slow = decode_slow(asyncio.run(scenario(found)))
    assert slow.alarms == ('{disk,[<<"/var">>,97]}',)
    assert slow.applications is not None
    assert "sasl" in {application.name for application in slow.applications}
    assert slow.releases is not None
    assert [(release.version, release.status) for release in slow.releases] == [("25", "permanent")]
