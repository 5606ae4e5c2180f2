"""One release: its FIFO, what is claimed of it, its log; what workers do, and the main thread where they cannot.

One worker at a time takes from `out` into `claimed` and from there to the log. While it is stuck in a call, or its
last attempt failed and the next is not due, the main thread takes from `out` (`drain`). Both hold `lock` while they
touch `out` or `claimed`; it is never held across a call that may stall.
"""

import errno
import os
import threading
import time
from collections.abc import Callable

from . import kernel
from .claimed import CAPACITY, Claimed
from .policy import LogPolicy
from .report import say, wall
from .upkeep import Told, Upkeep
from .writer import Writer

STALLED = 1.0  # seconds without progress after which the main thread takes over
_LINGER = 0.002  # seconds that a worker waits for more once it has all: batches small writes
_WARM = 1.0  # seconds that the memory of an idle release is kept
_RETRY_FIRST, _RETRY_LAST = 0.2, 1.0  # seconds
_LOOK_AT_AGE = 60.0  # seconds, at most, for the wall clock may jump
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Feed:
    """Where the bytes of one release are, and who is moving them."""

    def __init__(
        self,
        policy: LogPolicy,
        gave_back: Callable[["Feed"], None],
        compress: Callable[[str, Told], None],
        look_soon: Callable[["Feed"], None],
    ) -> None:
        """Open the FIFO and what a former logger left. OSError when one of them cannot be."""
        self.policy = policy
        self.out = kernel.open_fifo(policy.fifo_out)
        try:
            self.claimed = Claimed(policy.fifo_claimed)
        except OSError:
            os.close(self.out)
            raise
        self.lock = threading.Lock()
        self.upkeep = Upkeep(policy, compress, lambda: look_soon(self))
        self.writer = Writer(policy, self.claimed, self.lock, self.upkeep)
        self.busy = False  # a worker has it, or will
        self.again = False  # and is to look once more before it gives it back
        self.failing = False  # the last attempt failed, the next is due at `retry_at`
        self.leaving = self.left = False  # no longer in the plan; and all that it had is written
        self.stopping = False
        self.retry_at = 0.0  # monotonic
        self.share = CAPACITY  # bytes that may wait
        self._fair = 0  # as many as there was memory for when the trouble began; 0: there is none
        self.pipe_size = kernel.PIPE_MAX
        self._delay = _RETRY_FIRST
        self._reason = 0  # the errno of the last failure
        self._aged = (0.0, 0.0)  # `rotate_at` that was acted on, and when (monotonic) to do that again
        self._gave_back = gave_back
        self.look_for_marks()

    def close(self) -> None:
        """Let go of everything; call when no worker has it."""
        os.close(self.out)
        if self.left:
            self.upkeep.leave()
        self.claimed.close(remove=self.claimed.empty and (self.left or self.claimed.borrowed))
        self.writer.log.close()

    # ---- what a worker does

    def work(self) -> None:
        """Move everything to the log, then give the release back to the main thread."""
        while True:
            failed = self._attempt()
            with self.lock:
                # The main thread may have claimed more while we were stuck after our last look.
                if not failed and (self.again or not self.claimed.empty):
                    self.again = False
                    continue
                self.again = self.busy = False
                self.failing = failed
                if failed:
                    self.retry_at = time.monotonic() + self._delay
                    self._delay = min(self._delay * 2, _RETRY_LAST)
            break
        self._gave_back(self)

    def _attempt(self) -> bool:
        """Returns whether it failed."""
        while True:
            try:
                self._move_all()
                self._well()  # a rotation may have stalled, with nothing to write
            except OSError as err:
                self.writer.progress = time.monotonic()
                if self._make_room(err):
                    continue
                self._trouble(err.errno or 0, err.strerror or str(err))
                return True
            except Exception as err:  # noqa: BLE001  a surprise in one release must not end the others
                self._trouble(0, f"{type(err).__name__}: {err}")
                return True
            return False

    def _make_room(self, err: OSError) -> bool:
        """On a full disk the oldest log is worth less than the newest line."""
        try:
            self.writer.log.resync()
            return err.errno in _NO_ROOM and self.upkeep.make_room(self.policy.dir)
        except OSError:
            return False

    def _trouble(self, reason: int, why: str) -> None:
        self._reason = reason
        self._cannot_write("cannot-write", why)
        if reason not in _NO_ROOM:
            self.writer.log.close()  # whatever it is, a fresh open finds out whether it is over

    def _cannot_write(self, event: str, why: str) -> None:
        error = f"cannot write {os.path.join(self.policy.dir, 'current')}: {why}"
        self.writer.tally.fail(error)
        say("error", event, self.policy.name, error)

    def _well(self) -> None:
        self.writer.progress = time.monotonic()
        self.failing = False
        self._delay, self._reason, self._fair = _RETRY_FIRST, 0, 0
        if self.writer.tally.error:
            self.writer.tally.fail(None)
            say("info", "writing-again", self.policy.name)

    def _move_all(self) -> None:
        """Until `out` and `claimed` are empty; when stopping or leaving, what they hold now."""
        moved, before = -1, time.monotonic()
        while moved:
            policy = self.policy
            self.writer.prepare(policy)
            self.writer.write(policy)
            if self.writer.tally.error:
                self._well()
            self.upkeep.wrote(policy)
            if moved > 0 and self.stopping:
                break
            now = self.writer.progress
            if 0 < moved < self.pipe_size // 2:
                time.sleep(self._linger(moved, now - before))
            moved, before = self._claim(), now
        self.writer.rotate_if_due(policy)
        self.left = self.writer.rewind() and self.leaving

    def _linger(self, moved: int, seconds: float) -> float:
        """Until the FIFO is half full again, at the pace of the latest move; the writer is never kept waiting."""
        return min(_LINGER, seconds * self.pipe_size / (2 * moved))

    def _claim(self) -> int:
        with self.lock:
            self.writer.rewind_worn()
            try:
                return self.claimed.take(self.out)
            except OSError as err:  # of the run directory: no reason to delete logs
                raise RuntimeError(f"the run directory: {err.strerror}") from err

    # ---- what the main thread does; nothing here touches the log directory

    def look_for_marks(self) -> None:
        """The daemon has something to say in the log."""
        with self.lock:
            self.writer.look_for_marks(self.policy, self.out)

    def begin(self, now: float) -> bool:
        """Hand it to a worker; False if one has it, who is then told to look once more."""
        with self.lock:
            if self.busy:
                self.again = True
                return False
            self.busy, self.writer.progress = True, now
            return True

    def stalled(self, now: float) -> bool:
        """Has a worker been stuck in one call for too long?"""
        return self.busy and now - self.writer.progress >= STALLED

    def overdue(self, now: float) -> bool:
        """Is a rotation to be tried without anything to write? One that failed, or one for age.

        That is said once a minute: a line that is not ended may be in the way.
        """
        log = self.writer.log
        if self.failing or log.rotate_error:
            return not self.failing and now >= log.rotate_after
        at = log.rotate_at(self.policy)
        if at is None or at > wall() or (at == self._aged[0] and now < self._aged[1]):
            return False
        self._aged = (at, now + _LOOK_AT_AGE)
        return True

    def taken_over(self) -> None:
        """Say that the worker is stuck; it says itself when it no longer is."""
        if self.writer.tally.error is None:
            self._cannot_write("log-stalled", "the disk stalled")

    def drain(self, now: float) -> bool:
        """Take from `out` what no worker can take now. Returns whether to wait for more here: else a worker will."""
        with self.lock:
            if not (self.stalled(now) or (self.failing and not self.busy)):
                return False
            self._fair = self._fair or self.claimed.fair_share()
            self.claimed.bound(min(self.share, self._fair))
            try:
                self.claimed.take(self.out, kernel.PIPE_MAX)
                full = self.claimed.full
            except OSError:  # the run directory is full
                full = True
            return not full or (self.policy.on_full == "drop" and self._drop())

    def _drop(self) -> bool:
        if not self.claimed.gap.end:
            self.writer.tally.due_at = 0.0
        reason = self._reason if self.failing else 0
        return self.claimed.drop(reason, int(wall() * 1_000_000)) > 0

    def cool(self, now: float) -> None:
        """Give the memory of what was moved back, once nothing has come for a while."""
        with self.lock:
            if not self.busy and now - self.writer.progress >= _WARM:
                self.claimed.give_back()

    @property
    def _lesser_error(self) -> str | None:
        """What is in the way of something, but of no line."""
        return self.writer.log.rotate_error or self.upkeep.error

    def export(self, now: float) -> None:
        """Write the counters, if they changed and it is time."""
        self.writer.tally.export(self.policy, self._lesser_error, now)

    def due(self, now: float) -> float | None:
        """When the main thread must look at it again without being asked; None: not before something comes."""
        with self.lock:
            if self.busy:
                return now + STALLED if self.stalled(now) else self.writer.progress + STALLED
            times = [self.retry_at] if self.failing else []
            if self.claimed.warm:
                times.append(self.writer.progress + _WARM)
        if self.writer.tally.changed(self._lesser_error):
            times.append(self.writer.tally.due_at)
        if self.writer.log.rotate_error:
            times.append(self.writer.log.rotate_after)
        elif (at := self.writer.log.rotate_at(self.policy)) is not None:
            left = max(at - wall(), 0.0)
            times.append(self._aged[1] if at == self._aged[0] else now + min(left, _LOOK_AT_AGE))
        return min(times, default=None)
