"""From a recipe to a VM past its gate. Everything here blocks and belongs in a worker thread.

Order: the recipe (read only), the place (run directory, directories of the release), epmd, then the gate: raised and
contained, recorded, opened. A gate may have been raised beforehand (`standby`); it is used where the recipe is still
the same. A failure at any point leaves nothing behind and says why.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from relctld.beam.crashdump import dump_name
from relctld.beam.flavour import NothingInstalled
from relctld.beam.heart import disarmed
from relctld.beam.layout import ReleaseError, newest_epmd
from relctld.beam.package.refusals import PackageError
from relctld.config import EnvFileError
from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.failpoints import Failpoint, reach
from relctld.host import epmd, fifo, folders, process
from relctld.host.containment import Containment
from relctld.host.errors import in_words
from relctld.host.gate import COMM, Gate, Identity, raise_gate
from relctld.host.reaper import Reaper
from relctld.host.records import Launched, Recorded, write_vm
from relctld.host.users import UnknownUserError
from relctld.supervisor.recipe import (
    Candidate,
    Place,
    Recipe,
    Surroundings,
    environment,
    read_recipe,
    read_surroundings,
)

_CRASH_DIR_WITHIN = 0.1


class LaunchError(Exception):
    """A VM cannot be launched; the text says why. `nothing_installed`: the root is missing or empty."""

    def __init__(self, why: str, *, nothing_installed: bool = False) -> None:
        super().__init__(why)
        self.nothing_installed = nothing_installed


@dataclass(frozen=True, slots=True)
class Raised:
    """A gate that is raised and contained for `epoch`. No VM yet: nothing records it, and end of file ends it.

    `output` is the identity of the FIFO it holds, `amiss` what is wrong with its containment; the pidfd is the taker's.
    """

    gate: Gate
    vm: Vm
    pidfd: int
    epoch: int
    recipe: Recipe
    output: tuple[int, int]
    amiss: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A VM past its gate. `warnings`: what an operator should know of its release."""

    raised: Raised
    warnings: tuple[str, ...]

    @property
    def vm(self) -> Vm:
        return self.raised.vm

    @property
    def pidfd(self) -> int:
        return self.raised.pidfd

    @property
    def argv(self) -> tuple[str, ...]:
        return self.raised.recipe.argv

    @property
    def cwd(self) -> Path:
        return self.raised.recipe.cwd

    @property
    def launched(self) -> Launched:
        return self.raised.recipe.launched


class Launcher:
    """Launches VMs. `environ` is the daemon's own environment, of which a VM gets only what is asked for."""

    def __init__(
        self,
        reaper: Reaper,
        containment: Containment,
        pool: Executor,
        environ: Mapping[str, str],
        soft_nofile: int,
    ) -> None:
        self._reaper = reaper
        self._containment = containment
        self._pool = pool
        self._environ = environ
        self._soft_nofile = soft_nofile
        self._crash_folders: dict[Path, Future[None]] = {}
        self.roots: Callable[[ReleaseSpec], Iterable[Path]] = lambda spec: (spec.root,)
        """The roots of all releases of the same user, set by who knows them: the newest epmd among them is started,
        as that user. Nobody's tree is executed as somebody else."""
        self.candidate: Callable[[ReleaseSpec, int], Candidate | None] = lambda _spec, _epoch: None
        """What the launch of an epoch starts though no file selects it, set by who knows of upgrades."""
        self.settle: Callable[[ReleaseSpec, Recipe], bool] = lambda _spec, _recipe: False
        """Brings an upgrade that was decided to its end on disk, set by who knows of upgrades; whether it did."""

    def launch(self, spec: ReleaseSpec, place: Place, epoch: int, standby: Raised | None = None) -> Launch:
        """Launch a VM, by the gate that stands by if it suits; it is spent in any case. Raises LaunchError."""
        try:
            return self._launch(spec, place, epoch, standby)
        except NothingInstalled as error:
            raise LaunchError(f"{spec.root} is missing or empty", nothing_installed=True) from error
        except OSError as error:
            raise LaunchError(in_words(error)) from error
        except (ReleaseError, PackageError, UnknownUserError, EnvFileError, epmd.EpmdError) as error:
            raise LaunchError(str(error)) from error
        finally:
            if standby is not None:
                standby.gate.shut()

    def raise_ahead(self, spec: ReleaseSpec, place: Place, epoch: int) -> Raised:
        """Raise the gate of a launch to come. Raises whatever that launch would."""
        return self._raise(spec, place, epoch, self.recipe(spec, place))

    def recipe(self, spec: ReleaseSpec, place: Place, candidate: Candidate | None = None) -> Recipe:
        """What a launch would take now, be it of what no file selects. Raises as `read_recipe`."""
        return read_recipe(spec, place, self._environ, self._soft_nofile, candidate)

    def surroundings(self, spec: ReleaseSpec) -> Surroundings:
        """In which its commands run, whatever is installed. Raises as `read_surroundings`."""
        return read_surroundings(spec, self._environ)

    def environment(self, spec: ReleaseSpec, identity: Identity) -> dict[str, str]:
        """The environment in which a release's commands run. Raises OSError and EnvFileError."""
        return disarmed(environment(spec, identity, self._environ))

    def _launch(self, spec: ReleaseSpec, place: Place, epoch: int, standby: Raised | None) -> Launch:
        recipe = self.recipe(spec, place, self.candidate(spec, epoch))
        if self.settle(spec, recipe):
            recipe = self.recipe(spec, place)
        _make_run_folder(place, recipe.identity)
        for directory in spec.directories:
            folders.own(directory, recipe.identity, 0o750)
        self._make_crash_folder(place, recipe.identity)
        release = recipe.release
        if release is not None and release.epmd_needed:
            epmd.ensure(lambda: newest_epmd(self.roots(spec)), recipe.env, self._reaper.spawning, recipe.switch)
        dump = str(place.log / "crash" / dump_name(epoch, datetime.now(UTC)))
        warnings = release.warnings if release else ()
        # The last that may fail: a VM beyond its gate that nobody was told of would get a second beside it.
        if (
            standby is not None
            and standby.epoch == epoch
            and standby.recipe == recipe
            and standby.amiss is None
            and _is_as_raised(standby, place)
        ):
            with contextlib.suppress(OSError):  # it ended while it waited
                self._open(standby, place, dump)
                return Launch(standby, warnings)
        raised = self._raise(spec, place, epoch, recipe)
        try:
            self._open(raised, place, dump)
        except BaseException:
            self._take_down(spec.name, raised)
            raise
        return Launch(raised, warnings)

    def _raise(self, spec: ReleaseSpec, place: Place, epoch: int, recipe: Recipe) -> Raised:
        instance = secrets.token_hex(16)
        marks = {"RELCTL_INSTANCE": instance, "RELCTL_RELEASE": spec.name, "RELCTL_EPOCH": str(epoch)}
        output = fifo.open_both_ways(place.run / "out")
        try:
            held = _identity(os.fstat(output))
            with self._reaper.spawning() as claim:
                gate = raise_gate(
                    recipe.argv,
                    env={**recipe.env, **marks},
                    cwd=recipe.cwd,
                    umask=recipe.umask,
                    output=output,
                    identity=recipe.switch,
                    limits=recipe.limits,
                    late=recipe.late,
                )
                claim(gate.pid)
        finally:
            os.close(output)
        try:
            pidfd = os.pidfd_open(gate.pid)
        except OSError:
            gate.shut()
            self._reaper.abandon(gate.pid)
            raise
        vm = Vm(gate.pid, process.start_ticks(gate.pid) or 0, instance)
        raised = Raised(gate, vm, pidfd, epoch, recipe, held)
        try:
            reach(Failpoint.BEFORE_PLACE)
            amiss = self._containment.place(spec.name, epoch, vm, spec.limits)
            reach(Failpoint.AFTER_PLACE)
        except BaseException:
            self._take_down(spec.name, raised)
            raise
        return replace(raised, amiss=amiss)

    def _open(self, raised: Raised, place: Place, dump: str) -> None:
        """From here on a crash of the daemon ends the gate (end of file) or leaves a VM with a record."""
        write_vm(place.run, Recorded(raised.epoch, raised.vm))
        raised.gate.open(dump)
        with contextlib.suppress(OSError):  # it runs, and whether it lives needs no record
            write_vm(place.run, Recorded(raised.epoch, raised.vm, opened=True))

    def _take_down(self, name: str, raised: Raised) -> None:
        raised.gate.shut()
        os.close(raised.pidfd)
        self._reaper.abandon(raised.vm.pid)
        with contextlib.suppress(OSError):
            self._containment.empty(name, raised.epoch, raised.vm.instance, gentle=False)

    def _make_crash_folder(self, place: Place, identity: Identity) -> None:
        """A place for the VM's dump. A log disk that hangs must not keep a node from starting.

        Nor may it take one worker more with each start: as long as one hangs there, no other is sent. Where it was
        made before, it is only looked after, and nobody waits for that.
        """
        folder = place.log / "crash"
        before = self._crash_folders.get(folder)
        if before is None or before.done():
            made = self._crash_folders[folder] = self._pool.submit(make_crash_folder, place.log, identity)
            if before is None or before.exception() is not None:
                with contextlib.suppress(OSError, FutureTimeoutError):
                    made.result(_CRASH_DIR_WITHIN)


def _is_as_raised(raised: Raised, place: Place) -> bool:
    """Whether it still waits, and stands where a new one would: its directory may have been replaced, or its FIFO."""
    try:
        stands_in = _identity(os.stat(f"/proc/{raised.vm.pid}/cwd"))
    except OSError:
        return False
    return (
        process.comm(raised.vm.pid) == COMM
        and stands_in == _identity(os.stat(raised.recipe.cwd))
        and raised.output == _identity(os.stat(place.run / "out", follow_symlinks=False))
    )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _make_run_folder(place: Place, identity: Identity) -> None:
    """RUN/releases/NAME with its FIFO, and an empty scratch directory that is the node's own."""
    place.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    fifo.make(place.run / "out", identity.uid, identity.gid)
    folders.remove(place.scratch)
    folders.own(place.scratch, identity, 0o700)


def make_crash_folder(log_folder: Path, identity: Identity) -> None:
    """LOG/NAME/crash, where the node's user writes its dumps."""
    log_folder.mkdir(mode=0o751, parents=True, exist_ok=True)
    folders.own(log_folder / "crash", identity, 0o750)
