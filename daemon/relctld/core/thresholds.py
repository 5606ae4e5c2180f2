"""What a node's numbers mean to an operator: limits that come near, queues that grow, memory that does.

Rule 1: pure: a `Watch` and a `Reading` in, a new Watch and what was crossed out; `now` is monotonic seconds.
Rule 2: hysteresis: between the line where a threshold is raised and the one where it is cleared nothing changes; so
        the two alternate, each is told once, and a number that swings about one line tells nothing more.
Rule 3: a number that is not known changes nothing: a node too busy to answer is not thereby well.
Rule 4: a Watch belongs to one boot of one VM; a new one begins with `Watch()`, and nothing is cleared with the old.

name        raised                                            cleared
processes   at 90 % of the limit                              below 80 %
ports       as processes
atoms       as processes; atoms are never freed, so this one is cleared by a restart only
ets         as processes (the limit is a soft one since OTP 21: tables beyond it are made all the same)
run_queue   in 3 readings running above 10 per scheduler      in 3 readings running below 3 per scheduler
memory      above twice the lowest of the last hour, and      below 1.5 times that, or less than
            at least 200 MB above it                          100 MB above it

Memory in the first ten minutes of a watch is warming up: it is no lowest of anything. What stays on a new level is
cleared after an hour, when that level has become the lowest: it is growth that is told, not size.
"""

from dataclasses import dataclass, replace
from typing import Final

RAISE_AT: Final = 0.9
CLEAR_BELOW: Final = 0.8
"""Parts of a limit."""

QUEUE_HIGH: Final = 10
QUEUE_LOW: Final = 3
"""Processes ready to run, per scheduler."""

QUEUE_READINGS: Final = 3

GROWN: Final = 2.0
SHRUNK: Final = 1.5
"""Multiples of the lowest memory of the last hour."""

GROWN_BYTES: Final = 200_000_000
SHRUNK_BYTES: Final = 100_000_000

WARM_UP: Final = 600.0
HOUR: Final = 3600.0
SPAN: Final = 300.0
"""Seconds; of each span the lowest is kept, so the last hour is at most one span longer."""

LIMITED: Final = ("processes", "ports", "atoms", "ets")
NAMES: Final = (*LIMITED, "run_queue", "memory")


@dataclass(frozen=True, slots=True)
class Use:
    """How many there are, and how many there may be; None where that is not known."""

    count: int | None = None
    limit: int | None = None


UNKNOWN: Final = Use()


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a node. `memory`: bytes in all; None for what is not known."""

    processes: Use = UNKNOWN
    ports: Use = UNKNOWN
    atoms: Use = UNKNOWN
    ets: Use = UNKNOWN
    run_queue: int | None = None
    schedulers: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen of one boot of a VM.

    `raised`: the thresholds that are crossed · `queued`: readings in a row that speak for a change of run_queue ·
    `began`: when the first reading came · `lowest`: (number of the span, lowest memory in it), oldest first.
    """

    raised: tuple[str, ...] = ()
    queued: int = 0
    began: float | None = None
    lowest: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Crossing:
    """A threshold was crossed: upwards (`raised`) or back. `limit`: the number that `value` is to be held against."""

    name: str
    raised: bool
    value: int
    limit: int
    text: str


def judge(watch: Watch, reading: Reading, now: float) -> tuple[Watch, tuple[Crossing, ...]]:
    """The watch after one more reading, and the thresholds that it crossed."""
    watch = replace(watch, began=now if watch.began is None else watch.began)
    crossings = [_limited(watch, name, getattr(reading, name)) for name in LIMITED]
    watch, queue = _run_queue(watch, reading)
    watch, memory = _memory(watch, reading.memory, now)
    crossed = tuple(crossing for crossing in (*crossings, queue, memory) if crossing is not None)
    raised = {*watch.raised, *(c.name for c in crossed if c.raised)} - {c.name for c in crossed if not c.raised}
    return replace(watch, raised=tuple(sorted(raised))), crossed


def _limited(watch: Watch, name: str, use: Use) -> Crossing | None:
    count, limit = use.count, use.limit
    if count is None or not limit:
        return None
    used = count / limit
    up = name in watch.raised
    if used < CLEAR_BELOW if up else used >= RAISE_AT:
        return Crossing(name, not up, count, limit, f"{name}: {count} of {limit} ({used:.0%})")
    return None


def _run_queue(watch: Watch, reading: Reading) -> tuple[Watch, Crossing | None]:
    queue, schedulers = reading.run_queue, reading.schedulers
    if queue is None or not schedulers:
        return watch, None
    up = "run_queue" in watch.raised
    limit = schedulers * (QUEUE_LOW if up else QUEUE_HIGH)
    if not (queue < limit if up else queue > limit):
        return replace(watch, queued=0), None
    if watch.queued + 1 < QUEUE_READINGS:
        return replace(watch, queued=watch.queued + 1), None
    said = f"run_queue: {queue} processes wait for {schedulers} schedulers"
    return replace(watch, queued=0), Crossing("run_queue", not up, queue, schedulers * QUEUE_HIGH, said)


def _memory(watch: Watch, memory: int | None, now: float) -> tuple[Watch, Crossing | None]:
    if memory is None or watch.began is None or now - watch.began < WARM_UP:
        return watch, None
    watch = replace(watch, lowest=_lowest(watch.lowest, memory, now))
    base = min(low for _, low in watch.lowest)
    up = "memory" in watch.raised
    line = min(base * SHRUNK, base + SHRUNK_BYTES) if up else max(base * GROWN, base + GROWN_BYTES)
    if not (memory < line if up else memory > line):
        return watch, None
    said = f"memory: {memory} bytes, the lowest of the last hour is {base}"
    return watch, Crossing("memory", not up, memory, int(max(base * GROWN, base + GROWN_BYTES)), said)


def _lowest(known: tuple[tuple[int, int], ...], memory: int, now: float) -> tuple[tuple[int, int], ...]:
    span = int(now // SPAN)
    kept = [(at, low) for at, low in known if at >= span - HOUR // SPAN]
    if kept and kept[-1][0] == span:
        memory = min(memory, kept.pop()[1])
    return (*kept, (span, memory))
