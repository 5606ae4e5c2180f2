"""The buffer with a journal, driven by a model: whenever it is killed, each byte is in the log or counted, once."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import termios
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relctld.logger import claimed as module
from relctld.logger.claimed import Claimed, Gap
from relctld.logger.lines import compose

MARKER = re.compile(rb"<(\d+)/(\d+)>\n")
MARK, TIME = b"relctl: starting\n", b"2026T "


class Crashes(RuleBasedStateMachine):
    """A worker's steps one by one; the process may be killed between any two of them, and in mid-marker."""

    def __init__(self) -> None:
        super().__init__()
        self.chunk = module.CHUNK
        module.CHUNK = 24  # so that one write takes a part of what waits
        self.folder = Path(tempfile.mkdtemp(prefix="relctl-test-", dir="/dev/shm"))
        self.out, self.vm = os.pipe2(os.O_NONBLOCK)
        self.inode, self.log, self.older = 1, b"", b""
        self.sizes: dict[int, int] = {}
        self.written = self.marks = 0
        self.claimed = self.open()

    def open(self) -> Claimed:
        claimed = Claimed(str(self.folder / "claimed"))
        claimed.capacity = 96
        return claimed

    def teardown(self) -> None:
        module.CHUNK = self.chunk
        self.claimed.close(remove=True)
        os.close(self.out)
        os.close(self.vm)
        self.folder.rmdir()

    @rule(lines=st.integers(1, 12))
    def vm_writes(self, lines: int) -> None:
        for _ in range(lines):
            os.write(self.vm, b"%05d\n" % self.written)
            self.written += 1

    @rule(count=st.integers(1, 96))
    def take(self, count: int) -> None:
        self.claimed.take(self.out, count)

    @rule(keep=st.sampled_from([0.0, 0.3, 1.0, 1.0]), crash=st.booleans(), drop=st.booleans())
    def worker_writes(self, keep: float, crash: bool, drop: bool) -> None:
        self.claimed.follow(self.inode, len(self.log))
        data = self.claimed.peek()
        if drop and self.may_drop:
            self.main_drops()
        written = int(len(data) * keep)
        self.log += data[:written]
        if crash:
            self.kill()
        else:
            self.claimed.wrote(data[:written])

    @rule(part=st.sampled_from([0.0, 0.5, 1.0]), crash=st.booleans(), drop=st.booleans(), marks=st.integers(0, 1))
    def worker_composes(self, part: float, crash: bool, drop: bool, marks: int) -> None:
        """A time before each line, or a mark of the daemon's, which takes nothing."""
        self.claimed.follow(self.inode, len(self.log))
        data = b"" if marks else bytes(self.claimed.peek())
        if not data and not (marks and self.claimed.column == 0):
            return
        taken, text, column = compose(data, self.claimed.column, TIME) if data else (0, MARK, 0)
        self.claimed.promise(self.inode, len(self.log))
        if drop and self.may_drop:
            self.main_drops()
        self.log += text[: int(len(text) * part)] if crash else text
        if crash:
            self.kill()
            return
        self.claimed.marked += marks
        self.claimed.keep(taken, column, self.inode, len(self.log))
        self.marks += marks

    @property
    def may_drop(self) -> bool:
        """There are more whole lines beyond what may be being written than one drop takes."""
        return self.claimed.tail - max(self.claimed.gap.end, self.claimed.held) >= 24

    @precondition(lambda self: self.may_drop)
    @rule()
    def main_drops(self) -> None:
        self.claimed.drop(28, 1_000_000)

    @precondition(lambda self: self.claimed.gap.end and self.claimed.head == self.claimed.gap.start)
    @rule(part=st.sampled_from([0.0, 0.5, 1.0]), crash=st.booleans(), more=st.booleans())
    def worker_marks_the_gap(self, part: float, crash: bool, more: bool) -> None:
        self.claimed.follow(self.inode, len(self.log))
        gap = self.claimed.gap
        self.claimed.promise(self.inode, len(self.log))
        marker = b"<%d/%d>\n" % (gap.end - gap.start, gap.lines)
        if crash:
            self.log += marker[: int(len(marker) * part)]
            self.kill()
            return
        self.log += marker
        if more and self.may_drop:
            self.claimed.drop(28, 2_000_000)
        self.claimed.jump(gap, self.inode, len(self.log))

    @rule(crash=st.booleans())
    def worker_rotates(self, crash: bool) -> None:
        self.claimed.follow(self.inode, len(self.log))
        self.sizes = {self.inode: len(self.log)}
        self.older += self.log
        self.inode, self.log = self.inode + 1, b""
        if crash:
            self.kill()

    @precondition(lambda self: self.claimed.empty)
    @rule(give_back=st.booleans())
    def worker_rewinds(self, give_back: bool) -> None:
        self.claimed.follow(self.inode, len(self.log))
        self.claimed.rewind(self.inode, len(self.log))
        if give_back:
            self.claimed.give_back()

    @rule(before_recovery=st.booleans(), again=st.booleans())
    def kill(self, before_recovery: bool = False, again: bool = False) -> None:
        self.claimed.close()
        self.claimed = self.open()
        if before_recovery:  # the main thread may claim and drop before a worker gets to look at the log
            self.claimed.bound(96)
            self.claimed.take(self.out, 100)
            if self.may_drop:
                self.main_drops()
            if again:
                self.claimed.close()
                self.claimed = self.open()
        cut = self.claimed.recover({**self.sizes, self.inode: len(self.log)})
        if cut:
            assert cut[0] == self.inode
            self.log = self.log[: cut[1]]

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """The log is a run of lines and markers that starts with the first line, and nothing between is missing."""
        at = dropped = marks = 0
        for line in (self.older + self.log).replace(TIME, b"").splitlines(keepends=True):
            if line == MARK:
                marks += 1
            elif marker := MARKER.fullmatch(line):
                assert int(marker[1]) == int(marker[2]) * 6
                at += int(marker[1])
                dropped += int(marker[1])
            else:
                want = b"%05d\n" % (at // 6)
                assert want[at % 6 :].startswith(line)
                at += len(line)
        gap = self.claimed.gap
        in_pipe = int.from_bytes(fcntl.ioctl(self.out, termios.FIONREAD, bytes(4)), sys.byteorder)
        assert at + self.claimed.used + gap.end - gap.start + in_pipe == self.written * 6
        assert marks == self.marks == self.claimed.marked
        assert self.claimed.column == at % 6
        assert self.claimed.bytes_out + dropped == at
        assert self.claimed.bytes_in + in_pipe == self.written * 6
        assert self.claimed.bytes_dropped == dropped + gap.end - gap.start


CrashesTest = Crashes.TestCase
CrashesTest.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)


def test_drop_takes_whole_lines_and_spares_what_is_being_written(tmp_path: Path) -> None:
    claimed = Claimed(str(tmp_path / "claimed"))
    out, vm = os.pipe2(os.O_NONBLOCK)
    claimed.capacity = 80
    os.write(vm, b"begun\n" + b"line\n" * 20)
    claimed.take(out, 1000)
    assert claimed.full
    assert claimed.held == claimed.head
    assert claimed.drop(0, 1) == 15
    assert bytes(claimed.peek()) == b"begun\n"
    assert claimed.used == 65
    assert (claimed.bytes_dropped, claimed.lines_dropped) == (15, 3)
    claimed.close(remove=True)
    os.close(out)
    os.close(vm)


def test_where_nothing_can_be_dropped_no_gap_is_begun(tmp_path: Path) -> None:
    """The run directory may be full while all that it holds is being written: "dropped 0 bytes" would be no news."""
    claimed = Claimed(str(tmp_path / "claimed"))
    out, vm = os.pipe2(os.O_NONBLOCK)
    os.write(vm, b"line\n" * 3)
    claimed.take(out, 1000)
    claimed.peek()
    assert claimed.drop(0, 1) == 0
    assert claimed.gap == Gap()
    claimed.close(remove=True)
    os.close(out)
    os.close(vm)


@pytest.mark.parametrize("what", ["fifo", "garbage", "directory"])
def test_something_else_stands_at_claimed(tmp_path: Path, what: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="relctl-test-", dir="/dev/shm"))
    path = folder / "claimed"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "garbage":
            path.write_bytes(b"?" * 9000)
        case _:
            path.mkdir()
    claimed = Claimed(str(path))
    assert claimed.empty
    claimed.close(remove=True)
    if what == "directory":
        path.rmdir()
    folder.rmdir()
