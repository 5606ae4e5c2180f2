"""By which journal launches go, while another is being written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relctld.core.spec import Flavour
from relctld.core.transaction import Journal, Phase
from relctld.supervisor.upgrades.course import Course
from relctld.supervisor.upgrades.ledger import Entry, Ledger, Luggage
from tests.waiting import wait_until

WITHIN = 10.0
BEGUN = Journal("web", "u1", "ada", "2026-01-01T00:00:00Z", "1.0.0", "1.1.0", 3, "i1", 10.0, 300.0, reversible=True)


def entry(phase: Phase, id: str = "u1") -> Entry:
    return Entry(replace(BEGUN, id=id, phase=phase), Luggage("/opt/web", Flavour.RELX, "web"))


BEFORE, AFTER = entry(Phase.SOAKING), entry(Phase.COMMITTING)


class Desk:
    """A course, and what a relctld that comes now would find."""

    def __init__(self, folder: Path) -> None:
        self.state, self.run = folder / "state", folder / "run"
        self.ledger, self.course = Ledger(self.state, "web"), Course(Ledger(self.state, "web"), self.run)
        self.ledger.write(BEFORE)
        self.course.begin(BEFORE)

    def launched(self) -> Entry | None:
        with self.course.lock:
            return self.course.followed()

    def found(self) -> Entry | None:
        return Course(self.ledger, self.run).found()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class Answers:
    """What `stands` answers in turn; `then` is called first at the second question, when it is written."""

    def __init__(self, *answers: bool, then: Callable[[], object] = lambda: None) -> None:
        self.answers, self.then, self.asked = answers, then, 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked == 2:
            self.then()
        return self.answers[self.asked - 1]


def test_what_stands_is_entered(desk: Desk) -> None:
    assert desk.course.enter(AFTER, Answers(True, True))
    assert desk.launched() == desk.found() == AFTER
    assert not list(desk.run.glob("*"))


def test_what_does_not_stand_any_more_is_not_written(desk: Desk) -> None:
    assert not desk.course.enter(AFTER, Answers(False))
    assert desk.launched() == desk.found() == BEFORE


def test_what_no_longer_stands_when_it_is_written_is_written_over(desk: Desk) -> None:
    seen: list[Entry | None] = []
    assert not desk.course.enter(AFTER, Answers(True, False, then=lambda: seen.append(desk.ledger.read())))
    assert seen == [AFTER]
    assert desk.launched() == desk.ledger.read() == BEFORE
    assert not list(desk.run.glob("*"))


@pytest.fixture
def hanging(desk: Desk) -> Iterator[Path]:
    """A journal whose disk hangs: to open a FIFO waits for who reads it."""
    at = desk.ledger.folder / ".journal.json.tmp"
    os.mkfifo(at)
    yield at
    at.unlink(missing_ok=True)


def test_a_launch_does_not_wait_for_a_disk_that_hangs_and_whoever_comes_next_knows(desk: Desk, hanging: Path) -> None:
    ended: list[BaseException] = []

    def write() -> None:
        try:
            desk.course.enter(AFTER, Answers(True, False))
        except OSError as error:  # a FIFO cannot be synced
            ended.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: desk.course.lock.acquire(blocking=False), WITHIN, what="the lock")
    desk.course.lock.release()
    wait_until(lambda: desk.launched() == BEFORE and bool(list(desk.run.glob("*"))), WITHIN, what="a word")
    os.close(os.open(hanging, os.O_RDONLY))
    thread.join(WITHIN)
    assert ended, "it was written"
    hanging.unlink()
    desk.ledger.write(AFTER)  # all that the disk was told may be there in the end
    assert desk.found() == BEFORE
    assert desk.course.enter(AFTER, Answers(True, True))
    assert desk.found() == AFTER


def test_what_was_said_of_another_upgrade_is_not_believed(desk: Desk) -> None:
    with pytest.raises(OSError, match="no such disk"):
        desk.course.enter(AFTER, Answers(True, True, then=_raise))
    assert desk.launched() == BEFORE
    desk.ledger.write(entry(Phase.BEGUN, "u2"))
    assert desk.found() == entry(Phase.BEGUN, "u2")


def _raise() -> None:
    raise OSError("no such disk")


def test_when_it_is_over_nothing_is_left(desk: Desk) -> None:
    with pytest.raises(OSError, match="no such disk"):
        desk.course.enter(AFTER, Answers(True, True, then=_raise))
    assert desk.launched() == BEFORE
    desk.course.close({"id": "u1"})
    assert desk.launched() is None
    assert desk.found() is None
    assert not list(desk.run.glob("*"))


def test_what_a_former_self_left_is_read_by_the_launch_where_nobody_goes_on_with_it(desk: Desk) -> None:
    course = Course(desk.ledger, desk.run)
    with course.lock:
        assert course.followed() is None
        course.is_left = True
        assert course.followed() == BEFORE
        (desk.ledger.folder / "journal.json").unlink()
        assert course.followed() == BEFORE  # it is read once
