"""What can be ordered of the outside. The interpreter (`supervisor/interpreter.py`) decides nothing and awaits nothing.

Rule 1: effects are carried out in their order. `Save` comes first: a daemon that dies between two of them leaves
        a state that knows of the later ones.
Rule 2: each effect that takes time ends in an event: RunHook → HookFinished, SpawnVm → VmSpawned or SpawnFailed,
        SignalVm → in the end VmExited, Sweep → Swept, AskProbe → Probed, RecordWant and RecordRequest → Recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from relctld.core.notes import Note
from relctld.core.probes import Probe
from relctld.core.spec import Hook
from relctld.core.state import Request, Want


class Signal(StrEnum):
    """What is sent to a VM: init:stop, a crash dump, the end."""

    STOP = "SIGTERM"
    DUMP = "SIGUSR1"
    KILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run the operator's command of this hook."""

    release: str
    epoch: int
    hook: Hook


@dataclass(frozen=True, slots=True)
class CancelHook:
    """End the pre_start hook that is under way."""

    release: str
    epoch: int


@dataclass(frozen=True, slots=True)
class SpawnVm:
    """Launch the release behind the gate."""

    release: str
    epoch: int


@dataclass(frozen=True, slots=True)
class SignalVm:
    """Send a signal to the VM's process, and to no other."""

    release: str
    epoch: int
    signal: Signal


@dataclass(frozen=True, slots=True)
class Sweep:
    """End what the VM left behind. `gentle`: SIGTERM first, SIGKILL after a short while."""

    release: str
    epoch: int
    gentle: bool


@dataclass(frozen=True, slots=True)
class AskProbe:
    """Ask the release once, within `timeout` seconds."""

    release: str
    epoch: int
    probe: Probe
    timeout: float


@dataclass(frozen=True, slots=True)
class RecordWant:
    """As `RecordRequest`; then write the want into the store, durably."""

    release: str
    request_id: str
    want: Want


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """Say when the run directory has what was saved: a successor knows of the request then."""

    release: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Save:
    """Write the state into the run directory, for the next daemon."""

    release: str


@dataclass(frozen=True, slots=True)
class Done:
    """The request is true. `changed` is False where it was true before."""

    changed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The request came to nothing; `kind` as in `wire.messages.KIND_EXIT`. `boot`: the log tells more."""

    kind: str
    why: str
    hint: str = ""
    boot: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the operator what became of the request."""

    release: str
    request: Request
    outcome: Done | Refused


@dataclass(frozen=True, slots=True)
class Report:
    """Something that operators want to know: into the history, to the subscribers, into the daemon's log."""

    release: str
    note: Note
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event made no sense in this state; a line in the daemon's log, nothing else."""

    release: str
    event: str
    state: str


Record = RecordWant | RecordRequest
Effect = RunHook | CancelHook | SpawnVm | SignalVm | Sweep | AskProbe | Record | Save | Answer | Report | Ignored
