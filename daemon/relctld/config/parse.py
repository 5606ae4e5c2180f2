"""TOML data → the frozen values, by the table of keys. All that is wrong is noted, not only the first.

What it may know: `schema` and TOML's types; no file, no directory.
"""

from dataclasses import replace
from typing import Any

from relctld.config import schema
from relctld.config.keys import ANY, VARIABLE, Key
from relctld.config.notes import Notes, Place, found
from relctld.config.values import KindError
from relctld.core.spec import ReleaseSpec

_TABLE_WANTED = "expected a table, found "
_ENV_BYTES = 128 * 1024 - 1  # MAX_ARG_STRLEN, without its NUL


def read_table(raw: Any, table: str, place: Place, notes: Notes, **fixed: str) -> Any:
    """The dataclass of `table` from `raw`, or None if anything in it is wrong. `fixed`: what no key sets."""
    before = len(notes.problems)
    if not isinstance(raw, dict):
        notes.problem(place, "", _TABLE_WANTED + found(raw))
        return None
    keys, below = schema.BY_NAME[table], schema.children(table)
    values: dict[str, Any] = {}
    for name, item in raw.items():
        if name in below:
            values[name] = read_table(item, f"{table}.{name}", place / name, notes)
        elif ANY in keys:
            values[name] = _variable(name, item, keys[ANY], place, notes)
        elif name in keys:
            values[name] = _value(item, keys[name], place, notes)
        else:
            notes.unknown(place, name, schema.known(table))
    for key in keys.values():
        if key.required and key.name not in raw:
            notes.problem(place, key.name, f"missing, expected {key.kind.expected}")
    return schema.build(table, values, fixed) if len(notes.problems) == before else None


def read_release(raw: Any, place: Place, uid: int, notes: Notes) -> ReleaseSpec | None:
    """The release of the table at `place`, for a daemon that runs as `uid`; None if anything in it is wrong."""
    before = len(notes.problems)
    spec: ReleaseSpec | None = read_table(raw, "release", place, notes, name=place.table[-1])
    if isinstance(raw, dict) and uid != 0:
        for key in ("user", "group"):
            if raw.get(key, "off") != "off":
                text = f"only a daemon that runs as root can change it, this one runs as user id {uid}"
                notes.problem(place, key, text)
    if spec is None or len(notes.problems) > before:
        return None
    for variable in spec.inherit_env:
        if variable in schema.RESERVED_ENV:
            notes.problem(place, "inherit_env", f"{variable} is reserved for relctl")
    log = spec.log
    if log.max_size and log.max_total and log.max_total < log.max_size:
        notes.warn(place / "log", "max_total", "is smaller than max_size: no rotated file will be kept")
    if spec.command and not spec.command[0].startswith("/"):
        spec = replace(spec, command=(str(spec.root / spec.command[0]), *spec.command[1:]))
    return spec


def _value(raw: Any, key: Key, place: Place, notes: Notes) -> Any:
    try:
        return key.kind.read(raw)
    except KindError as wrong:
        notes.problem(place, key.name, key.kind.explain(raw, wrong))
        return None


def _variable(name: str, raw: Any, key: Key, place: Place, notes: Notes) -> Any:
    try:
        VARIABLE.read(name)
    except KindError:
        notes.problem(place, name, f"expected {VARIABLE.expected}")
        return None
    if name in schema.RESERVED_ENV:
        notes.problem(place, name, "is reserved for relctl")
        return None
    try:
        value = str(key.kind.read(raw))
    except KindError as wrong:
        notes.problem(place, name, key.kind.explain(raw, wrong))
        return None
    if len(f"{name}={value}".encode()) > _ENV_BYTES:
        notes.problem(place, name, f"is longer than the {_ENV_BYTES} bytes that a variable can have")
    return value
