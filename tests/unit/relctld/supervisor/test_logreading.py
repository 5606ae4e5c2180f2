"""A log read for a client, part after part."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from relctld.control.log_handlers import LOG_CHUNK, Asked
from relctld.supervisor.logreading import LogReading

FIRST = Asked(None, None, None, crash=False, stamped=False, cursor=None, end=None)


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def open_files(folder: Path) -> int:
    """How many files below the folder this process has open."""
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found += fd.readlink().is_relative_to(folder)
        except FileNotFoundError:
            continue
    return found


def test_a_compressed_file_stays_open_from_part_to_part_and_not_for_ever(tmp_path: Path, pool: Executor) -> None:
    texts = [os.urandom(LOG_CHUNK).hex().encode() + b"\n" for _ in range(3)]
    for number, text in enumerate(texts[:2]):
        (tmp_path / f"2026-01-31T12-00-0{number}.000000Z.log.gz").write_bytes(gzip.compress(text, 1))
    (tmp_path / "current").write_bytes(texts[2])

    async def read() -> list[int]:
        reading, asked, data, held = LogReading(pool), FIRST, b"", []
        while True:
            part = await reading.read(str(tmp_path), asked, None)
            assert part is not None
            data += part.data
            held.append(open_files(tmp_path))
            if len(part.data) < LOG_CHUNK:
                assert data == b"".join(texts)
                break
            asked = FIRST._replace(cursor=part.cursor)
        await reading.read(str(tmp_path), FIRST, None)
        await reading.read(str(tmp_path), FIRST, None)  # of two who stand at one place, one has to open it again
        held.append(open_files(tmp_path))
        reading._close_all_but(0, 0.0)
        return [*held, open_files(tmp_path)]

    assert asyncio.run(read()) == [1, 1, 1, 1, 0, 0, 0, 1, 0]
