"""What a reload would change, key by key, and when each change acts. Pure: no file, no clock."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from relctld.config import schema
from relctld.config.keys import ANY, AT_ONCE, KEYS, Key
from relctld.config.settings import Config
from relctld.core.spec import ReleaseSpec


class KeyChange(NamedTuple):
    """A key that has another value, such as "health.interval" or "env.PORT".

    `at_once`: a reload acts on it; if not, it waits for a restart (of the VM; a key of the daemon, of relctld).
    """

    key: str
    at_once: bool


class Change(NamedTuple):
    """What changed in one release."""

    name: str
    keys: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference of two configs: names of releases, in the order of their config, and keys of the daemon."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()
    daemon: tuple[KeyChange, ...] = ()


def diff(old: Config, new: Config) -> Plan:
    """What would change if `new` replaced `old`."""
    before = {spec.name: spec for spec in old.releases}
    after = {spec.name: spec for spec in new.releases}
    changes = (Change(name, changed_keys(before[name], spec)) for name, spec in after.items() if name in before)
    return Plan(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(change for change in changes if change.keys),
        daemon=tuple(_changes("daemon", old, new)),
    )


def changed_keys(old: ReleaseSpec, new: ReleaseSpec) -> tuple[KeyChange, ...]:
    """The keys in which two specs of a release differ, in the order of the reference."""
    return tuple(_changes("release", old, new))


def _changes(top: str, old: Any, new: Any) -> Iterator[KeyChange]:
    for table, keys in KEYS.items():
        first, _, below = table.partition(".")
        if first != top:
            continue
        a, b = (getattr(side, below) if below else side for side in (old, new))
        prefix = f"{below}." if below else ""
        for key in keys:
            names = _differing(a, b) if key.name == ANY else [key.name] if _differs(a, b, key) else []
            yield from (KeyChange(prefix + name, key.acts is AT_ONCE) for name in names)


def _differs(old: Any, new: Any, key: Key) -> bool:
    if key.name == "include":  # spent once its files are read: their releases are compared, not their names
        return False
    return bool(schema.value(old, key) != schema.value(new, key))


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]


def fingerprints(spec: ReleaseSpec) -> tuple[tuple[str, str], ...]:
    """A checksum for each key that waits for a restart: a later relctld compares them, and no secret is kept."""
    found: list[tuple[str, str]] = []
    for table, keys in KEYS.items():
        first, _, below = table.partition(".")
        if first != "release":
            continue
        side: Any = getattr(spec, below) if below else spec
        prefix = f"{below}." if below else ""
        for key in keys:
            if key.acts is AT_ONCE:
                continue
            values = dict(side) if key.name == ANY else {key.name: schema.value(side, key)}
            found += [(prefix + name, f"{crc32(repr(value).encode()):08x}") for name, value in values.items()]
    return tuple(found)
