"""A tarball or a version that shall be brought by a restart: taken in, judged, and the plan that comes of it.

Nothing of the release is changed here. What is wrong is told by a RefusedError, whole: why, and the next step.

    root                     release              what comes of it
    missing, empty           want up              installed and started; else nothing is installed again
    missing, empty           want down            installed, and chosen for the next start
    a version                runs                 the VM ends, one of the new version follows
    a version                stopped              installed, and chosen for the next start
    the same, but damaged    runs, or stopped     what is damaged is mended where it lies
    the same                 failed               started again
    nothing that boots       any                  as a first install
"""

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relctld.beam.handler.replies import HandlerError
from relctld.beam.layout import DamagedRelease, NotARelease, NothingInstalled, ReleaseError
from relctld.beam.package.arrival import Arrival, Place, judge_arrival, judge_present
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.releases import read_releases
from relctld.beam.package.tarball import Contents
from relctld.beam.package.tree import Tree, read_tree
from relctld.config import EnvFileError
from relctld.control.server import RefusedError
from relctld.core.spec import Flavour, OnFailure, ReleaseSpec
from relctld.core.state import State, Want
from relctld.core.switch import NOTHING
from relctld.core.transaction import Journal, Way
from relctld.host import tree as files
from relctld.host.errors import in_words
from relctld.host.process import boot_id
from relctld.host.staging import Received
from relctld.host.users import UnknownUserError
from relctld.supervisor.history import timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Surroundings
from relctld.supervisor.upgrades import disk, memory, site
from relctld.supervisor.upgrades.configuring import ConfiguringError
from relctld.supervisor.upgrades.ledger import Luggage, as_text
from relctld.supervisor.upgrades.memory import Taken
from relctld.supervisor.upgrades.node import NodeError
from relctld.supervisor.upgrades.offer import Offers, Wanted
from relctld.supervisor.upgrades.taking import digest_of

_LARGEST_RELEASES = 1 << 20
_CHOOSERS = ("RELEASE_VSN", "REL_VSN")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What can be done. `origin`: the version that a boot brings now; empty where none does. `taken`: what is to be
    remembered of the tarball."""

    arrival: Arrival
    origin: str
    luggage: Luggage
    plan: dict[str, Any]
    taken: Taken | None


class Deployments(Offers):
    """Makes deployments for one release."""

    async def make_deployment(self, wanted: Wanted) -> Deployment | None:
        """Judge what is wanted; None: it is so already. Raises RefusedError."""
        try:
            return await self._deployment(wanted)
        except PackageError as error:
            raise RefusedError("impossible", str(error), error.hint) from error
        except (ReleaseError, HandlerError, ConfiguringError, UnknownUserError, EnvFileError) as error:
            raise RefusedError("impossible", str(error)) from error
        except NodeError as error:
            raise RefusedError("impossible", f"its node cannot be asked: {error}") from error
        except OSError as error:
            raise RefusedError("failed", in_words(error)) from error

    async def _deployment(self, wanted: Wanted) -> Deployment | None:
        spec, state = self._managed.spec, self._managed.state
        if self._managed.unconfigured:
            raise RefusedError("impossible", "it left the config", "put it back into the config: relctl reload")
        around: Surroundings = await self._work(self._tools.surround, self._managed)
        _check_choice(spec, around)
        tree: Tree | None = await self._work(_tree, spec, around)
        known: list[Taken] = await self._work(memory.recall, self._ledger)
        digest = await self._digest(wanted)
        same = next((each for each in known if each.sha256 == digest), None) if digest else None
        if same and await self._work(self._is_so, tree, same):
            return None
        received, contents = await self._receive(wanted, None) if wanted.tarball is not None else (None, None)
        if received is not None:
            same = next((each for each in known if each.sha256 == received.sha256), None)
        at_rest = state.vm is None
        arrival: Arrival = await self._work(self._arrival, contents, tree, wanted, at_rest, same)
        origin = tree.boot_version if tree else NOTHING
        runs = state.state is State.RUNNING and _runs(self._managed, origin)
        is_whole = site.selects(tree) == arrival.version and not arrival.placement.new
        if is_whole and (runs or not _wants_up(self._managed)):
            if received and contents:
                seen = memory.taken(origin, received.sha256, contents.members)
                await self._work(memory.remember, self._ledger, seen)
            return None
        _check_command(spec, arrival)
        await self._check_space(arrival.placement, _nearest(spec.root))
        luggage = await self._work(self._luggage, arrival, tree, received, same is not None)
        taken = memory.taken(arrival.version, received.sha256, contents.members) if received and contents else None
        plan = _plan_object(arrival, origin, _starts(self._managed, origin, arrival.version))
        return Deployment(arrival, origin, luggage, plan, taken)

    async def _digest(self, wanted: Wanted) -> str | None:
        """Of the tarball where it lies; the copy that is judged is hashed again."""
        if wanted.tarball is None:
            return None
        digest = await digest_of(wanted.tarball, wanted.reader, self._ledger.folder)
        if wanted.sha256 is not None and wanted.sha256.lower() != digest:
            raise RefusedError("impossible", f"its sha256 is {digest}, not the one that was given")
        return digest

    def _is_so(self, tree: Tree | None, same: Taken) -> bool:
        """Whether this tarball's version is chosen, whole, and runs if it shall."""
        if tree is None or site.selects(tree) != same.version:
            return False
        state = self._managed.state
        running = state.state is State.RUNNING and _runs(self._managed, same.version)
        as_wanted = running if _wants_up(self._managed) else state.vm is None
        with disk.as_owner(tree.root):
            return as_wanted and same.is_whole(tree.root)

    def _arrival(
        self, contents: Contents | None, tree: Tree | None, wanted: Wanted, at_rest: bool, same: Taken | None
    ) -> Arrival:
        spec = self._managed.spec
        if contents is None:
            if tree is None or wanted.version is None:
                raise PackageError(Kind.UNKNOWN_VERSION, "nothing is installed that could boot")
            with disk.as_owner(tree.root):
                return judge_present(tree, wanted.version)
        place = Place(spec.root, tree, spec.release_name, spec.flavour, platform.machine())
        known = same is not None
        with disk.as_owner(spec.root) if spec.root.exists() else contextlib.nullcontext():
            return judge_arrival(contents, place, at_rest=at_rest, known=known)

    def _luggage(self, arrival: Arrival, tree: Tree | None, received: Received | None, known: bool) -> Luggage:
        root = self._managed.spec.root
        before = files.read(root, disk.RELEASES, _LARGEST_RELEASES) if root.exists() else None
        return Luggage(
            str(tree.root if tree else os.path.abspath(root)),
            arrival.flavour,
            arrival.name,
            units=arrival.placement.units,
            tarball=received.path.name if received else None,
            releases=as_text(before) if before is not None and _is_list(before) else None,
            replaced=arrival.placement.replaced,
            known=known,
        )


def _runs(managed: Managed, version: str) -> bool:
    """Whether the VM is of this version; what we installed in the node meanwhile is known there too."""
    return managed.state.vm is not None and managed.launched.version == version


def _wants_up(managed: Managed) -> bool:
    state = managed.state
    return state.want is Want.UP and (managed.spec.enabled or state.state is not State.STOPPED)


def _starts(managed: Managed, origin: str, target: str) -> bool:
    """Whether a VM of the target is to be started."""
    runs = managed.state.state is State.RUNNING and _runs(managed, origin)
    return _wants_up(managed) and not (runs and target == origin)


def journal_of(managed: Managed, request_id: str, by: str, offer: Deployment, soak: float | None) -> Journal:
    """The first word on it. Operators may have stopped or started the release since it was judged."""
    spec = managed.spec.upgrade
    return Journal(
        release=managed.name,
        id=request_id,
        by=by,
        since=timestamp(),
        origin=offer.origin,
        target=offer.arrival.version,
        epoch=managed.state.epoch,
        incarnation="",
        soak=spec.soak if soak is None else soak,
        timeout=spec.timeout,
        reversible=True,
        leave=spec.on_failure is OnFailure.LEAVE,
        way=Way.RESTART,
        boot=boot_id(),
        starts=_starts(managed, offer.origin, offer.arrival.version),
    )


def _check_choice(spec: ReleaseSpec, around: Surroundings) -> None:
    for name in _CHOOSERS:
        if name in around.env:
            hint = f"take {name} out of `env` and `env_file` of release {spec.name}"
            raise RefusedError("impossible", f"its environment chooses the version: {name} is set", hint)


def _check_command(spec: ReleaseSpec, arrival: Arrival) -> None:
    if spec.command is not None and arrival.flavour in (Flavour.RELX, Flavour.PLAIN):
        why = f"its `command` chooses the version of a {arrival.flavour} release"
        raise RefusedError("impossible", why, f"take `command` out of release {spec.name}, or use the `name` key")


def _tree(spec: ReleaseSpec, around: Surroundings) -> Tree | None:
    """What is installed; None where nothing could boot. Raises ReleaseError where it is something else altogether."""
    try:
        with disk.as_owner(spec.root):
            return read_tree(spec.root, spec.flavour, spec.release_name, around.env)
    except (FileNotFoundError, NothingInstalled, DamagedRelease, PackageError):
        return None
    except NotARelease:
        if not (spec.root / "releases").is_dir():
            raise
        return None


def _is_list(data: bytes) -> bool:
    """Whether it is a RELEASES that is worth being put back."""
    try:
        read_releases(data)
    except PackageError:
        return False
    return True


def _nearest(root: Path) -> Path:
    """The root, or what is there of the way to it."""
    return next(folder for folder in (root, *root.parents) if folder.exists())


def _plan_object(arrival: Arrival, origin: str, starts: bool) -> dict[str, Any]:
    """The plan as JSON."""
    changes, placement = arrival.applications, arrival.placement
    return {
        "way": "restart" if origin else "install",
        "from": origin or None,
        "to": arrival.version,
        "flavour": str(arrival.flavour),
        "erts": arrival.rel.erts,
        "starts": starts,
        "applications": {
            "added": dict(changes.added),
            "changed": {name: list(versions) for name, versions in changes.changed.items()},
            "removed": dict(changes.removed),
        },
        "mended": list(placement.replaced),
        "disk_bytes": placement.space,
        "files": len(placement.new),
    }
