"""The installed code says whether it could take over from the relctld that runs: `relctld --reexec-trial RUN_DIR`.

All of it is imported, the config or the last good one is loaded, the store is opened read-only. Nothing is changed.
The answer is one JSON object on stdout: {"version": str, "error": str | null}.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

import relctld
from relctld.config import ConfigError, load_or_last_good
from relctld.host import database


def answer(path: Path, run_dir: Path, environ: Mapping[str, str]) -> int:
    """Print the answer; the exit code."""
    error = _why_not(path, run_dir, environ)
    sys.stdout.write(json.dumps({"version": relctld.__version__, "error": error}) + "\n")
    return 0 if error is None else 1


def _why_not(path: Path, run_dir: Path, environ: Mapping[str, str]) -> str | None:
    try:
        for module in pkgutil.walk_packages(relctld.__path__, "relctld."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    except Exception as error:  # noqa: BLE001 whatever is wrong with it, this code must not run
        return f"{type(error).__name__}: {error}"
    try:
        config, _ = load_or_last_good(path, uid=os.geteuid(), environ=environ)
    except ConfigError as error:
        return str(error)
    if config.run_dir != run_dir:
        return f"run_dir is {config.run_dir} in the config now, not {run_dir}: that takes a restart of relctld"
    return _judge(config.state_dir / "state.db")


def _judge(store: Path) -> str | None:
    """What is wrong with the store; one that is not there will be made."""
    if not store.exists():
        return None
    try:
        with database.damage_as_errors(), contextlib.closing(database.open_to_read(store, "mode=ro")) as connection:
            found = database.version(connection)
            if found > database.SCHEMA_VERSION:
                return f"the store {store} has schema {found}, newer than {database.SCHEMA_VERSION}"
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                return f"the store {store} is damaged: {problem}"
            if found:
                database.kept(connection)
    except (OSError, sqlite3.Error) as error:
        return f"the store {store} cannot be read: {error}"
    return None
