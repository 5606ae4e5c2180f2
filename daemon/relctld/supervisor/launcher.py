"""What a launch takes, from the spec to the open gate. Everything here blocks and belongs in a worker thread.

Order: who (name service), where (run directory, directories of the release), what (flavour, environment), epmd,
then the gate: pid recorded, contained, opened. A failure at any point leaves nothing behind and says why.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from relctld.beam.crashdump import dump_name
from relctld.beam.flavour import NothingInstalled, Release, inspect
from relctld.beam.layout import ReleaseError, newest_epmd
from relctld.config import EnvFileError, fingerprints, read_env
from relctld.core.model import ReleaseSpec, Vm
from relctld.host import epmd, fifo, folders, process
from relctld.host.containment import Containment
from relctld.host.gate import Gate, Identity, limit_lines, raise_gate
from relctld.host.reaper import Reaper
from relctld.host.records import Launched, write_vm
from relctld.host.users import UnknownUserError, look_up

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CRASH_DIR_WITHIN = 0.1


class LaunchError(Exception):
    """A VM cannot be launched; the text says why. `nothing_installed`: the root is missing or empty."""

    def __init__(self, why: str, *, nothing_installed: bool = False) -> None:
        super().__init__(why)
        self.nothing_installed = nothing_installed


@dataclass(frozen=True, slots=True)
class Launch:
    """A VM past its gate. The pidfd is the taker's."""

    vm: Vm
    pidfd: int
    argv: tuple[str, ...]
    cwd: Path
    launched: Launched
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release keeps what is not its own tree."""

    run: Path
    log: Path


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

    def launch(self, spec: ReleaseSpec, place: Place, epoch: int) -> Launch:
        """Launch a VM. Raises LaunchError."""
        try:
            return self._launch(spec, place, epoch)
        except NothingInstalled as error:
            raise LaunchError(f"{spec.root} is missing or empty", nothing_installed=True) from error
        except OSError as error:
            raise LaunchError(_in_words(error)) from error
        except (ReleaseError, UnknownUserError, EnvFileError, epmd.EpmdError) as error:
            raise LaunchError(str(error)) from error

    def _launch(self, spec: ReleaseSpec, place: Place, epoch: int) -> Launch:
        identity = look_up(spec.user, spec.group)
        env = self.environment(spec, identity)
        scratch = make_run_folder(place.run, identity)
        release = _inspect(spec, env, scratch)
        if release is not None:
            env = {**release.env, **env}
        for directory in spec.directories:
            folders.own(directory, identity, 0o750)
        self._crash_dump(spec, place, epoch, identity, env)
        instance = secrets.token_hex(16)
        env |= {"RELCTL_INSTANCE": instance, "RELCTL_RELEASE": spec.name, "RELCTL_EPOCH": str(epoch)}
        if release is not None and release.epmd_needed:
            switch = identity if spec.user or spec.group else None
            epmd.ensure(lambda: newest_epmd(self.roots(spec)), env, self._reaper.spawning, switch)
        launched = Launched(
            version=release.boot_version if release else None,
            flavour=str(release.flavour) if release else None,
            node=spec.node.name or (release.node if release else None),
            fingerprints=fingerprints(spec),
        )
        argv, cwd = _command(spec, release), spec.cwd or spec.root
        # The last that may fail: a VM beyond its gate that nobody was told of would get a second beside it.
        vm, pidfd = self._through_the_gate(spec, place, epoch, instance, argv, cwd, env, identity)
        return Launch(vm, pidfd, argv, cwd, launched, release.warnings if release else ())

    def _through_the_gate(
        self,
        spec: ReleaseSpec,
        place: Place,
        epoch: int,
        instance: str,
        argv: tuple[str, ...],
        cwd: Path,
        env: Mapping[str, str],
        identity: Identity,
    ) -> tuple[Vm, int]:
        limits = limit_lines(spec.limits.nofile, spec.limits.core, self._soft_nofile)
        switch = identity if spec.user or spec.group else None
        output = fifo.open_both_ways(place.run / "out")
        try:
            with self._reaper.spawning() as claim:
                gate = raise_gate(
                    argv, env=env, cwd=cwd, umask=spec.umask, output=output, identity=switch, limits=limits
                )
                claim(gate.pid)
        finally:
            os.close(output)
        try:
            return self._recorded(spec.name, place, epoch, instance, gate)
        except BaseException:
            self._reaper.abandon(gate.pid)
            with contextlib.suppress(OSError):
                self._containment.empty(spec.name, epoch, instance, gentle=False)
            raise

    def _recorded(self, name: str, place: Place, epoch: int, instance: str, gate: Gate) -> tuple[Vm, int]:
        """From here on a crash of the daemon ends the gate (end of file) or leaves a VM with a record."""
        try:
            pidfd = os.pidfd_open(gate.pid)
            vm = Vm(gate.pid, process.start_ticks(gate.pid) or 0, instance)
            try:
                self._containment.place(name, epoch, vm)
                write_vm(place.run, epoch, vm)
                gate.open()
            except BaseException:
                os.close(pidfd)
                raise
        except BaseException:
            gate.shut()
            raise
        return vm, pidfd

    def environment(self, spec: ReleaseSpec, identity: Identity) -> dict[str, str]:
        """The environment of a VM, built up: of the daemon's own only what `inherit_env` names.

        Raises OSError and EnvFileError.
        """
        env = {
            "HOME": identity.home,
            "USER": identity.name,
            "LOGNAME": identity.name,
            "SHELL": identity.shell,
            "PATH": _PATH,
            "LANG": self._environ.get("LANG", "C.UTF-8"),
        }
        env |= {key: self._environ[key] for key in spec.inherit_env if key in self._environ}
        if spec.env_file is not None:
            env |= read_env(spec.env_file)
        return env | dict(spec.env)

    def _crash_dump(self, spec: ReleaseSpec, place: Place, epoch: int, identity: Identity, env: dict[str, str]) -> None:
        """A path of its own for each VM's dump. A log disk that hangs must not keep a node from starting.

        Nor may it take one worker more with each start: as long as one hangs there, no other is sent.
        """
        folder = place.log / "crash"
        hanging = self._crash_folders.get(folder)
        if hanging is None or hanging.done():
            made = self._crash_folders[folder] = self._pool.submit(make_crash_folder, place.log, identity)
            with contextlib.suppress(OSError, FutureTimeoutError):
                made.result(_CRASH_DIR_WITHIN)
        if spec.crash.keep == 0:
            env.setdefault("ERL_CRASH_DUMP_SECONDS", "0")
            return
        env.setdefault("ERL_CRASH_DUMP", str(folder / dump_name(epoch, datetime.now(UTC))))
        env.setdefault("ERL_CRASH_DUMP_BYTES", str(spec.crash.max_size))
        env.setdefault("ERL_CRASH_DUMP_SECONDS", str(max(1, round(spec.crash.timeout))))


def _inspect(spec: ReleaseSpec, env: Mapping[str, str], scratch: Path) -> Release | None:
    """What lies in the root; a root of another kind is fine where `command` says what to run."""
    try:
        return inspect(spec.root, spec.flavour, spec.release_name, env=env, scratch=scratch)
    except NothingInstalled:
        raise
    except ReleaseError:
        if spec.command is None:
            raise
        return None


def _command(spec: ReleaseSpec, release: Release | None) -> tuple[str, ...]:
    if spec.command is None:
        assert release is not None
        return release.command
    program = spec.command[0]
    return (str(spec.root / program), *spec.command[1:])


def _in_words(error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    return f"{error.filename}: {why}" if error.filename else why


def make_run_folder(folder: Path, identity: Identity) -> Path:
    """RUN/releases/NAME with its FIFO, and an empty scratch directory that is the node's own."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    fifo.make(folder / "out", identity.uid, identity.gid)
    scratch = folder / "scratch"
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(scratch)
    folders.own(scratch, identity, 0o700)
    return scratch


def make_crash_folder(log_folder: Path, identity: Identity) -> None:
    """LOG/NAME/crash, where the node's user writes its dumps."""
    log_folder.mkdir(mode=0o751, parents=True, exist_ok=True)
    folders.own(log_folder / "crash", identity, 0o750)
