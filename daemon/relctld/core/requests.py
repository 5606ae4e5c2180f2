"""What operators may ask at any moment, and what comes of it (CONTRACT, *Overlaps* and *Wants*).

A request whose want differs from the present one is first recorded (`RecordWant` → `Recorded`) and then accepted. So
is a restart, for which the run directory is enough (`RecordRequest`): who asked for it dies with the host. The rest is
accepted at once. Requests are accepted in the order they came.

| asked      | stopped, failed, backoff | starting          | running            | stopping, killing   |
|------------|--------------------------|-------------------|--------------------|---------------------|
| start      | begins, counters cleared | joins             | true already       | begins afterwards   |
| stop       | rests                    | overtakes, ends   | ends               | joins               |
| restart    | as start                 | ends, begins anew | ends, begins anew  | begins afterwards   |

A restart joins a restart that is under way. What is `asked` is known by its id, also to a successor: there a request
that is repeated goes on where it stands and is never carried out twice. During a hot upgrade only the upgrade itself
may ask.
"""

from dataclasses import replace
from typing import Final, assert_never

from relctld.core.effects import Done, RecordRequest, RecordWant, Refused
from relctld.core.events import Recorded, Requested
from relctld.core.notes import Note
from relctld.core.state import Asked, Ending, Op, ReleaseState, Request, State, Waiter, Want
from relctld.core.turn import Turn, begin_by_hand, end, rest, settle, waiting

STARTS = (Op.START, Op.RESTART)

KNOWN_AT_MOST: Final = 64
"""Requests that a successor knows of: who repeats one has asked a moment ago."""


def requested(t: Turn, event: Requested) -> None:
    """A request came: record it first, where a repeat in a successor would make a difference."""
    s, request = t.state, event.request
    want = want_of(request.op)
    known = next((asked for asked in s.asked if asked.id == request.id), None)
    if s.halted:
        t.answer(Waiter(request, s.epoch), Refused("impossible", "relctld is stopping"))
    elif known is not None and (s.want is want or _overtaken(s, known)):
        _rejoin(t, request, known)
    elif s.upgrading is not None and not request.id.startswith(f"{s.upgrading.id}/"):
        why = f"an upgrade to {s.upgrading.target} by {s.upgrading.by} is under way"
        t.answer(Waiter(request, s.epoch), Refused("busy", why, f"wait for its end: relctl status {s.name} --watch"))
    elif s.recording or s.want is not want:
        _take_up(t, request)
        t.do(RecordWant(s.name, request.id, want))
    elif request.op is Op.RESTART:
        _take_up(t, request)
        t.do(RecordRequest(s.name, request.id))
    else:
        _accept(t, request)


def recorded(t: Turn, event: Recorded) -> bool:
    """A request is recorded, or cannot be. False where no such request waits."""
    s = t.state
    request = next((r for r in s.recording if r.id == event.request_id), None)
    if request is None:
        return False
    t.state = replace(s, recording=tuple(r for r in s.recording if r is not request))
    if event.error is not None:
        t.state = replace(t.state, asked=tuple(asked for asked in s.asked if asked.id != request.id))
        why = f"the wish cannot be recorded: {event.error}"
        t.answer(Waiter(request, s.epoch), Refused("failed", why, "make room in state_dir, then ask again"))
    else:
        t.state = replace(t.state, want=want_of(request.op))
        if s.halted and request.op in STARTS:
            why = "relctld is stopping, and will start it when it comes back"
            t.answer(Waiter(request, s.epoch), Refused("impossible", why))
        else:
            _accept(t, request)
    return True


def want_of(op: Op) -> Want:
    """What an operation leaves behind as the operator's want."""
    return Want.DOWN if op is Op.STOP else Want.UP


def unbegun(s: ReleaseState) -> bool:
    """Whether a former self took up a start or a restart last, and had not begun it."""
    last = s.asked[-1] if s.asked else None
    return last is not None and last.op in STARTS and last.epoch > s.epoch and s.want is Want.UP and not s.halted


def _take_up(t: Turn, request: Request) -> None:
    s = t.state
    up = s.state in (State.STARTING, State.RUNNING)
    this = request.op is Op.STOP or (request.op is Op.START and up)
    t.state = replace(s, recording=(*s.recording, request))
    _know(t, request, s.epoch if this else s.epoch + 1)


def _know(t: Turn, request: Request, epoch: int) -> None:
    """Remember a request in its place among the others."""
    asked, this = t.state.asked, Asked(request.id, request.op, epoch)
    if all(each.id != request.id for each in asked):
        t.state = replace(t.state, asked=(*asked, this)[-KNOWN_AT_MOST:])
    else:
        t.state = replace(t.state, asked=tuple(this if each.id == request.id else each for each in asked))


def _overtaken(s: ReleaseState, known: Asked) -> bool:
    """Whether something else was wanted after it; otherwise its own want never reached the store."""
    later = s.asked[s.asked.index(known) + 1 :]
    return any(want_of(each.op) is not want_of(known.op) for each in later)


def _rejoin(t: Turn, request: Request, known: Asked) -> None:
    """A former self took it up: it is true by now, goes on, was never begun, or came to nothing."""
    s = t.state
    begun = request.op in STARTS and s.epoch >= known.epoch
    if s.want is not want_of(request.op):
        t.answer(Waiter(request, s.epoch), Refused("failed", "overtaken while relctld was away"))
        return
    match s.state:
        case State.STOPPING | State.KILLING:
            _wait(t, request, s.epoch + 1 if request.op in STARTS else s.epoch)
        case State.STARTING if begun:
            _wait(t, request, s.epoch)
        case State.RUNNING if begun:
            t.answer(Waiter(request, s.epoch), Done(changed=True))
        case State.STOPPED if request.op is Op.STOP:
            t.answer(Waiter(request, s.epoch), Done(changed=True))
        case _ if begun:
            why = s.last_exit.detail if s.last_exit and s.last_exit.detail else f"it is {s.state}"
            t.answer(Waiter(request, s.epoch), Refused("failed", why, boot=True))
        case _:
            _accept(t, request)


def _accept(t: Turn, request: Request) -> None:
    t.report(Note.REQUESTED, op=str(request.op), by=request.by)
    match request.op:
        case Op.START:
            _start(t, request)
        case Op.STOP:
            _stop(t, request)
        case Op.RESTART:
            _restart(t, request)
        case _ as never:
            assert_never(never)


def _start(t: Turn, request: Request) -> None:
    match t.state.state:
        case State.RUNNING:
            t.answer(Waiter(request, t.state.epoch), Done(changed=False))
        case State.STARTING:
            _wait(t, request, t.state.epoch)
        case State.STOPPING | State.KILLING:
            _wait(t, request, t.state.epoch + 1)
        case State.STOPPED | State.FAILED | State.BACKOFF:
            begin_by_hand(t)
            _wait(t, request, t.state.epoch)
        case _ as never:
            assert_never(never)


def _stop(t: Turn, request: Request) -> None:
    before = t.state.state
    overtaken = Refused("failed", f"overtaken by stop of {request.by}")
    settle(t, waiting(t.state, *STARTS), overtaken)
    match before:
        case State.STOPPED:
            t.answer(Waiter(request, t.state.epoch), Done(changed=False))
        case State.FAILED | State.BACKOFF:
            rest(t, State.STOPPED)
            t.report(Note.STOPPED)
            t.answer(Waiter(request, t.state.epoch), Done(changed=True))
        case State.STARTING | State.RUNNING:
            end(t, Ending.STOP)
            _wait(t, request, t.state.epoch)
        case State.STOPPING | State.KILLING:
            _wait(t, request, t.state.epoch)
        case _ as never:
            assert_never(never)


def _restart(t: Turn, request: Request) -> None:
    s = t.state
    match s.state:
        case State.STOPPED | State.FAILED | State.BACKOFF:
            begin_by_hand(t)
            _wait(t, request, t.state.epoch)
        case State.STARTING if waiting(s, Op.RESTART, epoch=s.epoch):
            _wait(t, request, s.epoch)
        case State.STARTING | State.RUNNING:
            later = tuple(replace(w, epoch=s.epoch + 1) if w.request.op in STARTS else w for w in s.waiters)
            t.state = replace(s, waiters=later)
            end(t, Ending.RESTART)
            _wait(t, request, s.epoch + 1)
        case State.STOPPING | State.KILLING:
            _wait(t, request, s.epoch + 1)
        case _ as never:
            assert_never(never)


def _wait(t: Turn, request: Request, epoch: int) -> None:
    _know(t, request, epoch)
    t.state = replace(t.state, waiters=(*t.state.waiters, Waiter(request, epoch)))


def halted(t: Turn) -> None:
    """The daemon is stopping and takes this node with it; the want stays for the next boot."""
    t.state = replace(t.state, halted=True)
    settle(t, waiting(t.state, *STARTS), Refused("impossible", "relctld is stopping"))
    match t.state.state:
        case State.STARTING | State.RUNNING:
            end(t, Ending.SHUTDOWN)
        case State.BACKOFF:
            rest(t, State.STOPPED)
            t.report(Note.STOPPED)
        case State.FAILED:
            t.state = replace(t.state, deadline=None)  # no retry any more
        case State.STOPPED | State.STOPPING | State.KILLING:
            pass
        case _ as never:
            assert_never(never)
