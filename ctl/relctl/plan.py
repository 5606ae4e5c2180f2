"""The plan of an upgrade, and the versions of a release, as lines for people.

Rule 1: pure, and total: a field that is missing, or another than it should be, is never a crash (`render`).
Rule 2: long lists are cut, and say so; lines are folded to the width of a terminal, None is that of a pipe.
"""

import re
import textwrap
from typing import Any

from relctl.render import Object, clean, plural, size

_MANY = 8
_FEW_STEPS = 12
_ELIXIR = re.compile(r"'?\bElixir\.([\w.]+)'?")


def plan_lines(release: str, plan: Object, width: int | None = None, *, brief: bool = False) -> list[str]:
    """All that will happen, by subject. `brief`: of the instructions only the first."""
    if plan.get("way") in ("restart", "install"):
        return _deployment_lines(release, plan, width)
    processes = _object(plan, "processes")
    rows = [
        ("emulator", _emulator(plan)),
        ("applications", _applications(_object(plan, "applications"))),
        ("modules", _modules(_object(plan, "modules"))),
        ("not loaded", _named(plan, "forgotten", "changed on disk, and the relup does not load them: ")),
        ("native code", _named(plan, "native", "runs when they are loaded: ")),
        ("processes", _processes(processes)),
        ("killed", _listed(_in_code(processes, "killed", "old "))),
        ("killed unless", _after("they leave what is replaced: ", _in_code(processes, "staying"))),
        ("in the way", _after("it fails while these are in old code: ", _in_code(processes, "in_the_way", "old "))),
        ("next start", _after("reads others than the VM was started with: ", _cleaned(plan, "next_start"))),
        ("disk", f"{plural(_count(plan.get('files')), 'file')}, {size(_count(plan.get('disk_bytes')))}"),
        ("way back", _way_back(plan)),
    ]
    lines = [f"{clean(release)}: {clean(plan.get('from'))} to {clean(plan.get('to'))}"]
    for what, text in rows:
        lines += _folded(f"  {what:<13} {text}", 16, width) if text else []
    lines += configuration_lines(plan, width)
    steps = [_step(each) for each in _list(plan.get("instructions"))]
    if brief and len(steps) > _FEW_STEPS:
        steps = [*steps[: _FEW_STEPS - 1], f"and {len(steps) - _FEW_STEPS + 1} more: --plan shows all"]
    return lines + _section("instructions", steps, width)


def configuration_lines(word: Object, width: int | None = None) -> list[str]:
    """What becomes of the configuration, key by key; of a plan, or of a word on the way."""
    if why := word.get("configuration_unknown"):
        return _folded(f"  configuration cannot be compared: {clean(why)}", 16, width)
    return _section("configuration", [_change(each) for each in _objects(word.get("configuration"))], width)


def _deployment_lines(release: str, plan: Object, width: int | None) -> list[str]:
    """A switch by restart, or a first install."""
    before, after = plan.get("from"), clean(plan.get("to"))
    then = "is started" if plan.get("starts") else "stays as it is, running or stopped"
    if plan.get("starts") and before:
        then = "is restarted"
    rows = [
        ("release", f"{clean(plan.get('flavour'))}, ERTS {clean(plan.get('erts'))}; {then}"),
        ("applications", _applications(_object(plan, "applications")) if before else ""),
        ("mended", _listed(_cleaned(plan, "mended"))),
        ("disk", f"{plural(_count(plan.get('files')), 'file')}, {size(_count(plan.get('disk_bytes')))}"),
        ("way back", f"a restart into {clean(before)}" if before else "nothing installed"),
    ]
    lines = [f"{clean(release)}: {f'{clean(before)} to {after}' if before else after}"]
    for what, text in rows:
        lines += _folded(f"  {what:<13} {text}", 16, width) if text else []
    return lines


def relup_lines(found: Object, width: int | None = None) -> list[str]:
    """What a relup will do, upwards and on the way back."""
    rows = [
        ("applications", _applications(_object(found, "applications"))),
        ("modules", _modules(_object(found, "modules"))),
        ("appups", _appups(found)),
    ]
    lines = [f"{clean(found.get('release'))}: {clean(found.get('from'))} to {clean(found.get('to'))}"]
    for what, text in rows:
        lines += _folded(f"  {what:<13} {text}", 16, width) if text else []
    lines += _section("instructions", [_step(each) for each in _list(found.get("instructions"))], width)
    back = [_step(each) for each in _list(found.get("back"))] or ["none but a restart"]
    return lines + _section("way back", back, width)


def version_lines(versions: list[Object]) -> list[str]:
    """A table: version, release_handler's status, ERTS, and what runs and boots."""
    rows = [("VERSION", "STATUS", "ERTS", "")]
    for each in _objects(versions):
        marks = [word for key, word in (("running", "runs"), ("boots", "boots")) if each.get(key)]
        marks += [clean(each["error"])] if each.get("error") else []
        known = [clean(each.get(key) or "-") for key in ("version", "status", "erts")]
        rows.append((known[0], known[1], known[2], ", ".join(marks)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(row[c].ljust(widths[c]) for c in range(3)), row[3]]).rstrip() for row in rows]


def _emulator(plan: Object) -> str:
    """Where its relup restarts it."""
    if plan.get("restarts_emulator") is not True:
        return ""
    before, after = clean(plan.get("erts_before") or plan.get("erts")), clean(plan.get("erts"))
    erts = f"with ERTS {after}" if before == after else f"from ERTS {before} to {after}"
    return f"restarts, {erts}: what its processes hold and its connections are lost"


def _applications(found: Object) -> str:
    words = [f"{clean(name)} {' to '.join(map(clean, _list(v)))}" for name, v in _object(found, "changed").items()]
    words += [f"+ {clean(name)} {clean(version)}" for name, version in _object(found, "added").items()]
    words += [f"- {clean(name)} {clean(version)}" for name, version in _object(found, "removed").items()]
    return ", ".join(words) or "the same"


def _modules(found: Object) -> str:
    words = [f"{len(_list(found.get(kind)))} {kind}" for kind in ("changed", "added", "removed") if found.get(kind)]
    if protocols := _list(found.get("protocols")):
        words.append(f"{plural(len(protocols), 'protocol')} consolidated anew")
    return ", ".join(words) or "none changed"


def _appups(found: Object) -> str:
    words = [f"{kind}: {_listed([clean(name) for name in names])}" for kind, names in _made_and_kept(found) if names]
    return "; ".join(words)


def _made_and_kept(found: Object) -> list[tuple[str, list[Any]]]:
    return [("made", _list(found.get("made"))), ("as they stand", _list(found.get("kept")))]


def _processes(found: Object) -> str:
    count = _count(found.get("suspended"))
    if not count:
        return "none is suspended"
    named = [f"{_name(p.get('name'))}{' (busy)' if p.get('busy') else ''}" for p in _objects(found.get("named"))]
    return f"{count} suspended for a moment: {_listed(named, count)}"


def _in_code(found: Object, kind: str, which: str = "") -> list[str]:
    return [f"{_name(each.get('name'))} ({which}{_name(each.get('module'))})" for each in _objects(found.get(kind))]


def _after(words: str, names: list[str]) -> str:
    return words + _listed(names) if names else ""


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
    if after is None:
        return f"- {key}: {clean(before)}"
    return f"  {key}: {clean(before)} to {clean(after)}" if before != after else f"  {key}: {clean(after)}, changed"


def _step(text: Any) -> str:
    """An instruction; of a long list of modules only the first."""
    before, colon, modules = _name(text).rpartition(": ")
    names = modules.split(", ")
    return f"{before}{colon}{_listed(names)}"


def _named(plan: Object, kind: str, before: str) -> str:
    return _after(before, [_name(name) for name in _list(_object(plan, "modules").get(kind))])


def _cleaned(plan: Object, key: str) -> list[str]:
    return [clean(name) for name in _list(plan.get(key))]


def _listed(names: list[str], count: int = 0) -> str:
    """The first of them; `count`: how many there are, where not all are named."""
    more = max(count, len(names)) - min(len(names), _MANY)
    return ", ".join(names[:_MANY]) + (f" and {more} more" if more else "")


def _name(text: Any) -> str:
    """Elixir's modules by the names that Elixir gives them."""
    return _ELIXIR.sub(r"\1", clean(text))


def _section(title: str, lines: list[str], width: int | None) -> list[str]:
    return [f"  {title}", *(part for line in lines for part in _folded(f"    {line}", 8, width))] if lines else []


def _folded(line: str, indent: int, width: int | None) -> list[str]:
    if width is None or len(line) <= width:
        return [line]
    rest = " " * min(indent, width // 2)
    return textwrap.wrap(line, max(20, width), subsequent_indent=rest, break_on_hyphens=False, drop_whitespace=True)


def _object(value: Object, key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _objects(value: Any) -> list[Object]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e18 else 0
