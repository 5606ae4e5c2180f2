"""(uid, id) → operation: so that a request that is repeated joins what it began, also across a re-exec.

What is kept for a successor, as JSON:

    {"uid", "id", "op", "since", "reply": str}     answered: a repeat gets the same reply
    {"uid", "id", "op", "since", "args": {…}}      under way: the successor goes on with it

Of what is under way only `ENDURING` and `LOST` are kept. The rest did nothing that a repeat would do twice.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

REMEMBER: Final = 600.0
REMEMBER_AT_MOST: Final = 10_000
REMEMBER_BYTES: Final = 32 << 20
"""Of replies: those of `eval` can be long."""

ENDURING: Final = frozenset({"start", "stop", "restart", "upgrade", "downgrade", "daemon-reexec"})
"""Operations that a successor goes on with."""

LOST: Final = frozenset({"eval", "rpc"})
"""Operations that end with the daemon; a repeat must not do them twice, so it is told."""


class Key(NamedTuple):
    """Who asked, and the request's id."""

    uid: int
    id: str


class Operation:
    """A request under way or done: where its frames go, and its reply for those who ask again.

    `since`: when it came, then when it was answered.
    """

    __slots__ = ("args", "op", "reply", "routes", "since")

    def __init__(self, op: str, args: dict[str, Any], since: float) -> None:
        self.op = op
        self.args = args
        self.routes: set[tuple[bytes, ...]] = set()
        self.reply: bytes | None = None
        self.since = since


class Operations:
    """The table."""

    def __init__(self) -> None:
        self._table: OrderedDict[Key, Operation] = OrderedDict()

    def get(self, key: Key) -> Operation | None:
        """The operation that this request began, if it is remembered."""
        return self._table.get(key)

    def begin(self, key: Key, operation: Operation) -> None:
        """A request that is new."""
        self._table[key] = operation

    def end(self, key: Key, reply: bytes, now: float, *, remember: bool) -> None:
        """It is answered."""
        operation = self._table[key]
        operation.reply, operation.since, operation.args = reply, now, {}
        self._table.move_to_end(key)
        if not remember:
            del self._table[key]
        self._forget_old(now)

    def _forget_old(self, now: float) -> None:
        """Those without a reply stand before the others, and stay."""
        surplus = len(self._table) - REMEMBER_AT_MOST
        heavy = sum(len(operation.reply or b"") for operation in self._table.values()) - REMEMBER_BYTES
        old: list[Key] = []
        for key, operation in self._table.items():
            if operation.reply is not None:
                if len(old) >= surplus and heavy <= 0 and now - operation.since <= REMEMBER:
                    break
                old.append(key)
                heavy -= len(operation.reply)
        for key in old:
            del self._table[key]

    # -- for a successor -------------------------------------------------------------------------

    def to_keep(self) -> list[dict[str, Any]]:
        """What a successor must know."""
        return [_object(key, operation) for key, operation in self._table.items() if _is_kept(operation)]

    def take_over(self, kept: Iterable[Any]) -> Iterator[tuple[Key, Operation]]:
        """Fill the table of a successor; yields what was under way. What is damaged counts as absent."""
        for body in kept:
            match body:
                case {"uid": int(uid), "id": str(id), "op": str(op), "since": float(since), "reply": str(reply)}:
                    operation = Operation(op, {}, since)
                    operation.reply = reply.encode()
                    self._table[Key(uid, id)] = operation
                case {"uid": int(uid), "id": str(id), "op": str(op), "since": float(since), "args": dict(args)}:
                    operation = self._table[Key(uid, id)] = Operation(op, args, since)
                    yield Key(uid, id), operation


def _is_kept(operation: Operation) -> bool:
    return operation.reply is not None or operation.op in ENDURING | LOST


def _object(key: Key, operation: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {"uid": key.uid, "id": key.id, "op": operation.op, "since": operation.since}
    if operation.reply is not None:
        return {**body, "reply": operation.reply.decode()}
    return {**body, "args": operation.args if operation.op in ENDURING else {}}  # an eval's text is nobody's to read
