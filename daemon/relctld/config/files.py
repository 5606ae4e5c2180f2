"""The files of a config: finding and reading them.

    relctld.toml            the main file, the only one with `[daemon]`
    releases.d/*.toml       what its `include` names: each pattern's files sorted, hidden ones left out

Rule: reading ends, and soon: only regular files, at most `LARGEST` bytes, never a wait for a FIFO's writer.
"""

import errno
import glob
import os
import stat
from pathlib import Path

from relctld.config.notes import Notes, Place, quoted
from relctld.config.settings import Source

LARGEST = 1 << 20


def read_text(path: Path, *, largest: int = LARGEST, follow: bool = True) -> str:
    """The text of a regular file; raises OSError, or ValueError when it is too long or no text."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(largest + 1)
    finally:
        os.close(fd)
    if len(data) > largest:
        raise ValueError(f"longer than {largest} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from None


def read_source(path: Path, notes: Notes) -> Source | None:
    """The file at `path`, or None if it cannot be read."""
    try:
        return Source(path, read_text(path))
    except OSError as error:
        notes.problem(Place(path), "", (error.strerror or "unreadable").lower())
    except ValueError as error:
        notes.problem(Place(path), "", str(error))
    return None


def included(main: Path, patterns: tuple[str, ...], notes: Notes) -> list[Path]:
    """The files that `patterns` name, in order, each once, without the main file."""
    paths: list[Path] = []
    for pattern in patterns:
        try:
            names = _matches(main.parent, pattern)
        except OSError as error:
            text = f"cannot list what {quoted(pattern)} names: {(error.strerror or 'unreadable').lower()}"
            notes.problem(Place(main, ("daemon",)), "include", text)
            continue
        paths += (main.parent / name for name in names)
    return [path for path in dict.fromkeys(paths) if path != main]


def _matches(directory: Path, pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return [pattern]
    plain = pattern
    while glob.has_magic(plain):
        plain = os.path.dirname(plain)
    try:  # glob itself takes a directory that it may not list for an empty one
        os.scandir(directory / plain).close()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(glob.glob(pattern, root_dir=directory))
