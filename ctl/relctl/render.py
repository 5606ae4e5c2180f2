"""What the daemon says, as lines for people.

Rule 1: pure: objects of CONTRACT *JSON* in, text out; no clock, no terminal, no I/O.
Rule 2: a field that is missing is shown as unknown, never a crash: daemon and client may be of different versions.
Rule 3: text that came from a node or an operator passes `clean` before it is shown.
"""

from collections.abc import Callable
from typing import Any

Paint = Callable[..., str]
Object = dict[str, Any]


def clean(text: object) -> str:
    """One line, with what could drive a terminal made visible."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


def duration(seconds: float | None) -> str:
    """3.2 s, 42 s, 5m12s, 3h05m, 12d4h."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def age(seconds: float | None) -> str:
    """The same without a space or fractions, for a column: 3s, 5m12s."""
    if seconds is None:
        return "-"
    return f"{max(0, int(seconds))}s" if seconds < 60 else duration(seconds)


def size(count: float | None) -> str:
    """12B, 3.4kB, 123MB, 1.2GB."""
    return "-" if count is None else _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def amount(count: float | None) -> str:
    """12, 3.4k, 123M, 1.2G."""
    return "-" if count is None else _scaled(count, ("", "k", "M", "G", "T"))


def _scaled(count: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if count < 999.5:
            return f"{count:.0f}{unit}" if unit == units[0] or count >= 9.95 else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}{units[-1]}"


def plural(count: int, thing: str) -> str:
    """1 release, 2 releases."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def exit_words(last: Object | None) -> str:
    """How the latest VM ended: `halted, exit code 3`."""
    if not last:
        return ""
    cause = clean(last.get("cause", "unknown"))
    if last.get("signal"):
        return f"{cause}, {clean(last['signal'])}"
    return cause if last.get("code") is None else f"{cause}, exit code {last['code']}"


def changed_line(result: Object, paint: Paint) -> str:
    """The good end of a verb for one release: `web: restarted (pid 12, 3.2 s)`."""
    name, op = clean(result.get("release")), str(result.get("op"))
    done = {"start": "started", "stop": "stopped", "restart": "restarted", "rotate": "log rotated"}.get(
        op, f"{op} done"
    )
    if result.get("accepted"):
        return f"{name}: {op} accepted"
    if result.get("changed") is False:
        state = {"start": "running", "stop": "stopped"}.get(op, "done")
        return f"{name}: already {state}"
    facts = [f"pid {result['pid']}"] if result.get("pid") else []
    facts += [duration(result["seconds"])] if isinstance(result.get("seconds"), int | float) else []
    return f"{name}: {paint(done, 'green')}" + (f" ({', '.join(facts)})" if facts else "")


def event_line(event: Object, paint: Paint) -> str:
    """One event: its time, its release, its name, then those of its facts that say something, as key=value."""
    facts = [
        f"{clean(key)}={_fact(value)}"
        for key, value in event.items()
        if key not in ("seq", "at", "release", "event") and value not in (None, "", [])
    ]
    name = clean(event.get("event"))
    who = clean(event.get("release") or "relctld")
    return " ".join([paint(clean(event.get("at")), "dim"), f"{who:<12}", paint(name, *_event_colour(name)), *facts])


def crash_lines(crashes: list[Object]) -> list[str]:
    """The crash dumps of a release, newest first."""
    rows = [("N", "AT", "SIZE", "SLOGAN")]
    rows += [(str(c.get("n")), clean(c.get("at")), size(c.get("size")), clean(c.get("slogan") or "-")) for c in crashes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{n:>{widths[0]}}  {at:<{widths[1]}}  {amount:>{widths[2]}}  {slogan}".rstrip()
        for n, at, amount, slogan in rows
    ]


def fields(value: Object, indent: str = "") -> list[str]:
    """An object as `key: value` lines, what is nested indented."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{clean(key)}:", *fields(item, indent + "  ")]
        elif isinstance(item, list):
            lines.append(f"{indent}{clean(key)}: {', '.join(clean(part) for part in item) or '-'}")
        else:
            lines.append(f"{indent}{clean(key)}: {_field(key, item)}")
    return lines


def _field(key: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if key.endswith("_s"):
            return duration(value)
        if key.endswith("bytes"):
            return size(value)
    return _word(value)


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{clean(key)}={_fact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_fact(item) for item in value) + "]"
    text = _word(value)
    quoted = text.replace('"', '\\"')
    return f'"{quoted}"' if " " in text or '"' in text or not text else text


def _word(value: object) -> str:
    words = {None: "-", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else clean(value)


def _event_colour(name: str) -> tuple[str, ...]:
    if any(word in name for word in ("fail", "crash", "hung", "killed", "error")):
        return ("red",)
    return ("yellow",) if any(word in name for word in ("exit", "backoff", "stop")) else ("green",)
