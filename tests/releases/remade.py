"""Tarballs of the samples with single files changed, for what no build tool makes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.releases.package import package


def remade(name: str, vsn: str, folder: Path, **changes: Callable[[str], str]) -> Path:
    """The tarball of a version, in `folder`, with the text of each file of this name (`relup`) changed."""
    path = folder / f"{name}-{vsn}-remade.tar.gz"
    found = set()
    with tarfile.open(package(name, vsn)) as whole, tarfile.open(path, "w:gz", compresslevel=1) as out:
        for member in whole:
            file = whole.extractfile(member) if member.isfile() else None
            change = changes.get(Path(member.name).name)
            if file is not None and change is not None:
                before = file.read().decode()
                data = change(before).encode()
                assert data != before.encode(), f"nothing changed in {member.name}"
                member.size, file = len(data), io.BytesIO(data)
                found.add(Path(member.name).name)
            out.addfile(member, file)
    assert found == changes.keys()
    return path
