"""The last marker of an exit, wherever it stands."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from relctld.logfiles.exits import window_before_exit
from relctld.logfiles.tail import Reader

MARKER = b"relctl: exited (epoch 7, pid 4711) at 2026-11-22T11:20:00.123Z: killed, SIGKILL\n"
STAMPED = b"2026-11-22T11:20:00.123456Z " + MARKER
A = "2026-11-22T00-37-40.000000Z"
CHUNK = 1 << 18


def shown(folder: Path, lines: int) -> bytes | None:
    window = window_before_exit(str(folder), lines, None)
    if window is None:
        return None
    with Reader(str(folder), *window) as reader:
        return b"".join(iter(lambda: reader.read(CHUNK).data, b""))


@pytest.mark.parametrize("marker", [MARKER, STAMPED])
@pytest.mark.parametrize("before", [0, 1, CHUNK - 150, CHUNK - 40, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_it_is_found_at_any_place(marker: bytes, before: int, tmp_path: Path) -> None:
    filler = (b"x" * 98 + b"\n") * (before // 99) + b"y" * (before % 99 - 1) + b"\n" * (before % 99 > 0)
    (tmp_path / "current").write_bytes(filler + MARKER * 3 + b"last\n" + marker + b"after\n" * 60_000)
    assert shown(tmp_path, 1) == marker
    assert shown(tmp_path, 2) == b"last\n" + marker


def test_in_a_compressed_file(tmp_path: Path) -> None:
    (tmp_path / f"{A}.log.gz").write_bytes(gzip.compress(b"1\n2\n" + MARKER + b"3\n"))
    (tmp_path / "current").write_bytes(b"4\n")
    assert shown(tmp_path, 2) == b"2\n" + MARKER


@pytest.mark.parametrize(
    "text", [b"", b"x " + MARKER, b"relctl: exited (no end", b"relctl: upgraded, exited (1)\n", b"z" * 9000 + MARKER]
)
def test_what_is_no_marker(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "current").write_bytes(text)
    assert shown(tmp_path, 5) is None
    assert shown(tmp_path / "nothing", 5) is None
