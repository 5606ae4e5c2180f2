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
from typing import TYPE_CHECKING

from relctld.logfiles.names import listing

from . import kernel, rotated
from .claimed import Claimed
from .logfile import LogFile
from .policy import LogPolicy
from .report import say, utc, wall
from .tally import Tally

if TYPE_CHECKING:
    from .journal import Forwarder

STALLED = 1.0  # seconds without progress after which the main thread takes over
_LINGER = 0.0015  # seconds that a worker waits for more after a small move: batches small writes
_SMALL = 1 << 16
_RETRY_FIRST, _RETRY_LAST = 0.2, 1.0  # seconds
_LOOK_AT_AGE = 60.0  # seconds, at most, for the wall clock may jump
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Feed:
    """Where the bytes of one release are, and who is moving them."""

    def __init__(
        self,
        policy: LogPolicy,
        gave_back: Callable[["Feed"], None],
        compress: Callable[["Feed"], None],
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
        self.log = LogFile(policy.name)
        self.lock = threading.Lock()
        self.busy = False  # a worker has it, or will
        self.again = False  # and is to look once more before it gives it back
        self.failing = False  # the last attempt failed, the next is due at `retry_at`
        self.leaving = self.left = False  # no longer in the plan; and all that it had is written
        self.stopping = False
        self.progress = self.retry_at = 0.0  # monotonic
        self._delay = _RETRY_FIRST
        self.tally = Tally(policy, self.claimed)
        self.compress_error: str | None = None
        self._retain_error: str | None = None
        self._reason = 0  # the errno of the last failure
        self._aged = (0.0, 0.0)  # `rotate_at` that was acted on, and when (monotonic) to do that again
        self._ready_for: LogPolicy | None = None  # by which its directory was looked through
        self._recovered = False
        self._forwarder: Forwarder | None = None
        self._gave_back, self._compress, self._look_soon = gave_back, compress, look_soon

    def close(self) -> None:
        """Let go of everything; call when no worker has it."""
        os.close(self.out)
        self.claimed.close(remove=self.claimed.empty and (self.left or self.claimed.borrowed))
        self.log.close()

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
            except OSError as err:
                self.progress = time.monotonic()
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
            self.log.resync()
            return err.errno in _NO_ROOM and rotated.delete_oldest(self.policy.dir)
        except OSError:
            return False

    def _trouble(self, reason: int, why: str) -> None:
        self._reason = reason
        self._cannot_write("cannot-write", why)
        if reason not in _NO_ROOM:
            self.log.close()  # whatever it is, a fresh open finds out whether it is over

    def _cannot_write(self, event: str, why: str) -> None:
        error = f"cannot write {os.path.join(self.policy.dir, 'current')}: {why}"
        self.tally.fail(error)
        say("error", event, self.policy.name, error)

    def _well(self) -> None:
        self.progress = time.monotonic()
        self.failing = False
        self._delay, self._reason = _RETRY_FIRST, 0
        if self.tally.error:
            self.tally.fail(None)
            say("info", "writing-again", self.policy.name)

    def _move_all(self) -> None:
        """Until `out` and `claimed` are empty; when stopping or leaving, what they hold now."""
        while True:
            policy = self.policy
            self._prepare(policy)
            self._write_claimed(policy)
            self._well()
            if self._forwarder is not None:
                self._forwarder.poke(policy)
            self._rewind(worn_only=True)
            moved = self._claim()
            if not moved:
                break
            self._write_claimed(policy)
            if self.stopping:
                break
            if moved < _SMALL:
                time.sleep(_LINGER)
        if self.log.rotate_if_due(policy):
            self._look_after(policy)
        self.left = self._rewind() and self.leaving

    def _rewind(self, *, worn_only: bool = False) -> bool:
        """Give the memory back, if all of it is in the log."""
        with self.lock:
            if not self.claimed.empty or (worn_only and not self.claimed.worn()):
                return False
            self.claimed.rewind(self.log.inode, self.log.size)
            return True

    def _prepare(self, policy: LogPolicy) -> None:
        self.log.ensure(policy.dir)
        if not self._recovered:
            self._recover(policy)
            self._recovered = True
        if self._ready_for != policy:
            moved = self._ready_for is None or self._ready_for.dir != policy.dir
            if moved:
                rotated.tidy(policy.dir)
            self._look_after(policy)
            if policy.journal and (moved or self._forwarder is None):
                self._forwarder = self._forward(policy)
            self._ready_for = policy

    def _forward(self, policy: LogPolicy) -> "Forwarder":
        from .journal import Forwarder  # noqa: PLC0415  socket costs 0.7 MB

        def dropped(count: int) -> None:
            self.tally.journal_dropped += count

        return Forwarder(policy, dropped, lambda: self._look_soon(self))

    def _recover(self, policy: LogPolicy) -> None:
        """What did a former logger, killed while it wrote, still get into the log? Then go on exactly behind it."""
        sizes = {self.log.inode: self.log.size}
        for log in listing(policy.dir)[-2:]:
            found = os.stat(os.path.join(policy.dir, log.name), follow_symlinks=False)
            sizes[found.st_ino] = found.st_size
        with self.lock:
            cut = self.claimed.recover(sizes)
        if cut and cut[0] == self.log.inode:
            os.ftruncate(self.log.fd, cut[1])  # a marker that was not recorded; it is written again
            self.log.resync()

    def _claim(self) -> int:
        with self.lock:
            try:
                moved = self.claimed.take(self.out)
            except OSError as err:  # of the run directory: no reason to delete logs
                raise RuntimeError(f"the run directory: {err.strerror}") from err
            self.tally.bytes_in += moved
            return moved

    def _write_claimed(self, policy: LogPolicy) -> None:
        log, claimed = self.log, self.claimed
        while True:
            with self.lock:
                claimed.follow(log.inode, log.size)
                data, gap = claimed.peek(), claimed.gap
            if not data and not gap.end:
                return
            if not data:
                self._write_marker()
                continue
            count, full = log.share(data, policy)
            log.stamp()
            written = os.write(log.fd, memoryview(data)[:count]) if count else 0
            log.size += written
            with self.lock:
                claimed.wrote(written)
            self.tally.bytes_out += written
            self.progress = time.monotonic()
            if full and written == count:
                if log.rotate():
                    self._look_after(policy)
                else:
                    log.ensure(policy.dir)

    def _write_marker(self) -> None:
        """Say in the log itself what is missing at this place."""
        with self.lock:
            gap = self.claimed.gap
        why = os.strerror(gap.reason) if gap.reason else "the disk stalled"
        first, last = utc(gap.first / 1e6), utc(gap.last / 1e6)
        size = gap.end - gap.start
        text = f"relctl: dropped {size} bytes ({gap.lines} lines) from {first} to {last}: {why}\n".encode()
        if not self.log.at_line_start():
            text = b"\n" + text  # only where one line was longer than all that `claimed` holds
        self.log.stamp()
        written = os.write(self.log.fd, text)
        if written < len(text):
            os.ftruncate(self.log.fd, self.log.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.log.size += written
        self.progress = time.monotonic()
        with self.lock:
            self.claimed.jump(gap, self.log.inode, self.log.size)

    def _look_after(self, policy: LogPolicy) -> None:
        """Something was rotated: retention now, compression when there is time. Trouble with that stops no line."""
        before = self._retain_error
        try:
            rotated.retain(policy.dir, policy, self.log.size)
            self._retain_error = None
        except OSError as err:
            self._retain_error = f"cannot delete {err.filename}: {err.strerror}"
            if before is None:
                say("warning", "cannot-retain", policy.name, self._retain_error)
        if policy.compress:
            self._compress(self)

    @property
    def lesser_error(self) -> str | None:
        """What is in the way of something, but of no line."""
        unsent = self._forwarder.error if self._forwarder is not None and self.policy.journal else None
        return self.log.rotate_error or self._retain_error or self.compress_error or unsent

    # ---- what the main thread does; nothing here touches the log directory

    def begin(self, now: float) -> bool:
        """Hand it to a worker; False if one has it, who is then told to look once more."""
        with self.lock:
            if self.busy:
                self.again = True
                return False
            self.busy, self.progress = True, now
            return True

    def stalled(self, now: float) -> bool:
        """Has a worker been stuck in one call for too long?"""
        return self.busy and now - self.progress >= STALLED

    def old(self, now: float) -> bool:
        """Is the log to be rotated for its age? Said once a minute: a line that is not ended may be in the way."""
        at = self.log.rotate_at(self.policy)
        if at is None or at > wall() or self.failing or (at == self._aged[0] and now < self._aged[1]):
            return False
        self._aged = (at, now + _LOOK_AT_AGE)
        return True

    def taken_over(self) -> None:
        """Say that the worker is stuck; it says itself when it no longer is."""
        if self.tally.error is None:
            self._cannot_write("log-stalled", "the disk stalled")

    def drain(self, now: float) -> bool:
        """Take from `out` what no worker can take now. Returns whether to wait for more here: else a worker will."""
        with self.lock:
            if not (self.stalled(now) or (self.failing and not self.busy)):
                return False
            if self.claimed.empty:
                self.claimed.capacity = self.claimed.fair_share()
            try:
                self.tally.bytes_in += self.claimed.take(self.out, kernel.PIPE_MAX)
                full = self.claimed.full
            except OSError:  # the run directory is full
                full = True
            return not full or (self.policy.on_full == "drop" and self._drop())

    def _drop(self) -> bool:
        if not self.claimed.gap.end:
            self.tally.due_at = 0.0
        reason = self._reason if self.failing else 0
        return self.claimed.drop(reason, int(wall() * 1_000_000)) > 0

    def export(self, now: float) -> None:
        """Write the counters, if they changed and it is time."""
        self.tally.export(self.policy, self.lesser_error, now)

    def due(self, now: float) -> float | None:
        """When the main thread must look at it again without being asked; None: not before something comes."""
        with self.lock:
            if self.busy:
                return now + STALLED if self.stalled(now) else self.progress + STALLED
            times = [self.retry_at] if self.failing else []
        if self.tally.changed(self.lesser_error):
            times.append(self.tally.due_at)
        if (at := self.log.rotate_at(self.policy)) is not None:
            left = max(at - wall(), 0.0)
            times.append(self._aged[1] if at == self._aged[0] else now + min(left, _LOOK_AT_AGE))
        return min(times, default=None)
