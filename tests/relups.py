"""Low-level scripts of relups, to be compared with those that systools makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def comparable(script: Sequence[Any]) -> list[Any]:
    """With what hangs together sorted: there systools' order is that of a hash table, within what the needs allow."""
    found: list[Any] = []
    reads: list[Any] = []
    run: list[str] = []
    for each in [*script, None]:
        if isinstance(each, tuple) and each[0] in ("load", "remove", "purge"):
            run.append(repr(each))
            continue
        if run:
            found.append(sorted(run))
            run = []
        match each:
            case (("suspend" | "resume") as kind, items) | (("code_change") as kind, _, items):
                found.append((kind, each[1] if kind == "code_change" else "", sorted(map(repr, items))))
            case ("load_object_code", (name, version, modules)):
                reads.append((name, version, sorted(modules)))
            case None:
                pass
            case _:
                found.append(each)
    return [sorted(reads), *found]
