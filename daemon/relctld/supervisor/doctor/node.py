"""The node of a release: whether it can be spoken to, who else can, and the epmd that it needs. Blocks on /proc."""

import os
from collections.abc import Iterator, Mapping, Sequence

from relctld.beam.dist.arguments import living
from relctld.beam.heart import armed
from relctld.core.probes import Verdict
from relctld.host import epmd
from relctld.host.listening import Listener, listeners
from relctld.host.process import comm
from relctld.supervisor.doctor.findings import Finding, Kind, Mend, Severity
from relctld.supervisor.doctor.patient import Patient
from relctld.supervisor.nodes.whereabouts import Nowhere, locate
from relctld.supervisor.recipe import Recipe

_ANY = ("0.0.0.0", "::")  # noqa: S104 what others listen on; we never do


def examine(patient: Patient, names: Mapping[str, int]) -> Iterator[Finding]:
    """What is to be said of a node that runs. `names`: the ports that its epmd knows. Raises OSError."""
    if patient.vm is None:
        return
    match armed(*living(patient.vm.pid)):
        case True:
            yield patient.found(Kind.HEART, "its VM has a heart with a command of its own")
        case False:
            yield patient.found(Kind.HEART, "its VM has a heart, without a command", None, Severity.NOTE)
        case None:
            pass
    try:
        where = locate(patient.vm, patient.spec, patient.launched)
    except Nowhere as error:
        if error.finding.verdict is Verdict.REFUSED:
            yield patient.found(Kind.NODE_REFUSED, error.finding.detail)
        return
    port = where.doors[0][1] if where.certain else names.get(where.node.partition("@")[0])
    if (everywhere := _everywhere(patient.vm.pid, port)) is not None:
        yield patient.found(Kind.LISTENS_EVERYWHERE, f"{where.node} listens on {_shown(everywhere)}")


def epmd_port(recipe: Recipe) -> int | None:
    """Where the epmd must answer that a node of this recipe needs; None where it needs none."""
    if recipe.release is None or not recipe.release.epmd_needed:
        return None
    port = recipe.env.get("ERL_EPMD_PORT", "")
    return int(port) if port.isascii() and port.isdecimal() else epmd.DEFAULT_PORT


def epmds(needed: Mapping[int, Patient]) -> Iterator[Finding]:
    """Of each epmd that is needed; the patient is one that needs it."""
    for port, patient in needed.items():
        if not epmd.answers(port):
            yield Finding(Kind.EPMD_DEAD, f"no epmd answers on port {port}", mend=_start(patient, port))
            continue
        for pid in _pids("epmd"):
            if (everywhere := _everywhere(pid, port)) is not None:
                yield Finding(Kind.EPMD_LISTENS_EVERYWHERE, f"epmd (pid {pid}) listens on {_shown(everywhere)}")
                break


def clashes(nodes: Sequence[tuple[str, str, int | None]]) -> Iterator[Finding]:
    """`nodes`: release, node, the port of its epmd. One name at one epmd is for one node."""
    owners: dict[tuple[str, int], str] = {}
    for release, node, port in nodes:
        if port is None:
            continue
        first = owners.setdefault((node.partition("@")[0], port), release)
        if first != release:
            detail = f"its node {node} has the name of that of {first}, at the epmd on port {port}"
            yield Finding(Kind.NAME_CLASH, detail, release)


def _start(patient: Patient, port: int) -> Mend:
    def mend() -> str:
        patient.start_epmd()
        return f"started an epmd on port {port}"

    return mend


def _everywhere(pid: int, port: int | None) -> Listener | None:
    found = [listener for listener in listeners(pid) if listener.port == port]
    return next((listener for listener in found if listener.address in _ANY), None)


def _shown(listener: Listener) -> str:
    return f"{listener.address} port {listener.port}"


def _pids(name: str) -> list[int]:
    return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and comm(int(pid)) == name]
