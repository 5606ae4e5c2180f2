"""`relctl remote` on a terminal of the test's own, and a daemon of a few lines."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from relctl import channel as module
from relctl.address import Address
from relctl.channel import Channel
from relctl.client import Client
from relctl.errors import CannotError, UnreachableError
from relctl.terminal import Keys
from relctld.wire.messages import Problem, Progress, Reply, Request
from tests.attached import Attached
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, problem, silence
from tests.waiting import wait_until

SESSION = "5" * 32


class Door(NamedTuple):
    socket: Path
    folder: Path
    environ: dict[str, str]


@pytest.fixture
def door(sock: Path, folder: Path, relctl: Relctl) -> Door:
    return Door(sock, folder, relctl.environ())


class Session:
    """A session that says what the test wants it to say, and keeps what it is told."""

    def __init__(self, room: int = 65536) -> None:
        self.room = room
        self.heard = b""
        self.to_say: list[dict[str, Any]] = []
        self.end: Reply | None = None
        self.asked: list[dict[str, Any]] = []
        self.scripts = {
            "remote": self.remote,
            "remote-input": self.input,
            "remote-resize": self.resize,
            "remote-close": self.close,
        }

    def remote(self, request: Request) -> Iterator[Said]:
        yield Progress(request.id, {"accepted": True})
        yield Progress(request.id, {"session": SESSION, "room": self.room})
        while self.end is None or self.to_say:
            while self.to_say:
                yield Progress(request.id, self.to_say.pop(0))
            yield 0.01
        yield self.end._replace(id=request.id)

    def input(self, request: Request) -> Iterator[Said]:
        self.asked.append(request.args)
        self.heard += base64.b64decode(request.args["data"])
        yield Reply(request.id, {"seq": request.args["seq"], "room": self.room})

    def resize(self, request: Request) -> Iterator[Said]:
        self.asked.append(request.args)
        yield Reply(request.id, {})

    def close(self, request: Request) -> Iterator[Said]:
        self.asked.append(request.args)
        yield Reply(request.id, {})

    def say(self, data: bytes, at: int) -> None:
        self.to_say.append({"data": base64.b64encode(data).decode(), "at": at})

    def ends(self, code: int | None = 0, signal: str | None = None) -> None:
        self.end = Reply("", {"code": code, "signal": signal})


def test_bytes_go_both_ways_as_they_are(door: Door) -> None:
    session = Session()
    with FakeDaemon(door.socket, session.scripts) as daemon, Attached(door, "web", size=(30, 90)) as shell:
        session.say(b"1> \xff\x00", 0)
        shell.shows("1> ")
        shell.type(b"a\x03\x1a\x00\xff\r")
        wait_until(lambda: session.heard == b"a\x03\x1a\x00\xff\r", what=lambda: str(session.heard))
        wait_until(lambda: session.asked[-1]["ack"] == 5, what="what was shown is acknowledged")
        session.say(b"bye", 5)
        session.ends()
        shell.shows("bye")
        assert (shell.ends(), shell.errors) == (0, "")
    assert daemon.requests[0].args == {"release": "web", "term": "xterm-256color", "rows": 30, "cols": 90}
    assert [args["seq"] for args in session.asked] == list(range(1, len(session.asked) + 1))


def test_another_size_is_told(door: Door) -> None:
    session = Session()
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        wait_until(lambda: shell.settings() != shell.before, what="the relay")
        shell.resize(40, 132)
        wait_until(lambda: {"session": SESSION, "rows": 40, "cols": 132} in session.asked, what="the size")
        session.ends()
        assert shell.ends() == 0


def test_no_more_is_sent_than_there_is_room_for(door: Door) -> None:
    session = Session(room=3)
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        wait_until(lambda: shell.settings() != shell.before, what="the relay")
        shell.type("abcdefgh")
        wait_until(lambda: session.heard == b"abcdefgh", what=lambda: str(session.heard))
        assert max(len(base64.b64decode(args["data"])) for args in session.asked) <= 3
        session.ends()
        assert shell.ends() == 0


def test_it_waits_for_room_until_there_is_some(door: Door) -> None:
    session = Session(room=0)
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        wait_until(lambda: shell.settings() != shell.before, what="the relay")
        shell.type("abc")
        session.say(b"x", 0)
        wait_until(lambda: session.asked, what="an acknowledgement")
        assert session.heard == b""
        session.room = 10
        session.to_say.append({"room": 10})
        wait_until(lambda: session.heard == b"abc", 20, what=lambda: str(session.heard))


@pytest.mark.parametrize(
    ("code", "signal", "told"), [(9, None, "the shell ended with exit code 9"), (None, "SIGKILL", "ended with SIGKILL")]
)
def test_a_shell_that_ends_otherwise(door: Door, code: int | None, signal: str | None, told: str) -> None:
    session = Session()
    session.ends(code, signal)
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        assert shell.ends() == 1
    assert told in shell.errors


def test_lost_output_is_an_error(door: Door) -> None:
    session = Session()
    session.say(b"abc", 7)
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        assert shell.ends() == 1
    assert shell.errors == "relctl: cannot remote web: a part of its output was lost\n"


def test_a_refusal_comes_before_the_terminal_is_touched(door: Door) -> None:
    refuses = problem("impossible", "it is not running", "relctl start web")
    with FakeDaemon(door.socket, refuses), Attached(door, "web") as shell:
        assert shell.ends() == 5
    assert shell.errors == "relctl: cannot remote web: it is not running\nrelctl: hint: relctl start web\n"
    assert shell.said == b""


def test_what_ends_it_in_between_is_told_on_a_line_of_its_own(door: Door) -> None:
    session = Session()
    session.say(b"1> ", 0)
    with FakeDaemon(door.socket, session.scripts), Attached(door, "web") as shell:
        shell.shows("1> ")
        session.end = Reply("", None, Problem("failed", "relctld is stopping"))
        assert shell.ends() == 1
        assert shell.said == b"\r\n"
    assert shell.errors == "relctl: cannot remote web: relctld is stopping\n"


def test_a_daemon_that_is_gone(door: Door) -> None:
    session = Session()
    daemon = FakeDaemon(door.socket, session.scripts)
    with daemon, Attached(door, "web") as shell:
        wait_until(lambda: shell.settings() != shell.before, what="the relay")
        daemon.stop()
        shell.type("x")
        assert shell.ends() == 4
    assert "cannot remote web: relctld is not running" in shell.errors


def test_tilde_dot_says_goodbye(door: Door) -> None:
    session = Session()
    with FakeDaemon(door.socket, session.scripts) as daemon, Attached(door, "web") as shell:
        wait_until(lambda: shell.settings() != shell.before, what="the relay")
        shell.type("~.")
        assert shell.ends() == 1
    assert "remote-close" in daemon.asked
    assert session.heard == b""


@pytest.mark.parametrize("words", [["remote"], ["remote", "web"], ["remote", "web", "api"]])
def test_what_is_not_asked_at_all(relctl: Relctl, sock: Path, words: list[str]) -> None:
    with FakeDaemon(sock, silence) as daemon:
        assert relctl(*words).code == 2
    assert daemon.requests == []


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant", "left"),
    [
        ([b"abc\r"], b"abc\r", False),
        ([b"~."], b"", True),
        ([b"~", b"."], b"", True),
        ([b"a\r~.b"], b"a\r", True),
        ([b"a\n", b"~", b"."], b"a\n", True),
        ([b"a~."], b"a~.", False),
        ([b"~~."], b"~.", False),
        ([b"~x~."], b"~x~.", False),
        ([b"~\r~."], b"~\r", True),
        ([b"\r~~\r~."], b"\r~\r", True),
        ([b"\r~", b"a", b"\r", b"~."], b"\r~a\r", True),
        ([b"~"], b"", False),
        ([b"a", b"~", b"."], b"a~.", False),
    ],
)
def test_the_way_out(typed: list[bytes], meant: bytes, left: bool) -> None:
    keys = Keys()
    taken = [keys.take(piece) for piece in typed]
    assert (b"".join(data for data, _ in taken), taken[-1][1]) == (meant, left)


# -- the channel -----------------------------------------------------------------------------------


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEAT", 0.2)
    monkeypatch.setattr(module, "SILENCE", 0.7)
    monkeypatch.setattr(module, "LONG_SILENCE", 0.7)


def listen(channel: Channel) -> dict[str, Any]:
    """The next thing that is heard."""
    while True:
        channel.wait({}, 0.1)
        for said in channel.hear():
            return said


@pytest.mark.usefixtures("_hasty")
def test_it_is_opened_once_however_often_it_must_be_asked_for(sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        if len(daemon.requests) == 3:
            yield Progress(request.id, {"session": SESSION})

    with FakeDaemon(sock, script) as daemon, Client(Address(str(sock), "--socket", given=True)) as client:
        assert listen(Channel(client, "remote", {"release": "web"})) == {"session": SESSION}
    assert len({request.id for request in daemon.requests}) == 1


@pytest.mark.usefixtures("_hasty")
def test_once_granted_only_what_is_unanswered_is_asked_again(sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        if request.op == "remote":
            yield Progress(request.id, {"session": SESSION})
        elif daemon.asked.count("remote-input") == 2:
            yield Reply(request.id, {"seq": 1})

    with FakeDaemon(sock, script) as daemon, Client(Address(str(sock), "--socket", given=True)) as client:
        channel = Channel(client, "remote", {})
        listen(channel)
        channel.grant()
        channel.wait({}, 0.5)
        assert list(channel.hear()) == []
        channel.post("remote-input", {"seq": 1})
        assert not channel.is_free
        assert listen(channel) == {"seq": 1}
        assert channel.is_free
    assert daemon.asked == ["remote", "remote-input", "remote-input"]
    assert daemon.requests[1] == daemon.requests[2]


@pytest.mark.usefixtures("_hasty")
def test_a_daemon_that_says_nothing_is_given_up(sock: Path) -> None:
    with FakeDaemon(sock, silence), Client(Address(str(sock), "--socket", given=True)) as client:
        channel = Channel(client, "remote", {})
        with pytest.raises(UnreachableError, match=r"relctld does not answer \(nothing for 0.7 s"):
            listen(channel)


def test_garbage_is_passed_over(sock: Path) -> None:
    def script(request: Request) -> Iterator[Said]:
        yield b"\xff"
        yield Reply("0" * 32, {"late": True})
        yield Reply(request.id, None, Problem("denied", "no"))

    with FakeDaemon(sock, script), Client(Address(str(sock), "--socket", given=True)) as client:
        channel = Channel(client, "remote", {})
        with pytest.raises(CannotError, match="no"):
            listen(channel)
