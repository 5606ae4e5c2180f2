"""Erlang crash dumps: what they say in their first lines, and which of them are kept.

Rule 1: dumps are written by a VM that was dying, in a directory that its user owns: nothing in them is trusted,
        no link is followed, only regular files count, and only their head is read.
Rule 2: a dump that says nothing is still a dump: a file cut short by a full disk is listed, its fields None.

    LOG_DIR/NAME/crash/erl_crash.e7.20261122T005645Z.dump      epoch 7, the VM was started at that time

The head of a dump (OTP: erts/emulator/beam/break.c; ERTS user's guide, "How to Interpret the Erlang Crash Dumps"):

    =erl_crash_dump:0.5
    Sun Nov 22 00:56:45 2026
    Slogan: Kernel pid terminated (application_controller) (…)      may go on for several lines
    System version: Erlang/OTP 25 [erts-13.1.5] …
    Taints: …
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from relctld.beam.layout import open_regular

HEAD = 16 << 10  # bytes read of a dump
MAX_SLOGAN = 500  # characters
MAX_DUMPS = 10_000  # looked at in a directory
LAST_TIME = 253_402_300_799  # s since 1970, the year 9999: its user can give a file any time
NAME = re.compile(r"erl_crash\.e(\d{1,18})\.(\d{8}T\d{6}Z)\.dump")


@dataclass(frozen=True, slots=True)
class Dump:
    """A crash dump: `at`, when it was last written (UTC); `size` in bytes; the rest is None where not known."""

    path: Path
    at: datetime
    size: int
    epoch: int | None
    slogan: str | None
    otp: str | None
    erts: str | None


def dump_name(epoch: int, at: datetime) -> str:
    """The file name for the VM of that epoch, started at `at`; one per boot, so that none is overwritten."""
    return f"erl_crash.e{epoch}.{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.dump"


def summarise(path: Path) -> Dump:
    """What the head of a dump says. OSError where `path` is a link, no regular file or not readable."""
    with open(open_regular(path, os.O_NOFOLLOW), "rb") as file:
        status = os.fstat(file.fileno())
        text = file.read(HEAD).decode(errors="replace")
    named = NAME.fullmatch(path.name)
    return Dump(
        path=path,
        at=datetime.fromtimestamp(min(max(status.st_mtime, 0), LAST_TIME), UTC),
        size=status.st_size,
        epoch=int(named[1]) if named else None,
        slogan=_slogan(text),
        otp=_version(text, r"/OTP ([\w.-]{1,40})"),
        erts=_version(text, r"\[erts-([\w.-]{1,40})\]"),
    )


def list_dumps(folder: Path) -> list[Dump]:
    """The dumps in a directory, newest first; none where there is none. What cannot be read is left out."""
    dumps = []
    for path in _paths(folder):
        try:
            dumps.append(summarise(path))
        except OSError:  # a link, a device, or gone since
            continue
    return sorted(dumps, key=lambda dump: (dump.at, dump.epoch or 0), reverse=True)


def prune(folder: Path, keep: int, max_size: int | None = None) -> list[Path]:
    """Removes all but the newest `keep` dumps, and older ones over `max_size` bytes each; returns the removed.

    The newest stays whatever its size: it is the evidence of the last crash. Only names that `dump_name` makes
    are touched.
    """
    removed = []
    for rank, dump in enumerate(list_dumps(folder)):
        too_large = rank > 0 and max_size is not None and dump.size > max_size
        if rank >= keep or too_large:
            dump.path.unlink(missing_ok=True)
            removed.append(dump.path)
    return removed


def _paths(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(MAX_DUMPS), strict=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in names if NAME.fullmatch(name)]


def _slogan(text: str) -> str | None:
    """The slogan as one printable line; it ends where the next field begins."""
    match = re.search(r"^Slogan:(.*?)(?=^[A-Z][A-Za-z ]{2,30}: |^=|\Z)", text, re.MULTILINE | re.DOTALL)
    words = "".join(c if c.isprintable() else " " for c in match[1]).split() if match else []
    return " ".join(words)[:MAX_SLOGAN] or None


def _version(text: str, pattern: str) -> str | None:
    line = re.search(r"^System version: Erlang(.*)", text, re.MULTILINE)
    match = re.search(pattern, line[1]) if line else None
    return match[1] if match else None
