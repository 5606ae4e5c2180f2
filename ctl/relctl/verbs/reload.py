"""`relctl reload`: the daemon takes up its changed config, or says what that would do."""

import time
from typing import Any, Final

from relctl.client import Client
from relctl.render import clean, plural
from relctl.tally import Tally
from relctl.verb import Call, Parser, Verb


def _arguments(parser: Parser) -> None:
    parser.add_argument("--plan", action="store_true", help="only show what would change")
    parser.add_argument("--stop-removed", action="store_true", help="stop the releases that left the config")


def _reload(call: Call) -> int:
    began = time.monotonic()
    options, tally = call.options, Tally(call.verb, [], call.out)
    with Client(call.address()) as client:
        args = {"plan": options.plan, "stop_removed": options.stop_removed}
        result = client.ask("reload", args, on_progress=tally.hear, tick=tally.tick)
    if call.out.json:
        call.out.object(_object(result, time.monotonic() - began))
    else:
        for warning in result.get("warnings", []):
            call.out.note(f"warning: {clean(warning)}")
        call.out.lines(_lines(result))
    tally.finish(result.get("results", []))
    return tally.code


def _object(result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The form of all changing verbs: `changed` says whether something did, `diff` what."""
    diff = {key: result.get(key, []) for key in ("added", "removed", "changed")} | {"daemon": result.get("daemon", {})}
    return {
        "ok": True,
        "release": None,
        "op": "reload",
        "changed": bool(result.get("applied")) and bool(_differences(result)),
        "seconds": round(seconds, 3),
        "applied": bool(result.get("applied")),
        "diff": diff,
        "warnings": result.get("warnings", []),
    }


def _differences(result: dict[str, Any]) -> list[str]:
    daemon = {key: keys for key, keys in (result.get("daemon") or {}).items() if keys}
    changed = [{"name": "[daemon]", **daemon}] if daemon else []
    items = {kind: _items(result.get(kind, [])) for kind in ("added", "removed", "changed")}
    return [
        f"{kind:<8} {_words(item)}"
        for kind in items
        for item in (*items[kind], *(changed if kind == "changed" else ()))
    ]


def _lines(result: dict[str, Any]) -> list[str]:
    lines = _differences(result)
    if not lines:
        return ["nothing changed"]
    done = "config applied" if result.get("applied") else "not applied: this is a plan"
    return [*lines, f"{done} ({plural(len(lines), 'difference')})"]


def _items(value: Any) -> list[Any]:
    return [{"release": name, "keys": keys} for name, keys in value.items()] if isinstance(value, dict) else list(value)


_WHEN: Final = {"at_once": "at once", "restart": "with its next restart"}


def _words(item: Any) -> str:
    """`web`, or `web: at once health; with its next restart env, limits`."""
    if not isinstance(item, dict):
        return clean(item)
    facts = [
        f"{_WHEN.get(key, key)} {_list(value)}"
        for key, value in item.items()
        if key not in ("release", "name") and value
    ]
    name = item.get("release", item.get("name"))
    return clean(name) + (f": {'; '.join(facts)}" if facts else "")


def _list(value: Any) -> str:
    return ", ".join(clean(part) for part in value) if isinstance(value, list) else clean(value)


_DESCRIPTION = """\
No node is stopped or restarted by it: keys that can act at once do, those that
need a restart are listed, here and by `relctl status`. A config with a mistake
changes nothing, exit code 2. A release that left the config and runs is shown
as such until it is stopped; --stop-removed does that."""

VERBS = {
    "reload": Verb(
        "reload",
        "Apply the changed config",
        "[--plan] [--stop-removed]",
        _DESCRIPTION,
        _arguments,
        _reload,
    )
}
