"""Who may ask for what: one table, and the kernel's word for who is asking.

Rule 1: the uid, gid and pid are the kernel's (`Peer-Address` of the frame), the supplementary groups those of the
        process (/proc/PID/status, if it still is that user's); the client's own word counts for nothing.
Rule 2: root and the daemon's own user can do all. A level includes those below it.
Rule 3: names are looked up when the config is loaded, so a name service that hangs refuses nobody later.
"""

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from relctld.config import Access


class Level(IntEnum):
    """What a request needs."""

    VIEW = 1
    OPERATE = 2
    ADMIN = 3


NEEDS: Mapping[str, Level] = MappingProxyType({
    "status": Level.VIEW,
    "events": Level.VIEW,
    "daemon-status": Level.VIEW,
    "start": Level.OPERATE,
    "stop": Level.OPERATE,
    "restart": Level.OPERATE,
    "logs": Level.OPERATE,
    "rotate": Level.OPERATE,
    "crashes": Level.OPERATE,
    "versions": Level.VIEW,
    "upgrade": Level.OPERATE,
    "downgrade": Level.OPERATE,
    "deploy": Level.OPERATE,
    "remove": Level.ADMIN,
    "doctor": Level.OPERATE,
    "doctor-fix": Level.ADMIN,
    "reload": Level.ADMIN,
    "daemon-stop": Level.ADMIN,
    "daemon-reexec": Level.ADMIN,
    "eval": Level.ADMIN,
    "rpc": Level.ADMIN,
    "remote": Level.ADMIN,
    "remote-input": Level.ADMIN,
    "remote-resize": Level.ADMIN,
    "remote-close": Level.ADMIN,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    uid: int
    gid: int
    pid: int

    @classmethod
    def of(cls, address: str) -> "Peer | None":
        """From libzmq's `localhost:UID:GID:PID`; None where there is none."""
        parts = address.split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts[1:]):
            return None
        return cls(*map(int, parts[1:]))


@dataclass(frozen=True, slots=True)
class Table:
    """The access table with its names looked up. `everybody` is the level that `*` has."""

    everybody: Level | None
    uids: Mapping[int, Level]
    gids: Mapping[int, Level]
    warnings: tuple[str, ...] = ()

    def allows(self, peer: Peer, op: str) -> bool:
        """Whether this peer may ask for `op`; an operation that is not in `NEEDS` nobody may ask for."""
        needed = NEEDS.get(op)
        if needed is None:
            return False
        if peer.uid in (0, os.geteuid()) or (self.everybody or 0) >= needed:
            return True
        if self.uids.get(peer.uid, 0) >= needed:
            return True
        return any(level >= needed for gid, level in self.gids.items() if gid in groups_of(peer))


def look_up(access: Access) -> Table:
    """The table for this config. A user or a group that does not exist is a warning. Blocks."""
    everybody: Level | None = None
    uids: dict[int, Level] = {}
    gids: dict[int, Level] = {}
    warnings: list[str] = []
    for level, names in ((Level.VIEW, access.view), (Level.OPERATE, access.operate), (Level.ADMIN, access.admin)):
        for name in names:
            try:
                if name == "*":
                    everybody = level
                elif name.startswith("@"):
                    gids[grp.getgrnam(name[1:]).gr_gid] = level
                else:
                    uids[pwd.getpwnam(name).pw_uid] = level
            except KeyError:
                what = "group" if name.startswith("@") else "user"
                warnings.append(f"[daemon.access] {level.name.lower()}: {what} {name.lstrip('@')} does not exist")
    return Table(everybody, MappingProxyType(uids), MappingProxyType(gids), tuple(warnings))


def without_names(access: Access) -> Table:
    """What of the table holds before any name was looked up."""
    levels = ((Level.ADMIN, access.admin), (Level.OPERATE, access.operate), (Level.VIEW, access.view))
    everybody = next((level for level, names in levels if "*" in names), None)
    return Table(everybody, MappingProxyType({}), MappingProxyType({}))


def groups_of(peer: Peer) -> frozenset[int]:
    """The groups of the process that connected; its primary one alone where it cannot be seen any more."""
    groups = {peer.gid}
    with contextlib.suppress(OSError, ValueError, KeyError):
        with open(f"/proc/{peer.pid}/status") as file:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        if int(fields["Uid"].split()[1]) == peer.uid:
            groups |= {int(gid) for gid in fields["Groups"].split()}
    return frozenset(groups)
