"""What a launch must know of upgrades: which version it starts, and that what was decided is done first.

Rule: both are asked on the launch's own thread, before anything of it is done, and under the lock under which a phase
is entered that changes the answer. Neither reads the disk of the journals (`course`).
"""

from pathlib import Path

from relctld.beam.layout import NothingInstalled
from relctld.core import emulator, switch
from relctld.core.spec import ReleaseSpec
from relctld.core.transaction import Journal, Phase, Way
from relctld.host.process import boot_id
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.recipe import Candidate, Recipe
from relctld.supervisor.upgrades import disk, site
from relctld.supervisor.upgrades.course import Course
from relctld.supervisor.upgrades.disk import Ground
from relctld.supervisor.upgrades.ledger import Ledger


class Launches:
    """Of all releases."""

    def __init__(self, state_dir: Path, run_dir: Path) -> None:
        self._state_dir, self._run_dir = state_dir, run_dir
        self._courses: dict[str, Course] = {}

    def course(self, name: str) -> Course:
        """By which journal its launches go. For any thread."""
        if name not in self._courses:
            folder = self._run_dir / "releases" / name
            self._courses.setdefault(name, Course(Ledger(self._state_dir, name), folder))
        return self._courses[name]

    def attend(self, launcher: Launcher) -> None:
        """Be asked by it."""
        launcher.candidate, launcher.settle = self.candidate, self.settle

    def candidate(self, spec: ReleaseSpec, epoch: int) -> Candidate | None:
        """What this launch starts though no file selects it; None: what the files select.

        Raises NothingInstalled where a first install is under way and not decided yet, and OSError.
        """
        course = self.course(spec.name)
        with course.lock:
            entry = course.followed()
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
        course = self.course(spec.name)
        with course.lock:
            entry = course.followed()
            if entry is None or entry.journal.phase is not Phase.COMMITTING:
                return False
            ground = Ground(entry.luggage, recipe.env, recipe.switch.gid if recipe.switch else None)
            if entry.journal.way is Way.RESTART:
                site.commit(ground, entry.journal)
            else:
                disk.commit(ground, entry.journal)
                disk.swap_out(ground, entry.journal)
            return True


def _of_emulator(j: Journal, epoch: int) -> Candidate | None:
    """The start script is the target's in either case: it knows the new ERTS."""
    name = emulator.launches(j, epoch, boot_id())
    return None if name is None else Candidate(j.target, laid=True, hybrid=name if name == j.hybrid else "")
