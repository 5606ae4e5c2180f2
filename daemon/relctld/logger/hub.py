"""The main thread: waits in epoll, hands releases to workers, takes over where one is stuck, keeps the plan.

It touches FIFOs and the run directory (tmpfs), never a log directory. Without trouble and without output it sleeps
without a timeout. A release's FIFO is armed for one event at a time: whoever has the release arms it when done.
"""

import contextlib
import os
import select
import signal
import time
from collections import deque

from . import kernel
from .compressor import Compressor
from .feed import Feed
from .policy import LogPolicy, read_plan
from .pool import Pool
from .report import notify, say

_ARMED = select.EPOLLIN | select.EPOLLONESHOT
_STOP_WITHIN = 2.0  # seconds
_RETRY_OPEN = 1.0
_LONGEST_ORDER = 4096
_MEMORY, _LEAST_MEMORY = 128 << 20, 1 << 20  # bytes that may wait for disks: of all releases, of one of very many


class Hub:
    """All releases of one run directory."""

    def __init__(self, run_dir: str) -> None:
        self._plan = os.path.join(run_dir, "logger.json")
        self._wanted: dict[str, LogPolicy] = {}
        self._feeds: dict[str, Feed] = {}
        self._by_fd: dict[int, Feed] = {}
        self._watched: set[Feed] = set()  # those that may need something without an event
        self._look_at = 0.0
        self._reopen_at: float | None = None
        self._stopping = False
        self._orders = b""
        self._pool, self._compressor = Pool(), Compressor()
        self._epoll = select.epoll()
        self._given_back: deque[Feed] = deque()
        self._nudged, self._nudge = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = kernel.open_fifo(os.path.join(run_dir, "logger.wake"), make=True)
        for fd in (self._nudged, self._wake):
            self._epoll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Serve until SIGTERM, then move what is in the pipes, for a bounded time."""
        self._take_signals()
        self._read_plan()  # after the wake FIFO is open: a plan written from here on is announced to us
        notify("READY=1")
        while not self._stopping:
            try:
                self._turn(None)
            except Exception as err:  # noqa: BLE001  whatever it is, the other releases must go on
                say("error", "surprise", error=f"{type(err).__name__}: {err}")
                time.sleep(0.1)  # should it come again at once
        notify("STOPPING=1")
        self._finish()

    def _take_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):  # Ctrl-C is for the daemon, if it is our parent
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        # Without it a signal that comes just before epoll_wait would only be seen after the next event.
        signal.set_wakeup_fd(self._nudge, warn_on_full_buffer=False)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _turn(self, at_most: float | None) -> None:
        now = time.monotonic()
        waits = [t - now for t in (self._look_at if self._watched else None, self._reopen_at) if t is not None]
        if at_most is not None:
            waits.append(at_most)
        for fd, _ in self._epoll.poll(max(0.0, min(waits)) if waits else None):
            if fd == self._nudged:
                self._nudges()
            elif fd == self._wake:
                self._take_orders()
            elif feed := self._by_fd.get(fd):
                self._readable(feed)
        now = time.monotonic()
        if self._watched and now >= self._look_at:
            self._look_after(now)
        if self._reopen_at is not None and now >= self._reopen_at:
            self._match()

    def _readable(self, feed: Feed) -> None:
        now = time.monotonic()
        if feed.drain(now):
            self._arm(feed)
            if feed.writer.tally.due_at <= now:
                self._look_at = now
        elif not feed.busy and not feed.failing and not self._stopping:
            self._hand(feed)
        # else: armed again by the worker, who looks into `out` before he gives it back

    def _hand(self, feed: Feed) -> None:
        now = time.monotonic()
        self._watch(feed, now + 1.0)
        if feed.begin(now):
            self._pool.submit(feed.work)

    def _watch(self, feed: Feed, until: float) -> None:
        self._look_at = min(self._look_at, until) if self._watched else until
        self._watched.add(feed)

    def _look_after(self, now: float) -> None:
        """Notice who is stuck, retry what failed, rotate what is old, write counters.

        Who needs none of it is forgotten.
        """
        next_look = now + 3600.0
        for feed in list(self._watched):
            if feed.stalled(now):
                feed.taken_over()
                self._arm(feed)
            elif not feed.busy and ((feed.failing and now >= feed.retry_at) or feed.overdue(now)) and feed.begin(now):
                self._pool.submit(feed.work)
            feed.cool(now)
            feed.export(now)
            due = feed.due(now)
            if due is None:
                self._watched.discard(feed)
            else:
                next_look = min(next_look, due)
        self._look_at = next_look

    # ---- called by workers

    def _gave_back(self, feed: Feed) -> None:
        if not feed.left and not self._stopping:
            self._arm(feed)
        if feed.failing or feed.left or self._stopping:
            self._look_soon(feed)

    def _look_soon(self, feed: Feed) -> None:
        self._given_back.append(feed)
        with contextlib.suppress(BlockingIOError):  # full: then the main thread is awake anyhow
            os.write(self._nudge, b"\0")

    def _arm(self, feed: Feed) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            self._epoll.modify(feed.out, _ARMED)

    # ---- the plan and other orders

    def _nudges(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._nudged, 4096)
        while self._given_back:
            feed = self._given_back.popleft()
            if self._feeds.get(feed.policy.name) is not feed:
                continue  # closed, before its compression ended
            if feed.left and not feed.busy:
                self._close(feed)
                self._match()
            else:
                self._watch(feed, time.monotonic())

    def _take_orders(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._orders += os.read(self._wake, _LONGEST_ORDER)
        *orders, self._orders = self._orders.split(b"\n")
        self._orders = self._orders[:_LONGEST_ORDER]
        for order in orders:
            match order.decode(errors="replace").split():
                case ["plan"]:
                    self._read_plan()
                case ["rotate", name] if name in self._feeds:
                    self._feeds[name].writer.log.rotate_asked = True
                    self._hand(self._feeds[name])
                case ["mark", name]:
                    if feed := self._feeds.get(name):  # else it looks when it is opened
                        feed.look_for_marks()
                        self._hand(feed)
                case []:
                    pass
                case _:
                    say("warning", "unknown-order", error=repr(order))

    def _read_plan(self) -> None:
        try:
            self._wanted = {policy.name: policy for policy in read_plan(self._plan)}
        except FileNotFoundError:
            return  # nothing to do yet, or the daemon is replacing its run directory: no reason to let go
        except (OSError, ValueError) as err:
            say("error", "bad-plan", error=str(err))
            return
        self._match()

    def _match(self) -> None:
        """Make what is open agree with the plan. A release whose FIFO was replaced first leaves, then comes again."""
        self._reopen_at = None
        for name, feed in self._feeds.items():
            policy = self._wanted.get(name)
            if policy is None or policy.fifo_claimed != feed.policy.fifo_claimed or self._replaced(feed, policy):
                feed.leaving = True
            elif policy == feed.policy and not feed.leaving:
                continue
            else:
                feed.policy, feed.leaving = policy, False
                self._arm(feed)  # it may have been told to drop what it let wait until now
            self._hand(feed)
        share = kernel.pipe_share(len(self._wanted))
        memory = max(_LEAST_MEMORY, _MEMORY // max(len(self._wanted), 1))
        for name, policy in self._wanted.items():
            if name in self._feeds:
                self._feeds[name].pipe_size = kernel.resize_pipe(self._feeds[name].out, share)
            else:
                self._open(policy, share)
        for feed in self._feeds.values():
            feed.share = memory

    @staticmethod
    def _replaced(feed: Feed, policy: LogPolicy) -> bool:
        return os.path.exists(policy.fifo_out) and not kernel.same_file(feed.out, policy.fifo_out)

    def _open(self, policy: LogPolicy, pipe_size: int) -> None:
        try:
            feed = Feed(policy, self._gave_back, self._compressor.ask, self._look_soon)
        except OSError as err:
            self._reopen_at = time.monotonic() + _RETRY_OPEN
            say("error", "cannot-open", policy.name, f"cannot open {policy.fifo_out}: {err.strerror or err}")
            return
        feed.pipe_size = kernel.resize_pipe(feed.out, pipe_size)
        self._feeds[policy.name] = self._by_fd[feed.out] = feed
        self._epoll.register(feed.out, 0)
        self._hand(feed)  # who also finishes what a killed logger began

    def _close(self, feed: Feed) -> None:
        feed.writer.tally.due_at = 0.0
        feed.export(time.monotonic())
        self._epoll.unregister(feed.out)
        del self._feeds[feed.policy.name], self._by_fd[feed.out]
        self._watched.discard(feed)
        feed.close()

    def _finish(self) -> None:
        deadline = time.monotonic() + _STOP_WITHIN
        for feed in self._feeds.values():
            feed.stopping = True
            feed.look_for_marks()
            self._hand(feed)
        while any(f.busy for f in self._feeds.values()) and (left := deadline - time.monotonic()) > 0:
            self._turn(left)
        for feed in self._feeds.values():
            feed.writer.tally.due_at = 0.0
            feed.export(time.monotonic())
            if not feed.busy:
                feed.close()
