"""Threads on demand: a job waits for a thread only as long as one takes to start.

Their number is bounded by the callers: each release hands in one job at a time. A thread with nothing to do
for a while ends; so an idle logger has none, and none wakes up.
"""

import threading
from collections import deque
from collections.abc import Callable

from .report import say

_LINGER = 10.0  # seconds


class Pool:
    """Runs jobs, oldest first. A job must not raise."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job in a thread of its own, as it were."""
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError as err:  # no more threads: the job waits for one of those there are
            say("error", "cannot-start-thread", error=str(err))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._idle += 1
                    told = self._changed.wait(_LINGER)
                    self._idle -= 1
                    if not told and not self._jobs:
                        return
                job = self._jobs.popleft()
            job()
            del job
