"""Each release's part of an operator's request: asked of the core, answered once, and known to a successor.

A request for several releases has a part each, `ID/NAME`. What a re-exec finds of a part is kept beside the operations
(`control.operations`), as {part: outcome}:

    {"changed": bool}                 done
    {"kind", "why", "hint", "boot"}   refused

A part that is not there is asked of the core again: it knows by the id what it took up already (`core.requests`).
"""

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from relctld.core.effects import Answer, Done, Refused
from relctld.core.events import Event, Requested
from relctld.core.state import Op, Request
from relctld.supervisor.shell import Shell

Answered = Callable[[Done | Refused], None]

_REMEMBER_AT_MOST: Final = 10_000


class Parts:
    """The parts that wait, and the outcomes of the latest."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, Answered] = {}
        self._outcomes: OrderedDict[str, Done | Refused] = OrderedDict()
        self._former: dict[str, Done | Refused] = {}
        shell.for_nobody = self._for_nobody

    def request(self, name: str, op: Op, part: str, by: str, answered: Answered) -> None:
        """Ask a release for something; `answered` is called once, when it is true or came to nothing."""
        self._waiting[part] = answered
        if (outcome := self._former.pop(part, None)) is not None:
            self._loop.call_soon(self._answer, part, outcome)
        else:
            self._shell.post(Requested(name, Request(part, op, by, self._loop.time())))

    def answer(self, effect: Answer) -> None:
        """The core answers a request."""
        self._answer(effect.request.id, effect.outcome)

    def _for_nobody(self, event: Event) -> None:
        """A request came too late: a reload has just taken its release away."""
        if isinstance(event, Requested):
            self._answer(event.request.id, Refused("unknown-release", "it has just left the config"))

    def _answer(self, part: str, outcome: Done | Refused) -> None:
        self._outcomes[part] = outcome
        if len(self._outcomes) > _REMEMBER_AT_MOST:
            self._outcomes.popitem(last=False)
        answered = self._waiting.pop(part, None)
        if answered is not None:
            answered(outcome)

    def to_keep(self, operations: set[str]) -> dict[str, Any]:
        """What a successor must know of these operations' parts."""
        return {
            part: dataclasses.asdict(outcome)
            for part, outcome in self._outcomes.items()
            if part.partition("/")[0] in operations
        }

    def take_over(self, kept: dict[str, Any]) -> None:
        """What a former self knew. What is damaged counts as absent."""
        for part, outcome in kept.items():
            match outcome:
                case {"changed": bool(changed)}:
                    self._former[part] = Done(changed)
                case {"kind": str(kind), "why": str(why), "hint": str(hint), "boot": bool(boot)}:
                    self._former[part] = Refused(kind, why, hint, boot)
