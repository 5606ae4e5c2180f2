"""The last good config: kept beside the state, so that a slip of the pen never keeps the daemon from starting.

    STATE/config.good.json      {"v": 1, "files": [{"path", "text"}, …]}, the main file first

Rule 1: the texts are kept as written and judged anew when read: by the rules of the relctld that reads them.
Rule 2: the file is replaced whole or not at all, is on disk when `keep_good` returns, and is for its owner only:
        texts may hold secrets.
Rule 3: a copy that was kept for another main file is not used.
"""

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from relctld.config.files import LARGEST, read_text
from relctld.config.load import assemble, load
from relctld.config.notes import ConfigError
from relctld.config.paths import default_dirs
from relctld.config.settings import Config, Source
from relctld.failpoints import Failpoint, reach

NAME = "config.good.json"
_LARGEST_COPY = 1000 * LARGEST


def keep_good(config: Config, state_dir: Path) -> None:
    """Keeps `config` as the last good one in `state_dir`, which must exist; raises OSError."""
    files = [{"path": str(source.path), "text": source.text} for source in config.sources]
    data = json.dumps({"v": 1, "files": files}).encode()
    reach(Failpoint.BEFORE_GOOD_CONFIG)
    fd, temporary = tempfile.mkstemp(prefix=f".{NAME}.", dir=state_dir)  # 0600, created exclusively
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, state_dir / NAME)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    reach(Failpoint.AFTER_GOOD_CONFIG)


def load_good(state_dir: Path, *, uid: int, environ: Mapping[str, str]) -> Config:
    """The last good config kept in `state_dir`; raises ConfigError if there is none that can be used."""
    copy = state_dir / NAME
    try:
        sources = _sources(json.loads(read_text(copy, largest=_LARGEST_COPY, follow=False)))
    except OSError as error:
        none = error.errno in (errno.ENOENT, errno.ENOTDIR)
        why = "none was ever kept" if none else (error.strerror or "unreadable").lower()
        raise ConfigError([f"cannot use the last good config {copy}: {why}"]) from None
    except (ValueError, RecursionError):
        raise ConfigError([f"cannot use the last good config {copy}: it is damaged"]) from None
    return assemble(sources, uid=uid, environ=environ)


def load_or_last_good(
    path: str | os.PathLike[str], *, uid: int, environ: Mapping[str, str]
) -> tuple[Config, ConfigError | None]:
    """The config at `path`, or else the last good one and what is wrong with the present one.

    Raises that ConfigError where no good one can be used.
    """
    try:
        return load(path, uid=uid, environ=environ), None
    except ConfigError as error:
        main = Path(os.path.abspath(path))
        for state_dir in dict.fromkeys((*_named_state_dir(main), default_dirs(uid, environ).state)):
            try:
                config = load_good(state_dir, uid=uid, environ=environ)
            except ConfigError:
                continue
            if config.path == main:
                return config, error
        raise


def _sources(copy: Any) -> tuple[Source, ...]:
    match copy:
        case {"v": 1, "files": [_, *_] as files}:
            return tuple(_source(file) for file in files)
    raise ValueError("not a copy of a config")


def _source(file: Any) -> Source:
    match file:
        case {"path": str(path), "text": str(text)}:
            return Source(Path(path), text)
    raise ValueError("not a file of a config")


def _named_state_dir(main: Path) -> list[Path]:
    """The `state_dir` that a broken main file still names, line by line, for its TOML may be what is broken."""
    try:
        lines = read_text(main).splitlines()
    except (OSError, ValueError):
        return []
    named: list[Path] = []
    for line in lines:
        if line.lstrip().startswith("state_dir"):
            try:
                value = tomli.loads(line).get("state_dir")
            except (ValueError, RecursionError):
                continue
            if isinstance(value, str) and value.startswith("/") and "\0" not in value:
                named.append(Path(value))
    return named[:1]
