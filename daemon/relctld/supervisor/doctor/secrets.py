"""Files that hold secrets and that others may read: rendered configurations, cookies.

Rule: what is found in them is never shown. The right to read is taken away only where the node's user keeps it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from relctld.host.fsuser import as_user
from relctld.host.gate import Identity
from relctld.supervisor.doctor.findings import Finding, Kind, Mend, Severity
from relctld.supervisor.doctor.patient import Patient
from relctld.supervisor.recipe import Recipe

_OTHERS = stat.S_IRWXO
_ALL_BUT_OWNER = stat.S_IRWXG | stat.S_IRWXO
_MOST = 1000


def examine(patient: Patient, recipe: Recipe) -> Iterator[Finding]:
    """What others may read. Blocks. Raises OSError."""
    root = patient.spec.root
    for path in _rendered(root, recipe):
        if (found := _status(path)) is not None and found.st_mode & stat.S_IROTH:
            mend = _takes(path, found, _OTHERS, recipe.identity)
            yield patient.found(Kind.SECRETS_READABLE, f"{path} has mode {_mode(found)}", mend)
    for path, strict in _cookies(patient, recipe):
        if (found := _status(path)) is not None and found.st_mode & (_ALL_BUT_OWNER if strict else _OTHERS):
            mend = _takes(path, found, _ALL_BUT_OWNER if strict else _OTHERS, recipe.identity)
            severity = Severity.ERROR if strict else None
            yield patient.found(Kind.COOKIE_MODE, f"{path} has mode {_mode(found)}", mend, severity)


def _rendered(root: Path, recipe: Recipe) -> Iterator[Path]:
    """What relx renders beside its template, and what mix leaves of a configuration that it evaluated."""
    folders = [folder for folder in _listed(root / "releases") if folder.is_dir()]
    for folder in folders:
        yield from (template.with_suffix("") for template in _listed(folder) if template.name.endswith(".src"))
        yield folder / "sys.config.relctl"
    scratch = recipe.env.get("RELEASE_TMP")
    for folder in dict.fromkeys([root / "tmp", *([Path(scratch)] if scratch else [])]):
        yield from (path for path in _listed(folder) if path.name.endswith(".runtime.config"))


def _cookies(patient: Patient, recipe: Recipe) -> Iterator[tuple[Path, bool]]:
    """With whether Erlang itself insists on the mode (auth.erl: it must be the owner's only)."""
    yield patient.spec.root / "releases" / "COOKIE", False
    yield Path(recipe.env.get("HOME") or "/") / ".erlang.cookie", True
    if patient.spec.node.cookie_file is not None:
        yield patient.spec.node.cookie_file, False


def _listed(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry, _ in zip(found, range(_MOST), strict=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _status(path: Path) -> os.stat_result | None:
    """Of a regular file; a link is whoever's it leads to."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _takes(path: Path, found: os.stat_result, rights: int, user: Identity) -> Mend | None:
    """Takes these rights away; None where the node's user would lose his."""
    mode = stat.S_IMODE(found.st_mode) & ~rights
    by_group = found.st_gid in (user.gid, *user.groups) and mode & stat.S_IRGRP
    if found.st_uid != user.uid and not by_group:
        return None

    def mend() -> str:
        """As the file's owner: who put a link in its place gains nothing."""
        with as_user(found.st_uid, found.st_gid, (found.st_gid,)):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not os.path.samestat(os.fstat(fd), found):
                    raise OSError(errno.ESTALE, "it was replaced meanwhile", str(path))
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
        return f"gave {path} mode {mode:04o}"

    return mend
