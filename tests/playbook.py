"""Dialogues with the core, written as they are read, after mitmproxy's playbooks.

    assert (
        Playbook()
        >> asked("start", by="ann")           # an event goes in
        << records("up")                      # an effect comes out
        >> recorded("start")
        << noted("requested", by="ann")
        << noted("starting")
        << spawns(epoch=1)
        >> later(0.5)                         # the clock moves, and nothing was due
        >> spawned(pid=100)
        << noted("spawned", pid=100)
        >> tick()                             # the clock moves to the next deadline
        << noted("running")
        << done("start")
        << rests(State.RUNNING)               # and this is true now
    )

The words are in `tests/words.py`.

Rule 1: every effect is expected, in its order; only `Save` is left out (`test_lifecycle.py` looks at it).
Rule 2: an expectation names the fields that matter; the rest may be anything.
Rule 3: nothing is played before the assert; a playbook that was never asserted is an error.
Rule 4: after every step `lifecycle.check` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from relctld.core import effects as fx
from relctld.core import events as ev
from relctld.core import lifecycle
from relctld.core.probes import ProcessProbe
from relctld.core.spec import HealthSpec, ReleaseSpec
from relctld.core.state import ReleaseState

NAME = "web"
START = 1000.0
UNPROBED = HealthSpec(ProcessProbe())
SPEC = ReleaseSpec(NAME, Path("/opt/web"), start_timeout=10.0, stop_timeout=2.5, ready=ProcessProbe(), health=UNPROBED)

Make = Callable[["Playbook"], ev.Event | None]


class Heard:
    """What goes in: makes the event when its turn comes, so that it carries the epoch of that moment."""

    def __init__(self, title: str, make: Make) -> None:
        self.title = title
        self.make = make

    def __str__(self) -> str:
        return f">> {self.title}"


class Expected:
    """What must come out: an effect of this kind whose named fields are equal to these."""

    def __init__(self, kind: type[Any], /, **wanted: Any) -> None:
        self.kind = kind
        self.wanted = wanted

    def fits(self, effect: object) -> bool:
        """Whether this effect is meant."""
        return isinstance(effect, self.kind) and all(
            _fits(want, getattr(effect, name)) for name, want in self.wanted.items()
        )

    def __str__(self) -> str:
        wanted = ", ".join(f"{name}={want!r}" for name, want in self.wanted.items())
        return f"<< {self.kind.__name__}({wanted})"


class Holds:
    """What must be true of the state at this point; it takes no part in the order of effects."""

    def __init__(self, **wanted: Any) -> None:
        self.wanted = wanted

    def misses(self, state: ReleaseState) -> list[str]:
        """The fields that are otherwise."""
        return [
            f"{name} is {getattr(state, name)!r}"
            for name, want in self.wanted.items()
            if not _fits(want, getattr(state, name))
        ]

    def __str__(self) -> str:
        return "== " + ", ".join(f"{name}={want!r}" for name, want in self.wanted.items())


class Has:
    """A text that contains this one."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.text in other

    __hash__ = None  # type: ignore[assignment]  # equal to many, so it has no hash

    def __repr__(self) -> str:
        return f"…{self.text}…"


def _fits(want: object, value: object) -> bool:
    if isinstance(want, Mapping) and isinstance(value, Mapping):
        return all(name in value and _fits(part, value[name]) for name, part in want.items())
    if isinstance(want, Expected):
        return want.fits(value)
    return bool(want == value)


class Playbook:
    """A dialogue with one release: its state, its spec and a clock."""

    def __init__(
        self, spec: ReleaseSpec = SPEC, state: ReleaseState | None = None, chance: float = 0.5, now: float = START
    ) -> None:
        self.spec = spec
        self.state = state if state is not None else ReleaseState(spec.name)
        self.chance = chance
        self.now = now
        self._moves: list[Heard | Expected | Holds] = []
        self._played: list[str] = []
        self._came: list[fx.Effect] = []

    def given(self, *heard: Heard) -> Playbook:
        """Play these at once, whatever comes of them: where a dialogue begins."""
        for move in heard:
            self._came = []
            self._play(move)
        self._came = []
        self._played = [f"  given {', '.join(str(move)[3:] for move in heard)}"]
        return self

    def __rshift__(self, heard: Heard) -> Playbook:
        self._moves.append(heard)
        return self

    def __lshift__(self, expected: Expected | Holds) -> Playbook:
        self._moves.append(expected)
        return self

    def __bool__(self) -> bool:
        """Play what was written since the last time; AssertionError with the dialogue where it differs."""
        moves, self._moves = self._moves, []
        for move in moves:
            self._play(move)
        self._nothing_more()
        return True

    def __del__(self) -> None:
        if self._moves:
            raise AssertionError(f"a playbook was never played: {', '.join(map(str, self._moves))}")

    def _play(self, move: Heard | Expected | Holds) -> None:
        match move:
            case Heard():
                self._nothing_more()
                self._played.append(f"  {move}  at {self.now - START:+g} s")
                event = move.make(self)
                if event is not None:
                    self._step(event)
            case Expected():
                if not self._came or not move.fits(self._came[0]):
                    self._differs(f"- {move}")
                self._played.append(f"  {move}")
                del self._came[0]
            case Holds():
                if misses := move.misses(self.state):
                    self._differs(f"- {move}\n+ == {', '.join(misses)}")

    def _step(self, event: ev.Event) -> None:
        self.state, effects = lifecycle.step(self.state, event, self.spec, self.now)
        lifecycle.check(self.state)
        self._came = [effect for effect in effects if not isinstance(effect, fx.Save)]

    def _nothing_more(self) -> None:
        if self._came:
            self._differs("- (nothing more)")

    def _differs(self, wanted: str) -> None:
        came = [f"+ << {describe(effect)}" for effect in self._came] or ["+ (nothing came)"]
        lines = ["the dialogue differs (- expected, + came):", *self._played, wanted, *came]
        self._came = []
        raise AssertionError("\n".join([*lines, f"  in {self.state}"]))

    def advance(self, seconds: float) -> None:
        """Move the clock; AssertionError where a deadline would be slept over."""
        due = lifecycle.next_deadline(self.state)
        if due is not None and due < self.now + seconds:
            raise AssertionError(f"later({seconds:g}) sleeps over what is due in {due - self.now:g} s: tick() first")
        self.now += seconds

    def to_deadline(self) -> ev.Event:
        """Move the clock to the next deadline, if it is not due already."""
        due = lifecycle.next_deadline(self.state)
        if due is None:
            raise AssertionError(f"tick(), but {self.state.state} waits for nothing")
        self.now = max(self.now, due)
        return ev.Tick(self.spec.name)


def describe(effect: fx.Effect) -> str:
    """An effect as an expectation would name it: without the release, which is always the same."""
    shown = ", ".join(f"{f.name}={getattr(effect, f.name)!r}" for f in fields(effect) if f.name != "release")
    return f"{type(effect).__name__}({shown})"
