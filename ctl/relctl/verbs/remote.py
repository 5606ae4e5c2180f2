"""`relctl remote`: the release's own remote shell on the operator's terminal, by way of relctld."""

import base64
import os
import re
import signal
import time
from typing import Any, Final

import zmq

from relctl.channel import Channel
from relctl.client import Client
from relctl.errors import CannotError, UsageError
from relctl.terminal import Keys, Terminal
from relctl.verb import EXIT_DONE, Call, Parser, Verb

KEEPALIVE: Final = 3.0
"""Seconds after which the daemon hears of us, though there is nothing to say."""
CHUNK: Final = 16384
"""Bytes of input sent at once."""
AHEAD: Final = 65536
"""Bytes typed or pasted that are read before they can be sent."""
GOODBYE: Final = 1.0


def _arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")


def _remote(call: Call) -> int:
    release = call.options.release
    if release is None:
        raise UsageError("no release named", "relctl help remote")
    call.names = [release]
    if call.out.json:
        raise UsageError("a shell has no JSON", f"relctl --json eval {release} EXPR")
    terminal = Terminal()
    term = os.environ.get("TERM", "")
    rows, cols = terminal.size()
    asked = {"release": release, "term": term if re.fullmatch(r"[A-Za-z0-9._+-]{1,32}", term) else "dumb"}
    with Client(call.address()) as client:
        relay = Relay(Channel(client, "remote", {**asked, "rows": rows, "cols": cols}), terminal)
        relay.begin()
        with terminal:
            ended = relay.run()
    if ended.get("code") != 0:
        how = f"exit code {ended.get('code')}" if ended.get("signal") is None else str(ended["signal"])
        raise CannotError("failed", f"the shell ended with {how}")
    return EXIT_DONE


class Relay:
    """Between a terminal and a session: bytes as they are, and not more of them under way than the other side takes."""

    def __init__(self, channel: Channel, terminal: Terminal) -> None:
        self._channel = channel
        self._terminal = terminal
        self._keys = Keys()
        self._session = ""
        self._typed, self._room, self._seq = bytearray(), 0, 0
        self._output, self._heard = bytearray(), 0
        self._acknowledged = 0
        self._resized = False
        self._said = time.monotonic()

    def begin(self) -> None:
        """Return once the shell runs. Raises CannotError."""
        while not self._session and self._channel.result is None:
            self._channel.wait({}, KEEPALIVE)
            self._hear()
        self._channel.grant()

    def run(self) -> dict[str, Any]:
        """Relay until the shell has ended; how it ended. Raises CannotError."""
        while self._channel.result is None or self._output:
            self._say()
            ready = self._channel.wait(self._files(), self._patience())
            if self._terminal.bell in ready:
                self._signalled(self._terminal.signals())
            if self._terminal.keys in ready:
                self._type(self._terminal.read())
            self._hear()
            self._show()
        return self._channel.result

    def _patience(self) -> float:
        """Seconds until there is something to say, whatever happens."""
        if not self._channel.is_free or self._channel.result is not None:
            return KEEPALIVE
        return max(0.0, self._said + KEEPALIVE - time.monotonic())

    def _files(self) -> dict[int, int]:
        files: dict[int, int] = {self._terminal.bell: zmq.POLLIN}
        if len(self._typed) < AHEAD and self._channel.result is None:
            files[self._terminal.keys] = zmq.POLLIN
        if self._output:
            files[self._terminal.screen] = zmq.POLLOUT
        return files

    def _hear(self) -> None:
        for said in self._channel.hear():
            self._session = said.get("session") or self._session
            self._room = said.get("room", self._room)
            if "data" in said:
                if said.get("at") != self._heard:
                    raise CannotError("failed", "a part of its output was lost")
                data = base64.b64decode(said["data"])
                self._heard += len(data)
                self._output += data

    def _show(self) -> None:
        if self._output:
            try:
                del self._output[: self._terminal.write(bytes(self._output[:CHUNK]))]
            except OSError:
                self._leave("its terminal is gone")

    def _say(self) -> None:
        """What is due: the new size; else input, what was shown, or that we are still there."""
        if not self._channel.is_free or self._channel.result is not None:
            return
        if self._resized:
            self._resized = False
            rows, cols = self._terminal.size()
            self._channel.post("remote-resize", {"session": self._session, "rows": rows, "cols": cols})
            return
        data = bytes(self._typed[: min(self._room, CHUNK)])
        shown = self._heard - len(self._output)
        now = time.monotonic()
        if not data and shown == self._acknowledged and now < self._said + KEEPALIVE:
            return
        del self._typed[: len(data)]
        self._seq, self._acknowledged, self._said = self._seq + 1, shown, now
        text = base64.b64encode(data).decode("ascii")
        self._channel.post("remote-input", {"session": self._session, "seq": self._seq, "data": text, "ack": shown})

    def _type(self, typed: bytes) -> None:
        if not typed:
            self._leave("its terminal is gone")
        meant, leave = self._keys.take(typed)
        self._typed += meant
        if leave:
            self._leave("left by ~., and the shell was ended")

    def _signalled(self, numbers: set[int]) -> None:
        self._resized = self._resized or signal.SIGWINCH in numbers
        if ends := numbers - {signal.SIGWINCH}:
            self._leave(f"ended by {signal.Signals(min(ends)).name}")

    def _leave(self, why: str) -> None:
        """Say goodbye, for a moment at most, and raise CannotError."""
        try:
            end = time.monotonic() + GOODBYE
            self._channel.post("remote-close", {"session": self._session})
            while not self._channel.is_free and time.monotonic() < end:
                self._channel.wait({}, GOODBYE)
                for _ in self._channel.hear():
                    pass
        except CannotError:
            pass  # it is over, or nobody is there
        raise CannotError("failed", why)


_DESCRIPTION = """\
The shell that the release itself comes with (`bin/NAME remote` or
`remote_console`, `erl -remsh` where there is no script), run by relctld as the
release's user: nobody needs to read a cookie. It is on your terminal with its
size and its signals, so Ctrl-C and Ctrl-G are the shell's. Leave it as usual:
Ctrl-G q for Erlang's, Ctrl-C twice for Elixir's. `q().`, `init:stop().` and
`System.stop` stop the node.

When all hangs, ~. after a newline leaves, and ends the shell; ~~ is one ~
there.

Who attached, when and for how long stands in `relctl events`. Exit code 0 when
the shell ended normally."""

VERBS = {
    "remote": Verb(
        "remote",
        "Open a remote shell on the release's node",
        "RELEASE",
        _DESCRIPTION,
        _arguments,
        _remote,
    )
}
