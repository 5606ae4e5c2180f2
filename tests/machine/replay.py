"""How a modelled world follows what a transaction decides."""

from typing import Protocol

from relctld.core.transaction import Act, Do, Enter, Finish, Journal, Step, Wait


class World(Protocol):
    """Disk, node and time. `findings`: what a look found, gone with each new phase."""

    journal: Journal
    findings: tuple[str, ...] | None
    now: float

    def do(self, act: Act) -> None:
        """What comes of an act."""


def follow(world: World, step: Step) -> Finish | None:
    """Do as it says; its end, where it is that."""
    match step:
        case Finish():
            return step
        case Enter(journal):
            world.journal, world.findings = journal, None
        case Do(act):
            world.do(act)
        case Wait(until):
            world.now = until if until is not None else world.now + 1
    return None
