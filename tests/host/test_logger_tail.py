"""Following a log that a real logger rotates, compresses and is killed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from relctld.logfiles.places import seek_last
from tests.host.logger_rig import Rig, assert_once_in_order, numbered
from tests.reading import read_after
from tests.waiting import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "logs")
    yield rig
    rig.close()


def test_follower_sees_each_line_once_across_rotation_compression_and_kills(rig: Rig) -> None:
    policy = rig.add("web", max_size=200_000, compress="gzip")
    lines = 200_000
    got, cursor = b"", seek_last(policy.dir, 10)
    rig.start()
    writer = rig.writer("web", lines)
    reads = 0

    def all_read() -> bool:
        nonlocal got, cursor, reads
        data, cursor = read_after(policy.dir, json.loads(json.dumps(cursor)), 150_000)
        got += data
        reads += 1
        if reads in (20, 40, 60):
            rig.kill()
            rig.start()
        return len(got) >= lines * 100

    wait_until(all_read, 60, interval=0.0, what="the follower")
    assert writer.wait(5) == 0
    assert_once_in_order(got, lines)
    wait_until(lambda: not list(Path(policy.dir).glob("*.log")), 30, what="compression")
    data, end = read_after(policy.dir, seek_last(policy.dir, 5000), 1 << 20)
    assert data == numbered(5000, first=lines - 5000)
    assert read_after(policy.dir, end, 1 << 20)[0] == b""
