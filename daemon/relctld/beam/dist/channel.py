"""One connection to a node: dial, handshake, then frames both ways and ticks. Knows nothing of calls.

Rule 1: a peer that does not read costs us MAX_UNSENT bytes and one request; one that sends nonsense is cut off; one
        that floods is read at a walking pace, and TCP makes it wait.
Rule 2: a node drops a peer that is silent for net_ticktime, 60 s if not set shorter: we answer each tick, and tick
        ourselves where nothing was sent from one beat (`beat`) to the next.
Rule 3: the end is told once; what is sent after it is refused.
Rule 4: a hundred of them must not show: a transport of our own where there is no TLS (`tcp`), one buffer to read into.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

from relctld.beam.dist import beat, tcp
from relctld.beam.dist.frames import TICK, Message, Receiver
from relctld.beam.dist.handshake import Cookie, Handshake, Peer
from relctld.beam.dist.refusals import LinkRefused, Refusal

MAX_UNSENT = 1 << 20  # bytes
BUFFER = 16 << 10  # bytes read at a time: to decode them holds the loop for some milliseconds at most
BREATH = 0.005  # seconds without reading after each full buffer, or one that took as long
SHARE = 4  # times as long as it took, if that is more: who floods us has a fifth of our time


class ChannelError(Exception):
    """Nothing can be sent."""


class LinkLost(ChannelError):  # noqa: N818  # reads as the sentence it is
    """The connection ended, with all that was awaited on it."""


class LinkBusy(ChannelError):  # noqa: N818
    """The node does not read what was sent before."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node and the way to it. `own` is the name that we bear there, NAME@HOST.

    The node makes an atom of `own` and never forgets it: use one name per target, for ever. `evict` takes the
    place of whoever is connected there under this name.
    """

    node: str
    host: str
    port: int
    cookie: Cookie
    own: str
    tls: ssl.SSLContext | None = None
    evict: bool = False


class Holder(Protocol):
    """Whose a channel is."""

    def delivered(self, got: Message) -> None:
        """A message came."""

    def ended(self, why: str) -> None:
        """The connection is no more; told once."""


class Channel(asyncio.BufferedProtocol):
    """See the module. `lost`: why the connection ended, None as long as it did not."""

    __slots__ = (
        "_handshake", "_holder", "_node", "_receiver", "_sent", "_transport", "_up", "_why", "creation", "lost", "peer",
    )  # fmt: skip

    _buffer = memoryview(bytearray(BUFFER))  # of all: a transport reads into it and tells us in one go

    def __init__(self, target: Target, max_frame: int, holder: Holder) -> None:
        self.lost: str | None = None
        self.peer: asyncio.Future[Peer] | None = asyncio.get_running_loop().create_future()
        """The end of the handshake; None once it was taken, and so is the handshake: a link lives long."""
        self.creation = secrets.randbelow((1 << 32) - 4) + 4  # new each time, so that no late answer can match
        self._handshake: Handshake | None = Handshake(
            target.own, target.node, target.cookie, self.creation, secrets.randbits(32),
            length_size=4 if target.tls else 2, evict=target.evict,
        )  # fmt: skip
        self._node, self._holder = target.node, holder
        self._receiver = Receiver(max_frame)
        self._transport: asyncio.Transport | None = None
        self._up = False  # the handshake is over
        self._sent = False  # anything since the last beat
        self._why = "the node closed the connection"

    def send(self, data: bytes) -> None:
        """Queue frames. Raises LinkLost, LinkBusy."""
        if self._transport is None or self.lost is not None:
            raise LinkLost(f"cannot send to {self._node}: {self.lost or 'no link yet'}")
        unsent = self._transport.get_write_buffer_size()
        if unsent > MAX_UNSENT:
            raise LinkBusy(f"cannot send to {self._node}: it does not read, {unsent} bytes wait for it")
        self._sent = True
        self._transport.write(data)

    def close(self, why: str) -> None:
        """End the connection now; what was not sent yet is dropped."""
        if self._transport and not self._transport.is_closing():
            self._why = why
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection, and TLS where it is used, are there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        assert self._handshake is not None
        transport.write(self._handshake.hello())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 a guess
        """Where the peer's bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """They are there. Who sends more than a buffer at a time has to let others speak."""
        begun = time.monotonic()
        self._take(bytes(self._buffer[:nbytes]))
        took = time.monotonic() - begun
        if (nbytes == BUFFER or took > BREATH) and self._transport and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(max(BREATH, SHARE * took), self._read_on)

    def _read_on(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def _take(self, data: bytes) -> None:
        if not self._up:
            data = self._shake(data)
        try:
            received = self._receiver.receive(data)
        except ValueError as error:
            self.close(f"the node sent what we do not take: {error}")
            return
        for item in received:
            if isinstance(item, Message):
                self._holder.delivered(item)
            else:
                self._tick()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whomever."""
        beat.of_the_loop().leave(self)
        if self.peer is not None and self._handshake is not None and not self.peer.done():
            refused = self._handshake.closed()
            if isinstance(exc, ssl.SSLError):
                refused = LinkRefused(Refusal.TLS, f"cannot link to {self._node}: TLS: {tls_reason(exc)}")
            self.peer.set_exception(refused)
        self.lost = f"{self._why}: {exc}" if exc else self._why
        self._holder.ended(self.lost)

    def _shake(self, data: bytes) -> bytes:
        """Goes on with the handshake; what is left for after it."""
        assert self._transport is not None
        assert self._handshake is not None
        assert self.peer is not None
        self._transport.write(self._handshake.receive(data))
        outcome = self._handshake.outcome
        if isinstance(outcome, Peer):
            self._up = True
            beat.of_the_loop().join(self)
            if not self.peer.done():
                self.peer.set_result(outcome)
            return self._handshake.rest
        if outcome and not self.peer.done():
            self.peer.set_exception(outcome)
            self.close("refused")
        return b""

    async def shaken(self) -> Peer:
        """The peer, once it is one. Raises LinkRefused."""
        assert self.peer is not None
        peer = await self.peer
        self.peer = self._handshake = None
        return peer

    def silent(self, seconds: float) -> LinkRefused:
        """What it means that the peer said nothing more for so long."""
        if self._handshake is not None:
            return self._handshake.silent(seconds)
        return LinkRefused(Refusal.NO_ANSWER, f"cannot link to {self._node}: it answers no more (waited {seconds:g} s)")

    def beat(self) -> None:
        """Time passes."""
        if not self._sent:
            self._tick()
        self._sent = False

    def _tick(self) -> None:
        assert self._transport
        if self._transport.get_write_buffer_size() == 0:  # else what waits there is a sign of life itself
            self._sent = True
            self._transport.write(TICK)


async def dial(target: Target, channel: Channel, seconds: float) -> Peer:
    """Connect `channel` within `seconds`. Raises LinkRefused, and then the connection is closed."""
    cannot = f"cannot link to {target.node} at {target.host}:{target.port}"
    connected = False
    try:
        async with asyncio.timeout(seconds):
            sock = await tcp.connected(target.host, target.port)
            if target.tls is None:
                tcp.Tcp(sock, channel)
            else:
                await asyncio.get_running_loop().create_connection(
                    lambda: channel, sock=sock, ssl=target.tls, server_hostname=target.node.partition("@")[2]
                )
            connected = True
            return await channel.shaken()
    except TimeoutError as error:
        if connected:
            raise channel.silent(seconds) from error
        reach = "no answer, or none in TLS," if target.tls else "no answer"
        raise LinkRefused(Refusal.NO_ANSWER, f"{cannot}: {reach} within {seconds:g} s") from error
    except ConnectionRefusedError as error:
        raise LinkRefused(Refusal.CONNECTION_REFUSED, f"{cannot}: nobody listens there") from error
    except ssl.SSLError as error:
        raise LinkRefused(Refusal.TLS, f"{cannot}: TLS: {tls_reason(error)}") from error
    except ConnectionError as error:  # while it connects: TCP itself refuses, it does not reset
        raise LinkRefused(Refusal.TLS if target.tls else Refusal.CLOSED, f"{cannot}: it closed at once") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise LinkRefused(Refusal.NO_ANSWER, f"{cannot}: {why.lower()}") from error
    finally:
        if channel.peer is not None:
            channel.close("given up")


def tls_reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).lower().replace("_", " ")
