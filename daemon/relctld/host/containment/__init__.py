"""What holds all processes of a VM together, whatever they fork: one seam, a kind per world.

* `Scopes`: as root under systemd, a transient scope per VM, with its limits.
* `Cgroups`: a sub-cgroup per VM, below our own where that is delegated to us (or where no systemd
  manages cgroups and we may write). As complete: setsid, double-fork and a wiped environment change nothing.
* `Sweep`: nothing to hold them; they are found by `RELCTL_INSTANCE` in their environment, by the session of the VM,
  and as descendants of what was found. A process that wipes its environment, leaves the session *and* loses its
  parent escapes.

An epmd that a VM started is shared by all nodes of the host: it is spared by all.
"""

import contextlib
import os
import zlib
from pathlib import Path

from relctld.host.containment import groups
from relctld.host.containment.cgroups import Cgroups
from relctld.host.containment.scopes import Scopes
from relctld.host.containment.seam import Containment, OomKills
from relctld.host.containment.sweep import Sweep, belonging
from relctld.host.manager import Manager, is_running
from relctld.host.systemd import Unit, is_delegated, own_unit

__all__ = ["Cgroups", "Containment", "OomKills", "Scopes", "Sweep", "belonging", "choose"]


def choose(run_dir: Path) -> Containment:
    """The best kind that this world offers. In a service of a user's systemd that one is asked: blocks for 25 ms."""
    top, path = groups.mount(), groups.path_of("self")
    own = Path(f"{top}{path}") if top is not None and path and ".." not in path else None
    if top is None or own is None:
        return Sweep()
    unit = own_unit()
    below = _below(own, run_dir, unit)
    if os.geteuid() == 0 and is_running() and (top / "init.scope/cgroup.kill").exists():
        return Scopes(top, own, Manager(), below, unit.name if unit is not None and not unit.user else None)
    return below


def _below(own: Path, run_dir: Path, unit: Unit | None) -> Cgroups | Sweep:
    """Sub-cgroups of our own group, if what is below it is ours to shape."""
    if os.access(own / "cgroup.procs", os.W_OK) and _is_ours(own, unit):
        home = own / f"relctl-{zlib.crc32(os.fsencode(run_dir)):08x}"
        with contextlib.suppress(OSError):
            home.mkdir(exist_ok=True)
            if (home / "cgroup.kill").exists():
                return Cgroups(home, own)
    return Sweep()


def _is_ours(path: Path, unit: Unit | None) -> bool:
    """Where systemd manages cgroups, only what it delegated is ours; it says so in an extended attribute.

    A user's systemd (252) sets none.
    """
    if not is_running():
        return True
    for attribute in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, attribute) == b"1":
                return True
    return unit is not None and unit.user and is_delegated(unit)
