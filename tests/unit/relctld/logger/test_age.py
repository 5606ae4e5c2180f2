"""When a log is old: hours and days of the local clock, daylight saving time or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logger.age import old_at

HOUR, DAY = 3600.0, 86_400.0
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]


@pytest.fixture(autouse=True)
def own_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def rotated(zone: str, begun: str, max_age: float) -> str:
    """When a log that began at this local time is rotated, in local time with its offset."""
    os.environ["TZ"] = zone
    begins = datetime.fromisoformat(begun)
    if begins.tzinfo is None:
        begins = begins.replace(tzinfo=ZoneInfo(zone))
    return datetime.fromtimestamp(old_at(begins.timestamp(), max_age), ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("zone", "begun", "max_age", "end"),
    [
        ("UTC", "2026-11-22T10:59:59.5", HOUR, "2026-11-22T11:00:00+00:00"),
        ("UTC", "2026-11-22T11:00:00", HOUR, "2026-11-22T12:00:00+00:00"),
        ("UTC", "2026-12-31T23:59:59", DAY, "2027-01-01T00:00:00+00:00"),
        ("Asia/Kathmandu", "2026-11-22T10:20:00", HOUR, "2026-11-22T11:00:00+05:45"),
        ("Europe/Berlin", "2026-03-29T00:00:00", DAY, "2026-03-30T00:00:00+02:00"),  # 23 hours
        ("Europe/Berlin", "2026-10-25T00:00:00", DAY, "2026-10-26T00:00:00+01:00"),  # 25
        ("Europe/Berlin", "2026-03-29T01:30:00", HOUR, "2026-03-29T03:00:00+02:00"),
        ("Europe/Berlin", "2026-10-25T02:30:00+02:00", HOUR, "2026-10-25T02:00:00+01:00"),  # the hour comes twice
        ("Europe/Berlin", "2026-10-25T02:30:00+01:00", HOUR, "2026-10-25T03:00:00+01:00"),
        ("Africa/Cairo", "2026-04-23T12:00:00", DAY, "2026-04-24T01:00:00+03:00"),  # that day has no midnight
        ("Africa/Cairo", "2026-10-29T12:00:00", DAY, "2026-10-30T00:00:00+02:00"),  # and this one two of them
        ("Europe/Berlin", "2026-11-22T10:20:00", 2 * HOUR, "2026-11-22T12:20:00+01:00"),
        ("Europe/Berlin", "2026-11-22T10:20:00", 7 * DAY, "2026-11-29T10:20:00+01:00"),
    ],
)
def test_hours_and_days_are_those_of_the_local_clock(zone: str, begun: str, max_age: float, end: str) -> None:
    assert rotated(zone, begun, max_age) == end


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    begun=st.integers(1_420_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    max_age=st.sampled_from([HOUR, DAY]),
)
def test_no_log_holds_more_than_one_day_or_hour_of_the_clock(zone: str, begun: datetime, max_age: float) -> None:
    os.environ["TZ"] = zone
    end = old_at(begun.timestamp(), max_age)
    assert begun.timestamp() < end <= begun.timestamp() + max_age + HOUR
    kept = "%Y-%m-%d" if max_age == DAY else "%Y-%m-%dT%H%z"
    first, last, after = (
        datetime.fromtimestamp(at, ZoneInfo(zone)).strftime(kept) for at in (begun.timestamp(), end - 1, end)
    )
    assert first == last != after
