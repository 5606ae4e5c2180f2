"""Unix users and groups by name. A look-up asks the name service and may take seconds: never on the loop."""

import grp
import os
import pwd

from relctld.host.gate import Identity


class UnknownUserError(Exception):
    """A user or a group does not exist; the text says which."""


def look_up(user: str | None, group: str | None) -> Identity:
    """Whom a release runs as: uid, gid, supplementary groups, home, shell. Raises UnknownUserError."""
    entry = _user(user) if user else pwd.getpwuid(os.geteuid())
    gid = _group(group) if group else entry.pw_gid
    groups = tuple(os.getgrouplist(entry.pw_name, gid)) if user else tuple(os.getgroups())
    return Identity(entry.pw_uid, gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UnknownUserError(f"user {name} does not exist") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownUserError(f"group {name} does not exist") from None


def name_of(uid: int) -> str:
    """The name of a user, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
