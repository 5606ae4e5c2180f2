"""Asks all checks, side by side and each within a limit of time, and mends on demand.

Rule: nothing here waits for a disk on the loop; a check that hangs is a finding, and its thread is left to itself.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from relctld.beam.dist import epmd as node_names
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.layout import ReleaseError, newest_epmd
from relctld.beam.package.refusals import PackageError
from relctld.config import EnvFileError
from relctld.control.server import RefusedError
from relctld.core.notes import Note
from relctld.core.state import Want
from relctld.host import epmd
from relctld.host.reaper import Spawning
from relctld.host.users import UnknownUserError
from relctld.supervisor.doctor import host, node, secrets, tree
from relctld.supervisor.doctor.findings import Finding, Kind, Mend, Severity
from relctld.supervisor.doctor.patient import Patient
from relctld.supervisor.history import History
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.recipe import Place, Recipe
from relctld.supervisor.shell import Shell
from relctld.supervisor.upgrades.registry import Upgrades

log = structlog.get_logger()

WITHIN = 5.0
"""Seconds that a look may take; a mend may take ten times as long."""

_FAILURES = (OSError, ReleaseError, PackageError, UnknownUserError, EnvFileError, epmd.EpmdError)
_ORDER = {severity: place for place, severity in enumerate(map(str, Severity))}


class Doctor:
    """One for all releases."""

    def __init__(
        self,
        *,
        shell: Shell,
        nodes: Nodes,
        upgrades: Upgrades,
        launcher: Launcher,
        spawning: Spawning,
        describe: Callable[[], dict[str, Any]],
        unenforced: Mapping[str, str],
        history: History,
        pool: Executor,
    ) -> None:
        self._shell, self._nodes, self._upgrades = shell, nodes, upgrades
        self._launcher, self._spawning = launcher, spawning
        self._describe, self._unenforced, self._history, self._pool = describe, unenforced, history, pool

    async def examine(self, names: list[str], by: str | None) -> dict[str, Any]:
        """What is wrong with these releases and, where none is named, with the host; mended if somebody asks for it.

        `by`: who wants it mended; None: nobody.
        """
        found = await self._look(names)
        shown = [finding.shown() for finding in found]
        if by is not None:
            for finding, told in zip(found, shown, strict=True):
                if finding.mend is not None:
                    told.update(await self._mend(finding, finding.mend, by))
        return {"findings": sorted(shown, key=lambda told: _ORDER[told["severity"]])}

    async def _look(self, names: list[str]) -> list[Finding]:
        everybody = [managed for managed in self._shell.releases.values() if not names or managed.name in names]
        patients = [self._patient(managed) for managed in everybody]
        looks = [self._look_at(managed, patient) for managed, patient in zip(everybody, patients, strict=True)]
        if not names:
            looks.append(self._look_at_host(patients))
        found = [finding for each in await asyncio.gather(*looks) for finding in each]
        return list(dict.fromkeys(found))

    async def _look_at(self, managed: Managed, patient: Patient) -> list[Finding]:
        found = list(host.states(managed, patient))
        names = await self._names(managed)

        def of_recipe() -> Iterator[Finding]:
            try:
                recipe = patient.recipe()
            except ReleaseError:
                return  # told by the look at its tree
            yield from secrets.examine(patient, recipe)
            yield from host.logs(patient, recipe.identity)

        looks = (
            self._within(patient.name, "its tree", lambda: tree.examine(patient)),
            self._within(patient.name, "its files", of_recipe),
            self._within(patient.name, "its node", lambda: node.examine(patient, names)),
            self._within(patient.name, "its limits", lambda: host.limits(patient, self._unenforced)),
        )
        return found + [finding for each in await asyncio.gather(*looks) for finding in each]

    async def _look_at_host(self, patients: list[Patient]) -> list[Finding]:
        described = self._describe()
        looks = (
            self._within(None, "relctld", lambda: host.daemon(described)),
            self._within(None, "epmd", lambda: _of_epmds(patients)),
            self._look_at_disks(described, patients),
        )
        return [finding for each in await asyncio.gather(*looks) for finding in each]

    async def _look_at_disks(self, described: Mapping[str, Any], patients: list[Patient]) -> list[Finding]:
        """Each in a thread of its own: one that hangs keeps no other from being told."""
        paths: dict[Path, tuple[str | None, str]] = {
            Path(described[key]): (None, key) for key in ("run_dir", "state_dir", "log_dir")
        }
        paths |= {patient.spec.root: (patient.name, host.RELEASES) for patient in patients}
        seen: list[host.Disk] = []

        def look(path: Path, what: str) -> Iterator[Finding]:
            seen.append(host.disk(path, what))
            return iter(())

        looks = [
            self._within(release, f"the disk of {path}", partial(look, path, what))
            for path, (release, what) in paths.items()
        ]
        hung = [finding for each in await asyncio.gather(*looks) for finding in each]
        return [*host.disks(tuple(seen)), *hung]

    async def _within(self, release: str | None, what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
        """What a look in a worker thread finds; that it came to nothing is a finding too."""
        work = asyncio.get_running_loop().run_in_executor(self._pool, lambda: list(look()))
        try:
            return await asyncio.wait_for(asyncio.shield(work), WITHIN)
        except TimeoutError:
            return [Finding(Kind.NOT_LOOKED_AT, f"{what}: no answer within {WITHIN:g} s", release)]
        except _FAILURES as error:
            return [Finding(Kind.NOT_LOOKED_AT, f"{what}: {error}", release)]
        except Exception as error:  # one look that goes wrong must not take the others along
            log.exception("surprise", release=release, look=what)
            return [Finding(Kind.NOT_LOOKED_AT, f"{what}: {error!r}", release)]

    def _patient(self, managed: Managed) -> Patient:
        spec, vm = managed.spec, managed.state.vm
        place = Place(managed.folder, managed.log_folder)

        def recipe() -> Recipe:
            return self._launcher.recipe(spec, place)

        def start_epmd() -> None:
            found = recipe()
            epmd.ensure(lambda: newest_epmd(self._launcher.roots(spec)), found.env, self._spawning, found.switch)

        runs = self._nodes.known(managed.name).version or managed.launched.version
        return Patient(
            spec=spec,
            place=place,
            wanted=managed.state.want is Want.UP,
            vm=vm,
            launched=managed.launched,
            runs=runs if vm else None,
            upgrading=self._upgrades.is_busy(managed.name),
            recipe=recipe,
            start_epmd=start_epmd,
        )

    async def _names(self, managed: Managed) -> dict[str, int]:
        watch = self._nodes.watch(managed.name)
        if watch is None or watch.epmd_port is None:
            return {}
        try:
            return await node_names.names("127.0.0.1", watch.epmd_port, WITHIN)
        except LinkRefused:
            return {}

    async def _mend(self, finding: Finding, mend: Mend, by: str) -> dict[str, Any]:
        told: dict[str, Any]
        try:
            kept_away = contextlib.ExitStack()
            kept_away.enter_context(self._upgrades.kept_away(finding.release, by))
            work = asyncio.get_running_loop().run_in_executor(self._pool, mend)
            work.add_done_callback(lambda _: kept_away.close())  # not before, though we may give up waiting
            told = {"fixed": True, "did": await asyncio.wait_for(asyncio.shield(work), 10 * WITHIN)}
        except TimeoutError:
            told = {"fixed": False, "error": f"it takes longer than {10 * WITHIN:g} s"}
        except (*_FAILURES, RefusedError) as error:
            told = {"fixed": False, "error": str(error)}
        fields = {"by": by, "finding": str(finding.kind), "detail": finding.detail, **told}
        self._history.report(finding.release, Note.DOCTOR_FIXED, fields)
        return told


def _of_epmds(patients: Iterable[Patient]) -> Iterator[Finding]:
    """What the nodes of this host share. Blocks."""
    needed: dict[int, Patient] = {}
    nodes: list[tuple[str, str, int | None]] = []
    for patient in patients:
        try:
            recipe = patient.recipe()
        except _FAILURES:
            continue  # told by the look at its tree
        port = node.epmd_port(recipe)
        if port is not None and (patient.vm is not None or patient.wanted):
            needed.setdefault(port, patient)
        if recipe.launched.node is not None:
            nodes.append((patient.name, recipe.launched.node, port))
    yield from node.clashes(nodes)
    yield from node.epmds(needed)
