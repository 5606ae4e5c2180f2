"""What decides how a VM starts: who runs what, where, in which environment. Read anew for each launch.

Rule 1: nothing is changed here, only read: the name service, the environment file, the release's tree.
Rule 2: equal recipes start equal VMs. What is a launch's own (its mark, the place of its crash dump) is not part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relctld.beam import hybrid
from relctld.beam.flavour import NothingInstalled, Release, inspect
from relctld.beam.layout import ReleaseError
from relctld.config import fingerprints, read_env
from relctld.core.spec import ReleaseSpec
from relctld.host.gate import Identity, limit_lines
from relctld.host.records import Launched
from relctld.host.users import look_up

_DUMP = "ERL_CRASH_DUMP"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release keeps what is not its own tree."""

    run: Path
    log: Path

    @property
    def scratch(self) -> Path:
        """A directory that is the node's own, empty at each start."""
        return self.run / "scratch"

    @property
    def evaluation(self) -> Path:
        """Where a configuration is evaluated while VMs may come and go, for as long as that takes."""
        return self.run / "evaluation"

    @property
    def candidate(self) -> Path:
        """What a candidate boots with that is not in the tree (`upgrades.laying`)."""
        return self.run / "candidate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a launch starts though no file selects it: a version; `laid`: with what was laid ready for it, `hybrid`: by
    that boot script of it."""

    version: str
    laid: bool = False
    hybrid: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`identity`: whose the VM is; `switch`: who the gate must become for that, None where it is so already.

    `late`: the variable whose value comes with the opening of the gate: where its crash dump goes, for dumps are named
    for the time of the start.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    identity: Identity
    switch: Identity | None
    umask: int
    limits: tuple[str, ...]
    late: str | None
    release: Release | None
    launched: Launched


@dataclass(frozen=True, slots=True)
class Surroundings:
    """In which a release's commands run, whatever is installed. `switch`: as in `Recipe`."""

    env: Mapping[str, str]
    identity: Identity
    switch: Identity | None


def read_surroundings(spec: ReleaseSpec, environ: Mapping[str, str]) -> Surroundings:
    """Raises OSError, UnknownUserError, EnvFileError."""
    identity = look_up(spec.user, spec.group)
    env = environment(spec, identity, environ)
    return Surroundings(env, identity, identity if spec.user or spec.group else None)


def read_recipe(
    spec: ReleaseSpec,
    place: Place,
    environ: Mapping[str, str],
    soft_nofile: int,
    candidate: Candidate | None = None,
) -> Recipe:
    """What a launch takes now. Raises OSError, ReleaseError, UnknownUserError, EnvFileError.

    `environ` is the daemon's own environment, `soft_nofile` the limit of open files that it was given. `candidate` is
    what to start; None: what the files select.
    """
    identity = look_up(spec.user, spec.group)
    env = environment(spec, identity, environ)
    release = _inspect(spec, env, place.scratch, candidate.version if candidate else None)
    argv = _command(spec, release)
    if release is not None:
        env = {**release.env, **env} if candidate is None else {**env, **release.env}
    if release is not None and candidate is not None and candidate.laid:
        folder = place.candidate / "releases"
        env |= hybrid.environment(release.flavour, folder, candidate.hybrid, env)
        argv = hybrid.command(release.flavour, folder, candidate.hybrid, argv)
    env = {**_crash_settings(spec), **env}
    return Recipe(
        argv=argv,
        cwd=spec.cwd or spec.root,
        env=env,
        identity=identity,
        switch=identity if spec.user or spec.group else None,
        umask=spec.umask,
        limits=limit_lines(spec.limits.nofile, spec.limits.core, soft_nofile),
        late=None if spec.crash.keep == 0 or _DUMP in env else _DUMP,
        release=release,
        launched=Launched(
            version=_version(release, candidate),
            flavour=str(release.flavour) if release else None,
            node=spec.node.name or (release.node if release else None),
            fingerprints=fingerprints(spec),
        ),
    )


def environment(spec: ReleaseSpec, identity: Identity, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a VM, built up: of the daemon's own (`environ`) only what `inherit_env` names.

    Raises OSError and EnvFileError.
    """
    env = {
        "HOME": identity.home,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": identity.shell,
        "PATH": _PATH,
        "LANG": environ.get("LANG", "C.UTF-8"),
    }
    env |= {key: environ[key] for key in spec.inherit_env if key in environ}
    if spec.env_file is not None:
        env |= read_env(spec.env_file)
    return env | dict(spec.env)


def _inspect(spec: ReleaseSpec, env: Mapping[str, str], scratch: Path, version: str | None) -> Release | None:
    """What lies in the root; a root of another kind is fine where `command` says what to run."""
    try:
        return inspect(spec.root, spec.flavour, spec.release_name, env=env, scratch=scratch, version=version)
    except NothingInstalled:
        raise
    except ReleaseError:
        if spec.command is None or version is not None:
            raise
        return None


def _version(release: Release | None, candidate: Candidate | None) -> str | None:
    """The version that runs then: a hybrid is started by the target's files, and runs the origin's applications."""
    if candidate is not None and candidate.hybrid:
        return hybrid.shown(candidate.hybrid)
    return release.boot_version if release else None


def _command(spec: ReleaseSpec, release: Release | None) -> tuple[str, ...]:
    if spec.command is None:
        assert release is not None
        return release.command
    program = spec.command[0]
    return (str(spec.root / program), *spec.command[1:])


def _crash_settings(spec: ReleaseSpec) -> dict[str, str]:
    """What bounds a crash dump; the release's own word goes before it."""
    if spec.crash.keep == 0:
        return {"ERL_CRASH_DUMP_SECONDS": "0"}
    seconds = max(1, round(spec.crash.timeout))
    return {"ERL_CRASH_DUMP_BYTES": str(spec.crash.max_size), "ERL_CRASH_DUMP_SECONDS": str(seconds)}
