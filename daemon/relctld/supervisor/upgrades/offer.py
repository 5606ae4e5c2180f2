"""A tarball or a version taken in and judged, and the plan that comes of it. Nothing of the release is changed.

Rule: what is wrong is told by a RefusedError, whole: why, and the next step.
"""

import asyncio
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from relctld.beam import hybrid
from relctld.beam.handler.replies import HandlerError, Processes
from relctld.beam.layout import ReleaseError
from relctld.beam.package import relup
from relctld.beam.package.judge import Package, judge, judge_installed
from relctld.beam.package.placing import Placement
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.tarball import Contents
from relctld.beam.package.tree import Tree
from relctld.config import EnvFileError
from relctld.control.server import RefusedError
from relctld.core.spec import Flavour
from relctld.core.state import State
from relctld.host import tree as files
from relctld.host import unpack
from relctld.host.errors import in_words
from relctld.host.gate import Identity
from relctld.host.staging import Received
from relctld.host.users import UnknownUserError
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Recipe
from relctld.supervisor.upgrades import configuring, disk
from relctld.supervisor.upgrades.configuring import ConfiguringError, Version
from relctld.supervisor.upgrades.differences import differences
from relctld.supervisor.upgrades.disk import RELEASES, STAGING, Ground, as_owner
from relctld.supervisor.upgrades.ledger import Ledger, Luggage, as_text
from relctld.supervisor.upgrades.memory import Taken, taken
from relctld.supervisor.upgrades.node import NodeError, NodeSide
from relctld.supervisor.upgrades.taking import Tell, take_in
from relctld.supervisor.upgrades.tools import Tools

_LARGEST_RELEASES = 1 << 20
_CHOOSERS = ("RELEASE_VSN", "REL_VSN", "RELDIR")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator asks for: a tarball (a path), a version, or neither, the one before (`downgrade`).

    `reader`: who asks; a tarball is opened with the eyes of that user.
    """

    tarball: str | None
    version: str | None
    sha256: str | None
    reader: Identity


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be done, and what is known of it. `taken`: what is to be remembered of the tarball."""

    package: Package
    luggage: Luggage
    plan: dict[str, Any]
    taken: Taken | None = None


class NoHotWayError(RefusedError):
    """No relup leads there, or none that can be used in this node, or it does not run; a restart would."""


_NO_HOT_WAY = frozenset({Kind.NO_RELUP, Kind.NO_WAY, Kind.BAD_RELUP, Kind.OTHER_ERTS})


class Offers:
    """Makes offers for one release."""

    def __init__(self, managed: Managed, ledger: Ledger, tools: Tools, tell: Tell) -> None:
        self._managed = managed
        self._ledger = ledger
        self._tools = tools
        self._tell = tell
        self._node = NodeSide(managed, tools.nodes)
        self._loop = asyncio.get_running_loop()

    async def make(self, wanted: Wanted, *, with_configuration: bool) -> Offer | None:
        """Judge what is wanted; None: it runs already. Raises RefusedError."""
        try:
            return await self._make(wanted, with_configuration=with_configuration)
        except PackageError as error:
            refused = NoHotWayError if error.kind in _NO_HOT_WAY else RefusedError
            raise refused("impossible", str(error), error.hint) from error
        except HandlerError as error:
            raise NoHotWayError("impossible", str(error)) from error
        except (ReleaseError, ConfiguringError, UnknownUserError, EnvFileError) as error:
            raise RefusedError("impossible", str(error)) from error
        except NodeError as error:
            raise RefusedError("impossible", f"its node cannot be asked: {error}") from error
        except OSError as error:
            raise RefusedError("failed", in_words(error)) from error

    async def _make(self, wanted: Wanted, *, with_configuration: bool) -> Offer | None:
        self._check_state()
        recipe = await self._work(self._tools.prepare, self._managed, None)
        release = recipe.release
        if release is None:
            raise RefusedError("impossible", "what its `command` runs is no release that relctl knows")
        if release.flavour is Flavour.DISTILLERY:
            raise NoHotWayError("impossible", "a hot upgrade of a Distillery release was never seen to work")
        luggage = Luggage(str(release.root), release.flavour, release.name)
        ground = Ground(luggage, recipe.env, None)
        tree = await self._work(ground.tree)
        running = await self._running(tree)
        version = wanted.version
        if wanted.tarball is None and version is None:
            version = _before(tree, running, self._managed.name)
        if version == running:
            return None
        received, contents = await self._receive(wanted, release.root) if wanted.tarball is not None else (None, None)
        package = await self._work(self._judge, contents, tree, running, version, luggage)
        if relup.restarts_emulator(package.script):
            self._check_restart(package, recipe, release.flavour)
        await self._check_space(package.placement, release.root)
        before = await self._work(files.read, release.root, RELEASES, _LARGEST_RELEASES)
        luggage = Luggage(
            luggage.root,
            luggage.flavour,
            luggage.name,
            units=package.placement.units,
            tarball=received.path.name if received else None,
            releases=as_text(before) if before is not None and not tree.releases_fault else None,
        )
        anew = relup.begins_anew(package.script)  # then nobody is there who could be suspended
        processes = Processes() if anew else await self._node.processes(package.script)
        plan = plan_object(package, processes)
        if with_configuration:
            plan |= await self._configuration(package, recipe, received, contents)
        held = taken(package.version, received.sha256, contents.members) if received and contents else None
        return Offer(package, luggage, plan, held)

    def _check_state(self) -> None:
        state, name = self._managed.state, self._managed.name
        if self._managed.unconfigured:
            raise RefusedError("impossible", "it left the config", "put it back into the config: relctl reload")
        if state.state is State.RUNNING and state.incarnation is not None:
            return
        if state.state is State.RUNNING:
            detail = state.health_detail or "there is no link to its node"
            raise NoHotWayError("impossible", f"its node cannot be asked: {detail}", "a hot upgrade needs the link")
        hint = f"relctl start {name}" if state.state in (State.STOPPED, State.FAILED) else f"wait: relctl status {name}"
        raise NoHotWayError("impossible", f"it is {state.state}, and only a running node can be upgraded", hint)

    def _check_restart(self, package: Package, recipe: Recipe, flavour: Flavour) -> None:
        """A new emulator must be startable as a version that no file selects yet, with a boot script of its own."""
        why = "its relup restarts the emulator, and "
        if named := [name for name in _CHOOSERS if name in recipe.env]:
            raise NoHotWayError("impossible", f"{why}its environment chooses what is booted: {named[0]} is set")
        if self._managed.spec.command is not None and flavour in (Flavour.RELX, Flavour.PLAIN):
            raise NoHotWayError("impossible", f"{why}its `command` chooses the version of a {flavour} release")
        missing = [name for name in relup.BASE if name not in package.rel.applications]
        if missing and relup.begins_anew(package.script):
            raise NoHotWayError("impossible", f"{why}{package.version} has no {missing[0]} to go on with")

    async def _running(self, tree: Tree) -> str:
        """The version that runs, where node and tree agree on it."""
        survey = await self._node.survey()
        if survey.releases is None:
            raise RefusedError("busy", "an install that was ordered by somebody else is under way in the node")
        if survey.elsewhere and not await self._work(_is_same_folder, tree.root / survey.elsewhere, tree.root):
            why = f"its release_handler reads {survey.elsewhere}, and not the releases of {tree.root}"
            raise NoHotWayError("impossible", why, "RELDIR in its environment says so, or releases_dir of sasl")
        running = survey.current
        restart = f"restart it first: relctl restart {self._managed.name}"
        if running and running != survey.permanent:
            why = f"{running} was installed in the node and never made permanent"
            raise RefusedError("impossible", f"{why}; a boot would bring {hybrid.shown(survey.permanent)}", restart)
        if running != tree.boot_version:  # its list is made up (mix ships none), torn, or another's
            running = self._tools.nodes.known(self._managed.name).version or self._managed.launched.version or running
        if running != tree.boot_version:
            raise RefusedError("impossible", f"{running} runs, but a boot would bring {tree.boot_version}", restart)
        return running

    async def _receive(self, wanted: Wanted, root: Path | None) -> tuple[Received, Contents]:
        received = await take_in(str(wanted.tarball), wanted.reader, self._ledger.folder, self._tell)
        if wanted.sha256 is not None and wanted.sha256.lower() != received.sha256:
            raise RefusedError("impossible", f"its sha256 is {received.sha256}, not the one that was given")
        self._tell({"step": "judging"})
        contents: Contents = await self._work(disk.read_package, received.path, root)
        return received, contents

    def _judge(
        self, contents: Contents | None, tree: Tree, running: str, version: str | None, luggage: Luggage
    ) -> Package:
        with as_owner(Path(luggage.root)):
            if contents is not None:
                return judge(contents, tree, running, luggage.name, luggage.flavour, platform.machine())
            assert version is not None
            return judge_installed(tree, running, version)

    async def _check_space(self, placement: Placement, root: Path) -> None:
        """Twice what is new: a file system that is full stops more than an upgrade."""
        free: int = await self._work(files.free_bytes, root)
        needed = placement.space * 2
        if free < needed:
            why = f"{root} has {free:,} bytes left, and {needed:,} are needed"
            raise RefusedError("impossible", why, "make room, or remove a version that is not needed")

    # -- configuration -------------------------------------------------------------------------

    async def _configuration(
        self, package: Package, recipe: Recipe, received: Received | None, contents: Contents | None
    ) -> dict[str, Any]:
        """What changes, key by key. The new version's is evaluated in a copy of it beside the tree, for a moment."""
        root = Path(recipe.release.root) if recipe.release else Path("/")
        copied = sum(member.size for member in contents.members) if contents else 0
        if await self._work(files.free_bytes, root) < 2 * copied:
            return {"configuration_unknown": f"{root} has no room for a copy of the new version, {copied:,} bytes"}
        before = await self._evaluate(root, package.running.version, package, recipe)
        if received is None or contents is None:
            after = await self._evaluate(root, package.version, package, recipe)
        else:
            copy = root / STAGING
            try:
                await self._work(unpack.extract, received.path, root, STAGING, contents.members)
                after = await self._evaluate(copy, package.version, package, recipe)
                after = after.replace(str(copy).encode(), str(root).encode())
            finally:
                await self._work(files.remove, root, STAGING)
        return {"configuration": differences(before, after)}

    async def _evaluate(self, root: Path, version: str, package: Package, recipe: Recipe) -> bytes:
        assert recipe.release is not None
        found = Version(
            root, recipe.release.flavour, package.name, version, recipe.env, recipe.identity, recipe.switch, recipe.cwd
        )
        home = self._managed.folder
        folder = home / "scratch" / "upgrade" / f"plan-{version}"
        await self._managed.alone()
        return await configuring.evaluate(found, folder, home, self._tools.commands, self._tools.pool)

    async def _work(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._tools.pool, partial(function, *args))


def _is_same_folder(told: Path, root: Path) -> bool:
    return told.resolve() == (root / "releases").resolve()


def _before(tree: Tree, running: str, name: str) -> str:
    """The version to go back to: the latest that was permanent."""
    old = [entry.version for entry in tree.releases or () if entry.status == "old" and entry.version != running]
    if not old:
        raise RefusedError("impossible", "no older version is known", f"relctl versions {name} lists the versions")
    return old[0]


def plan_object(package: Package, processes: Processes) -> dict[str, Any]:
    """The plan as JSON."""
    applications, modules = package.applications, package.modules
    restarts = relup.restarts_emulator(package.script)
    return {
        "from": package.running.version,
        "to": package.version,
        "erts": package.erts,
        "restarts_emulator": restarts,
        "erts_before": package.running.erts,
        "way_back": "restart" if restarts or not package.back else "reinstall",
        "applications": {
            "added": dict(applications.added),
            "changed": {name: list(versions) for name, versions in applications.changed.items()},
            "removed": dict(applications.removed),
        },
        "modules": {
            "added": list(modules.added),
            "changed": list(modules.changed),
            "removed": list(modules.removed),
            "native": list(modules.native),
            "forgotten": list(modules.forgotten),
            "protocols": list(modules.protocols),
        },
        "instructions": [relup.in_words(each) for each in package.script.instructions],
        "processes": {
            "suspended": processes.count,
            "named": [
                {"name": each.name, "modules": list(each.modules), "busy": each.busy} for each in processes.suspended
            ],
            "killed": _of_modules(processes.killed),
            "in_the_way": _of_modules(processes.in_the_way),
            "staying": _of_modules(processes.staying),
        },
        "next_start": list(package.next_start),
        "disk_bytes": package.placement.space,
        "files": len(package.placement.new),
    }


def _of_modules(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "module": module} for name, module in pairs]
