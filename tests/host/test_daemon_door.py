"""Strange frames, strange clients (CONTRACT, *Wire*): each is answered or ignored, and the daemon is unharmed."""

import json
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from relctld.wire.messages import MAX_FRAME, OPS
from tests.asking import Asker
from tests.fakes import fake
from tests.running import Fleet, Relctld
from tests.waiting import wait_until

pytestmark = pytest.mark.host

ID = "0123456789abcdef0123456789abcdef"
WRONG: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1 << 80,
    "",
    "nosuch",
    "../../etc",
    "x" * 100_000,
    [],
    [1],
    [None],
    [[]],
    {},
]
"""Values that no argument can be; some of them some arguments can."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relctld]:
    folder = tmp_path_factory.mktemp("door")
    with Fleet(folder) as fleet:
        daemon = fleet({"web": fake(folder / "web")})
        daemon.wait_for("web", state="running")
        yield daemon


@pytest.fixture
def unharmed(daemon: Relctld) -> Iterator[Relctld]:
    """Same process, same VM, an answer, no surprise logged, nothing kept open."""
    process, vm = psutil.Process(daemon.pid), daemon.wait_for("web", state="running")["pid"]
    fds, threads, said = process.num_fds(), process.num_threads(), len(daemon.said())
    yield daemon
    assert daemon.status("web")["pid"] == vm
    assert "surprise" not in daemon.said()[said:]
    # SQLite keeps the fds of readers for the next ones: as many as there are readers at once.
    wait_until(lambda: process.num_fds() <= fds + 64, what=lambda: f"{process.num_fds()} fds to be {fds} again")
    assert process.num_threads() <= threads + 64


def frame(**changes: Any) -> bytes:
    return json.dumps({"v": 1, "id": ID, "op": "status", "args": {}} | changes).encode()


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"hello",
    "half": frame()[:-1],
    "an array": b"[1,2]",
    "a number": b"1",
    "null": b"null",
    "NaN": b"NaN",
    "NaN within": frame().replace(b"{}", b'{"names": NaN}'),
    "bad UTF-8": b'{"v": 1, "id": "\xff\xfe", "op": "status"}',
    "surrogates": frame().replace(b'"status"', b'"\\ud800"'),
    "UTF-16": frame().decode().encode("utf-16"),
    "nested deeply": b"[" * 100_000 + b"]" * 100_000,
    "objects nested deeply": b'{"a":' * 100_000,
    "a huge number": frame().replace(b'"v": 1', b'"v": ' + b"9" * 5000),
    "a huge exponent": frame().replace(b'"v": 1', b'"v": 1e400'),
    "duplicate keys": frame().replace(b'"v": 1', b'"v": 1, "v": 2'),
    "NULs": b"\x00" * 1000,
    "as long as may be": b" " * MAX_FRAME,
    "no id": frame(id=None),
    "a short id": frame(id="abc"),
    "an id in capitals": frame(id=ID.upper()),
    "an id that is a list": frame(id=[ID]),
}
REFUSED: dict[str, bytes] = {
    "no version": frame(v=None),
    "a later version": frame(v=2),
    "a version in words": frame(v="1"),
    "an unknown operation": frame(op="explode"),
    "a private operation": frame(op="__init__"),
    "no operation": frame(op=None),
    "an operation that is a list": frame(op=["status"]),
    "args that are a list": frame(args=[]),
    "args that are null": frame(args=None),
    "args in words": frame(args="all"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_frame_without_an_id_gets_silence(unharmed: Relctld, kind: str) -> None:
    with Asker(unharmed.socket) as asker:
        asker.send(MALFORMED[kind])
        assert asker.ask("daemon-status", id="f" * 32)["result"]["pid"] == unharmed.pid


@pytest.mark.parametrize("kind", REFUSED)
def test_a_frame_with_an_id_is_refused(unharmed: Relctld, kind: str) -> None:
    with Asker(unharmed.socket) as asker:
        asker.send(REFUSED[kind])
        answer = asker.reply(ID)
        assert (answer["v"], answer["ok"], answer["error"]["kind"]) == (1, False, "usage")


def test_several_frames_at_once(unharmed: Relctld) -> None:
    with Asker(unharmed.socket) as asker:
        asker.send(b"", b"", b"")
        asker.send(b"x" * 300, frame())
        asker.send(*[b"y"] * 1000)
        asker.send(frame(), b"")
        assert asker.ask("daemon-status", id="f" * 32)["ok"]


def test_a_frame_over_the_limit_costs_its_sender_the_connection_only(unharmed: Relctld) -> None:
    with Asker(unharmed.socket) as big, Asker(unharmed.socket) as other:
        assert other.ask("daemon-status")["ok"]
        memory = psutil.Process(unharmed.pid).memory_info().rss
        for _ in range(10):
            big.send(b"x" * (MAX_FRAME + 1))
        big.send(b"x" * (64 << 20))
        assert other.ask("daemon-status")["ok"]
        assert psutil.Process(unharmed.pid).memory_info().rss < memory + (32 << 20)


@pytest.mark.parametrize("op", [op for op in OPS if op not in ("daemon-stop", "daemon-reexec")])
def test_arguments_of_wrong_types(unharmed: Relctld, op: str) -> None:
    """Every argument with every wrong value: answered each, with a refusal or what is true; nothing is stopped."""
    keys = [
        "names",
        "release",
        "all",
        "wait",
        "lines",
        "cursor",
        "end",
        "crash",
        "stamps",
        "since",
        "until",
        "after",
        "limit",
        "n",
        "plan",
        "stop_removed",
    ]
    with Asker(unharmed.socket) as asker:
        ids = set()
        for key in keys:
            for value in WRONG:
                release = {"release": "web"} if op in ("logs", "crashes") and key != "release" else {}
                if op in ("start", "stop", "restart") and (key, value) == ("all", True):
                    continue
                ids.add(asker.request(op, {**release, key: value}))
        for cursor in ({"after": 1, "offset": "x"}, {"after": "", "offset": -5}, {"after": "", "offset": 1 << 70},
                       {"after": "", "offset": 0, "head": [1]}, {"after": "", "offset": 0, "head": [1 << 70, "x"]},
                       {"after": "", "offset": 0, "head": [-1, 0]}):  # fmt: skip
            ids.add(asker.request(op, {"release": "web", "cursor": cursor}))
        while ids:
            answer = asker.receive(30)
            assert answer is not None, f"{len(ids)} without an answer"
            if "progress" not in answer:
                ids.discard(answer["id"])
                kind = answer.get("error", {}).get("kind")
                busy = kind == "busy" and op in ("upgrade", "downgrade")  # one of those before is looked at
                assert busy or kind in (None, "usage", "unknown-release", "impossible"), answer


def test_a_thousand_random_frames(unharmed: Relctld) -> None:
    chance = random.Random(20261122)
    memory = psutil.Process(unharmed.pid).memory_info().rss
    with Asker(unharmed.socket) as asker:
        for _ in range(1000):
            data = bytearray(
                frame(
                    op=chance.choice(
                        [op for op in OPS if op not in ("stop", "restart", "daemon-stop", "daemon-reexec")]
                    )
                )
            )
            match chance.randrange(4):
                case 0:
                    data = bytearray(chance.randbytes(chance.randrange(2000)))
                case 1:
                    for _ in range(chance.randrange(1, 6)):
                        data[chance.randrange(len(data))] = chance.randrange(256)
                case 2:
                    del data[chance.randrange(len(data)) :]
                case 3:
                    at = chance.randrange(len(data))
                    data[at:at] = chance.choice([b"{", b"}", b'"', b"\\", b"\x00", b"[[[[", b"1e999", b"null"])
            asker.send(bytes(data))
        assert asker.ask("daemon-status", id="f" * 32, timeout=60)["ok"]
    assert psutil.Process(unharmed.pid).memory_info().rss < memory + (16 << 20)


def test_a_client_that_never_reads_delays_nobody(unharmed: Relctld) -> None:
    with Asker(unharmed.socket) as mute, Asker(unharmed.socket) as asker:
        for _ in range(3000):
            mute.request("status")
        assert asker.ask("daemon-status", timeout=30)["ok"]


def test_bytes_that_are_no_zeromq(unharmed: Relctld) -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, os.urandom(4096)):
        for path in ("control.sock", "events.sock"):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(unharmed.run_dir / path))
                raw.sendall(data)


def test_two_hundred_connections(unharmed: Relctld) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
    sockets = [context.socket(zmq.DEALER) for _ in range(200)]
    try:
        for number, each in enumerate(sockets):
            each.linger = 0
            each.connect(f"ipc://{unharmed.socket}")
            each.send(frame(id=f"{number:032x}"))
        for number, each in enumerate(sockets):
            assert each.poll(30_000), f"no answer to client {number}"
            assert json.loads(each.recv())["id"] == f"{number:032x}"
    finally:
        context.destroy(linger=0)


def test_a_subscriber_that_never_reads_delays_nobody(unharmed: Relctld) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as deaf:
        deaf.linger, deaf.rcvhwm = 0, 1
        deaf.subscribe(b"")
        deaf.connect(f"ipc://{unharmed.run_dir / 'events.sock'}")
        for _ in range(200):
            unharmed.ask("start", {"names": ["web"]})
        assert unharmed.status("web")["state"] == "running"


def test_subscribers_may_send_anything(unharmed: Relctld) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as odd:
        odd.linger = 0
        odd.connect(f"ipc://{unharmed.run_dir / 'events.sock'}")
        for body in (b"", b"\x01", b"\x00", b"\x02x", b"\x01" * 1000, b"\x01" + b"release/" * 1000, os.urandom(500)):
            odd.send(body)
        assert unharmed.ask("daemon-status")["pid"] == unharmed.pid


def test_a_path_that_is_no_release(unharmed: Relctld, tmp_path: Path) -> None:
    with Asker(unharmed.socket) as asker:
        for name in ("../web", "web/../../x", "/etc/passwd", "web\x00", ".", ""):
            assert asker.ask("logs", {"release": name})["error"]["kind"] == "unknown-release"
