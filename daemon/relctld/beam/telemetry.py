"""What a running node tells of itself: what to ask, and what the answers mean.

Rule 1: pure: terms in, values out; who asks, and when, is the supervisor's business.
Rule 2: total: whatever a node answers, one item that makes no sense costs that item (None), and nothing is raised.
Rule 3: bounded: numbers are below 2**63, names are clipped, lists are cut; a node cannot fill a reply of ours. What
        many nodes say alike (versions, names) is held once, as long as one of them says it.
Rule 4: of erlang:statistics/1 only totals count, never the second half, "since the last call", which belongs to the
        whole VM. Asking at all moves it for those in the node who read it; the totals cannot be had otherwise.

The values are one call, `batch`: each item is an rpc:call to the node itself, so that one that fails is
{badrpc, Reason} in its place and leaves the others alone; only kernel and stdlib are needed. What asks processes
that may be busy is in `slowlane`.

Source: erlang(3); the same calls and shapes from OTP 25 to 28.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from sys import intern
from typing import Any, Final

from relctld.beam.slowlane import Application, Installed, Slow
from relctld.beam.term.shown import text
from relctld.beam.term.terms import Atom, Export, Pid, Term
from relctld.core.thresholds import UNKNOWN, Reading, Use

FAST_TIMEOUT: Final = 3.0
"""Seconds that the answer to `batch` may take."""

MOST_NODES: Final = 200

_LARGEST = 1 << 63
_APPLY = Export(Atom("erlang"), Atom("apply"), 3)
_KINDS = ("total", "processes", "atom", "binary", "code", "ets", "system")


def _info(what: str) -> tuple[str, str, list[Term]]:
    return "erlang", "system_info", [Atom(what)]


def _statistics(what: str) -> tuple[str, str, list[Term]]:
    return "erlang", "statistics", [Atom(what)]


_FAST: Final[dict[str, tuple[str, str, list[Term]]]] = {
    "memory": ("erlang", "memory", []),
    "run_queue": _statistics("run_queue"),
    "process_count": _info("process_count"),
    "process_limit": _info("process_limit"),
    "port_count": _info("port_count"),
    "port_limit": _info("port_limit"),
    "atom_count": _info("atom_count"),
    "atom_limit": _info("atom_limit"),
    "ets_count": _info("ets_count"),
    "ets_limit": _info("ets_limit"),
    "schedulers": _info("schedulers_online"),
    "otp": _info("otp_release"),
    "erts": _info("version"),
    "creation": _info("creation"),
    "os_pid": ("os", "getpid", []),
    "boot": ("erlang", "whereis", [Atom("application_controller")]),
    "reductions": _statistics("reductions"),
    "runtime": _statistics("runtime"),
    "wall_clock": _statistics("wall_clock"),
    "io": _statistics("io"),
    "nodes": ("erlang", "nodes", [Atom("visible")]),
    "hidden_nodes": ("erlang", "nodes", [Atom("hidden")]),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The fast values; None for what the node could not tell, or what needs a sample before this one.

    `at`: when it came, monotonic seconds · `boot`: its application_controller, another one after init:restart/0 ·
    `memory`: bytes by kind · `run_queue`: processes ready to run · `reductions`, `runtime_ms` (CPU time of all
    threads), `wall_ms`: since the VM began · `io_in`, `io_out`: bytes through ports since then · `hidden_nodes`:
    relctld is one of them, and so is a remote shell · `scheduler_use`: CPU time by elapsed time by schedulers
    online. It includes the busy waiting of schedulers that have nothing to do, and the work of dirty ones, so it may
    exceed 1.
    """

    at: float
    otp: str | None = None
    erts: str | None = None
    creation: int | None = None
    os_pid: int | None = None
    boot: Pid | None = None
    schedulers: int | None = None
    run_queue: int | None = None
    memory: Mapping[str, int | None] | None = None
    processes: Use = UNKNOWN
    ports: Use = UNKNOWN
    atoms: Use = UNKNOWN
    ets: Use = UNKNOWN
    reductions: int | None = None
    runtime_ms: int | None = None
    wall_ms: int | None = None
    io_in: int | None = None
    io_out: int | None = None
    nodes: tuple[str, ...] | None = None
    hidden_nodes: tuple[str, ...] | None = None
    reductions_per_s: float | None = None
    scheduler_use: float | None = None


def batch(node: str) -> tuple[str, str, list[Term]]:
    """The one call (module, function, arguments) for all fast values; `node` is the target's own name."""
    calls: list[Term] = [[Atom(node), Atom(module), Atom(name), args] for module, name, args in _FAST.values()]
    return "lists", "zipwith3", [_APPLY, [Atom("rpc")] * len(calls), [Atom("call")] * len(calls), calls]


def decode_batch(term: Term, before: Sample | None, at: float) -> Sample:
    """The answer to `batch` that came `at`; its rates are those since the sample `before`."""
    told = _told(term)
    number = {key: _number(value) for key, value in told.items()}.get
    io_in, io_out = _io(told.get("io"))
    boot = told.get("boot")
    sample = Sample(
        at=at,
        otp=intern(text(told.get("otp", ())) or "") or None,
        erts=intern(text(told.get("erts", ())) or "") or None,
        creation=number("creation"),
        os_pid=_digits(told.get("os_pid")),
        boot=boot if isinstance(boot, Pid) else None,
        schedulers=number("schedulers"),
        run_queue=number("run_queue"),
        memory=_memory(told.get("memory")),
        processes=Use(number("process_count"), number("process_limit")),
        ports=Use(number("port_count"), number("port_limit")),
        atoms=Use(number("atom_count"), number("atom_limit")),
        ets=Use(number("ets_count"), number("ets_limit")),
        reductions=_total(told.get("reductions")),
        runtime_ms=_total(told.get("runtime")),
        wall_ms=_total(told.get("wall_clock")),
        io_in=io_in,
        io_out=io_out,
        nodes=_names(told.get("nodes")),
        hidden_nodes=_names(told.get("hidden_nodes")),
    )
    return _with_rates(sample, before)


def reading(sample: Sample) -> Reading:
    """What thresholds are judged by."""
    memory = (sample.memory or {}).get("total")
    return Reading(
        sample.processes, sample.ports, sample.atoms, sample.ets, sample.run_queue, sample.schedulers, memory
    )


def beam_object(sample: Sample, slow: Slow | None, age_s: float, raised: Iterable[str] = ()) -> dict[str, Any]:
    """`beam` of a release in `status --json`; null is what the node could not tell.

    `age_s`: seconds since the sample came · `raised`: the thresholds that are crossed (`core.thresholds`).
    """
    slow = slow or Slow()
    return {
        "otp": sample.otp,
        "erts": sample.erts,
        "creation": sample.creation,
        "uptime_s": None if sample.wall_ms is None else sample.wall_ms / 1000,
        "memory": None if sample.memory is None else dict(sample.memory),
        "run_queue": sample.run_queue,
        "schedulers": sample.schedulers,
        "scheduler_use": sample.scheduler_use,
        "reductions": sample.reductions,
        "reductions_per_s": sample.reductions_per_s,
        "processes": _use(sample.processes),
        "ports": _use(sample.ports),
        "atoms": _use(sample.atoms),
        "ets": _use(sample.ets),
        "io": {"in": sample.io_in, "out": sample.io_out},
        "nodes": _listed(sample.nodes),
        "hidden_nodes": _listed(sample.hidden_nodes),
        "applications": _objects(slow.applications),
        "alarms": _listed(slow.alarms),
        "releases": _objects(slow.releases),
        "thresholds": list(raised),
        "age_s": round(max(0.0, age_s), 1),
    }


def _use(use: Use) -> dict[str, int | None]:
    return {"count": use.count, "limit": use.limit}


def _listed(items: tuple[str, ...] | None) -> list[str] | None:
    return None if items is None else list(items)


def _objects(items: tuple[Application, ...] | tuple[Installed, ...] | None) -> list[dict[str, Any]] | None:
    return None if items is None else [item._asdict() for item in items]


def _told(term: Term) -> dict[str, Any]:
    """Each item by its key; nothing where the whole call failed."""
    return dict(zip(_FAST, term, strict=True)) if isinstance(term, list) and len(term) == len(_FAST) else {}


def _with_rates(sample: Sample, before: Sample | None) -> Sample:
    """Rates by the node's own clock: what a late answer adds to ours is not in them. None across two VMs."""
    if before is None or sample.os_pid != before.os_pid:
        return sample
    elapsed = _grown(sample.wall_ms, before.wall_ms)
    if not elapsed:
        return sample
    reductions = _grown(sample.reductions, before.reductions)
    runtime = _grown(sample.runtime_ms, before.runtime_ms)
    return replace(
        sample,
        reductions_per_s=None if reductions is None else round(reductions * 1000 / elapsed, 1),
        scheduler_use=round(runtime / elapsed / sample.schedulers, 4) if runtime is not None and sample.schedulers
        else None,
    )  # fmt: skip


def _grown(now: int | None, before: int | None) -> int | None:
    return now - before if now is not None and before is not None and now >= before else None


def _number(term: object) -> int | None:
    return term if type(term) is int and 0 <= term < _LARGEST else None


def _digits(term: Any) -> int | None:
    digits = text(term) or ""
    return _number(int(digits)) if digits.isascii() and digits.isdigit() else None


def _total(term: object) -> int | None:
    """The first of {Total, SinceLastCall}."""
    match term:
        case (total, _):
            return _number(total)
    return None


def _io(term: object) -> tuple[int | None, int | None]:
    match term:
        case ((Atom("input"), read), (Atom("output"), written)):
            return _number(read), _number(written)
    return None, None


def _memory(term: object) -> dict[str, int | None] | None:
    if not isinstance(term, list):
        return None
    told = {pair[0]: _number(pair[1]) for pair in term[:50] if isinstance(pair, tuple) and len(pair) == 2}
    return {kind: told.get(kind) for kind in _KINDS} if told else None


def _names(term: object) -> tuple[str, ...] | None:
    if not isinstance(term, list):
        return None
    return tuple(intern(text(name, 255) or "") for name in islice(term, MOST_NODES) if isinstance(name, Atom))
