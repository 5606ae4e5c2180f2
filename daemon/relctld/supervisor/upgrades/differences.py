"""What differs between two configurations, for people: application, key, the values as text.

Rule: no secret is shown: nothing whose name sounds like one, at any depth, and no user and password of a URL.
"""

import re
from collections.abc import Mapping
from typing import Any

from relctld.beam.term.consult import ConsultError, consult_file_bytes
from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Atom, ImproperList, Map
from relctld.supervisor.upgrades.configuring import ConfiguringError

_SECRET = re.compile(r"pass|pwd|secret|token|key|cookie|salt|credential|auth|private|dsn", re.IGNORECASE)
_IN_TEXT = re.compile(r'(://)[^\s"]*(@)|((?:pass|pwd|secret|token|key)\w*\s*=\s*)[^\s;&,"]+', re.IGNORECASE)
_MASK = Atom("***")
_MASKED = "***"
_SHOWN = 200
_READ = 100 * _SHOWN
"""Characters of a value that are looked at: what is cut is cut behind the masks."""
_DEEPEST = 8
_OURS = frozenset({("elixir", "config_provider_init"), ("elixir", "config_provider_booted")})
"""What Elixir notes for its own boot, with the path of the version in it."""


def differences(before: bytes, after: bytes) -> list[dict[str, str | None]]:
    """Key by key; None where it is absent. Raises ConfiguringError."""
    old, new = _flat(before), _flat(after)
    return [
        {
            "application": application,
            "key": key,
            "before": _value(key, old.get((application, key))),
            "after": _value(key, new.get((application, key))),
        }
        for application, key in sorted((old.keys() | new.keys()) - _OURS)
        if old.get((application, key)) != new.get((application, key))
    ]


def _flat(data: bytes) -> Mapping[tuple[str, str], Any]:
    try:
        [terms] = consult_file_bytes(data)
    except (ConsultError, ValueError) as error:
        raise ConfiguringError(f"its configuration is no Erlang term: {error}") from error
    found: dict[tuple[str, str], Any] = {}
    for entry in terms if isinstance(terms, list) else []:
        match entry:
            case (Atom() as application, list() as pairs):
                for pair in pairs:
                    match pair:
                        case (key, value):
                            found[str(application), shown(key, 100)] = value
    return found


def _value(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if _SECRET.search(key):
        return _MASKED
    said = _IN_TEXT.sub(_mask, shown(_without_secrets(value, _DEEPEST), _READ))
    return said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"


def _mask(found: re.Match[str]) -> str:
    return f"{found[1] or found[3]}{_MASKED}{found[2] or ''}"


def _without_secrets(value: Any, depth: int) -> Any:
    """Proplists and maps are values too, and so are lists of them."""
    if depth == 0:
        return _MASK
    match value:
        case (name, _, *_) if isinstance(value, tuple) and _sounds_secret(name):
            return (name, _MASK)
        case tuple():
            return tuple(_without_secrets(each, depth - 1) for each in value)
        case list() if not all(type(each) is int for each in value):
            return [_without_secrets(each, depth - 1) for each in value]
        case ImproperList():
            items = tuple(_without_secrets(each, depth - 1) for each in value.items)
            return ImproperList(items, _without_secrets(value.tail, depth - 1))
        case Map():
            return Map(
                (key, _MASK if _sounds_secret(key) else _without_secrets(value[key], depth - 1)) for key in value
            )
    return value


def _sounds_secret(name: Any) -> bool:
    return (said := text(name, 100)) is not None and _SECRET.search(said) is not None
