"""The table of `relctl status`.

Rule 1: pure, as `render`; the width of the terminal and the colours come in.
Rule 2: every row keeps its columns; what does not fit a terminal moves to a line of its own below or above, uncut:

    NAME  STATE    HEALTH  VERSION    PID  UPTIME  RESTARTS    MEM   CPU  NOTE
    web   running  well    1.2.3    12345    3d4h         0  123MB  0.3%
    api   backoff  -       -            -       -     7 (3)      -     -  restart in 3.2 s (halted, exit code 1)

On a narrow terminal every note stands below its row, indented; a name too long for its column above its row.
"""

from typing import Any, Final, NamedTuple

from relctl.render import Object, Paint, age, clean, duration, exit_words, plural, size

GOOD_HEALTH: Final = ("well", "degraded")
_HEADS: Final = ("NAME", "STATE", "HEALTH", "VERSION", "PID", "UPTIME", "RESTARTS", "MEM", "CPU", "NOTE")
_RIGHT: Final = ("PID", "UPTIME", "RESTARTS", "MEM", "CPU")
_STATE_COLOURS: Final = {
    "running": "green", "failed": "red", "backoff": "yellow", "stopped": "dim",
    "starting": "yellow", "stopping": "yellow", "killing": "yellow",
}  # fmt: skip
_HEALTH_COLOURS: Final = {"well": "green", "degraded": "yellow", "hung": "red", "unreachable": "red"}
_LONGEST_VERSION: Final = 20
_SHORTEST_NAME: Final = 12


class _Row(NamedTuple):
    cells: list[str]
    colours: list[str | None]
    notes: list[str]


def is_good(release: Object) -> bool:
    """Is it running, and well, degraded, or of unknown health for want of a probe (CONTRACT, exit code 3)?"""
    if release.get("state") != "running":
        return False
    health = release.get("health")
    not_yet = str(release.get("health_detail") or "").startswith("not probed yet")
    return health in GOOD_HEALTH or (health == "unknown" and not not_yet)


def table(releases: list[Object], width: int | None, paint: Paint) -> list[str]:
    """The lines of the table; `width` None means that no line is too long."""
    if not releases:
        return ["no releases are configured"]
    rows = [_row(release) for release in releases]
    cells = [list(_HEADS[:-1])] + [row.cells for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS) - 1)]
    beside = width is None or sum(widths) + 2 * len(widths) + max(len("; ".join(row.notes)) for row in rows) <= width
    if width is not None:
        rest = sum(widths[1:]) + 2 * len(widths[1:])
        widths[0] = min(widths[0], max(_SHORTEST_NAME, width - rest))
    has_notes = beside and any(row.notes for row in rows)
    head = _line(list(_HEADS[:-1]), widths) + ("  NOTE" if has_notes else "")
    lines = [paint(head.rstrip(), "bold")]
    for row in rows:
        lines += _row_lines(row, widths, beside, paint)
    return lines


def warnings(daemon: Object) -> list[str]:
    """What is to be said of the daemon itself beside its releases."""
    config = daemon.get("config")
    if isinstance(config, dict) and config.get("error"):
        return [f"relctld runs on the last good config: {clean(config['error'])}"]
    return []


def notes(release: Object) -> list[str]:
    """What an operator should know beside the columns, the most urgent first."""
    said = [_state_note(release), _health_note(release), _upgrade_note(release)]
    if release.get("unconfigured"):
        said.append("not in the config any more")
    elif release.get("enabled") is False and release.get("want") != "up":
        said.append("disabled")
    if release.get("restart_pending"):
        said.append("restart pending: " + ", ".join(clean(key) for key in release["restart_pending"]))
    boot, version = release.get("boot_version"), release.get("version")
    if version and boot and boot != version:
        said.append(f"a restart would boot {clean(boot)}")
    log = release.get("log") or {}
    if log.get("bytes_dropped"):
        said.append(f"{size(log['bytes_dropped'])} of log dropped")
    return [note for note in said if note]


def _state_note(release: Object) -> str:
    state, last = release.get("state"), exit_words(release.get("last_exit"))
    left = release.get("deadline_s")
    because = f" ({last})" if last else ""
    match state:
        case "backoff":
            return f"restart in {duration(left)}{because}"
        case "failed":
            dumped = (release.get("last_exit") or {}).get("cause") == "crash-dump"
            return f"{last or 'failed'}; see relctl {'crashes' if dumped else 'logs'} {clean(release.get('name'))}"
        case "stopped" if release.get("want") == "up":
            return f"wanted up: {last}" if last else "wanted up, not started yet"
        case "starting" | "stopping" | "killing" if left is not None:
            return f"{state}, {duration(left)} left"
    return ""


def _health_note(release: Object) -> str:
    detail = clean(release.get("health_detail") or "")
    return "" if release.get("health") == "well" or release.get("state") in ("stopped", "failed", "backoff") else detail


def _upgrade_note(release: Object) -> str:
    upgrade = release.get("upgrade")
    if not upgrade:
        return ""
    return f"upgrade {clean(upgrade.get('from'))} to {clean(upgrade.get('to'))}: {clean(upgrade.get('phase'))}"


def _row(release: Object) -> _Row:
    state, health = clean(release.get("state") or "?"), clean(release.get("health") or "?")
    vm = release.get("pid") is not None
    os_facts: dict[str, Any] = release.get("os") or {}
    cpu = os_facts.get("cpu_percent")
    total, recent = release.get("restarts_total", 0), release.get("restarts", 0)
    version = clean(release.get("version") or "-")
    cells = [
        clean(release.get("name") or "?"),
        state,
        health if vm or health != "unknown" else "-",
        version if len(version) <= _LONGEST_VERSION else version[: _LONGEST_VERSION - 1] + "…",
        str(release["pid"]) if vm else "-",
        age(release.get("uptime_s")),
        f"{total} ({recent})" if recent else str(total),
        size(os_facts.get("rss_bytes")),
        f"{cpu:.1f}%" if isinstance(cpu, int | float) else "-",
    ]
    colours = [None, _STATE_COLOURS.get(state), _HEALTH_COLOURS.get(health)] + [None] * 6
    return _Row(cells, colours, notes(release))


def _row_lines(row: _Row, widths: list[int], beside: bool, paint: Paint) -> list[str]:
    cells, lines = row.cells, []
    if len(cells[0]) > widths[0]:
        lines.append(cells[0])
        cells = ["", *cells[1:]]
    line = _line(
        cells,
        widths,
        [paint(cell, colour) if colour else cell for cell, colour in zip(cells, row.colours, strict=True)],
    )
    if beside and row.notes:
        line += "  " + "; ".join(row.notes)
    lines.append(line.rstrip())
    return lines if beside else lines + [f"  - {note}" for note in row.notes]


def _line(cells: list[str], widths: list[int], painted: list[str] | None = None) -> str:
    """The cells side by side; `painted` may hold colour codes, which take no room."""
    padded = []
    for head, cell, width, shown in zip(_HEADS, cells, widths, painted or cells, strict=False):
        room = " " * (width - len(cell))
        padded.append(room + shown if head in _RIGHT else shown + room)
    return "  ".join(padded)


def counts(releases: list[Object]) -> str:
    """The one line above a watched table: `3 releases, 2 good`."""
    good = sum(is_good(release) for release in releases)
    return f"{plural(len(releases), 'release')}, {good} running well"
