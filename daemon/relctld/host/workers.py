"""Threads for what blocks: as many as are needed at once, and no longer than they are.

The standard library's pool keeps each thread that ever was, and lets them take turns. A hundred releases that start
together leave eighty behind, 12 kB of stack each.

Rule 1: who worked last works next; so those that are too many have nothing to do, and end after LINGER.
Rule 2: a thread that hangs ends neither the pool nor the process.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

LINGER: Final = 10.0
"""Seconds that a thread waits for more work."""


class Workers(Executor):
    """At most `most` threads called `name`. It needs no end: nobody waits for them."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: deque[_Job] = deque()
        self._idle: list[SimpleQueue[_Job]] = []
        """Where each thread that has nothing to do waits for a job; who worked last stands last."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """What `fn` will have returned, or raised."""
        future: Future[_T] = Future()
        job: _Job = future, fn, args, kwargs
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
            elif self._count < self._most:
                mine: SimpleQueue[_Job] = SimpleQueue()  # an argument would be held as long as the thread lives
                mine.put(job)
                threading.Thread(target=self._work, args=(mine,), name=self._name, daemon=True).start()
                self._count += 1
            else:
                self._waiting.append(job)
        return future

    def _work(self, mine: SimpleQueue[_Job]) -> None:
        job: _Job | None = mine.get()
        while job is not None:
            _carry_out(*job)
            del job  # who rests holds nothing of it
            job = self._next(mine)

    def _next(self, mine: SimpleQueue[_Job]) -> _Job | None:
        """What a thread is to do next; None where there was nothing for so long that it should end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(mine)
        with contextlib.suppress(Empty):
            return mine.get(timeout=LINGER)
        with self._lock:
            if mine in self._idle:
                self._idle.remove(mine)
                self._count -= 1
                return None
        return mine.get()  # given at the last moment


def _carry_out(future: Future[_T], fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 it is for who waits
        future.set_exception(error)
        del future  # the error knows this frame: they would keep each other
    else:
        future.set_result(result)
