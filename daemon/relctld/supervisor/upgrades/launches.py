"""What a launch must know of upgrades: which version it starts, and that what was decided is done first.

Rule: both are asked on the launch's own thread, before anything of it is done, and under the lock under which a phase
is entered that changes the answer.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from relctld.beam.layout import NothingInstalled
from relctld.core import emulator, switch
from relctld.core.spec import ReleaseSpec
from relctld.core.transaction import Journal, Phase, Way
from relctld.host.process import boot_id
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.recipe import Candidate, Recipe
from relctld.supervisor.upgrades import disk, site
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Entry, Ledger


class Launches:
    """`may_have`: whether a release may have a journal; no restart waits for the state directory without need."""

    def __init__(self, state_dir: Path, may_have: Callable[[str], bool]) -> None:
        self.locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._state_dir = state_dir
        self._may_have = may_have

    def attend(self, launcher: Launcher) -> None:
        """Be asked by it."""
        launcher.candidate, launcher.settle = self.candidate, self.settle

    def candidate(self, spec: ReleaseSpec, epoch: int) -> Candidate | None:
        """What this launch starts though no file selects it; None: what the files select.

        Raises NothingInstalled where a first install is under way and not decided yet, and OSError.
        """
        with self.locks[spec.name]:
            entry = self._under_way(spec.name)
        if entry is None:
            return None
        if entry.journal.way is Way.EMULATOR:
            return _of_emulator(entry.journal, epoch)
        version = switch.launches(entry.journal, epoch, boot_id())
        if version == switch.NOTHING:
            raise NothingInstalled(f"{spec.root} is being installed")
        return None if version is None else Candidate(version)

    def settle(self, spec: ReleaseSpec, recipe: Recipe) -> bool:
        """What was decided is brought to its end on disk; whether there was such. Raises what the tree does."""
        with self.locks[spec.name]:
            entry = self._under_way(spec.name)
            if entry is None or entry.journal.phase is not Phase.COMMITTING:
                return False
            ground = Ground(entry.luggage, recipe.env, recipe.switch.gid if recipe.switch else None)
            if entry.journal.way is Way.RESTART:
                site.commit(ground, entry.journal)
            else:
                disk.commit(ground, entry.journal)
                disk.swap_out(ground, entry.journal)
            return True

    def _under_way(self, name: str) -> Entry | None:
        return Ledger(self._state_dir, name).read() if self._may_have(name) else None


def _of_emulator(j: Journal, epoch: int) -> Candidate | None:
    """The start script is the target's in either case: it knows the new ERTS."""
    name = emulator.launches(j, epoch, boot_id())
    return None if name is None else Candidate(j.target, laid=True, hybrid=name if name == j.hybrid else "")
