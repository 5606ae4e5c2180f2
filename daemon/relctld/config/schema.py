"""The table of keys, put to use: which dataclass a table fills, what may stand in it, what the defaults are."""

import re
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from relctld.config.keys import ANY, KEYS, Key
from relctld.config.settings import Access, Daemon
from relctld.core.spec import (
    Backoff,
    CrashSpec,
    HealthSpec,
    Hook,
    Hooks,
    Limits,
    LogSpec,
    NodeSpec,
    ReleaseSpec,
    UpgradeSpec,
)

RELEASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
RESERVED_ENV = frozenset({"RELCTL_INSTANCE"})

TABLES: Mapping[str, type] = {
    "daemon": Daemon,
    "daemon.access": Access,
    "release": ReleaseSpec,
    "release.env": dict,
    "release.backoff": Backoff,
    "release.health": HealthSpec,
    "release.log": LogSpec,
    "release.crash": CrashSpec,
    "release.upgrade": UpgradeSpec,
    "release.limits": Limits,
    "release.node": NodeSpec,
    "release.hooks": Hooks,
}
BY_NAME: Mapping[str, Mapping[str, Key]] = {table: {key.name: key for key in keys} for table, keys in KEYS.items()}
_HOOKS = frozenset(map(str, Hook))


def children(table: str) -> tuple[str, ...]:
    """The names of the tables right below `table`."""
    return tuple(name.rpartition(".")[2] for name in TABLES if name.rpartition(".")[0] == table)


def known(table: str) -> tuple[str, ...]:
    """What may stand in `table`: its keys, the tables below it, and their keys dotted."""
    below = [f"{child}.{key}" for child in children(table) for key in BY_NAME[f"{table}.{child}"] if key != ANY]
    return (*below, *BY_NAME[table], *children(table))


def build(table: str, values: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """The dataclass of `table`: the values of its keys and tables, and `fixed` attributes; the rest is default."""
    if table == "release.env":
        return MappingProxyType(dict(values))
    if table == "release.hooks":
        commands = {Hook(name): argv for name, argv in values.items() if name in _HOOKS and argv}
        rest = {name: item for name, item in values.items() if name not in _HOOKS}
        return Hooks(argv=MappingProxyType(commands), **rest)
    keys = BY_NAME[table]
    attributes = {keys[name].attribute if name in keys else name: item for name, item in values.items()}
    return TABLES[table](**fixed, **attributes)


def value(filled: Any, key: Key) -> Any:
    """What `key` has in `filled`, the dataclass of its table: the inverse of `build`."""
    if isinstance(filled, Hooks) and key.name in _HOOKS:
        return filled.argv.get(Hook(key.name))
    return getattr(filled, key.attribute)


def default(table: str, key: Key) -> Any:
    """The default of a key that has one (not: a required one, a free name)."""
    if table == "release.hooks":
        return value(Hooks(), key)
    return next(field.default for field in fields(TABLES[table]) if field.name == key.attribute)
