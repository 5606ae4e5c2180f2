"""What can happen to a release. Read this file and `effects.py`, and you know the program.

Rule 1: every event names its release; those about a VM carry its epoch, and older ones are dropped in one place.
        What is found or reported after a VM (`Aftermath`) may come when its successor runs already.
Rule 2: `chance` is a number from 0 to 1, drawn by the shell, wherever a jitter may be due.
"""

from dataclasses import dataclass

from relctld.core.probes import Finding
from relctld.core.spec import Hook, ReleaseSpec
from relctld.core.state import UNKNOWN_STATUS, ExitStatus, Request, Upgrading, Vm, Want


@dataclass(frozen=True, slots=True)
class Booted:
    """The daemon came up and no state was saved in this boot of the host: the release was never started in it."""

    release: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The daemon came up after a former self in the same boot of the host, with the state that was saved last.

    `vm` is what lives of that release; `status` is how it ended meanwhile, where the kernel still tells; `want`
    is what the store says, newer than the saved state where the former daemon died between the two.
    """

    release: str
    vm: Vm | None
    want: Want
    at: str
    status: ExitStatus = UNKNOWN_STATUS


@dataclass(frozen=True, slots=True)
class Requested:
    """An operator asks for something; maybe again, where a former self took it up and never answered."""

    release: str
    request: Request


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request is known to a successor and its want in the store; or that cannot be (`error`)."""

    release: str
    request_id: str
    error: str | None


@dataclass(frozen=True, slots=True)
class HookFinished:
    """A hook ended. `error` is None where it succeeded."""

    release: str
    epoch: int
    hook: Hook
    error: str | None
    at: str
    chance: float


@dataclass(frozen=True, slots=True)
class VmSpawned:
    """The VM is recorded, contained and past its gate."""

    release: str
    epoch: int
    vm: Vm


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No VM came of SpawnVm, and nothing of it is left. `nothing_installed`: the root is missing or empty."""

    release: str
    epoch: int
    reason: str
    nothing_installed: bool
    at: str
    chance: float


@dataclass(frozen=True, slots=True)
class VmExited:
    """The VM's process is gone and reaped. `exec_error`: it ended in the gate, without becoming the release."""

    release: str
    epoch: int
    status: ExitStatus
    at: str
    oom: bool = False
    exec_error: str | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """The sweep that was under way ended; `left` describes the processes that outlived SIGKILL so far."""

    release: str
    epoch: int
    left: tuple[str, ...]
    chance: float


@dataclass(frozen=True, slots=True)
class DumpFound:
    """The VM of `epoch` left a crash dump."""

    release: str
    epoch: int
    slogan: str


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe ended. `credible`: a miss counts (the daemon was not late, not most nodes miss together)."""

    release: str
    epoch: int
    finding: Finding
    credible: bool = True


@dataclass(frozen=True, slots=True)
class Linked:
    """The link to the node stands. `incarnation` differs from that of an earlier link if the node booted again
    inside its process."""

    release: str
    epoch: int
    incarnation: str
    at: str


@dataclass(frozen=True, slots=True)
class Halted:
    """The daemon is stopping and takes the nodes with it; wants stay."""

    release: str


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A reload changed the spec, which was `before` until now. No reload stops or restarts a node."""

    release: str
    before: ReleaseSpec


@dataclass(frozen=True, slots=True)
class UpgradeBegun:
    """A hot upgrade is under way, or found to be so by a daemon that came up."""

    release: str
    upgrading: Upgrading


@dataclass(frozen=True, slots=True)
class UpgradeEnded:
    """It is over, one way or the other."""

    release: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A deadline of this release is due."""

    release: str


VmEvent = VmSpawned | SpawnFailed | VmExited | Swept | Probed | Linked
Aftermath = HookFinished | DumpFound
Upgrade = UpgradeBegun | UpgradeEnded
Event = Booted | Resumed | Requested | Recorded | Halted | Reconfigured | Upgrade | Tick | VmEvent | Aftermath
