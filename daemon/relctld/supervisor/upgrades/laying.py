"""What a candidate boots with that is not in the tree: laid ready beside the VM's FIFO, gone when the upgrade is over.

    RUN/releases/NAME/candidate/version      as which version a candidate would boot with it; written last
                                releases/    RELDIR (`beam.hybrid`), the node's own, for release_handler writes there

Blocking: for worker threads. What is the node's is written as its user.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from relctld.host import folders
from relctld.host.fsuser import as_user
from relctld.host.gate import Identity

_MARK = "version"


def laid(folder: Path) -> str | None:
    """As which version a candidate would boot; empty where only the relup is laid ready, None where nothing is."""
    try:
        return (folder / _MARK).read_text()
    except FileNotFoundError:
        return None


def lay(folder: Path, identity: Identity, files: Mapping[str, bytes], candidate: str) -> None:
    """Write these files, by their path below RELDIR, in place of what is there of them. Raises OSError."""
    folder.mkdir(mode=0o711, exist_ok=True)
    (folder / _MARK).unlink(missing_ok=True)
    folders.own(folder / "releases", identity, 0o700)
    with as_user(identity.uid, identity.gid, identity.groups):
        for path, data in files.items():
            place = folder / "releases" / path
            place.parent.mkdir(mode=0o700, exist_ok=True)
            place.unlink(missing_ok=True)
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
    (folder / _MARK).write_text(candidate)


def clear(folder: Path) -> None:
    """Nothing is laid ready any more. Raises OSError."""
    if folder.exists():
        (folder / _MARK).unlink(missing_ok=True)
        folders.remove(folder)
