"""Tarballs taken in, from disks that answer and from one that does not."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from relctld.control.server import RefusedError
from relctld.host.staging import Received
from relctld.supervisor.upgrades import taking
from relctld.supervisor.upgrades.taking import digest_of, take_in
from tests.faults.blocked import unreadable
from tests.host.seam import NOBODY, OURSELVES, public_folder
from tests.running import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.host


def taken(tarball: Path, folder: Path, said: list[dict[str, Any]] | None = None) -> Received:
    words = [] if said is None else said
    return asyncio.run(take_in(str(tarball), OURSELVES, folder, words.append))


def test_it_is_copied_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "web.tar.gz").write_bytes(b"x" * 1000)
    said: list[dict[str, Any]] = []
    received = taken(tmp_path / "web.tar.gz", tmp_path / "state" / "web", said)
    assert received.path.read_bytes() == b"x" * 1000
    assert said == [{"step": "reading", "bytes": 1000, "of": 1000}]


def test_it_is_hashed_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "web.tar.gz").write_bytes(b"x" * 1000)
    folder = tmp_path / "state" / "web"
    digest = asyncio.run(digest_of(str(tmp_path / "web.tar.gz"), OURSELVES, folder))
    assert digest == hashlib.sha256(b"x" * 1000).hexdigest()
    assert not folder.exists()


def test_what_cannot_be_opened_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        taken(tmp_path / "web.tar.gz", tmp_path / "web")
    need_root()
    with public_folder() as folder:
        (folder / "secret.tar.gz").write_bytes(b"x")
        (folder / "secret.tar.gz").chmod(0o600)
        with pytest.raises(PermissionError):
            asyncio.run(take_in(str(folder / "secret.tar.gz"), NOBODY, tmp_path / "web", lambda _: None))


def test_a_disk_that_hangs_keeps_its_own_tarball_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setattr(taking, "HANGS_AFTER", 0.2)
    (hung := tmp_path / "hung.tar.gz").write_bytes(b"x" * 1000)
    (fine := tmp_path / "fine.tar.gz").write_bytes(b"y")
    web, api = tmp_path / "state" / "web", tmp_path / "state" / "api"

    async def take(tarball: Path, folder: Path) -> Received:
        return await take_in(str(tarball), OURSELVES, folder, lambda _: None)

    async def work() -> None:
        with unreadable(hung):
            with pytest.raises(RefusedError, match="nothing came of it for"):
                await take(hung, web)
            for tarball in (hung, fine):
                with pytest.raises(RefusedError, match="still does not answer"):
                    await take(tarball, web)
                with pytest.raises(RefusedError, match="still does not answer"):
                    await digest_of(str(tarball), OURSELVES, web)
            assert (await take(fine, api)).path.read_bytes() == b"y"
        await asyncio.to_thread(wait_until, lambda: not list(web.iterdir()), 30, what="what came too late to go")
        assert (await take(hung, web)).size == 1000

    asyncio.run(work())
