"""Which version runs, where those who say so do not agree."""

from __future__ import annotations

import pytest

from relctld.beam.running import Listed, running_version

OLD = frozenset({"web-1.0.0", "kernel-8.5"})
NEW = frozenset({"web-1.1.0-rc1", "kernel-8.5"})
AT_OLD, AT_NEW = {"web": "1.0.0", "kernel": "8.5"}, {"web": "1.1.0-rc1", "kernel": "8.5", "more": "1"}
NOTHING: frozenset[str] = frozenset()


def listed(old: str = "", new: str = "", old_has: frozenset[str] = OLD, new_has: frozenset[str] = NEW) -> list[Listed]:
    found = [Listed("1.0.0", old, old_has), Listed("1.1.0", new, new_has)]
    return [entry for entry in found if entry.status]


@pytest.mark.parametrize(
    ("booted", "entries", "applications", "begun", "runs"),
    [
        ("1.0.0", listed("permanent"), AT_OLD, "1.0.0", "1.0.0"),
        ("1.0.0", listed("permanent", "current"), AT_NEW, "1.0.0", "1.1.0"),
        ("1.0.0", listed("old", "permanent"), AT_NEW, "1.0.0", "1.1.0"),  # installed by somebody else
        ("1.0.0", listed("old", "permanent"), AT_NEW, "1.1.0", "1.1.0"),  # by us
        ("1.0.0", listed("old", "permanent"), AT_OLD, "1.0.0", "1.0.0"),  # torn, or another's word
        ("1.0.0", listed("old", "permanent"), AT_OLD, None, "1.0.0"),
        ("1.0.0", listed("old", "permanent"), {}, "1.0.0", "1.0.0"),
        ("1.0.0", listed("", "permanent", new_has=NOTHING), AT_OLD, "1.0.0", "1.0.0"),
        ("1.0.0", listed("old", "permanent", new_has=OLD), AT_OLD, "1.0.0", "1.0.0"),  # the same applications
        ("1.0.0", listed("old", "permanent", new_has=OLD), AT_OLD, "1.1.0", "1.1.0"),
        ("1.1.0", listed("old", "permanent"), AT_NEW, "1.0.0", "1.1.0"),  # restarted inside its process
        ("1.0.0", [Listed("0.1.0", "permanent", NOTHING)], AT_OLD, "1.0.0", "1.0.0"),  # of another release
        (  # the one that was booted is not the first of those that are old
            "1.0.0",
            [Listed("0.9.0", "old", NEW), Listed("1.0.0", "old", OLD), Listed("1.1.0", "permanent", OLD)],
            AT_OLD,
            "1.0.0",
            "1.0.0",
        ),
        ("1.0.0", [], AT_OLD, "1.1.0", "1.1.0"),  # without sasl
        ("1.0.0", [], AT_OLD, None, "1.0.0"),
        (None, [], {}, None, None),
        (None, listed("permanent"), {}, None, "1.0.0"),
    ],
)
def test_what_runs(
    booted: str | None, entries: list[Listed], applications: dict[str, str], begun: str | None, runs: str | None
) -> None:
    assert running_version(booted, entries, applications, begun) == runs
