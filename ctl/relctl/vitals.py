"""The table of `relctl top`.

Rule 1: pure, as `render`; the width of the terminal and the colours come in.
Rule 2: what is crossed is what the daemon says (`beam.thresholds`): it has seen the numbers before these. It is
        marked with `!` in its column, and said in a note, which stands where the column does not.
Rule 3: on a narrow terminal the columns move together, then those of `_FIRST_TO_GO` are left out, one by one.

    NAME STATE   HEALTH      CPU%  BEAM   RSS RUNQ PROC% ATOM% PORTS REDS/s   UP
    web  running well         150 2.1GB 2.4GB    3 91.6!   2.0    40   1.2M 3d5h
      - processes at 91.6% of 1048576
    api  running unreachable  0.3     - 123MB    -     -     -     -      - 3d5h
      - no link to the node: wrong cookie
"""

from collections.abc import Callable
from typing import Final

from relctl.grid import Row, fitted, grid
from relctl.render import Object, Paint, age, amount, clean, duration, plural, size
from relctl.table import health_note, state_cells, state_note

_HEADS: Final = (
    "NAME", "STATE", "HEALTH", "CPU%", "BEAM", "RSS", "RUNQ", "PROC%", "ATOM%", "PORTS", "REDS/s", "UP", "NODES",
)  # fmt: skip
_RIGHT: Final = _HEADS[3:]
_FIRST_TO_GO: Final = ("NODES", "PORTS", "REDS/s", "ATOM%", "UP", "RUNQ", "PROC%", "BEAM")
_STALE: Final = 20.0
"""Seconds after which facts of a node are called old: it is asked every 5."""

_LONGEST_ALARM: Final = 60


def vitals(releases: list[Object], width: int | None, paint: Paint) -> list[str]:
    """The lines of the table; `width` None means that no line is too long."""
    if not releases:
        return ["no releases are configured"]
    heads, rows, gap = fitted(_HEADS, [_row(release) for release in releases], width, _FIRST_TO_GO)
    return grid(heads, _RIGHT, rows, width, paint, gap)


def _cpu(release: Object) -> float | None:
    return _number(release, "os", "cpu_percent")


def _memory(release: Object) -> float | None:
    rss = _number(release, "os", "rss_bytes")
    return _number(release, "beam", "memory", "total") if rss is None else rss


def _run_queue(release: Object) -> float | None:
    return _number(release, "beam", "run_queue")


def _processes(release: Object) -> float | None:
    return _percent(release, "processes")


SORTS: Final[dict[str, Callable[[Object], float | None]]] = {
    "cpu": _cpu, "mem": _memory, "runq": _run_queue, "procs": _processes, "name": lambda _: None,
}  # fmt: skip
"""What a table can be sorted by; the most of it stands first."""


def arranged(releases: list[Object], by: str) -> list[Object]:
    """Sorted by a column of SORTS; equals, and those of which it is not known, by name."""

    def rank(release: Object) -> tuple[float, str]:
        value = SORTS[by](release)
        return (1.0 if value is None else -value, str(release.get("name")))

    return sorted(releases, key=rank)


def _row(release: Object) -> Row:
    cells, colours = state_cells(release)
    crossed = _thresholds(release)
    nodes = (release.get("beam") or {}).get("nodes")
    shown = [
        ("", _rounded(_cpu(release))),
        ("memory", size(_number(release, "beam", "memory", "total"))),
        ("", size(_number(release, "os", "rss_bytes"))),
        ("run_queue", amount(_run_queue(release))),
        ("processes", _rounded(_processes(release))),
        ("atoms", _rounded(_percent(release, "atoms"))),
        ("ports", amount(_number(release, "beam", "ports", "count"))),
        ("", amount(_number(release, "beam", "reductions_per_s"))),
        ("", age(_number(release, "uptime_s"))),
        ("", amount(len(nodes)) if isinstance(nodes, list) else "-"),
    ]
    cells += [f"{said}!" if name in crossed else said for name, said in shown]
    colours += ["red" if name in crossed else None for name, _ in shown]
    return Row(cells, colours, [note for note in _notes(release, crossed) if note])


def _notes(release: Object, crossed: list[str]) -> list[str]:
    beam = release.get("beam")
    if release.get("pid") is None:
        return [state_note(release)]
    if not isinstance(beam, dict):
        detail = clean(release.get("health_detail") or "")
        return [state_note(release), "no link to the node" + (f": {detail}" if detail else "")]
    said = [state_note(release), health_note(release), *(_crossing(release, name) for name in crossed)]
    alarms = beam.get("alarms")
    if isinstance(alarms, list) and alarms:
        first = clean(alarms[0])
        first = first if len(first) <= _LONGEST_ALARM else first[: _LONGEST_ALARM - 1] + "…"
        said.append(f"{plural(len(alarms), 'alarm')}: {first}" + (", …" if len(alarms) > 1 else ""))
    old = _number(release, "beam", "age_s")
    if old is not None and old > _STALE:
        said.append(f"the node was last heard {duration(old)} ago")
    return said


def _crossing(release: Object, name: str) -> str:
    match name:
        case "memory":
            return "memory has grown a lot within the hour"
        case "run_queue":
            queue, schedulers = _run_queue(release), _number(release, "beam", "schedulers")
            return f"{amount(queue)} processes wait for {plural(int(schedulers or 0), 'scheduler')}"
    limit = _number(release, "beam", name, "limit")
    return f"{name} at {_rounded(_percent(release, name))}% of {'-' if limit is None else int(limit)}"


def _thresholds(release: Object) -> list[str]:
    crossed = (release.get("beam") or {}).get("thresholds")
    return [clean(name) for name in crossed] if isinstance(crossed, list) else []


def _percent(release: Object, name: str) -> float | None:
    count, limit = _number(release, "beam", name, "count"), _number(release, "beam", name, "limit")
    return count / limit * 100 if count is not None and limit else None


def _rounded(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _number(release: Object, *path: str) -> float | None:
    value: object = release
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
