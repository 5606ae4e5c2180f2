"""A real systemd as PID 1 of a container of its own, on an overlay of this host's files; up in half a second.

systemd-nspawn boots it in new PID, mount, cgroup, network, UTS and IPC namespaces, in pure cgroup v2 mode, with only
the loopback network. Writes stay in a tmpfs that goes with the mount namespace; all that the bed leaves outside is an
empty directory and two empty cgroups, removed at its end. It dies with the process that started it.

    /run/relctl-beds/NAME/{up,work,root}      upper directory (what a test seeds), overlay's own, the root
    CGROUP2/NAME                              its cgroup
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_until

_CGROUPS = Path("/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup")
_MASKED = ("epmd.socket", "epmd.service", "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-timesyncd.service")
_TARGET = "[Unit]\nRequires=basic.target dbus.socket\nAfter=basic.target dbus.socket\nAllowIsolate=yes\n"
_BOOT = """
mount -t tmpfs tmpfs "$BED"
mkdir "$BED/up" "$BED/work" "$BED/root"
cp -a "$SEED/." "$BED/up/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BED/up,workdir=$BED/work" "$BED/root"
echo $$ > "$CGROUP/cgroup.procs"
trap 'kill "$nspawn"; wait "$nspawn" || true; exit 0' TERM
code=133
while [ "$code" = 133 ]; do  # it asked for a reboot
    code=0
    setpriv --pdeathsig TERM systemd-nspawn -q -D "$BED/root" --register=no --keep-unit --private-network \
        --machine="$NAME" --link-journal=no --console=pipe --kill-signal=SIGRTMIN+4 -b systemd.unit=bed.target &
    nspawn=$!
    wait "$nspawn" || code=$?
done
"""


def why_not() -> str | None:
    """Why no bed can be had here; None where one can."""
    if os.geteuid() != 0:
        return "a bed needs root"
    if shutil.which("systemd-nspawn") is None or not Path("/usr/bin/dbus-daemon").exists():
        return "a bed needs the packages systemd-container and dbus"
    if not (_CGROUPS / "cgroup.procs").exists():
        return f"a bed needs a cgroup2 mount, and {_CGROUPS} is none"
    return None


class Bed:
    """One booted systemd. `seed` fills the upper directory before the boot."""

    def __init__(self, seed: Callable[[Path], None]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="relctl-seed-"))
        self.name = f"relctl-{os.getpid()}-{secrets.token_hex(3)}"
        self._home = Path("/run/relctl-beds") / self.name
        self._cgroup = _CGROUPS / self.name
        self.leader = 0
        """The pid, outside, of its systemd."""
        units = self._folder / "etc/systemd/system"
        units.mkdir(parents=True)
        self._folder.chmod(0o755)
        (units / "bed.target").write_text(_TARGET)
        for unit in _MASKED:
            (units / unit).symlink_to("/dev/null")
        journald = self._folder / "etc/systemd/journald.conf.d"
        journald.mkdir()
        (journald / "bed.conf").write_text("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
        seed(self._folder)

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True)
        self._cgroup.mkdir()
        places = {"BED": self._home, "SEED": self._folder, "CGROUP": self._cgroup, "NAME": self.name}
        with (self._folder / "console").open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "unshare", "-m", "--propagation", "private", "bash", "-ec", _BOOT],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, **{k: str(v) for k, v in places.items()}, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        try:
            wait_until(self._booted, 60, 0.05, lambda: f"systemd to boot; {self._console()}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _console(self) -> str:
        return (self._folder / "console").read_text(errors="replace")[-2000:]

    def _booted(self) -> bool:
        assert self._nspawn.poll() is None, self._console()
        scope = self._cgroup / "payload/init.scope/cgroup.procs"
        with contextlib.suppress(OSError, ValueError, IndexError):
            self.leader = int(scope.read_text().split()[0])
            return self.run("systemctl", "is-system-running", check=False) in ("running", "degraded")
        return False

    def reboot(self) -> None:
        """Down and up again; what was written to disk stays."""
        before = self.leader
        self.run("systemctl", "reboot")
        wait_until(lambda: not Path(f"/proc/{before}").exists(), 60, what="systemd to end")
        wait_until(self._booted, 60, 0.05, lambda: f"systemd to boot again; {self._console()}")

    def run(self, *argv: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command in the bed, beside its systemd; what it printed, both ways."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i",
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).strip()
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{said}"
        return said

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nspawn.terminate()
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for hierarchy in (_CGROUPS, Path("/sys/fs/cgroup/systemd")):
            top = hierarchy / self.name
            wait_until(lambda top=top: not top.exists() or _remove(top), what=f"{top} to be empty")
        self._home.rmdir()
        with contextlib.suppress(OSError):
            self._home.parent.rmdir()  # unless another bed is there
        shutil.rmtree(self._folder)


def _remove(top: Path) -> bool:
    """Remove a cgroup and those below it; False while something lives in one."""
    try:
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True
