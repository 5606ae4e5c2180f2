"""Unix users and groups by name. A look-up asks the name service and may take seconds: never on the loop.

Who was looked up once is remembered: a name service that hangs keeps no release from being started again.
"""

import contextlib
import grp
import os
import pwd
import threading
from functools import cache

from relctld.host.gate import Identity

_PATIENCE = 0.05
"""Seconds that a look-up may take where an earlier answer is known."""


class UnknownUserError(Exception):
    """A user or a group does not exist; the text says which."""


class _Memory:
    """The last answers, and who is being asked for. The newest answer counts, however late it comes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str | None], Identity | UnknownUserError] = {}
        self._asking: dict[tuple[str | None, str | None], threading.Thread] = {}
        self._lock = threading.Lock()

    def look_up(self, user: str | None, group: str | None) -> Identity:
        key = (user, group)
        if not isinstance(self._known.get(key), Identity):
            self._ask(key)
        else:
            with self._lock:
                asking = self._asking.get(key)
                if asking is None:
                    asking = self._asking[key] = threading.Thread(target=self._ask_again, args=(key,), daemon=True)
                    asking.start()
            asking.join(_PATIENCE)
        found = self._known[key]
        if isinstance(found, Identity):
            return found
        raise UnknownUserError(str(found))

    def _ask(self, key: tuple[str | None, str | None]) -> None:
        try:
            self._known[key] = _ask(*key)
        except UnknownUserError as error:
            self._known[key] = error

    def _ask_again(self, key: tuple[str | None, str | None]) -> None:
        try:
            with contextlib.suppress(OSError):
                self._ask(key)
        finally:
            with self._lock:
                del self._asking[key]


_memory = _Memory()


def look_up(user: str | None, group: str | None) -> Identity:
    """Whom a release runs as: uid, gid, supplementary groups, home, shell. Raises UnknownUserError.

    Takes as long as the name service does at first, `_PATIENCE` at most later.
    """
    return _memory.look_up(user, group) if user or group else _ourselves()


@cache
def _ourselves() -> Identity:
    """Who we are does not change."""
    return _ask(None, None)


def _ask(user: str | None, group: str | None) -> Identity:
    entry = _user(user) if user else _own()
    gid = _group(group) if group else entry.pw_gid
    groups = tuple(os.getgrouplist(entry.pw_name, gid)) if user else tuple(os.getgroups())
    return Identity(entry.pw_uid, gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")


def _own() -> pwd.struct_passwd:
    """relctld's own user; in a container it may be a number only."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return pwd.struct_passwd((str(uid), "x", uid, os.getegid(), "", os.environ.get("HOME", "/"), "/bin/sh"))


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UnknownUserError(f"user {name} does not exist") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise UnknownUserError(f"group {name} does not exist") from None


def identity_of(uid: int) -> Identity:
    """Whom a number means, with all groups; one without a name has no other group than its own number."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, uid, (), str(uid), "/", "/bin/sh")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Identity(uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")


def name_of(uid: int) -> str:
    """The name of a user, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
