"""What is typed, and what it means."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import pytest

from relctl import values


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "s", "-3s", "+3s", "1h30m", "3 s", ".5s", "5.s", "3S", "1e3s", "٣s", "off"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no duration"):
        values.duration(text)


def test_counts_and_numbers() -> None:
    assert (values.count("0"), values.count("500"), values.number("3")) == (0, 500, 3)
    for text in ("-1", "x", "", "1.5", "9999999999", "²"):
        with pytest.raises(ArgumentTypeError):
            values.count(text)
    for text in ("0", "-1", "x"):
        with pytest.raises(ArgumentTypeError):
            values.number(text)


def test_moments() -> None:
    assert values.moment("2026-01-31T12:00:00Z") == "2026-01-31T12:00:00Z"
    assert values.moment("2026-01-31T12:00:00+02:00") == "2026-01-31T10:00:00Z"
    local = datetime.fromisoformat("2026-01-31T12:00:00").astimezone(UTC)
    assert values.moment("2026-01-31T12:00:00") == local.isoformat().replace("+00:00", "Z")
    then = datetime.fromisoformat(values.moment("10m"))
    assert timedelta(minutes=10) <= datetime.now(UTC) - then < timedelta(minutes=11)


def test_moments_of_today() -> None:
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)

    def at(text: str) -> datetime:
        return datetime.fromisoformat(values.moment(text)).astimezone().replace(tzinfo=None)

    assert at("0:05") == midnight + timedelta(minutes=5)
    assert at("23:59:58") == midnight.replace(hour=23, minute=59, second=58)
    assert at("today") == midnight
    assert at("yesterday") == midnight - timedelta(days=1)
    assert at("now").date() in (midnight.date(), midnight.date() + timedelta(days=1))
    assert at("2026-01-31") == datetime.fromisoformat("2026-01-31T00:00:00")


def test_moments_in_microseconds() -> None:
    assert values.micros("1970-01-01T00:00:01.5Z") == 1_500_000


@pytest.mark.parametrize("text", ["tomorrow", "24:00", "12", "12:60", "", "99999999999d", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.moment(text)


def test_patterns_are_for_bytes() -> None:
    assert re.search(values.pattern("fé"), "café".encode())
    with pytest.raises(ArgumentTypeError, match="is no regular expression"):
        values.pattern("(")
