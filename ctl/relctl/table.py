"""The table of `relctl status`.

Rule 1: pure, as `render`; the width of the terminal and the colours come in.
Rule 2: what does not fit a terminal moves to a line of its own below or above, uncut; where even the columns do not,
        those of `_FIRST_TO_GO` are left out, one by one:

    NAME  STATE    HEALTH  VERSION    PID  UPTIME  RESTARTS    MEM   CPU  NOTE
    web   running  well    1.2.3    12345    3d4h         0  123MB  0.3%
    api   backoff  -       -            -       -     7 (3)      -     -  restart in 3.2 s (halted, exit code 1)

On a narrow terminal every note stands below its row, indented; a name too long for its column above its row.
"""

from typing import Any, Final

from relctl.grid import Row, fitted, grid
from relctl.render import Object, Paint, age, clean, duration, exit_words, plural, size

GOOD_HEALTH: Final = ("well", "degraded")
_HEADS: Final = ("NAME", "STATE", "HEALTH", "VERSION", "PID", "UPTIME", "RESTARTS", "MEM", "CPU")
_RIGHT: Final = ("PID", "UPTIME", "RESTARTS", "MEM", "CPU")
_FIRST_TO_GO: Final = ("CPU", "MEM", "RESTARTS", "PID", "VERSION", "UPTIME")
_STATE_COLOURS: Final = {
    "running": "green", "failed": "red", "backoff": "yellow", "stopped": "dim",
    "starting": "yellow", "stopping": "yellow", "killing": "yellow",
}  # fmt: skip
_HEALTH_COLOURS: Final = {"well": "green", "degraded": "yellow", "hung": "red", "unreachable": "red"}
_LONGEST_VERSION: Final = 20


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
    heads, rows, gap = fitted(_HEADS, [_row(release) for release in releases], width, _FIRST_TO_GO)
    return grid(heads, _RIGHT, rows, width, paint, gap)


def warnings(daemon: Object) -> list[str]:
    """What is to be said of the daemon itself beside its releases."""
    config = daemon.get("config")
    if isinstance(config, dict) and config.get("error"):
        return [f"relctld runs on the last good config: {clean(config['error'])}"]
    return []


def notes(release: Object) -> list[str]:
    """What an operator should know beside the columns, the most urgent first."""
    said = [state_note(release), health_note(release), _upgrade_note(release)]
    if release.get("unconfigured"):
        said.append("not in the config any more")
    elif release.get("enabled") is False and release.get("want") != "up":
        said.append("disabled")
    if release.get("unlimited"):
        said.append("without its limits: " + clean(release["unlimited"]))
    if release.get("restart_pending"):
        said.append("restart pending: " + ", ".join(clean(key) for key in release["restart_pending"]))
    boot, version = release.get("boot_version"), release.get("version")
    if version and boot and boot != version:
        said.append(f"a restart would boot {clean(boot)}")
    log = release.get("log") or {}
    if log.get("bytes_dropped"):
        said.append(f"{size(log['bytes_dropped'])} of log dropped")
    return [note for note in said if note]


def state_note(release: Object) -> str:
    """Why it is in its state, and for how long yet."""
    state, last = release.get("state"), exit_words(release.get("last_exit"))
    left = release.get("deadline_s")
    because = f" ({last})" if last else ""
    match state:
        case "backoff":
            return f"restart in {duration(left)}{because}"
        case "failed":
            dumped = (release.get("last_exit") or {}).get("cause") == "crash-dump"
            return f"{last or 'failed'}; see relctl {'crashes' if dumped else 'logs'} {clean(release.get('name'))}"
        case "stopped":
            trouble = clean(release.get("health_detail") or "")
            wanted = f"wanted up: {last or trouble}" if last or trouble else "wanted up, not started yet"
            return wanted if release.get("want") == "up" else trouble
        case "starting" | "stopping" | "killing" if left is not None:
            return f"{state}, {duration(left)} left"
    return ""


def health_note(release: Object) -> str:
    """What the probes say of one that runs, unless all is well."""
    detail = clean(release.get("health_detail") or "")
    return "" if release.get("health") == "well" or release.get("state") in ("stopped", "failed", "backoff") else detail


def _upgrade_note(release: Object) -> str:
    upgrade = release.get("upgrade")
    if not upgrade:
        return ""
    detail = f" ({clean(upgrade['detail'])})" if upgrade.get("detail") else ""
    way = f"upgrade {clean(upgrade['from'])} to" if upgrade.get("from") else "install"
    return f"{way} {clean(upgrade.get('to'))}: {clean(upgrade.get('phase'))}{detail}"


def state_cells(release: Object) -> tuple[list[str], list[str | None]]:
    """The first cells of any table: name, state, health; and their colours."""
    state, health = clean(release.get("state") or "?"), clean(release.get("health") or "?")
    probed = release.get("pid") is not None or health != "unknown"
    cells = [clean(release.get("name") or "?"), state, health if probed else "-"]
    return cells, [None, _STATE_COLOURS.get(state), _HEALTH_COLOURS.get(health)]


def _row(release: Object) -> Row:
    os_facts: dict[str, Any] = release.get("os") or {}
    cpu = os_facts.get("cpu_percent")
    total, recent = release.get("restarts_total", 0), release.get("restarts", 0)
    version = clean(release.get("version") or "-")
    cells, colours = state_cells(release)
    cells += [
        version if len(version) <= _LONGEST_VERSION else version[: _LONGEST_VERSION - 1] + "…",
        "-" if release.get("pid") is None else str(release["pid"]),
        age(release.get("uptime_s")),
        f"{total} ({recent})" if recent else str(total),
        size(os_facts.get("rss_bytes")),
        f"{cpu:.1f}%" if isinstance(cpu, int | float) else "-",
    ]
    return Row(cells, colours + [None] * 6, notes(release))


def counts(releases: list[Object]) -> str:
    """The one line above a watched table: `3 releases, 2 good`."""
    good = sum(is_good(release) for release in releases)
    return f"{plural(len(releases), 'release')}, {good} running well"
