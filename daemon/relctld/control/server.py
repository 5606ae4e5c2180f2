"""Frames in, frames out: requests to handlers, their answers back, events to those who may see them.

Rule 1: whatever comes in, the loop is held no longer than one frame takes; a bad frame gets an error or silence.
Rule 2: (uid, id) names a request. A repeat of one that changes something joins it: it is never carried out twice.
Rule 3: nothing is awaited towards a client. A slow one loses frames at ZeroMQ's limit, nobody else does.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
import zmq

from relctld.control.access import NEEDS, Peer
from relctld.control.doorkeeper import Doorkeeper
from relctld.control.operations import LOST, Key, Operation, Operations
from relctld.failpoints import Failpoint, reach
from relctld.wire.codec import FrameError, decode_request, encode_progress, encode_reply
from relctld.wire.messages import DAEMON_TOPIC, Problem, Progress, Reply, Request, release_topic

log = structlog.get_logger()

_FRAMES_A_TURN = 8
_LONGEST_TOPIC = 256
_AFTER_SURPRISE = 0.1
_REPEATABLE = frozenset({
    "status", "logs", "events", "crashes", "versions", "daemon-status", "remote-input", "remote-resize", "remote-close",
})  # fmt: skip
"""Operations that change nothing, or know their own repeats: they are simply answered again."""


class RefusedError(Exception):
    """A request that is not carried out; `problem` is what the client is told."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(kind, message, hint)


SendProgress = Callable[[dict[str, Any]], None]
Handle = Callable[[Request, Peer, SendProgress], Awaitable[dict[str, Any]]]
"""Carries out a request; raises RefusedError. The last argument sends a word on it meanwhile."""


class Server:
    """Serves the two sockets on the loop."""

    def __init__(
        self, control: "zmq.Socket[bytes]", events: "zmq.Socket[bytes]", handle: Handle, doorkeeper: Doorkeeper
    ) -> None:
        self._doorkeeper = doorkeeper
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self.operations = Operations()
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self.serve(control, events)

    def serve(self, control: "zmq.Socket[bytes]", events: "zmq.Socket[bytes]") -> None:
        """Listen on these two; `shut` comes before another pair."""
        self._control, self._events = control, events
        self._loop.add_reader(_number(control, zmq.FD), self._control_ready)
        self._loop.add_reader(_number(events, zmq.FD), self._events_ready)
        self._loop.call_soon(self._control_ready)
        self._loop.call_soon(self._events_ready)

    def shut(self) -> None:
        """Close both endpoints; operations go on, and a client that asks again is told of them."""
        for endpoint in (self._control, self._events):
            self._loop.remove_reader(_number(endpoint, zmq.FD))
            endpoint.close()

    def take_over(self, kept: Iterable[Any], renewed: dict[str, Any]) -> None:
        """Go on with what a former self was asked for. `renewed`: the answer to who asked for its re-exec."""
        for key, operation in self.operations.take_over(kept):
            request, peer = Request(key.id, operation.op, operation.args), Peer(key.uid, -1, -1)
            if operation.op == "daemon-reexec":
                self._answered(key, operation, Reply(key.id, renewed))
            elif operation.op in LOST:
                why = "relctld was renewed while it was under way: what became of it is not known"
                self._answered(key, operation, Reply(key.id, problem=Problem("failed", why)))
            else:
                self._start(key, operation, request, peer)

    async def settle(self, seconds: float) -> None:
        """Let those who only look have their answers, as far as that takes no longer than this."""
        looking = [task for task in self._tasks if task.get_name().removeprefix("request ") in _REPEATABLE]
        if looking:
            await asyncio.wait(looking, timeout=seconds)

    async def close(self, patience: float = 1.0) -> None:
        """Wait shortly for replies on their way, then close both endpoints."""
        if self._tasks and patience > 0:
            await asyncio.wait(self._tasks, timeout=patience)
        for task in tuple(self._tasks):
            task.cancel()
        self.closed = True
        self.shut()

    def publish(self, release: str | None, event: dict[str, Any]) -> None:
        """Send a notice to those who listen."""
        topic = DAEMON_TOPIC if release is None else release_topic(release)
        body = json.dumps(event, ensure_ascii=False, default=str, separators=(",", ":")).encode("utf-8", "replace")
        self._send(self._events, [topic, body])
        self._loop.call_soon(self._events_ready)

    # -- control -------------------------------------------------------------------------------

    def _control_ready(self) -> None:
        self._drain(self._control, self._control_ready, self._received)

    def _drain(
        self, endpoint: "zmq.Socket[bytes]", again: Callable[[], None], take: Callable[[list[zmq.Frame]], None]
    ) -> None:
        """ZeroMQ's fd is edge-triggered: read until nothing is left, and look again after each send.

        A surprise must not end that, or the endpoint is deaf for good: there would be no further edge.
        """
        if endpoint.closed:
            return
        try:
            for _ in range(_FRAMES_A_TURN):
                if not _number(endpoint, zmq.EVENTS) & zmq.POLLIN:
                    return
                take(endpoint.recv_multipart(zmq.NOBLOCK, copy=False))
        except Exception:
            log.exception("surprise", cause="a frame")
            self._loop.call_later(_AFTER_SURPRISE, again)
        else:
            self._loop.call_soon(again)

    def _received(self, frames: list[zmq.Frame]) -> None:
        *route, body = frames
        path = tuple(frame.bytes for frame in route)
        peer = Peer.of(str(_property(body, "Peer-Address")))
        try:
            request = decode_request(body.bytes)
        except FrameError as error:
            log.debug("frame.bad", error=str(error), uid=peer.uid if peer else None)
            if error.id is not None:
                self._reply(path, encode_reply(Reply(error.id, problem=Problem("usage", str(error)))))
            return
        if peer is None or not self._doorkeeper.allows(peer, request.op):
            self._reply(path, encode_reply(Reply(request.id, problem=_denied(peer, request.op))))
            return
        self._begin(path, request, peer)

    def _begin(self, path: tuple[bytes, ...], request: Request, peer: Peer) -> None:
        key = Key(peer.uid, request.id)
        operation = self.operations.get(key)
        if operation is not None:
            operation.routes.add(path)
            self._reply(path, operation.reply or encode_progress(Progress(request.id, {"accepted": True})))
            return
        operation = Operation(request.op, request.args, self._loop.time())
        operation.routes.add(path)
        self.operations.begin(key, operation)
        self._start(key, operation, request, peer)

    def _start(self, key: Key, operation: Operation, request: Request, peer: Peer) -> None:
        task = self._loop.create_task(self._carry_out(key, operation, request, peer), name=f"request {request.op}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, key: Key, operation: Operation, request: Request, peer: Peer) -> None:
        def progress(body: dict[str, Any]) -> None:
            for route in operation.routes:
                self._reply(route, encode_progress(Progress(request.id, body)))

        try:
            reply = Reply(request.id, await self._handle(request, peer, progress))
        except RefusedError as error:
            reply = Reply(request.id, problem=error.problem)
        except asyncio.CancelledError:
            if self.closed:
                raise
            log.error("surprise", op=request.op, cause="cancelled")  # another's has strayed in: the client is told
            reply = Reply(request.id, problem=Problem("failed", "it was broken off", "look what became of it"))
        except Exception as error:
            log.exception("surprise", op=request.op)
            reply = Reply(request.id, problem=Problem("failed", f"relctld was surprised: {error!r}", "see its log"))
        self._answered(key, operation, reply)

    def _answered(self, key: Key, operation: Operation, reply: Reply) -> None:
        frame, changing = encode_reply(reply), operation.op not in _REPEATABLE
        self.operations.end(key, frame, self._loop.time(), remember=changing)  # first: who asks again is answered
        if changing:
            reach(Failpoint.BEFORE_REPLY)
        for route in operation.routes:
            self._reply(route, frame)
        if changing:
            reach(Failpoint.AFTER_REPLY)

    def _reply(self, path: tuple[bytes, ...], frame: bytes) -> None:
        self._send(self._control, [*path, frame])
        self._loop.call_soon(self._control_ready)

    def _send(self, endpoint: "zmq.Socket[bytes]", frames: list[bytes]) -> None:
        try:
            endpoint.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.debug("send.failed", error=str(error))

    # -- events --------------------------------------------------------------------------------

    def _events_ready(self) -> None:
        self._drain(self._events, self._events_ready, self._subscribed)

    def _subscribed(self, frames: list[zmq.Frame]) -> None:
        """XPUB_MANUAL: a subscription counts only when we repeat it, at once, for the peer it came from."""
        frame = frames[0]
        body = frame.bytes
        peer = Peer.of(str(_property(frame, "Peer-Address")))
        if body[:1] == b"\x00":
            self._events.setsockopt(zmq.UNSUBSCRIBE, body[1:])
        elif body[:1] == b"\x01" and len(body) <= _LONGEST_TOPIC and peer and self._doorkeeper.allows(peer, "events"):
            self._events.setsockopt(zmq.SUBSCRIBE, body[1:])


def _denied(peer: Peer | None, op: str) -> Problem:
    who = f"uid {peer.uid}" if peer else "somebody unknown"
    level = NEEDS[op].name.lower()
    hint = f"see [daemon.access] in relctld.toml: it takes {level}; who is new in a group has it from the next login on"
    return Problem("denied", f"{who} may not ask for {op}", hint)


def _number(endpoint: "zmq.Socket[bytes]", option: int) -> int:
    return int(endpoint.getsockopt(option))


def _property(frame: zmq.Frame, name: str) -> object:
    try:
        return frame.get(name)
    except zmq.ZMQError:
        return ""
