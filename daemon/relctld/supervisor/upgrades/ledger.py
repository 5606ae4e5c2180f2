"""The journal of an upgrade on disk, durable before anything that it says is ordered.

    STATE/upgrades/NAME/journal.json    {v, journal, luggage}: the upgrade under way
                        SHA256.tar.gz   our copy of its tarball
                        last.json       {v, id, …}: how the latest one ended, for whoever asks again
                        installed.json  {v, versions}: what the tarballs held that were taken in (`memory`)
                        removal.json    {v, version, units}: the removal of a version under way (`removing`)

Blocking: for a worker thread, or before the loop runs.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relctld.core.spec import Flavour
from relctld.core.transaction import Journal, Phase, Way

_VERSION = 1
_JOURNAL, _LAST = "journal.json", "last.json"
INSTALLED, REMOVAL = "installed.json", "removal.json"


@dataclass(frozen=True, slots=True)
class Luggage:
    """What the acts need and the decisions do not.

    `name`: the release's own · `units`: the paths that are new in the tree · `tarball`: the name of our copy ·
    `releases`: RELEASES `as_text`, as it was; None where there was none or a torn one · `replaced`: of the new paths
    those that take the place of damaged files, `known`: whether all that differs is damage (`beam.package.placing`).
    """

    root: str
    flavour: Flavour
    name: str
    units: tuple[str, ...] = ()
    tarball: str | None = None
    releases: str | None = None
    replaced: tuple[str, ...] = ()
    known: bool = False

    @property
    def list_before(self) -> bytes | None:
        """RELEASES as it was."""
        return None if self.releases is None else self.releases.encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is known of an upgrade under way."""

    journal: Journal
    luggage: Luggage


class Ledger:
    """The folder of one release's upgrades."""

    def __init__(self, state_dir: Path, release: str) -> None:
        self.folder = state_dir / "upgrades" / release

    def read(self) -> Entry | None:
        """The upgrade under way; a damaged journal counts as none. Raises OSError where it cannot be read."""
        return entry_of(self.read_file(_JOURNAL))

    def begin(self, entry: Entry) -> None:
        """Write the first of an upgrade: where it may not be durable, it is not there either. Raises OSError."""
        try:
            self.write(entry)
        except OSError:
            with contextlib.suppress(OSError):
                (self.folder / _JOURNAL).unlink()
            raise

    def write(self, entry: Entry) -> None:
        """Raises OSError: then nothing that it says may be done."""
        self.write_file(_JOURNAL, body_of(entry))

    def close(self, outcome: dict[str, Any]) -> None:
        """The upgrade is over: its outcome is kept, all else goes. Raises OSError."""
        self.write_file(_LAST, outcome)
        self.forget_file(_JOURNAL)
        self.drop_tarballs()

    def forget_file(self, name: str) -> None:
        """Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).unlink()
        _sync(self.folder)

    def drop_tarballs(self) -> None:
        """None is needed: no upgrade is under way. What was cut short in being written goes too."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name not in (_JOURNAL, _LAST, INSTALLED, REMOVAL):
                    path.unlink()

    def last(self) -> dict[str, Any]:
        """How the latest upgrade ended; `{}` where there was none."""
        with contextlib.suppress(OSError):
            return self.read_file(_LAST)
        return {}

    def read_file(self, name: str) -> dict[str, Any]:
        """What was written; `{}` where there is none, or a damaged one. Raises OSError."""
        try:
            body = json.loads((self.folder / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return body if isinstance(body, dict) and body.get("v") == _VERSION else {}

    def write_file(self, name: str, body: dict[str, Any]) -> None:
        """Durably, and whole. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"v": _VERSION, **body}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.folder / name)
        _sync(self.folder)


def body_of(entry: Entry) -> dict[str, Any]:
    """As it is written."""
    return {"journal": dataclasses.asdict(entry.journal), "luggage": dataclasses.asdict(entry.luggage)}


def entry_of(body: Mapping[str, Any]) -> Entry | None:
    """What was written so; None where it is damaged."""
    try:
        journal, luggage = dict(body["journal"]), dict(body["luggage"])
        journal["phase"], journal["way"] = Phase(journal["phase"]), Way(journal.get("way", Way.HOT))
        luggage["flavour"], luggage["units"] = Flavour(luggage["flavour"]), tuple(luggage["units"])
        luggage["replaced"] = tuple(luggage.get("replaced", ()))
        return Entry(Journal(**_known(Journal, journal)), Luggage(**_known(Luggage, luggage)))
    except (KeyError, TypeError, ValueError):
        return None


def as_text(data: bytes) -> str:
    """A file as JSON can hold it, byte for byte, whatever its coding."""
    return data.decode(errors="surrogateescape")


def _known(kind: type[Any], body: dict[str, Any]) -> dict[str, Any]:
    """Its fields: a later relctld, of which this one is the way back, may have written more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in body.items() if name in names}


def under_way(state_dir: Path) -> list[str]:
    """The releases with a journal."""
    return sorted(path.parent.name for path in (state_dir / "upgrades").glob(f"*/{_JOURNAL}"))


def at_rest(state_dir: Path) -> list[str]:
    """The others that have a folder: what may still lie there was taken in for upgrades that never began."""
    return sorted({path.name for path in (state_dir / "upgrades").glob("*/")} - {*under_way(state_dir)})


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
