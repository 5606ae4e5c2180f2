"""What holds all processes of a VM together, whatever they fork: one seam, a kind per world.

* `Cgroups`: a sub-cgroup per VM, below our own where that is delegated to us (or where no systemd
  manages cgroups and we may write). Complete: setsid, double-fork and a wiped environment change nothing.
* `Sweep`: nothing to hold them; they are found by `RELCTL_INSTANCE` in their environment, by the session of the VM,
  and as descendants of what was found. A process that wipes its environment, leaves the session *and* loses its
  parent escapes.

An epmd that a VM started is shared by all nodes of the host: it is spared by both.
"""

import contextlib
import os
import zlib
from pathlib import Path

from relctld.host.containment.cgroups import Cgroups
from relctld.host.containment.seam import Containment
from relctld.host.containment.sweep import Sweep, belonging

__all__ = ["Cgroups", "Containment", "Sweep", "belonging", "choose"]


def choose(run_dir: Path) -> Containment:
    """The best kind that this world offers."""
    base = _own_cgroup()
    if base is not None:
        home = base / f"relctl-{zlib.crc32(os.fsencode(run_dir)):08x}"
        with contextlib.suppress(OSError):
            home.mkdir(exist_ok=True)
            if (home / "cgroup.kill").exists():
                return Cgroups(home, base)
    return Sweep()


def _own_cgroup() -> Path | None:
    """Our cgroup2 directory, if what is below it is ours to shape."""
    try:
        own = next(
            line[3:].strip() for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")
        )
        mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except (OSError, StopIteration):
        return None
    point = next((left.split()[4] for left, right in mounts if right.split()[0] == "cgroup2"), None)
    if point is None or ".." in own:
        return None
    path = Path(point + own)
    return path if os.access(path / "cgroup.procs", os.W_OK) and _is_ours(path) else None


def _is_ours(path: Path) -> bool:
    """Where systemd manages cgroups, only what it delegated is ours; it says so in an extended attribute."""
    if not Path("/run/systemd/system").is_dir():
        return True
    for attribute in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, attribute) == b"1":
                return True
    return False
