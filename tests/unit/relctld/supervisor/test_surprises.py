"""Each effect that the core waits for has an end, also where carrying it out failed by surprise."""

from __future__ import annotations

import pytest

from relctld.core.effects import (
    AskProbe,
    CancelHook,
    Effect,
    Ignored,
    RecordRequest,
    RecordWant,
    RunHook,
    Save,
    Signal,
    SignalVm,
    SpawnVm,
    Sweep,
)
from relctld.core.events import Event, HookFinished, Probed, Recorded, SpawnFailed, Swept
from relctld.core.probes import Finding, NodeProbe, Verdict
from relctld.core.spec import Hook
from relctld.core.state import Want
from relctld.supervisor.surprises import end_of

AT, WHY = "2026-01-01T00:00:00Z", "KeyError: 'x'"

WAITED_FOR: list[tuple[Effect, Event]] = [
    (RunHook("web", 3, Hook.PRE_START), HookFinished("web", 3, Hook.PRE_START, WHY, AT, 0.5)),
    (SpawnVm("web", 3), SpawnFailed("web", 3, WHY, nothing_installed=False, at=AT, chance=0.5)),
    (Sweep("web", 3, gentle=True), Swept("web", 3, (f"a sweep that failed: {WHY}",), 0.5)),
    (AskProbe("web", 3, NodeProbe(), 1.0), Probed("web", 3, Finding(Verdict.MISSED, WHY), credible=False)),
    (RecordWant("web", "id", Want.UP), Recorded("web", "id", WHY)),
    (RecordRequest("web", "id"), Recorded("web", "id", WHY)),
]


@pytest.mark.parametrize(("effect", "event"), WAITED_FOR)
def test_what_is_waited_for_ends(effect: Effect, event: Event) -> None:
    assert end_of(effect, WHY, AT, 0.5) == event


@pytest.mark.parametrize(
    "effect", [CancelHook("web", 3), SignalVm("web", 3, Signal.STOP), Save("web"), Ignored("web", "Tick", "stopped")]
)
def test_what_nobody_waits_for_does_not(effect: Effect) -> None:
    assert end_of(effect, WHY, AT, 0.5) is None
