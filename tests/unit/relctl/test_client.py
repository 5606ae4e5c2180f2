"""The conversation: repeats, silence, restarts of the daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctl import client as module
from relctl.address import Address
from relctl.client import Client, Follower
from relctl.errors import CannotError, TimeUpError, UnreachableError
from relctld.wire.messages import OPERATIONS, Progress, Reply, Request
from tests.unit.relctl.fake import FakeDaemon, Said, garbage, problem, result, silence
from tests.waiting import wait_until


@pytest.fixture
def address(sock: Path) -> Address:
    return Address(str(sock), "--socket", given=True)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEAT", 0.2)
    monkeypatch.setattr(module, "SILENCE", 0.7)
    monkeypatch.setattr(module, "RETURNS_WITHIN", 1.5)


def test_asks_and_is_answered(sock: Path, address: Address) -> None:
    with FakeDaemon(sock, result(answer=42)) as daemon, Client(address) as client:
        assert client.ask("status", {"names": ["web"]}) == {"answer": 42}
    assert daemon.requests[0].args == {"names": ["web"]}


def test_a_refusal_is_raised_with_its_kind_and_hint(sock: Path, address: Address) -> None:
    refuses = problem("denied", "not for joe", "ask root")
    with FakeDaemon(sock, refuses), Client(address) as client, pytest.raises(CannotError) as caught:
        client.ask("stop", {})
    assert caught.value.problem == ("denied", "not for joe", "ask root")


def test_progress_comes_before_the_reply_in_order(sock: Path, address: Address) -> None:
    def script(request: Request) -> Iterator[Said]:
        for n in range(3):
            yield Progress(request.id, {"n": n})
        yield Reply(request.id, {})

    heard: list[dict[str, object]] = []
    with FakeDaemon(sock, script), Client(address) as client:
        client.ask("stop", {}, on_progress=heard.append)
    assert heard == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.usefixtures("_hasty")
def test_a_request_that_nobody_heard_is_sent_again_with_the_same_id(sock: Path, address: Address) -> None:
    def script(request: Request) -> Iterator[Said]:
        if len(daemon.requests) > 1:
            yield Reply(request.id, {"try": len(daemon.requests)})

    with FakeDaemon(sock, script) as daemon, Client(address) as client:
        assert client.ask("restart", {"names": ["web"]}) == {"try": 2}
    assert len({request.id for request in daemon.requests}) == 1


@pytest.mark.usefixtures("_hasty")
def test_a_request_outlives_a_restart_of_the_daemon(sock: Path, address: Address) -> None:
    old, new = FakeDaemon(sock, silence), FakeDaemon(sock, result(by="the new one"))

    def swap() -> None:
        wait_until(lambda: old.requests, what="the request")
        old.stop()
        new.start()

    old.start()
    swapping = threading.Thread(target=swap)
    with Client(address) as client:
        swapping.start()
        assert client.ask("restart", {"names": ["web"]}) == {"by": "the new one"}
    swapping.join()
    new.stop()
    assert {request.id for request in old.requests} == {request.id for request in new.requests}


@pytest.mark.usefixtures("_hasty")
def test_a_silent_daemon_does_not_answer(sock: Path, address: Address) -> None:
    with FakeDaemon(sock, silence) as daemon, Client(address) as client, pytest.raises(UnreachableError) as caught:
        client.ask("status", {})
    assert caught.value.problem.message == f"relctld does not answer (nothing for 0.7 s on {sock})"
    assert 3 <= len(daemon.requests) <= 4


@pytest.mark.usefixtures("_hasty")
def test_a_daemon_that_becomes_its_successor_is_waited_for(sock: Path, address: Address) -> None:
    renewed = sock.with_name(OPERATIONS)
    renewed.touch()

    def script(request: Request) -> Iterator[Said]:
        if len(daemon.requests) > 6:  # that is longer than silence would be waited for
            renewed.unlink(missing_ok=True)
            yield Reply(request.id, {"renewed": True})

    with FakeDaemon(sock, script) as daemon, Client(address) as client:
        assert client.ask("status", {}) == {"renewed": True}


@pytest.mark.usefixtures("_hasty")
def test_a_successor_that_never_comes_is_not_waited_for_without_end(
    sock: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED_WITHIN", 1.5)
    sock.with_name(OPERATIONS).touch()
    with FakeDaemon(sock, silence) as daemon, Client(address) as client, pytest.raises(UnreachableError) as caught:
        client.ask("status", {})
    assert "does not answer (nothing for " in caught.value.problem.message
    assert len(daemon.requests) > 6


@pytest.mark.usefixtures("_hasty")
def test_a_daemon_that_died_meanwhile_is_said_to_be_dead(sock: Path, address: Address) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"accepted": True})

    def die_when_asked() -> None:
        wait_until(lambda: daemon.requests, what="the request")
        daemon.stop()

    daemon = FakeDaemon(sock, script)
    daemon.start()
    with Client(address) as client:
        stopping = threading.Thread(target=die_when_asked)
        stopping.start()
        with pytest.raises(UnreachableError, match="relctld is not running"):
            client.ask("stop", {})
        stopping.join()


@pytest.mark.usefixtures("_hasty")
def test_one_that_died_over_what_it_took_up_is_waited_for(
    sock: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor may need longer to come up than silence would be borne."""
    monkeypatch.setattr(module, "RETURNS_WITHIN", 60.0)

    def accept(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"accepted": True})

    def swap() -> None:
        wait_until(lambda: old.requests, what="the request")
        old.stop()
        died = time.monotonic()
        wait_until(lambda: time.monotonic() > died + 2 * module.SILENCE, what="the end of the first patience")
        new.start()

    old, new = FakeDaemon(sock, accept), FakeDaemon(sock, result(by="the new one"))
    old.start()
    swapping = threading.Thread(target=swap)
    with Client(address) as client:
        swapping.start()
        assert client.ask("upgrade", {}) == {"by": "the new one"}
    swapping.join()
    new.stop()


@pytest.mark.usefixtures("_hasty")
def test_garbage_is_no_answer(sock: Path, address: Address) -> None:
    known = pytest.raises(UnreachableError, match="is no relctld that is known here")
    with FakeDaemon(sock, garbage), Client(address) as client, known:
        client.ask("status", {})


@pytest.mark.usefixtures("_hasty")
def test_a_word_now_and_then_is_enough_to_wait_for_long(sock: Path, address: Address) -> None:
    def script(request: Request) -> Iterator[Said]:
        if len(daemon.requests) < 8:
            yield Progress(request.id, {"accepted": True})  # joined: each repeat is heard, the end is not there yet
        else:
            yield Reply(request.id, {"done": True})

    with FakeDaemon(sock, script) as daemon, Client(address) as client:
        began = time.monotonic()
        assert client.ask("stop", {}) == {"done": True}
    assert time.monotonic() - began > module.SILENCE


def test_the_deadline_ends_the_waiting_and_tells_whether_it_was_accepted(sock: Path, address: Address) -> None:
    def accepts(request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"accepted": True})

    for script, accepted in ((accepts, True), (silence, False)):
        with FakeDaemon(sock, script), Client(address) as client, pytest.raises(TimeUpError) as caught:
            client.ask("stop", {}, deadline=time.monotonic() + 0.3)
        assert caught.value.accepted is accepted


@pytest.mark.usefixtures("_hasty")
def test_a_late_reply_to_another_question_is_passed_over(sock: Path, address: Address) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield Reply("0" * 32, {"wrong": True})
        yield Reply(request.id, {"right": True})

    with FakeDaemon(sock, script), Client(address) as client:
        assert client.ask("status", {}) == {"right": True}


@pytest.mark.usefixtures("_hasty")
def test_a_follower_waits_for_the_daemon_and_says_so_once(sock: Path, address: Address) -> None:
    said: list[str] = []
    daemon = FakeDaemon(sock, result(up=True))
    daemon.start()
    with Client(address) as client:
        follower = Follower(client, said.append)
        assert follower.ask("status", {}) == {"up": True}
        daemon.stop()
        assert wait_until(lambda: follower.ask("status", {}) is None)
        assert follower.ask("status", {}) is None
        assert follower.away == f"relctld is not running (no one listens on {sock})"
        daemon.start()
        assert wait_until(lambda: follower.ask("status", {})) == {"up": True}
        daemon.stop()
    assert said == [f"relctld is not running (no one listens on {sock}); waiting for it", "relctld is back"]


def test_a_follower_does_not_wait_for_who_was_never_there(sock: Path, address: Address) -> None:
    daemon = FakeDaemon(sock, silence)
    daemon.start()
    with Client(address) as client:
        daemon.stop()
        with pytest.raises(UnreachableError):
            Follower(client, print).ask("status", {})
