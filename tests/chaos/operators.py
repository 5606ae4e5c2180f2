"""Operators: one request a release at a time, repeated under its id until it is answered, as the client does."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.asking import Asker
from tests.chaos.world import NAMES

REPEAT = 1.0
DAEMON = "relctld"
_MAY_FAIL = ("failed", "busy")
"""A start fails where its VM was killed while it booted; a second re-exec is one too many."""


@dataclass
class Asked:
    """A request under way."""

    op: str
    args: dict[str, Any]
    id: str
    sent: float


class Operators:
    """What was asked, and what must be wanted: the last request of each release that was answered."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.wants = dict.fromkeys(NAMES, "up")
        self.under_way: dict[str, Asked] = {}
        self.answered: Counter[str] = Counter()
        self.refused: list[str] = []

    def ask(self, about: str, op: str, args: dict[str, Any] | None = None) -> bool:
        """Ask something about a release or the daemon; False where something about it is under way."""
        if about in self.under_way:
            return False
        args = args or {}
        self.under_way[about] = Asked(op, args, self._asker.request(op, args), time.monotonic())
        return True

    def listen(self, seconds: float) -> None:
        """Hear answers for so long, and repeat what is not answered."""
        end = time.monotonic() + seconds
        while True:
            for asked in self.under_way.values():
                if time.monotonic() - asked.sent > REPEAT:
                    self._asker.request(asked.op, asked.args, id=asked.id)
                    asked.sent = time.monotonic()
            left = end - time.monotonic()
            answer = self._asker.receive(max(0.0, min(left, 0.1)))
            if answer is not None and "progress" not in answer:
                self._hear(answer)
            if left <= 0:
                return

    def _hear(self, answer: dict[str, Any]) -> None:
        about = next((about for about, asked in self.under_way.items() if asked.id == answer["id"]), None)
        if about is None:
            return  # an answer to a repeat
        asked = self.under_way.pop(about)
        self.answered[asked.op] += 1
        result = answer["result"].get("results", [{"ok": True}])[0] if answer["ok"] else answer
        if not result["ok"]:
            self.refused.append(f"{asked.op} {about}: {result['error']}")
            assert result["error"]["kind"] in _MAY_FAIL, self.refused[-1]
        if about in self.wants:
            self.wants[about] = "down" if asked.op == "stop" else "up"
