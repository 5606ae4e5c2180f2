"""The machine is total: in every state that can be reached, every event leads to a legal state or changes nothing.

The states are found by search (`explore.py`), not invented; each promise below is checked over every step of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.lifecycle import check, step, to_keep
from relctld.core.notes import MEANING, Note
from relctld.core.probes import WELL
from relctld.core.spec import Hook
from relctld.core.state import Cause, Ending, ExitStatus, Launch, Op, ReleaseState, State, Vm, Want
from relctld.wire.messages import KIND_EXIT
from tests.machine.explore import Explored, Move, explore_all

OF_THE_DAEMON = {  # and of what it measures and does in the nodes
    Note.LOG_DROPPED,
    Note.LOG_TROUBLE,
    Note.DAEMON_STARTED,
    Note.DAEMON_STOPPING,
    Note.DAEMON_REEXEC,
    Note.REEXEC_REFUSED,
    Note.CONFIG_RELOADED,
    Note.CONFIG_REFUSED,
    Note.STORE_DAMAGED,
    Note.STORE_FULL,
    Note.REMOTE_ATTACHED,
    Note.REMOTE_DETACHED,
    Note.LOGGER_STARTED,
    Note.UPGRADE_BEGUN,
    Note.UPGRADE_PHASE,
    Note.UPGRADED,
    Note.UPGRADE_FAILED,
    Note.REMOVED,
    Note.DOCTOR_FIXED,
    Note.THRESHOLD,
    Note.THRESHOLD_CLEARED,
    Note.EPMD_LOST,
    Note.EPMD_BACK,
    Note.EVALUATED,
    Note.UNLIMITED,
    Note.LIMITED,
}


@pytest.fixture(scope="module")
def explored() -> tuple[Explored, ...]:
    return explore_all()


@pytest.fixture(scope="module")
def moves(explored: tuple[Explored, ...]) -> list[Move]:
    return [move for each in explored for move in each.moves]


def each(moves: list[Move], holds: Callable[[Move], bool], promise: str) -> None:
    """The promise holds for every step, or the first that breaks it is shown."""
    for m in moves:
        if not holds(m):
            told = "\n".join(f"  {name}: {value}" for name, value in m._asdict().items() if name != "spec")
            raise AssertionError(f"{promise}; but:\n{told}")


def of(move: Move, kind: type[Any]) -> list[Any]:
    """The effects of this kind."""
    return [effect for effect in move.effects if isinstance(effect, kind)]


def kinds(union: Any) -> set[type]:
    """The members of a union of types."""
    return set(get_args(union))


def test_every_event_in_every_state_leads_to_a_legal_state(moves: list[Move]) -> None:
    for move in moves:
        try:
            check(move.after)
        except AssertionError as broken:
            raise AssertionError(f"{broken}: {move.case.title} at {move.before} made {move.after}") from None


def test_what_is_ignored_changes_nothing(moves: list[Move]) -> None:
    each(
        moves,
        lambda m: not of(m, fx.Ignored) or (m.after is m.before and len(m.effects) == 1),
        "an ignored event changes nothing and orders nothing",
    )


def test_everything_in_the_vocabulary_is_reached(moves: list[Move]) -> None:
    assert {m.after.state for m in moves} == set(State)
    assert {m.after.want for m in moves} == set(Want)
    assert {m.after.launch for m in moves} == set(Launch)
    assert {m.after.ending for m in moves} == {None, *Ending}
    assert {type(m.case.event) for m in moves if not of(m, fx.Ignored)} == kinds(ev.Event)
    assert {type(effect) for m in moves for effect in m.effects} == kinds(fx.Effect)
    assert {s.signal for m in moves for s in of(m, fx.SignalVm)} == set(fx.Signal)
    assert {m.after.last_exit.cause for m in moves if m.after.last_exit} == set(Cause)


def test_every_note_of_a_release_is_reached_with_the_fields_that_its_docs_name(moves: list[Move]) -> None:
    told: dict[Note, set[str]] = {}
    for move in moves:
        for report in of(move, fx.Report):
            told.setdefault(report.note, set()).update(report.fields)
    assert set(told) == set(Note) - OF_THE_DAEMON
    for note, names in told.items():
        assert names == set(MEANING[note][0].split(", ")), f"the fields of {note}"


def _events_of(epoch: int) -> Iterator[ev.Event]:
    yield ev.VmSpawned("web", epoch, Vm(1, 1, ""))
    yield ev.SpawnFailed("web", epoch, "", False, "", 0.5)
    yield ev.VmExited("web", epoch, ExitStatus(0), "")
    yield ev.Swept("web", epoch, (), 0.5)
    yield ev.Probed("web", epoch, WELL)
    yield ev.Linked("web", epoch, "1.0", "")
    yield ev.HookFinished("web", epoch, Hook.PRE_START, None, "", 0.5)


def test_events_of_another_epoch_are_dropped_everywhere(explored: tuple[Explored, ...]) -> None:
    for found in explored:
        for state, now in found.states.values():
            for event in (*_events_of(state.epoch - 1), *_events_of(state.epoch + 1)):
                after, effects = step(state, event, found.spec, now)
                assert after is state, event
                assert [type(effect) for effect in effects] == [fx.Ignored]


def test_what_is_saved_is_legal_for_whoever_reads_it(explored: tuple[Explored, ...]) -> None:
    for found in explored:
        for state, _ in found.states.values():
            check(to_keep(state))
            assert to_keep(to_keep(state)) == to_keep(state)


def test_save_is_ordered_first_and_only_when_something_changed(moves: list[Move]) -> None:
    def holds(m: Move) -> bool:
        if m.after is m.before:
            return not of(m, fx.Save)
        saves = [isinstance(effect, fx.Save) for effect in m.effects]
        return saves == [True] + [False] * (len(saves) - 1) if to_keep(m.before) != to_keep(m.after) else not any(saves)

    each(moves, holds, "Save comes first, and only where the saved state changed")


def test_never_a_second_vm(moves: list[Move]) -> None:
    def holds(m: Move) -> bool:
        none_comes = m.before.launch is not Launch.SPAWN or isinstance(m.case.event, ev.SpawnFailed | ev.Resumed)
        left = m.before.sweeping and not (isinstance(m.case.event, ev.Swept) and not m.case.event.left)
        nothing = m.before.vm is None and none_comes and not left
        return not of(m, fx.SpawnVm) or (nothing and m.after.launch is Launch.SPAWN)

    each(moves, holds, "a VM is spawned only where nothing is left of the last")


def test_a_new_daemon_spawns_no_vm_beside_one_that_lives(moves: list[Move]) -> None:
    def holds(m: Move) -> bool:
        lives = isinstance(m.case.event, ev.Resumed) and m.case.event.vm is not None
        return not lives or (m.after.vm is not None and not of(m, fx.SpawnVm))

    each(moves, holds, "a VM that lives is taken up")


def test_what_is_under_way_is_awaited(moves: list[Move]) -> None:
    """A VM is believed gone, a launch or a sweep over, only when the host says so."""
    over = ev.VmSpawned | ev.SpawnFailed | ev.HookFinished | ev.Resumed

    def holds(m: Move) -> bool:
        event, b, a = m.case.event, m.before, m.after
        vm = b.vm is None or a.vm == b.vm or isinstance(event, ev.VmExited | ev.Resumed)
        launch = b.launch is Launch.NONE or a.launch is b.launch or isinstance(event, over)
        return vm and launch and (a.sweeping or not b.sweeping or isinstance(event, ev.Swept | ev.Resumed))

    each(moves, holds, "what is under way is awaited")


def test_an_epoch_is_never_used_again(moves: list[Move]) -> None:
    def holds(m: Move) -> bool:
        begun = of(m, fx.SpawnVm) and m.before.launch is not Launch.HOOK
        return m.after.epoch - m.before.epoch in ((1,) if begun else (0, 1))

    each(moves, holds, "each start has a new epoch")


def test_nothing_starts_in_a_halted_daemon(moves: list[Move]) -> None:
    each(moves, lambda m: not (m.after.halted and of(m, fx.SpawnVm)), "nothing starts in a halted daemon")


def _open(state: ReleaseState) -> list[str]:
    return [*(w.request.id for w in state.waiters), *(r.id for r in state.recording)]


def test_every_request_is_kept_or_answered_and_never_both(moves: list[Move]) -> None:
    def holds(m: Move) -> bool:
        new = [m.case.event.request.id] if isinstance(m.case.event, ev.Requested) else []
        answered = [answer.request.id for answer in of(m, fx.Answer)]
        return sorted([*_open(m.before), *new]) == sorted([*_open(m.after), *answered])

    each(
        [m for m in moves if not isinstance(m.case.event, ev.Resumed)],
        holds,
        "a request is answered once, or kept",
    )


def test_an_answer_is_sent_when_it_is_true(moves: list[Move]) -> None:
    """Stop: nothing is left, and what starts next is ordered after the answer. Start, restart: it runs."""

    def holds(m: Move) -> bool:
        for at, effect in enumerate(m.effects):
            if isinstance(effect, fx.Answer) and isinstance(effect.outcome, fx.Done):
                if effect.request.op is not Op.STOP and not (m.after.state is State.RUNNING and m.after.vm):
                    return False
                if effect.request.op is Op.STOP and not _is_gone(m, at):
                    return False
        return True

    each(moves, holds, "an answer is sent when it is true")


def _is_gone(m: Move, at: int) -> bool:
    begun = any(isinstance(effect, fx.SpawnVm | fx.RunHook) for effect in m.effects[at:])
    return m.after.vm is None and not m.after.sweeping and (begun or m.after.launch is Launch.NONE)


def test_only_requests_change_the_want(moves: list[Move]) -> None:
    each(
        moves,
        lambda m: m.before.want is m.after.want or isinstance(m.case.event, ev.Recorded | ev.Resumed),
        "only verbs change the want",
    )


def test_a_tick_that_is_due_is_not_due_again_at_once(moves: list[Move]) -> None:
    """Else the one timer would fire for ever."""

    def holds(m: Move) -> bool:
        s, both = m.after, m.before.deadline is not None and m.before.poll_at is not None
        due = [at for at in (s.deadline, s.poll_at) if at is not None and at <= m.now]
        return not due or both or m.after.state is State.RUNNING

    each([m for m in moves if m.case.title.startswith("Tick (") and m.case.later], holds, "a tick is used up")


def test_a_request_gets_a_refusal_with_a_known_kind(moves: list[Move]) -> None:
    kinds_told = {a.outcome.kind for m in moves for a in of(m, fx.Answer) if isinstance(a.outcome, fx.Refused)}
    assert kinds_told == {"failed", "impossible"}
    assert kinds_told <= set(KIND_EXIT)


def test_the_same_events_lead_to_the_same_state(explored: tuple[Explored, ...]) -> None:
    """`step` has no memory but the state: a second run gives the same (a sample is enough)."""
    for found in explored:
        for m in found.moves[::97]:
            assert step(m.before, m.case.event, m.spec, m.now) == (m.after, m.effects)
