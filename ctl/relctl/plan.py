"""The plan of an upgrade, and the versions of a release, as lines for people.

Rule: pure, and total: a field that is missing, or another than it should be, is never a crash (`render`).
"""

from typing import Any

from relctl.render import Object, clean, plural, size

_MANY = 8


def plan_lines(release: str, plan: Object) -> list[str]:
    """All that will happen, by subject."""
    applications, modules = _object(plan, "applications"), _object(plan, "modules")
    processes = _object(plan, "processes")
    rows = [
        ("applications", _applications(applications)),
        ("modules", _modules(modules)),
        ("not loaded", _names(modules.get("forgotten"), "changed on disk, and the relup does not load them: ")),
        ("native code", _names(modules.get("native"), "runs when they are loaded: ")),
        ("processes", _processes(processes)),
        ("killed", _killed(processes)),
        ("disk", f"{plural(int(plan.get('files') or 0), 'file')}, {size(plan.get('disk_bytes'))}"),
        ("way back", _way_back(plan)),
    ]
    head = f"{clean(release)}: {clean(plan.get('from'))} to {clean(plan.get('to'))}"
    lines = [head, *(f"  {what:<13} {text}" for what, text in rows if text)]
    lines += _section("configuration", [_change(each) for each in _list(plan.get("configuration"))])
    return lines + _section("instructions", [clean(each) for each in _list(plan.get("instructions"))])


def version_lines(versions: list[Object]) -> list[str]:
    """A table: version, release_handler's status, ERTS, and what runs and boots."""
    rows = [("VERSION", "STATUS", "ERTS", "")]
    for each in versions:
        marks = [word for key, word in (("running", "runs"), ("boots", "boots")) if each.get(key)]
        marks += [clean(each["error"])] if each.get("error") else []
        known = [clean(each.get(key) or "-") for key in ("version", "status", "erts")]
        rows.append((known[0], known[1], known[2], ", ".join(marks)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(row[c].ljust(widths[c]) for c in range(3)), row[3]]).rstrip() for row in rows]


def _applications(found: Object) -> str:
    words = [
        f"{clean(name)} {' to '.join(map(clean, versions))}" for name, versions in _object(found, "changed").items()
    ]
    words += [f"+ {clean(name)} {clean(version)}" for name, version in _object(found, "added").items()]
    words += [f"- {clean(name)} {clean(version)}" for name, version in _object(found, "removed").items()]
    return ", ".join(words) or "the same"


def _modules(found: Object) -> str:
    words = [f"{len(_list(found.get(kind)))} {kind}" for kind in ("changed", "added", "removed") if found.get(kind)]
    if protocols := _list(found.get("protocols")):
        words.append(f"{plural(len(protocols), 'protocol')} consolidated anew")
    return ", ".join(words) or "none changed"


def _processes(found: Object) -> str:
    count = int(found.get("suspended") or 0)
    if not count:
        return "none is suspended"
    named = [f"{clean(p.get('name'))}{' (busy)' if p.get('busy') else ''}" for p in _list(found.get("named"))]
    more = f" and {count - _MANY} more" if count > _MANY else ""
    return f"{count} suspended for a moment: {', '.join(named[:_MANY])}{more}"


def _killed(found: Object) -> str:
    names = [f"{clean(each.get('name'))} (old {clean(each.get('module'))})" for each in _list(found.get("killed"))]
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return f"{', '.join(names[:_MANY])}{more}" if names else ""


def _way_back(plan: Object) -> str:
    restart = "a restart of the VM"
    return (
        restart if plan.get("way_back") == "restart" else f"{clean(plan.get('from'))} installed again, else {restart}"
    )


def _change(each: Object) -> str:
    key = f"{clean(each.get('application'))} {clean(each.get('key'))}"
    before, after = each.get("before"), each.get("after")
    if before is None:
        return f"+ {key}: {clean(after)}"
    return f"- {key}: {clean(before)}" if after is None else f"  {key}: {clean(before)} to {clean(after)}"


def _names(value: Any, before: str) -> str:
    names = [clean(name) for name in _list(value)]
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return f"{before}{', '.join(names[:_MANY])}{more}" if names else ""


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)] if lines else []


def _object(value: Object, key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
