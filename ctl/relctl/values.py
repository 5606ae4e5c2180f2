"""What operators write on the command line, made into values: durations, counts, moments, patterns.

Rule 1: each function takes the text and gives the value, or raises argparse's ArgumentTypeError.
Rule 2: durations are the config's (CONTRACT, *Config*): one number, one unit, no sum, no sign.
"""

import re
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_CENTURY: Final = 36_500 * 86_400.0
_MOST_LINES: Final = 999_999_999
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration: <number><ms|s|m|h|d>, such as 30s or 1.5m")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _CENTURY:
        raise ArgumentTypeError(f"{text:.20}{'...' * (len(text) > 20)} is more than a century")
    return seconds


def count(text: str) -> int:
    """A number of lines, 0 or more."""
    if not _is_number(text):
        raise ArgumentTypeError(f"{text!r} is no number of lines, 0 to {_MOST_LINES}")
    return int(text)


def number(text: str) -> int:
    """A number from a list that begins at 1."""
    if not _is_number(text) or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of the list, which begins at 1")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_LINES))


def moment(text: str) -> str:
    """RFC 3339 UTC of a moment.

    RFC 3339; a local date or time without an offset; HH:MM[:SS] of today, `today`, `yesterday`, `now`; a duration (so
    long ago).
    """
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 -- start-up: needed for --since and --until only

    if _DURATION.fullmatch(text):
        return rfc3339(datetime.now(UTC) - timedelta(seconds=duration(text)))
    midnight = datetime.now(UTC).astimezone().replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    named = {"now": datetime.now(UTC), "today": midnight, "yesterday": midnight - timedelta(days=1)}
    try:
        clock = _CLOCK.fullmatch(text)
        if clock is not None:
            named[text] = midnight.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0))
        return rfc3339(named.get(text) or datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        examples = "RFC 3339 such as 2026-01-31T12:00:00Z, a time of today such as 14:30, or a duration such as 10m"
        raise ArgumentTypeError(f"{text!r} is no time: {examples}") from None


def rfc3339(moment: "datetime") -> str:
    """In UTC; a time without an offset is local."""
    from datetime import UTC  # noqa: PLC0415 -- start-up: as in `moment`

    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def micros(moment: str) -> int:
    """Microseconds since the epoch of a moment in RFC 3339."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 -- start-up: as in `moment`

    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def pattern(text: str) -> re.Pattern[bytes]:
    """A regular expression for bytes: logs are not text of a known encoding."""
    try:
        return re.compile(text.encode("utf-8", "surrogateescape"))
    except re.error as error:
        raise ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
