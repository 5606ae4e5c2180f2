"""The inbox, `step`, and the one timer: all that happens to releases passes through `post`.

Rule 1: one event at a time, on the loop's thread, without an await: what the core decides is carried out before the
        next event is looked at.
Rule 2: the timer is armed once after each round, for the earliest deadline of all; so a stale timer cannot exist.
Rule 3: a surprise (a bug of ours) costs one event or one effect, never the daemon.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator

import structlog

from relctld.core import fleet
from relctld.core.effects import Effect
from relctld.core.events import Event, Tick
from relctld.core.lifecycle import next_deadline, step
from relctld.supervisor.managed import Managed

log = structlog.get_logger()

Interpret = Callable[[Managed, Effect], None]


class Shell:
    """Holds all releases and feeds them events."""

    def __init__(self) -> None:
        self.releases: dict[str, Managed] = {}
        self.interpret: Interpret = lambda _managed, _effect: None
        """Carries out an effect. Set last: who does needs us, for what an effect comes to is an event."""
        self.stepped: list[Callable[[Managed], None]] = []
        """Called after each step that changed a state: progress for those who wait, what the store keeps."""
        self.for_nobody: Callable[[Event], None] = lambda _: None
        """Told of an event whose release is forgotten by now."""
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._scheduled = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadlines: dict[str, float] = {}

    def post(self, event: Event) -> None:
        """Queue an event; it is dealt with before the loop sleeps again. Only on the loop's thread."""
        if self._closed:
            return
        self._inbox.append(event)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        """Deal with what has come. Nothing happens any more after that."""
        self._drain()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _drain(self) -> None:
        self._scheduled = False
        try:
            while self._inbox:
                self._deal_with(self._inbox.popleft())
        finally:
            self._arm()

    def _deal_with(self, event: Event) -> None:
        managed = self.releases.get(event.release)
        with self._surprises(event.release, event):
            if managed is not None:
                self._step(managed, event)
            else:
                self._deadlines.pop(event.release, None)
                self.for_nobody(event)

    def _step(self, managed: Managed, event: Event) -> None:
        before = managed.state
        managed.state, effects = step(before, event, managed.spec, self._loop.time())
        at = next_deadline(managed.state)
        if at is None:
            self._deadlines.pop(managed.name, None)
        else:
            self._deadlines[managed.name] = at
        for effect in effects:
            with self._surprises(managed.name, effect):
                self.interpret(managed, effect)
        for listener in self.stepped if managed.state is not before else ():
            with self._surprises(managed.name, listener):
                listener(managed)

    @contextlib.contextmanager
    def _surprises(self, release: str, cause: object) -> Iterator[None]:
        """What goes wrong in one thing is told, and the next is done all the same."""
        try:
            yield
        except Exception:
            log.exception("surprise", release=release, cause=type(cause).__name__)

    def _arm(self) -> None:
        at = fleet.next_tick(self._deadlines)
        if self._timer is not None and self._timer.when() == at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for name in fleet.due(self._deadlines, self._loop.time()):
            self.post(Tick(name))


def chance() -> float:
    """A number from 0 to 1 for a jitter."""
    return random.random()  # noqa: S311 it spreads restarts, it guards nothing
