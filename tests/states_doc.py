"""Write `docs/states.md` and `docs/events.md` from the core: `python -m tests.states_doc`.

Nothing here knows the machine: the diagram and the tables are what `step()` did in the search of `explore.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core.notes import MEANING
from relctld.core.state import Ending, State, Want
from tests.machine.explore import Explored, Move, explore_all

DOCS = Path(__file__).parent.parent / "docs"

HEAD = """\
# The states of a release

Written by `python -m tests.states_doc`, which feeds `relctld.core.lifecycle.step()` every event in every state that
can be reached; a test fails when this page is not what the code does.

* **stopped** nothing of the release runs · **starting** its pre_start hook, its launch or its boot is under way ·
  **running** it said that it is ready · **stopping** SIGTERM was sent, and is sent again · **killing** SIGKILL was
  sent, or the VM is gone and what it left is being swept up · **backoff** the next automatic restart waits ·
  **failed** there were too many.
* What the operator wants (`up`, `down`) and the health stand beside the state. A restart is *want up* while stopping.
* *killing* is left only when nothing of the release is left: there is no way around it to a new start.

"""

DIAGRAM = """\
## Diagram

Edges of a daemon that goes on; what a new daemon finds (`Resumed`) is in the tables only.

"""

TABLES = """\
## What every event does

One row for each state that an event may lead to from there, with all that may be ordered on the way; *same* is the
state itself. Which of several rows it is depends on what the operator wants, on the spec (`restart`, `intensity`,
`backoff`, hooks, probes) and on why the VM was ended. `Save`, which comes first at each change, is left out.
"""


def states_page(explored: Iterable[Explored]) -> str:
    """The text of `docs/states.md`."""
    moves = [move for each in explored for move in each.moves]
    return HEAD + DIAGRAM + _diagram(moves) + "\n" + TABLES + "".join(_table(state, moves) for state in State)


def events_page() -> str:
    """The text of `docs/events.md`."""
    rows = "".join(f"| `{note}` | {_fields(fields)} | {meaning} |\n" for note, (fields, meaning) in MEANING.items())
    return f"""\
# Events

What `relctl events`, the notices on `events.sock` and the daemon's log tell. Written by `python -m tests.states_doc`
from `relctld/core/notes.py`; a name is never reused for something else.

Each is one JSON object with `seq`, `at`, `release` (not of the daemon's own events), `event` and these fields:

| event | fields | meaning |
|---|---|---|
{rows}"""


def _fields(fields: str) -> str:
    return ", ".join(f"`{name}`" for name in fields.split(", "))


# -- the diagram -----------------------------------------------------------------------------------


def _diagram(moves: list[Move]) -> str:
    edges: dict[tuple[State, State], set[str]] = {}
    for move in moves:
        if move.before.state is not move.after.state and not isinstance(move.case.event, ev.Resumed):
            edges.setdefault((move.before.state, move.after.state), set()).add(_why(move))
    lines = [f"    {a} --> {b}: {'<br/>'.join(sorted(whys))}" for (a, b), whys in _in_order(edges)]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> stopped", *lines, "```", ""])


def _in_order(edges: dict[tuple[State, State], set[str]]) -> list[tuple[tuple[State, State], set[str]]]:
    order = list(State)
    return sorted(edges.items(), key=lambda edge: (order.index(edge[0][0]), order.index(edge[0][1])))


def _why(move: Move) -> str:
    """The label of an edge: what an operator would call the event, and the condition where it decides."""
    match move.case.event:
        case ev.Requested(request=request):
            return str(request.op)
        case ev.Recorded() | ev.Halted() | ev.Booted():
            return _asked(move)
        case ev.Tick():
            return _out_of_time(move)
        case ev.Probed():
            return "ready" if move.after.state is State.RUNNING else "hung"
        case ev.VmExited():
            return "the VM ended"
        case ev.SpawnFailed(nothing_installed=True) if move.after.state is State.STOPPED and _wanted(move):
            return "nothing installed"
        case _:
            return _nothing_left(move)


def _wanted(move: Move) -> bool:
    return move.before.state is State.STARTING


def _asked(move: Move) -> str:
    match move.case.event:
        case ev.Halted():
            return "relctld stops"
        case ev.Booted():
            return "boot, want up"
        case _:
            return move.case.title.removeprefix("Recorded (").removesuffix(")")


def _out_of_time(move: Move) -> str:
    match move.before.state:
        case State.STARTING if move.after.state is State.RUNNING:
            return "lived for 1 s, no probe"
        case State.BACKOFF:
            return "the delay is over"
        case State.FAILED:
            return "retry_failed"
        case _:
            return "out of time"


def _nothing_left(move: Move) -> str:
    """An epoch is over: what follows, and why."""
    never_ran = "the launch failed" if move.before.state is State.STARTING else "nothing left"
    match move.after.state:
        case State.STOPPED if move.after.halted:
            return f"{never_ran}, relctld stops"
        case State.STOPPED if move.after.want is Want.DOWN:
            return f"{never_ran}, want down"
        case State.STOPPED:
            return f"{never_ran}, restart policy says no"
        case State.STARTING if move.before.ending in (Ending.STOP, Ending.RESTART, Ending.SHUTDOWN):
            return f"{never_ran}, start or restart asked for"
        case State.STARTING:
            return f"{never_ran}, restart at once"
        case State.BACKOFF:
            return f"{never_ran}, restart after a delay"
        case State.FAILED:
            return f"{never_ran}, more restarts than intensity"
        case _:
            return never_ran


# -- the tables ------------------------------------------------------------------------------------


def _table(state: State, moves: list[Move]) -> str:
    rows: dict[tuple[str, State], set[str]] = {}
    ignored: dict[str, bool] = {}
    for move in moves:
        if move.before.state is not state:
            continue
        nothing = any(isinstance(effect, fx.Ignored) for effect in move.effects)
        ignored[move.case.title] = ignored.get(move.case.title, True) and nothing
        if not nothing:
            rows.setdefault((move.case.title, move.after.state), set()).update(map(_order, move.effects))
    never = "; ".join(_merged(title for title, always in ignored.items() if always))
    lines = "\n".join(_rows(state, rows))
    return f"\n### {state}\n\n| event | leads to | orders |\n|---|---|---|\n{lines}\n\nIgnored: {never}.\n"


def _rows(state: State, rows: dict[tuple[str, State], set[str]]) -> list[str]:
    """Events that do the same share a row."""
    order = list(State)
    same: dict[tuple[str, int, str], list[str]] = {}
    for (title, after), effects in rows.items():
        does = ", ".join(sorted(effects - {""})) or "-"
        same.setdefault((title.split(" (")[0], order.index(after), does), []).append(title)
    return [
        f"| {'; '.join(_merged(titles))} | {'same' if order[after] is state else order[after]} | {does} |"
        for (_, after, does), titles in sorted(same.items())
    ]


def _merged(titles: Iterable[str]) -> list[str]:
    """`A (b)` and `A (c)` become `A (b, c)`."""
    kinds: dict[str, list[str]] = {}
    for title in sorted(titles):
        kind, _, variant = title.removesuffix(")").partition(" (")
        kinds.setdefault(kind, []).extend([variant] if variant else [])
    return [f"{kind} ({', '.join(variants)})" if variants else kind for kind, variants in kinds.items()]


def _order(effect: fx.Effect) -> str:
    match effect:
        case fx.SignalVm(signal=signal):
            return f"`{signal}`"
        case fx.Report(note=note):
            return f"*{note}*"
        case fx.RunHook(hook=hook):
            return f"`RunHook {hook}`"
        case fx.Answer(outcome=fx.Done()):
            return "`Answer done`"
        case fx.Answer():
            return "`Answer refused`"
        case fx.Save():
            return ""
        case _:
            return f"`{type(effect).__name__}`"


PAGES = {"states.md": lambda: states_page(explore_all()), "events.md": events_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
