"""Which cookie a node has, found where the VM itself finds it. Blocks on files: call it from a worker thread.

Rule 1: a living VM's own arguments (`arguments.living`) tell more than any file it was started from.
Rule 2: files are read bounded, regular ones only, and no link is followed in the last part of a path.
Rule 3: an error names each place that was looked at, and never what was found there.

in this order                                            who reads it so
the configured cookie_file                               nobody but us: it is set where the others mislead
-setcookie OUR-NAME C, our own cookie                    auth.erl of OTP 25; given twice, it does not count
-setcookie C                                             auth.erl; given twice, the next three do not count either
RELX_COOKIE, RELEASE_COOKIE                              relx and mix, whose scripts make a -setcookie of it
releases/COOKIE                                          mix
~/.erlang.cookie, then $XDG_CONFIG_HOME/erlang/…         auth.erl, where there was no -setcookie

A cookie that the program sets itself (erlang:set_cookie/1) is in none of these but the cookie_file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relctld.beam.dist.arguments import values_of
from relctld.beam.dist.handshake import Cookie
from relctld.beam.layout import open_regular
from relctld.core.spec import Flavour

MAX_FILE = 4096  # bytes; a cookie has at most 255

_VARIABLE = {Flavour.RELX: "RELX_COOKIE", Flavour.MIX: "RELEASE_COOKIE"}


class CookieError(Exception):
    """No usable cookie is found; the text says where it was looked for."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. `flags` and `env` are the VM's, `home` is its user's where neither names one, `own` our name."""

    root: Path
    flavour: Flavour
    own: str
    flags: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    cookie_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A cookie and where it is from, for people."""

    cookie: Cookie
    origin: str


def find(node: str, places: Places) -> Found:
    """The cookie with which `node` should take us. Raises CookieError."""
    if places.cookie_file is not None:
        return _configured(node, places.cookie_file)
    given = values_of(places.flags, "-setcookie")
    ours = [words[1] for words in given if len(words) == 2 and words[0] == places.own]
    general = [words[0] for words in given if len(words) == 1]
    if len(ours) == 1:
        return _found(node, ours[0], f"-setcookie {places.own}")
    if len(general) == 1:
        return _found(node, general[0], "-setcookie")
    missed = ["-setcookie is given several times" if general else "no -setcookie among its flags"]
    if not general and (variable := _VARIABLE.get(places.flavour)):
        if places.env.get(variable):
            return _found(node, places.env[variable], variable)
        missed.append(f"{variable} is not set")
    for path in _files(places, generated=not general):
        secret = _read(path, missed)
        if secret:
            return _found(node, secret, str(path))
    raise CookieError(f"cannot find the cookie of {node}: {'; '.join(missed)}")


def _configured(node: str, path: Path) -> Found:
    missed: list[str] = []
    secret = _read(path, missed)
    if not secret:
        raise CookieError(f"cannot find the cookie of {node}: {missed[0]}")
    return _found(node, secret, str(path))


def _files(places: Places, generated: bool) -> list[Path]:
    """`generated`: the one that mix makes may count."""
    paths = [places.root / "releases" / "COOKIE"] if generated and places.flavour is Flavour.MIX else []
    named = [words[0] for words in values_of(places.flags, "-home") if words] or [places.env.get("HOME", "")]
    home = Path(named[0]) if named[0] else places.home
    if home:
        config = places.env.get("XDG_CONFIG_HOME") or home / ".config"
        paths += [home / ".erlang.cookie", Path(config) / "erlang" / ".erlang.cookie"]
    return paths


def _read(path: Path, missed: list[str]) -> str:
    """The first line of a file; else why not is added to `missed`."""
    try:
        with open(open_regular(path, os.O_NOFOLLOW), "rb") as file:
            secret = re.split(r"[\r\n]", file.read(MAX_FILE).decode("latin-1"), maxsplit=1)[0]
    except OSError as error:
        missed.append(f"{path}: {(error.strerror or str(error)).lower()}")
        return ""
    if not secret:
        missed.append(f"{path} is empty")
    return secret


def _found(node: str, secret: str, origin: str) -> Found:
    try:
        return Found(Cookie(secret), origin)
    except ValueError as error:
        raise CookieError(f"cannot take the cookie of {node} from {origin}: {error}") from error
