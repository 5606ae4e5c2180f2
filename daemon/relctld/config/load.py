"""A config from its files: read, parsed, merged, judged as a whole.

    load        main file ─ include ─> sources ─ assemble ─> Config
    last good                          sources ─ assemble ─> Config       (`good`)

Rule: all problems of all files are collected; one is enough to refuse the whole.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from relctld.config import schema
from relctld.config.files import included, read_source
from relctld.config.notes import Notes, Place, found
from relctld.config.parse import read_release, read_table
from relctld.config.paths import default_dirs, too_long
from relctld.config.settings import Config, Daemon, Source
from relctld.config.values import KindError
from relctld.core.spec import ReleaseSpec

_TOP = ("daemon", "release")


def load(path: str | os.PathLike[str], *, uid: int, environ: Mapping[str, str]) -> Config:
    """The config whose main file is `path`, for a daemon that runs as `uid`; raises ConfigError."""
    main, notes = Path(os.path.abspath(path)), Notes()
    first = read_source(main, notes)
    notes.check()
    assert first is not None
    sources, tables = [first], {main: toml(first, notes)}
    for extra in included(main, _include(tables[main]), notes):
        if source := read_source(extra, notes):
            sources.append(source)
            tables[extra] = toml(source, notes)
    return _assemble(tuple(sources), tables, notes, uid=uid, environ=environ)


def assemble(sources: tuple[Source, ...], *, uid: int, environ: Mapping[str, str]) -> Config:
    """The config made of `sources`, the main file first; raises ConfigError."""
    notes = Notes()
    tables = {source.path: toml(source, notes) for source in sources}
    return _assemble(sources, tables, notes, uid=uid, environ=environ)


def toml(source: Source, notes: Notes) -> dict[str, Any]:
    """The data of a file; empty if it is not TOML."""
    if source.text.startswith("\ufeff"):
        notes.problem(Place(source.path), "", "begins with a byte order mark: save it as UTF-8 without one")
        return {}
    try:
        return tomli.loads(source.text)
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)
        notes.problem(Place(source.path), "", f"not TOML: {why}")
    return {}


def _include(main: dict[str, Any]) -> tuple[str, ...]:
    """What to read besides the main file; nothing, where the key is wrong: that is said later."""
    daemon = main.get("daemon", {})
    raw = daemon.get("include") if isinstance(daemon, dict) else None
    if raw is None:
        return Daemon().include
    try:
        patterns: tuple[str, ...] = schema.BY_NAME["daemon"]["include"].kind.read(raw)
    except KindError:
        return ()
    return patterns


def _assemble(
    sources: tuple[Source, ...],
    tables: Mapping[Path, dict[str, Any]],
    notes: Notes,
    *,
    uid: int,
    environ: Mapping[str, str],
) -> Config:
    main = sources[0].path
    daemon = _daemon(main, tables, notes)
    dirs = default_dirs(uid, environ)
    run_dir = (daemon.run_dir if daemon else None) or dirs.run
    if why := too_long(run_dir):
        notes.problem(Place(main, ("daemon",)), "run_dir", why)
    releases = _releases(tables, uid, notes)
    notes.check()
    assert daemon is not None
    return Config(
        path=main,
        state_dir=daemon.state_dir or dirs.state,
        log_dir=daemon.log_dir or dirs.log,
        run_dir=run_dir,
        on_stop=daemon.on_stop,
        events_keep=daemon.events_keep,
        metrics=daemon.metrics,
        access=daemon.access,
        releases=releases,
        warnings=tuple(notes.warnings),
        sources=sources,
    )


def _daemon(main: Path, tables: Mapping[Path, dict[str, Any]], notes: Notes) -> Daemon | None:
    """`[daemon]` of the main file, which alone may have it."""
    daemon: Daemon | None = None
    for path, data in tables.items():
        place = Place(path)
        for name in data:
            if name not in _TOP:
                notes.unknown(place, name, _TOP, "table")
        if path == main:
            daemon = read_table(data.get("daemon", {}), "daemon", place / "daemon", notes)
        elif "daemon" in data:
            notes.problem(place / "daemon", "", f"only the main file {main} may have this table")
    return daemon


def _releases(tables: Mapping[Path, dict[str, Any]], uid: int, notes: Notes) -> tuple[ReleaseSpec, ...]:
    specs: list[ReleaseSpec] = []
    first: dict[str, Path] = {}
    for path, data in tables.items():
        top, releases = Place(path) / "release", data.get("release", {})
        if not isinstance(releases, dict):
            notes.problem(top, "", f"expected a table, found {found(releases)}")
            continue
        for name, raw in releases.items():
            place = top / name
            if not schema.RELEASE_NAME.fullmatch(name):
                notes.problem(place, "", f"a release's name must match {schema.RELEASE_NAME.pattern}")
            elif name in first:
                notes.problem(place, "", f"the release is already in {first[name]}")
            else:
                first[name] = path
            if spec := read_release(raw, place, uid, notes):
                specs.append(spec)
    return tuple(specs)
