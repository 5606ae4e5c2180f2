"""Releases that no tool built: trees, tarballs and modules, made byte by byte for what is to be judged.

version = Version("1.1.0")            a small relx release, whole, with a relup from 1.0.0
version.files["lib/…"] = b"…"         changed as a test wants
pack(tmp_path / "web.tar.gz", version.files)
install(root, Version("1.0.0"))
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from relctld.beam.package.tarball import Contents, read_tarball
from relctld.beam.package.tarstream import Limits
from relctld.beam.term.etf import encode
from relctld.beam.term.terms import Atom
from relctld.beam.term.written import written

ERTS = "13.1.5"
LIBRARIES = {"kernel": "8.5.3", "stdlib": "4.2", "sasl": "4.2"}
MACHINE = "x86_64"  # that of `elf()`


def text(value: str) -> list[int]:
    """A string as Erlang has it."""
    return [ord(char) for char in value]


def atoms(*names: str) -> list[Atom]:
    """A list of atoms."""
    return [Atom(name) for name in names]


def beam(module: str, code: bytes = b"code", *, attributes: Iterable[tuple[str, Any]] = (), nif: bool = False) -> bytes:
    """A module with just the chunks that a loader wants."""
    names = [module, "erlang", "load_nif"] if nif else [module]
    table = b"".join(bytes([len(name.encode())]) + name.encode() for name in names)
    imports = struct.pack(">IIII", 1, 2, 3, 2) if nif else struct.pack(">I", 0)
    listed = [(Atom(name), value) for name, value in attributes]
    return iff(
        [
            (b"AtU8", struct.pack(">i", len(names)) + table),
            (b"Code", code),
            (b"StrT", b""),
            (b"ImpT", imports),
            (b"ExpT", struct.pack(">I", 0)),
            (b"Attr", encode(listed)),
        ]
    )


def iff(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The file of these chunks."""
    body = b"".join(id + struct.pack(">I", len(data)) + data + bytes(-len(data) % 4) for id, data in chunks)
    return b"FOR1" + struct.pack(">I", len(body) + 4) + b"BEAM" + body


def elf(machine: int = 62) -> bytes:
    """The head of an ELF file, 64 bits, little-endian."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def consulted(*terms: Any) -> bytes:
    """A file for file:consult/1."""
    return "".join(f"{written(term)}.\n" for term in terms).encode()


def boot(name: str, version: str, applications: Mapping[str, str]) -> bytes:
    """A start.boot that only tells of its applications."""
    told = [(Atom("application"), Atom(app), [(Atom("vsn"), text(vsn))]) for app, vsn in applications.items()]
    load = [(Atom("apply"), (Atom("application"), Atom("load"), [each])) for each in told]
    return encode((Atom("script"), (text(name), text(version)), load))


class Version:
    """A version of the relx release `web`: its own application in two modules, and empty ones of OTP."""

    def __init__(self, version: str, *, since: str | None = "1.0.0", name: str = "web") -> None:
        self.version, self.name = version, name
        self.applications = {**LIBRARIES, name: version}
        self.modules = {f"{name}_app": f"app {version}".encode(), f"{name}_srv": f"srv {version}".encode()}
        self.files: dict[str, bytes] = {
            f"bin/{name}": _script(name, version),
            f"bin/{name}-{version}": _script(name, version),
            f"erts-{ERTS}/bin/erlexec": elf(),
            "releases/start_erl.data": f"{ERTS} {version}\n".encode(),
            f"releases/{version}/{name}.rel": rel(name, version, self.applications),
            f"releases/{version}/start.boot": boot(name, version, self.applications),
            f"releases/{version}/sys.config": b"[].\n",
        }
        for app, vsn in LIBRARIES.items():
            self.files[f"lib/{app}-{vsn}/ebin/{app}.app"] = application(app, vsn, [app])
            self.files[f"lib/{app}-{vsn}/ebin/{app}.beam"] = beam(app)
        self.files[f"{self.ebin}/{name}.app"] = application(name, version, list(self.modules))
        for module, code in self.modules.items():
            self.files[f"{self.ebin}/{module}.beam"] = beam(module, code)
        if since:
            self.relup(self.script(since), down=self.script(since, reads=since))

    @property
    def ebin(self) -> str:
        return f"lib/{self.name}-{self.version}/ebin"

    def script(self, other: str, reads: str | None = None) -> tuple[Any, ...]:
        """A whole script for or from the version `other`."""
        return (text(other), [], self.instructions(reads or self.version))

    def instructions(self, reads: str) -> list[Any]:
        """Both modules are changed; the server's processes keep their state."""
        app, server = atoms(*self.modules)
        purge = Atom("brutal_purge")
        return [
            (Atom("load_object_code"), (Atom(self.name), text(reads), [app, server])),
            Atom("point_of_no_return"),
            (Atom("load"), (app, purge, purge)),
            (Atom("suspend"), [server]),
            (Atom("load"), (server, purge, purge)),
            (Atom("code_change"), Atom("up"), [(server, [])]),
            (Atom("resume"), [server]),
        ]

    def relup(self, *ups: tuple[Any, ...], down: tuple[Any, ...] | None = None) -> None:
        """Writes its relup."""
        term = (text(self.version), list(ups), [down] if down else [])
        self.files[f"releases/{self.version}/relup"] = consulted(term)


def rel(name: str, version: str, applications: Mapping[str, str], erts: str = ERTS) -> bytes:
    """A .rel."""
    listed = [(Atom(app), text(vsn)) for app, vsn in applications.items()]
    return consulted((Atom("release"), (text(name), text(version)), (Atom("erts"), text(erts)), listed))


def application(name: str, version: str, modules: list[str]) -> bytes:
    """An .app."""
    keys = [(Atom("vsn"), text(version)), (Atom("modules"), atoms(*modules))]
    return consulted((Atom("application"), Atom(name), keys))


def install(root: Path, *versions: Version) -> Path:
    """Writes the tree of these versions; the last one boots."""
    for version in versions:
        for path, data in version.files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return root


def pack(path: Path, files: Mapping[str, bytes], also: Callable[[tarfile.TarFile], None] = lambda _: None) -> Path:
    """A .tar.gz of these files, and of what `also` adds behind them."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            archive.addfile(info(name, size=len(data)), io.BytesIO(data))
        also(archive)
    return path


def info(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, mode: int = 0o644, target: str = ""
) -> tarfile.TarInfo:
    """A member's header."""
    found = tarfile.TarInfo(name)
    found.type, found.size, found.mode, found.linkname = kind, size, mode, target
    return found


def contents(path: Path, **limits: int) -> Contents:
    """All of a tarball."""
    with open(path, "rb") as file:
        return read_tarball(file, Limits(**limits))


def listing(root: Path) -> dict[str, bytes | str]:
    """All below a directory: what each file holds, where each link leads."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "directory"
    return found


def _script(name: str, version: str) -> bytes:
    lines = ["#!/bin/sh", f'export REL_NAME="{name}"', f'REL_VSN="{version}"', f'ERTS_VSN="{ERTS}"']
    return "\n".join([*lines, 'case "$1" in foreground) exec "$BINDIR/erlexec";; esac', ""]).encode()
