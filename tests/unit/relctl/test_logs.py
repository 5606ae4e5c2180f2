"""logs: every byte, once, in order."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

from relctl.loglines import Lines
from relctl.logsource import Part, Window
from relctld.wire.messages import Reply, Request
from tests.unit.relctl.conftest import Relctl
from tests.unit.relctl.fake import FakeDaemon, Said, Script
from tests.unit.relctl.samples import data
from tests.waiting import wait_until

EVERY_BYTE = bytes(range(256)) + b"\n" + "café\n".encode()


def growing(text: bytearray, chunk: int = 1 << 18) -> Script:
    """Serves a log that a test appends to; the last lines first, then what came after the cursor."""

    def script(request: Request) -> Iterator[Said]:
        if "cursor" in request.args:
            start = request.args["cursor"]["offset"]
        else:
            start = len(text) - len(b"".join(bytes(text).splitlines(keepends=True)[-request.args["lines"] :]))
        part = bytes(text[start : start + chunk])
        end = start + len(part)
        yield Reply(request.id, data(part, end, more=end < len(text)))

    return script


def test_bytes_pass_unchanged(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, growing(bytearray(EVERY_BYTE + b"no end"))), relctl.popen("logs", "web") as process:
        assert process.communicate(timeout=20) == (EVERY_BYTE + b"no end", b"")
    assert process.returncode == 0


def test_how_many_lines(relctl: Relctl, sock: Path) -> None:
    text = bytearray(b"".join(b"%d\n" % n for n in range(500)))
    with FakeDaemon(sock, growing(text)) as daemon:
        assert relctl("logs", "web", "-n", "2").out == "498\n499\n"
        assert relctl("logs", "web").out.count("\n") == 100
        relctl("logs", "web", "-n", "0")
        assert daemon.requests[-1].args["lines"] == 0


def test_long_answers_come_in_pieces(relctl: Relctl, sock: Path) -> None:
    text = bytearray(b"x" * 999 + b"\n") * 100
    with FakeDaemon(sock, growing(text, chunk=7000)):
        assert relctl("logs", "web").out == text.decode()


def test_lines_of_several_releases_bear_their_names(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, growing(bytearray(b"one\ntwo"), chunk=5)):
        done = relctl("logs", "web", "api-2")
    assert done.out == "web   | one\napi-2 | one\nweb   | two\napi-2 | two\n"


def test_lines_of_several_releases_are_in_the_order_of_time(relctl: Relctl, sock: Path) -> None:
    logs = {"web": (b"one\nfour\n", [[0, 1], [4, 4]]), "api": (b"two\nthree\n", [[0, 2], [4, 3]])}

    def script(request: Request) -> Iterator[Said]:
        text, stamps = logs[request.args["release"]]
        yield Reply(request.id, data(text, len(text)) | {"stamps": stamps})

    with FakeDaemon(sock, script):
        assert relctl("logs", "web", "api").out == "web | one\napi | two\napi | three\nweb | four\n"


def test_grep_sees_whole_lines(relctl: Relctl, sock: Path) -> None:
    script = growing(bytearray(b"an error\nfine\nerror \xff\n"), chunk=6)
    with FakeDaemon(sock, script) as daemon, relctl.popen("logs", "web", "--grep", "^err|an e") as process:
        assert process.communicate(timeout=20)[0] == b"an error\nerror \xff\n"
    assert daemon.requests[0].args["lines"] == 10_000


def test_json_keeps_the_very_bytes(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, growing(bytearray(b"caf\xc3\xa9\n\xff\x1b\n"))):
        lines = [json.loads(line) for line in relctl("logs", "web", "--json").out.splitlines()]
    assert lines[0] == {"release": "web", "line": "café"}
    assert lines[1]["line"] == "\ufffd\x1b"
    assert base64.b64decode(lines[1]["base64"]) == b"\xff\x1b"


def test_following_misses_nothing_across_a_restart_and_ends_well(relctl: Relctl, sock: Path) -> None:
    text = bytearray(b"one\n")
    daemon = FakeDaemon(sock, growing(text))
    daemon.start()
    with relctl.popen("logs", "web", "-f") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"one\n"
        text += b"two\n"
        assert process.stdout.readline() == b"two\n"
        daemon.stop()
        gone = f"relctl: relctld is not running (no one listens on {sock}); waiting for it\n"
        assert process.stderr.readline().decode() == gone
        text += b"three\n"
        daemon.start()
        assert process.stderr.readline() == b"relctl: relctld is back\n"
        assert process.stdout.readline() == b"three\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    daemon.stop()
    assert process.returncode == 0


def test_a_reader_who_goes_away_ends_it_quietly_even_when_nothing_comes(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, growing(bytearray(b"one\n"))), relctl.popen("logs", "web", "-f") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"one\n"
        process.stdout.close()
        wait_until(lambda: process.poll() is not None, what="the end of relctl")
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_reader_of_one_line_of_many(relctl: Relctl, sock: Path) -> None:
    script = growing(bytearray(b"x" * 99 + b"\n") * 10_000)
    with FakeDaemon(sock, script), relctl.popen("logs", "web", "-n", "10000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_full_disk_is_an_error(relctl: Relctl, sock: Path) -> None:
    with FakeDaemon(sock, growing(bytearray(b"one\n"))), Path("/dev/full").open("wb") as full:
        done = relctl("logs", "web", stdout=full)
    assert done == (1, "", "relctl: cannot logs web: cannot write the output: No space left on device\n")


class Endless:
    """A log that is one line, and goes on."""

    def __init__(self) -> None:
        self.parts = 3

    def begin(self, window: Window) -> None: ...

    def read(self, *, stamped: bool) -> Part | None:
        self.parts -= 1
        return Part(b"x" * (1 << 20), [], more=self.parts > 0)


def test_a_line_that_does_not_end_is_not_kept_for_ever() -> None:
    lines = Lines(Endless(), lambda _, line: line, None, stamped=False)
    shown = [line for _, line in [*lines.new(), *lines.end()]]
    assert len(b"".join(shown)) == 3 << 20
    assert len(shown) == 2
