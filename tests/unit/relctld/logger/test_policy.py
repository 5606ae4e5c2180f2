"""The plan and the counters, as the daemon writes and reads them."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relctld.logger.policy import Counters, LogPolicy, read_counters, read_plan, replace, write_counters, write_plan

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
sizes = st.none() | st.integers(0, 2**50)
policies = st.builds(
    LogPolicy,
    texts,
    texts,
    texts,
    texts,
    sizes,
    sizes,
    sizes,
    st.sampled_from(["gzip", None]),
    st.sampled_from(["drop", "block"]),
    journal=st.booleans(),
    version=st.none() | texts,
    epoch=st.none() | st.integers(1),
    max_age=st.none() | st.integers(1) | st.floats(1.0, allow_infinity=False),
)


@settings(deadline=None)
@given(plan=st.lists(policies, max_size=5, unique_by=lambda p: p.name))
def test_plan_round_trip(plan: list[LogPolicy], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("plan") / "logger.json")
    write_plan(path, plan)
    assert read_plan(path) == plan


def test_no_plan_yet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_plan(str(tmp_path / "logger.json"))


GOOD = LogPolicy("web", "/run/out", "/run/claimed", "/log")._asdict()


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "[]",
        '{"v": 1}',
        {"v": 2, "releases": []},
        {"v": 1, "releases": [{"name": "web"}]},
        {"v": 1, "releases": [GOOD | {"extra": 1}]},
        {"v": 1, "releases": [GOOD | {"max_size": "50MB"}]},
        {"v": 1, "releases": [GOOD | {"max_size": True}]},
        {"v": 1, "releases": [GOOD | {"keep": -1}]},
        {"v": 1, "releases": [GOOD | {"max_age": 0}]},
        {"v": 1, "releases": [GOOD | {"journal": 1}]},
        {"v": 1, "releases": [GOOD | {"version": 1}]},
        {"v": 1, "releases": [GOOD | {"epoch": "1"}]},
        {"v": 1, "releases": [GOOD | {"max_age": "1h"}]},
        {"v": 1, "releases": [GOOD | {"on_full": "burn"}]},
        {"v": 1, "releases": [GOOD | {"dir": ""}]},
        {"v": 1, "releases": [GOOD, GOOD]},
    ],
)
def test_bad_plan_is_refused_whole(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "logger.json"
    path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
    with pytest.raises(ValueError, match=r"cannot read .*logger\.json: "):
        read_plan(str(path))


def test_counters_round_trip_and_default(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    assert read_counters(str(path)) == Counters()
    counters = Counters(10, 8, 2, 1, "cannot write /var/log/web/current: No space left on device")
    write_counters(str(path), counters)
    assert read_counters(str(path)) == counters
    path.write_text("{")
    assert read_counters(str(path)) == Counters()


def test_replacing_survives_a_killed_writer_and_follows_no_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    path = tmp_path / "log.json"
    (tmp_path / "log.json.tmp").symlink_to(other)
    write_counters(str(path), Counters(1))
    assert read_counters(str(path)) == Counters(1)
    assert other.read_text() == "precious"


def test_limit_follows_from_max_total_where_there_is_no_max_size() -> None:
    policy = LogPolicy("web", "out", "claimed", "dir", max_size=None, max_total=1000)
    assert policy.limit == 500
    assert policy._replace(max_total=None).limit is None
    assert policy._replace(max_size=7).limit == 7


def test_what_cannot_be_written_whole_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    replace(str(path), b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # write(2) then takes a part, as on a full file system
    try:
        with pytest.raises(OSError, match="No space"):
            replace(str(path), b"longer than that")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
