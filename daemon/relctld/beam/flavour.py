"""Tells what kind of release lies under a root, by its files alone, and how to launch it.

Rule 1: nothing is run and nothing is written.
Rule 2: the release's script decides the flavour; a tree without one is plain if it can boot without one.

relx         bin/NAME that sets REL_VSN and calls erlexec, beside bin/NAME-VSN, bin/nodetool …
mix          bin/NAME that sources releases/VSN/env.sh                   releases/COOKIE
distillery   bin/NAME that execs bin/NAME_rc_exec.sh                     var/  releases/VSN/NAME.sh
plain        no such script; releases/VSN/start.boot and erts-V/bin/erlexec
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from relctld.beam import launch
from relctld.beam.launch import Release, Tree
from relctld.beam.layout import (
    AmbiguousRelease,
    DamagedRelease,
    NotARelease,
    NothingInstalled,
    Version,
    entries,
    is_file,
    read_text,
    versions,
)
from relctld.core.spec import Flavour

__all__ = [
    "AmbiguousRelease",
    "DamagedRelease",
    "Flavour",
    "NotARelease",
    "NothingInstalled",
    "Release",
    "Version",
    "inspect",
    "versions",
]

MAX_SCRIPT = 1 << 18  # bytes of a file in bin/ that are looked at; relx's script, the longest, has 40,000
SHOWN = 8  # names of what was found, in an error

LAUNCH: Mapping[Flavour, Callable[[Tree], Release]] = MappingProxyType(
    {
        Flavour.RELX: launch.relx,
        Flavour.MIX: launch.mix,
        Flavour.DISTILLERY: launch.distillery,
        Flavour.PLAIN: launch.plain,
    }
)


def inspect(
    root: Path,
    wanted: Flavour | None = None,
    name: str | None = None,
    *,
    env: Mapping[str, str] = MappingProxyType({}),
    scratch: Path | None = None,
    version: str | None = None,
) -> Release:
    """How to launch what lies under `root`.

    `wanted` and `name` (the release's own) narrow the choice. `version` is the one to start, which no file need
    select; None: that which the files select. `env` is the environment that the VM will get:
    the scripts obey its RELEASE_*, RELX_* and ERL_* variables. `scratch` is a directory that the node's user
    can write (`launch`). Raises one of the ReleaseErrors; each message names ROOT.
    """
    root = Path(os.path.abspath(root))
    try:
        found = entries(root)
        if not found:
            if is_file(root):
                raise NotARelease("not a directory")
            raise NothingInstalled("missing or empty")
        flavour, tree = _choose(root, wanted, name) if version is None else _chosen(root, wanted, name, version)
        return LAUNCH[flavour](Tree(root, tree.name, tree.script, env, scratch, version))
    except NothingInstalled as error:
        raise NothingInstalled(f"nothing installed: {root} is {error}") from error
    except (AmbiguousRelease, DamagedRelease, NotARelease) as error:
        raise type(error)(f"{root}: {error}") from error


def _choose(root: Path, wanted: Flavour | None, name: str | None) -> tuple[Flavour, Tree]:
    """The one release meant."""
    scripts = _scripts(root)
    meant = {n: s for n, s in scripts.items() if name in (None, n) and wanted in (None, s[0])}
    match list(meant.items()):
        case [(only, (flavour, script))]:
            return flavour, Tree(root, only, script)
        case []:
            if wanted is Flavour.PLAIN or (wanted is None and not scripts):
                own = _plain_name(root, scripts)
                return Flavour.PLAIN, Tree(root, name or own)
            raise NotARelease(_what_was_found(root, scripts, wanted, name))
        case _:
            listed = ", ".join(f"bin/{n} ({flavour})" for n, (flavour, _) in meant.items())
            raise AmbiguousRelease(f"several releases in one root: {listed}; set `name` to one of them")


def _chosen(root: Path, wanted: Flavour | None, name: str | None, version: str) -> tuple[Flavour, Tree]:
    """The release that has this version. What relx boots by, bin/NAME, may be missing, or be of another version."""
    for script in [name] if name else entries(root / "bin"):
        own = script.removesuffix(f"-{version}")
        path = root / "bin" / f"{own}-{version}"
        if wanted in (None, Flavour.RELX) and is_file(path):
            text = read_text(path, MAX_SCRIPT, head=True) or ""
            if _script_flavour(text, own, []) is Flavour.RELX:
                return Flavour.RELX, Tree(root, own, text)
    return _choose(root, wanted, name)


def _scripts(root: Path) -> dict[str, tuple[Flavour, str]]:
    """Release scripts in bin/ by name; relx's versioned copies NAME-VSN are not scripts of their own.

    Nor is what an upgrade that was interrupted left: a hidden file, or the copy of a version that is not in place yet.
    """
    names = [name for name in entries(root / "bin") if not name.startswith(".")]
    installed = [version.version for version in versions(root)]
    found = {}
    for name in names:
        if any(name.endswith(f"-{version}") for version in installed):
            continue
        path = root / "bin" / name
        text = (read_text(path, MAX_SCRIPT, head=True) if is_file(path) else None) or ""
        flavour = _script_flavour(text, name, names) if text.startswith("#!") else None
        if flavour and not _is_copy(name, names, text):
            found[name] = (flavour, text)
    return found


def _is_copy(name: str, beside: list[str], text: str) -> bool:
    """Whether it is NAME-VSN beside NAME, and says so itself."""
    versions = [name.removeprefix(f"{other}-") for other in beside if name.startswith(f"{other}-")]
    return any(f'REL_VSN="{version}"' in text for version in versions)


def _script_flavour(text: str, name: str, beside: list[str]) -> Flavour | None:
    """The tool that made a script in bin/, by what only its template does."""
    if "_rc_exec.sh" in text and f"{name}_rc_exec.sh" in beside:
        return Flavour.DISTILLERY
    if "RELEASE_COMMAND=" in text and "REL_VSN_DIR" in text:
        return Flavour.MIX
    if "REL_VSN=" in text and "erlexec" in text:
        return Flavour.RELX
    return None


def _plain_name(root: Path, scripts: Mapping[str, tuple[Flavour, str]]) -> str:
    """The name in releases/NAME.rel or releases/VSN/NAME.rel; NotARelease where nothing could boot."""
    bootable = [version for version in versions(root) if any(file.endswith(".boot") for file in version.files)]
    scripted = {"env.sh", "vm.args.src", "sys.config.src"}  # nobody but the missing script can start these
    if not bootable or any(scripted & set(version.files) for version in bootable):
        raise NotARelease(_what_was_found(root, scripts, None, None))
    files = [file for version in bootable for file in version.files]
    names = {file.removesuffix(".rel") for file in [*entries(root / "releases"), *files] if file.endswith(".rel")}
    return min(names - {"start_clean"}, default=root.name)


def _what_was_found(
    root: Path, scripts: Mapping[str, tuple[Flavour, str]], wanted: Flavour | None, name: str | None
) -> str:
    """One line: what was looked for and what is there instead."""
    script = f"bin/{name or 'NAME'}"
    looked_for = f"a {wanted} release's {script}" if wanted else f"{script} made by relx, mix or Distillery"
    if wanted in (None, Flavour.PLAIN) and not scripts:
        plain = "releases/VERSION/start.boot beside erts-VERSION"
        looked_for = plain if wanted else f"{looked_for}, and for {plain}"
    seen = [f"bin/{n} ({flavour})" for n, (flavour, _) in scripts.items()] or entries(root)
    more = ", …" if len(seen) > SHOWN else ""
    return f"no release that we know: looked for {looked_for}; found {', '.join(seen[:SHOWN])}{more}"
