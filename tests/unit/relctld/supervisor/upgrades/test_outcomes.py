"""What is told of an upgrade's end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from relctld.core.spec import ReleaseSpec
from relctld.core.state import ReleaseState, State
from relctld.core.transaction import Finish, Journal, Phase, Way
from relctld.supervisor.managed import Managed
from relctld.supervisor.upgrades.outcomes import outcome_of

NODE = ReleaseState("web", State.RUNNING, epoch=3, incarnation="3.1")
JOURNAL = Journal(
    "web", "u1", "ada", "2026-01-01T00:00:00Z", "1.0.0", "1.1.0", 3, "3.1", 10.0, 300.0,
    reversible=False, way=Way.EMULATOR, phase=Phase.CLEANING, candidate="1.1.0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("epoch", "incarnation", "end", "restarted", "words"),
    [
        (3, "3.1", Finish(ok=False, why="no"), False, "and never stopped"),
        (4, "4.1", Finish(ok=False, why="no"), True, "after a restart"),
        (3, "3.2", Finish(ok=False, why="no"), True, "after a restart"),
        (3, "3.1", Finish(ok=True), True, ""),
        (3, "3.1", Finish(ok=False, why="no", left=True), True, ""),
    ],
)
def test_a_restart_is_told_where_there_was_one(
    epoch: int, incarnation: str, end: Finish, restarted: bool, words: str
) -> None:
    state = replace(NODE, epoch=epoch, incarnation=incarnation)
    found = outcome_of(Managed(ReleaseSpec("web", Path("/srv")), state, Path("/run"), Path("/log")), JOURNAL, end, 1.0)
    assert found["restarted"] is restarted
    assert words in found["now"]
