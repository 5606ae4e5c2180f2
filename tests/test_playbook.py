"""The playbook itself: it tells a right dialogue from a wrong one, and shows where they part."""

from __future__ import annotations

import gc

import pytest

from relctld.core.state import State
from tests.playbook import Has, Heard, Playbook
from tests.words import (
    asked,
    done,
    later,
    noted,
    recorded,
    records,
    rests,
    running,
    sends,
    spawned,
    spawns,
    tick,
    writes_down,
)


def test_a_right_dialogue_passes_and_can_go_on() -> None:
    p = Playbook()
    assert (
        p
        >> asked("start", by="ann")
        << records("up")
        >> recorded("start")
        << noted("requested", by="ann")
        << noted("starting")
        << spawns(epoch=1)
    )
    assert (
        p
        >> later(0.5)
        >> spawned(pid=100)
        << noted("spawned", pid=100)
        >> tick()
        << noted("running")
        << done("start")
        << rests(State.RUNNING)
    )


def test_a_mismatch_shows_the_dialogue_and_both_effects() -> None:
    p = Playbook() >> asked("start") << records("down")
    with pytest.raises(AssertionError) as told:
        bool(p)
    text = str(told.value).splitlines()
    assert text[1:4] == [
        "  >> asked(op='start', by='ann')  at +0 s",
        "- << RecordWant(want=<Want.DOWN: 'down'>)",
        "+ << RecordWant(request_id='start', want=<Want.UP: 'up'>)",
    ]


@pytest.mark.parametrize("after", [(), (later(1),)])
def test_an_effect_that_nobody_expected_fails(after: tuple[Heard, ...]) -> None:
    p = Playbook() >> asked("start")
    for heard in after:
        p >>= heard
    with pytest.raises(AssertionError, match="nothing more"):
        bool(p)


def test_an_effect_that_does_not_come_fails() -> None:
    with pytest.raises(AssertionError, match="nothing came"):
        bool(Playbook() >> asked("stop") << noted("requested") << done("stop", changed=False) << spawns(1))


def test_a_state_that_is_otherwise_fails() -> None:
    with pytest.raises(AssertionError, match=r"state is .*RUNNING"):
        bool(running() << rests(State.STOPPED))


def test_a_field_of_a_note_that_is_otherwise_or_missing_fails() -> None:
    for wrong in ({"op": "start"}, {"nobody": "ann"}):
        with pytest.raises(AssertionError, match="Report"):
            bool(Playbook() >> asked("stop") << noted("requested", **wrong) << done("stop", changed=False))


def test_a_deadline_cannot_be_slept_over() -> None:
    with pytest.raises(AssertionError, match=r"tick\(\) first"):
        bool(
            running()
            >> asked("restart")
            << writes_down()
            >> recorded("restart")
            << noted("requested")
            << noted("stopping")
            << sends("SIGTERM")
            >> later(60)
        )


def test_a_tick_needs_a_deadline() -> None:
    with pytest.raises(AssertionError, match="waits for nothing"):
        bool(Playbook() >> tick())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_playbook_that_is_never_played_is_an_error() -> None:
    p = Playbook() >> asked("start")
    with pytest.raises(AssertionError, match="never played"):
        p.__del__()
    del p
    gc.collect()


def test_a_part_of_a_text_fits() -> None:
    assert Has("user") == "stop of user ann"
    assert Has("user") != "stop"
