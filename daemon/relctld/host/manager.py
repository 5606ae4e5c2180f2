"""systemd's system manager over D-Bus: it makes a transient scope of a process.

Interface: org.freedesktop.systemd1(5), `StartTransientUnit`. Two ways lead there:

    the system bus   a connection is kept, and made anew when the bus was restarted; it is sent nothing unasked
    systemd itself   its own socket, which `systemctl` uses; while the bus is away. Not kept: who stays on it is sent
                     every signal of the manager

One question at a time: systemd answers them one after the other anyway. A way that was silent for `ANSWERED_WITHIN`
is not taken again for `AVOIDED_FOR`, so that those who wait behind need not find out each by themselves.
"""

import contextlib
import itertools
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, Message, MessageType, Parser, message_bus, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.io.blocking import prep_socket

ANSWERED_WITHIN: Final = 1.0
AVOIDED_FOR: Final = 10.0
_TURN_WITHIN: Final = 10.0
_SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
_OWN_SOCKET: Final = "/run/systemd/private"
_NAME: Final = "org.freedesktop.systemd1"
_MANAGER: Final = DBusAddress("/org/freedesktop/systemd1", _NAME, f"{_NAME}.Manager")
_EXISTS: Final = f"{_NAME}.UnitExists"

Properties = list[tuple[str, tuple[str, Any]]]
"""Names with values and their D-Bus types: `("TasksMax", ("t", 100))`."""


class ManagerError(Exception):
    """systemd cannot be asked, or refuses; the text says why."""


def is_running() -> bool:
    """Whether the host was booted by systemd: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


class Manager:
    """May be used by several threads."""

    def __init__(self, bus: str = _SYSTEM_BUS, own: str = _OWN_SOCKET) -> None:
        self._turn = threading.Lock()
        self._ways = (_Way(bus, keep=True), _Way(own, keep=False))

    def start_scope(self, name: str, properties: Properties) -> None:
        """Order a scope; it exists a moment later. One that exists already will do. Raises ManagerError. Blocks."""
        body: tuple[object, ...] = (name, "fail", properties, [])
        message = new_method_call(_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        if not self._turn.acquire(timeout=_TURN_WITHIN):
            raise ManagerError("systemd is too slow")
        try:
            self._ask(message)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let go of the connection. It may be used again."""
        with self._turn:
            for way in self._ways:
                way.close()

    def _ask(self, message: Message) -> None:
        """The next way is tried after a refusal too: that may be the bus's, which systemd has not joined again yet."""
        why = []
        for way in self._ways:
            try:
                reply = way.ask(message)
            except (OSError, AuthenticationError) as error:
                why.append(f"{way.path}: {str(error).lower() or type(error).__name__}")
                continue
            error_name = reply.header.fields.get(HeaderFields.error_name)
            if reply.header.message_type is not MessageType.error or error_name == _EXISTS:
                return
            why.append(f"{way.path}: {reply.body[0] if reply.body else error_name}")
        raise ManagerError(f"systemd makes no scope: {', '.join(why)}")


class _Way:
    """A socket, and the connection that is kept on it."""

    def __init__(self, path: str, *, keep: bool) -> None:
        self.path = path
        self._keep = keep
        self._connection: _Connection | None = None
        self._avoided_until = 0.0

    def ask(self, message: Message) -> Message:
        """Raises OSError, AuthenticationError."""
        now = time.monotonic()
        if now < self._avoided_until:
            raise TimeoutError("was silent a moment ago")
        try:
            return self._ask(message, now + ANSWERED_WITHIN)
        except TimeoutError:
            self._avoided_until = time.monotonic() + AVOIDED_FOR
            raise TimeoutError(f"no answer within {ANSWERED_WITHIN:g} s") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, message: Message, deadline: float) -> Message:
        if self._connection is not None:
            with contextlib.suppress(ConnectionError):  # the bus was restarted since: try it anew
                return self._call(message, deadline)
        self._connection = _Connection(self.path, deadline)
        if self._keep:  # only the bus has to be greeted
            self._call(message_bus.Hello(), deadline)
        reply = self._call(message, deadline)
        if not self._keep:
            self.close()
        return reply

    def _call(self, message: Message, deadline: float) -> Message:
        assert self._connection is not None
        try:
            return self._connection.call(message, deadline)
        except BaseException:
            self.close()
            raise


class _Connection:
    """jeepney's parts on a socket of ours: its own connections wait for their first answer without end."""

    def __init__(self, path: str, deadline: float) -> None:
        self._socket: socket.socket = prep_socket(path, timeout=_left(deadline))
        self._parser = Parser()
        self._serials = itertools.count(1)

    def call(self, message: Message, deadline: float) -> Message:
        """Send it and wait for its answer. Raises OSError."""
        serial = next(self._serials)
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(message.serialise(serial))
        while True:
            while (reply := self._parser.get_next_message()) is not None:
                if reply.header.fields.get(HeaderFields.reply_serial) == serial:
                    return reply
            self._socket.settimeout(_left(deadline))
            data = self._socket.recv(4096)
            if not data:
                raise ConnectionResetError("closed by the other side")
            self._parser.add_data(data)

    def close(self) -> None:
        self._socket.close()


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())
