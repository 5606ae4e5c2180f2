"""What a release's tree holds: the versions, the ERTS, the file that names the version to boot.

Rule 1: nothing is run and nothing is written; every read is bounded and of regular files only.
Rule 2: a file is believed, not interpreted: what it must look like is said here, all else is Damaged.

    ROOT/bin/…                          release scripts
         erts-ERTS/bin/{erlexec,epmd}   absent where the host's Erlang is used
         lib/APP-VSN/ebin
         releases/start_erl.data        "ERTS VSN\\n"
                  VSN/{start.boot, NAME.rel, sys.config, vm.args, …}

Relx writes VSN into bin/NAME and does not read start_erl.data (`flavour`).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MAX_TEXT = 1 << 20  # bytes; a sys.config or a start script larger than this is not one
MAX_ENTRIES = 10_000  # of a directory


class ReleaseError(Exception):
    """A release that cannot be launched as it lies on disk; the message says what to mend."""


class NothingInstalled(ReleaseError):  # noqa: N818  # a legal state, not a fault
    """The root is missing or empty."""


class NotARelease(ReleaseError):  # noqa: N818  # these three read as the sentence they are
    """The root holds something, but no flavour that we know."""


class AmbiguousRelease(ReleaseError):  # noqa: N818
    """The root holds several releases; `name` or `flavour` must choose."""


class DamagedRelease(ReleaseError):  # noqa: N818
    """A file that the boot needs is missing, unreadable or not what it must be."""


@dataclass(frozen=True, slots=True)
class Version:
    """One directory under releases/: the version, the ERTS its .rel names if any, and its files' names."""

    version: str
    erts: str | None
    files: tuple[str, ...]


def entries(folder: Path) -> list[str]:
    """The sorted names in a directory; none where there is no such directory."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry, _ in zip(found, range(MAX_ENTRIES), strict=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DamagedRelease(f"cannot read {folder}: {_why(error)}") from error
    return sorted(names)


def open_regular(path: Path, flags: int = 0) -> int:
    """A descriptor to read a regular file, never waited for; OSError where it is something else or may not be."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_text(path: Path, limit: int = MAX_TEXT, *, head: bool = False) -> str | None:
    """The text of a regular file of at most `limit` bytes, or so much of its head; None where none is."""
    try:
        with open(open_regular(path), "rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedRelease(f"cannot read {path}: {_why(error)}") from error
    if len(data) > limit and not head:
        raise DamagedRelease(f"cannot read {path}: larger than {limit} bytes")
    return data[:limit].decode(errors="replace")


def is_file(path: Path) -> bool:
    """Whether a regular file is there; unreadable directories count as damage, not as absence."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DamagedRelease(f"cannot read {path}: {_why(error)}") from error


def start_erl(path: Path) -> tuple[str, str]:
    """(ERTS, VSN) of a start_erl.data, the file that mix, Distillery and start_erl boot by."""
    text = read_text(path, 4096)
    if text is None:
        raise DamagedRelease(f"cannot tell which version boots: {path} is missing")
    match text.rstrip("\n").split(" "):
        case [erts, version] if is_version(erts) and is_version(version):
            return erts, version
        case _:
            # What it holds is not shown: it may be a link to a file that its user may not read, and we may.
            shown = "is empty" if not text.strip() else "holds something else"
            raise DamagedRelease(f'cannot tell which version boots: {path} {shown}, not "ERTS VERSION"')


def is_version(text: str) -> bool:
    """Whether `text` can name a directory under releases/."""
    return re.fullmatch(r"[^\s/\0]+", text) is not None and text not in (".", "..")


def version_dir(root: Path, version: str, chosen_by: str) -> Path:
    """releases/VERSION, where it exists; `chosen_by` names what asked for it."""
    folder = root / "releases" / version
    if not is_version(version) or not entries(folder):
        found = ", ".join(v.version for v in versions(root)) or "none"
        raise DamagedRelease(f"{chosen_by} boots version {version}, but {folder} is missing (found: {found})")
    return folder


def versions(root: Path) -> list[Version]:
    """The versions on disk, in natural order; a directory with neither a boot nor a .rel file is none."""
    found = []
    for name in entries(root / "releases"):
        files = entries(root / "releases" / name)
        if any(file.endswith((".boot", ".rel")) for file in files):
            found.append(Version(name, _rel_erts(root / "releases" / name, files), tuple(files)))
    return sorted(found, key=lambda version: _order(version.version))


def erts_bin(root: Path, erts: str, chosen_by: str) -> Path | None:
    """erts-ERTS/bin; None where the tree has no ERTS at all and so runs on the host's."""
    folder = root / f"erts-{erts}" / "bin"
    if is_file(folder / "erlexec"):
        return folder
    others = [name for name in entries(root) if name.startswith("erts-")]
    if not others:
        return None
    raise DamagedRelease(f"{chosen_by} needs ERTS {erts}, but {folder}/erlexec is missing (found: {', '.join(others)})")


def newest_epmd(roots: Iterable[Path]) -> Path | None:
    """The epmd of the newest ERTS below these roots, else the one on the PATH: one serves all nodes of a host."""
    found = [
        (_order(folder.removeprefix("erts-")), root / folder / "bin" / "epmd")
        for root in roots
        for folder in entries(root)
        if folder.startswith("erts-") and is_file(root / folder / "bin" / "epmd")
    ]
    on_path = shutil.which("epmd")
    return max(found)[1] if found else Path(on_path) if on_path else None


def _rel_erts(folder: Path, files: list[str]) -> str | None:
    for name in files:
        if name.endswith(".rel") and (match := re.search(r'\{\s*erts\s*,\s*"([^"]+)"', read_text(folder / name) or "")):
            return match[1]
    return None


def _order(version: str) -> list[tuple[int, int, str]]:
    """1.9.0 before 1.10.0; a number before a word."""
    parts = re.findall(r"\d{1,18}|\D+", version)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
