"""`python -m relctld.relup`: what `relctl relup` asks, answered by a process of its own.

Reads one JSON object from stdin, writes one to stdout; runs on any host, without a daemon, without Erlang.

    {"old", "new", "from", "to", "out", "dir", "as": {MODULE: INSTRUCTION}, "restart": [APPLICATION],
     "force", "up_only", "plan"}
    {"ok": true, "release", "from", "to", "changed", "written", "made", "kept", "applications", "modules",
     "instructions", "back"}
    {"ok": false, "error": {"kind", "message", "hint"}, "doubts": [{"application", "module", "why"}]}
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relctld.beam.package.refusals import PackageError
from relctld.beam.package.relup import in_words
from relctld.beam.relups.builds import Build, opened
from relctld.beam.relups.output import write_tarball, write_tree
from relctld.beam.relups.relup import Made, UndecidedError, Wishes, make
from relctld.beam.relups.rules import Change


def main() -> None:
    """Answer what stdin asks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    json.dump(answer(json.load(sys.stdin)), sys.stdout)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The reply to one question."""
    try:
        with opened(Path(asked["old"]), asked["from"]) as old, opened(Path(asked["new"]), asked["to"]) as new:
            changes = {_module(name): Change(word) for name, word in asked["as"].items()}
            made = make(old, new, Wishes(changes, frozenset(asked["restart"]), asked["force"], asked["up_only"]))
            written = [] if asked["plan"] else _written(new, made, asked["out"], asked["dir"])
            return {"ok": True, "written": written, "changed": bool(written), **_said(old, new, made)}
    except UndecidedError as error:
        doubts = [{"application": d.application, "module": d.module, "why": d.why} for d in error.doubts]
        return {**_refused("impossible", str(error), error.hint), "doubts": doubts}
    except PackageError as error:
        return _refused("impossible", str(error), error.hint)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _refused("failed", f"{where}{(error.strerror or str(error)).lower()}")


def _module(name: str) -> str:
    """Elixir's by the names that Elixir gives them too."""
    return f"Elixir.{name}" if name[:1].isupper() and not name.startswith("Elixir.") else name


def _written(new: Build, made: Made, out: str | None, folder: str | None) -> list[str]:
    if out is not None:
        return write_tarball(new.path, Path(out), made.files)
    return write_tree(Path(folder) if folder is not None else new.path, made.files)


def _said(old: Build, new: Build, made: Made) -> dict[str, Any]:
    apart = made.applications
    kinds = {Change.ADD: "added", Change.DELETE: "removed"}
    modules: dict[str, list[str]] = {}
    for module, change in made.changes.items():
        modules.setdefault(kinds.get(change, "changed"), []).append(module)
    return {
        "release": new.rel.name,
        "from": old.rel.version,
        "to": new.rel.version,
        "made": list(made.made),
        "kept": list(made.kept),
        "applications": {"added": dict(apart.added), "changed": dict(apart.changed), "removed": dict(apart.removed)},
        "modules": modules,
        "instructions": _words(made.up.instructions),
        "back": _words(made.down.instructions) if made.down else None,
    }


def _words(instructions: Sequence[Any]) -> list[str]:
    return [in_words(each) for each in instructions]


def _refused(kind: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"ok": False, "error": {"kind": kind, "message": message, "hint": hint}}


if __name__ == "__main__":
    main()
