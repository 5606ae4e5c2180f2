"""The vocabulary of `doctor`, and what can be judged without a tree."""

from __future__ import annotations

import os
from pathlib import Path

from relctld.supervisor.doctor import host, node
from relctld.supervisor.doctor.findings import MEANING, Finding, Kind, page

DOCS = Path(__file__).resolve().parents[5] / "docs"


def test_each_finding_has_its_meaning() -> None:
    assert set(MEANING) == set(Kind)
    assert (DOCS / "doctor.md").read_text(encoding="utf-8") == page(), (
        "run `python -m relctld.supervisor.doctor.findings > docs/doctor.md`"
    )


def test_the_mend_names_the_release() -> None:
    assert Finding(Kind.RELEASES_TORN, "torn", "web").shown()["mend"] == "relctl doctor --fix web"
    assert not Finding(Kind.RELEASES_TORN, "torn", "web").shown()["fixable"]


def disk(device: int, free: int, of: int, files: int = 1000, flags: int = 0) -> host.Disk:
    """With blocks of 4 KiB."""
    fs = os.statvfs_result((4096, 4096, of, free, free, 1000, files, files, flags, 255))
    return host.Disk(Path(f"/{device}"), f"disk {device}", device, fs)


def kinds(*disks: host.Disk) -> list[Kind]:
    return [finding.kind for finding in host.disks(disks)]


def test_disks() -> None:
    million = 1_000_000  # blocks: 4 GB
    assert kinds(disk(1, million // 2, million)) == []
    assert kinds(disk(1, million // 25, million)) == [Kind.DISK_NEARLY_FULL]
    assert kinds(disk(1, 4 * million, 100 * million)) == []  # 16 GB are enough for everybody
    assert kinds(disk(1, 0, million)) == [Kind.DISK_FULL]
    assert kinds(disk(1, million, million, files=3)) == [Kind.DISK_FULL]
    assert kinds(disk(1, million, million, flags=os.ST_RDONLY)) == [Kind.DISK_READ_ONLY]
    assert kinds(disk(1, million, million), disk(1, million, million, flags=os.ST_RDONLY)) == [Kind.DISK_READ_ONLY]
    assert kinds(disk(1, 0, million), disk(1, 0, million)) == [Kind.DISK_FULL]
    assert kinds(disk(1, 0, million), disk(2, 0, million)) == [Kind.DISK_FULL, Kind.DISK_FULL]


def test_what_relctld_says_of_itself() -> None:
    """A limit that has no effect is told of its release."""
    warnings = ["[release.web.limits] memory_max: has no effect: no systemd", "[release.web.log] max_total: is small"]
    said = {"config": {"error": "it is torn", "warnings": warnings}, "store_error": "disk I/O error"}
    assert [(found.kind, found.detail) for found in host.daemon(said)] == [
        (Kind.CONFIG_NOT_IN_FORCE, "it is torn"),
        (Kind.CONFIG_DOUBTFUL, warnings[1]),
        (Kind.STATE_TROUBLE, "disk I/O error"),
    ]


def test_names_that_clash() -> None:
    nodes = [
        ("web", "shop@a", 4369),
        ("api", "api@a", 4369),
        ("old", "shop@a", 4369),
        ("own", "shop@a", 5000),
        ("bare", "shop@a", None),
    ]
    assert [(found.release, found.kind) for found in node.clashes(nodes)] == [("old", Kind.NAME_CLASH)]
