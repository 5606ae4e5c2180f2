"""Debian's own kernel in qemu, with systemd as its PID 1: for what a container has not, the controllers of cgroups.

No disk and no module: the initramfs is the root, made of the files of a few packages of this host and of what a test
seeds. Every instruction is translated (TCG; no virtualisation is asked for): a boot takes a quarter of a minute, the
start of a VM as long.

    .venv/machine/vmlinuz      the kernel, fetched by `RELCTL_TESTS=long .ci/setup`
    FOLDER/{tree, initramfs}   what is seeded; that and the packages, as the kernel unpacks it
           {console, told}     its two serial lines: what the kernel says, what the test's program prints
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.systemd.installed import TOP

KERNEL = TOP / ".venv/machine/vmlinuz"
QEMU = "qemu-system-x86_64"

_PACKAGES = (
    "base-files", "bash", "coreutils", "dash", "dbus", "grep", "mawk", "python3", "sed", "systemd", "util-linux",
)  # fmt: skip
_LIBRARIES_FOR = "erlang-base"
"""A release has all else of it."""

_MORE = (
    "/bin", "/sbin", "/lib", "/lib64", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache",
    "/etc/alternatives/awk", "/usr/bin/awk",
)  # fmt: skip
_USELESS = ("/usr/share/doc/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/man/", "/usr/lib/erlang/")
_PLACES = ("dev", "proc", "root", "run", "sys", "tmp", "var/log")
_MASKED = (
    "dev-hugepages.mount", "dev-mqueue.mount", "epmd.service", "epmd.socket", "modprobe@.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-initctl.socket", "systemd-journal-flush.service",
    "systemd-journald-audit.socket", "systemd-modules-load.service", "systemd-random-seed.service",
    "systemd-remount-fs.service", "systemd-sysctl.service", "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
    "systemd-update-utmp.service",
)  # fmt: skip
_TARGET = "[Unit]\nRequires=basic.target dbus.socket told.service\nAfter=basic.target dbus.socket\n"
_TOLD = """
[Unit]
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /told.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
TimeoutStartSec=infinity
"""


def why_not() -> str | None:
    """Why no machine can be had here; None where one can."""
    if shutil.which(QEMU) is None or not KERNEL.exists():
        return f"a machine needs {QEMU} and {KERNEL}: RELCTL_TESTS=long .ci/setup"
    return None


def tell(folder: Path, seed: Callable[[Path], None], program: Path, timeout: float) -> str:
    """Boot, run a Python program beside systemd, power off; what it printed. `folder` is for all that it takes."""
    tree, console, told = (folder / name for name in ("tree", "console", "told"))
    _lay_out(tree, program)
    seed(tree)
    with open(folder / "initramfs", "wb") as archive:
        for entry in (*_of_host(), *_of_tree(tree), _entry("TRAILER!!!", 0, 0, b"")):
            archive.write(entry)
    subprocess.run(
        [
            QEMU, "-nodefaults", "-nographic", "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", "2", "-m", "2G", "-serial", f"file:{console}", "-serial", f"file:{told}",
            "-kernel", str(KERNEL), "-initrd", str(folder / "initramfs"),
            "-append", "console=ttyS0 panic=-1 cgroup_no_v1=all systemd.unit=bed.target systemd.show_status=no",
        ],
        stdin=subprocess.DEVNULL, check=True, timeout=timeout,
    )  # fmt: skip
    said = told.read_text(errors="replace")
    assert said, console.read_text(errors="replace")[-3000:]
    return said


def _lay_out(tree: Path, program: Path) -> None:
    """What makes a root of the files of packages, and as little as possible for systemd to do."""
    units, generators = tree / "etc/systemd/system", tree / "etc/systemd/system-generators"
    for place in (units, generators, *(tree / place for place in _PLACES)):
        place.mkdir(parents=True)
    (units / "bed.target").write_text(_TARGET)
    (units / "told.service").write_text(_TOLD)
    for masked in (*(units / unit for unit in _MASKED), *(generators / name for name in _generators())):
        masked.symlink_to("/dev/null")
    (tree / "etc/machine-id").touch()
    (tree / "init").symlink_to("/lib/systemd/systemd")
    shutil.copy(program, tree / "told.py")


def _generators() -> list[str]:
    return os.listdir("/lib/systemd/system-generators")


def _of_host() -> Iterator[bytes]:
    """The files of some packages, and of those they need."""
    needed = set(_lines(
        "apt-cache", "depends", "--recurse", "--installed", "--no-recommends", "--no-suggests", "--no-conflicts",
        "--no-breaks", "--no-replaces", "--no-enhances", *_PACKAGES, _LIBRARIES_FOR,
    ))  # fmt: skip
    names = [name for name in _lines("dpkg-query", "-W", "-f", "${binary:Package}\n") if name.split(":")[0] in needed]
    found = {Path(line) for line in _lines("dpkg-query", "-L", *names) if line.startswith("/")}
    found = {path.parent.resolve() / path.name for path in found}  # /bin is a link
    found |= {folder for path in found for folder in path.parents}
    caches = {path.parent / "__pycache__" for path in found if path.suffix == ".py"}  # it is in no package
    found |= {path for cache in caches for path in (cache, *cache.glob("*"))}
    for path in sorted(map(str, {*found, *map(Path, _MORE)})):
        if os.path.lexists(path) and not path.startswith(_USELESS):
            yield from _file(path, path)


def _of_tree(tree: Path) -> Iterator[bytes]:
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            yield from _file(path, path.removeprefix(str(tree)))


def _file(path: str, name: str) -> Iterator[bytes]:
    """An entry for a directory, a link or a file. Its time is kept: by it Python knows what it compiled."""
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        yield _entry(name, found.st_mode, int(found.st_mtime), b"")
    elif stat.S_ISLNK(found.st_mode):
        yield _entry(name, found.st_mode, int(found.st_mtime), os.readlink(path).encode())
    elif stat.S_ISREG(found.st_mode):
        yield _entry(name, found.st_mode, int(found.st_mtime), Path(path).read_bytes())


def _entry(name: str, mode: int, at: int, data: bytes) -> bytes:
    """As the kernel's buffer-format.rst says (newc): thirteen numbers, the name, the data, padded to four bytes."""
    path = name.lstrip("/").encode() + b"\0"
    inode, owner, group, links, device, check = 0, 0, 0, 1, (0, 0, 0, 0), 0
    numbers = (inode, mode, owner, group, links, at, len(data), *device, len(path), check)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _lines(*argv: str) -> list[str]:
    said = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    return [line.strip() for line in said.splitlines() if line.strip()]
