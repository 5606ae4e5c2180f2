"""A compiled module: whether it is whole, and what it says of itself.

    "FOR1" SIZE:32 "BEAM" {ID:4/bytes SIZE:32 DATA, padded to 4}…          perhaps compressed with gzip as a whole

Read: AtU8 or Atom (its name first), ImpT (whether it loads a NIF), Attr (vsn, behaviours, on_load). `md5` is that of
beam_lib:md5/1: the same for two compilations of one source in different places.

Source: OTP's beam_lib; erts/emulator/beam/beam_file.c. OTP 28 writes a negative count of atoms, and then lengths as
compact terms.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.term.etf import EtfError, decode
from relctld.beam.term.shown import LONGEST, shown, text
from relctld.beam.term.terms import Atom

MAX_INFLATED = 64 << 20  # bytes
MAX_ATTRIBUTES = 1 << 20  # bytes
MAX_BEHAVIOURS = 20

_GZIP = b"\x1f\x8b"
_NEEDED = (b"Code", b"ImpT", b"ExpT")
_MD5 = (b"Atom", b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT", b"FunT", b"LitT", b"Meta")
_VSN_BITS = 256  # of a number that is written out; the compiler's own has 128
_u32 = struct.Struct(">I").unpack_from
_i32 = struct.Struct(">i").unpack_from


@dataclass(frozen=True, slots=True)
class Beam:
    """A module. `vsn` is its vsn attribute as text, None where it was stripped off; `md5` in hexadecimal."""

    module: str
    md5: str
    vsn: str | None = None
    behaviours: tuple[str, ...] = ()
    on_load: bool = False
    loads_nif: bool = False

    @property
    def is_native(self) -> bool:
        """Whether loading it runs code of its own, which is where NIFs come in."""
        return self.on_load or self.loads_nif


def read_beam(data: bytes) -> Beam:
    """What the bytes of a .beam file say. Raises PackageError where they are not a whole module."""
    try:
        found = dict(_chunks(_inflated(data)))
        missing = [id.decode() for id in _NEEDED if id not in found]
        if missing or not (b"AtU8" in found or b"Atom" in found):
            raise _broken(f"it has no chunk {', '.join(missing) or 'AtU8'}")
        atoms = _atoms(found)
        attributes = _attributes(found.get(b"Attr"))
    except (struct.error, IndexError) as error:
        raise _broken("it is cut off") from error
    except (zlib.error, EtfError, UnicodeDecodeError) as error:
        raise _broken(str(error)) from error
    return Beam(
        module=atoms[0],
        md5=_md5(found),
        vsn=_vsn(attributes.get("vsn")),
        behaviours=tuple(_behaviours(attributes))[:MAX_BEHAVIOURS],
        on_load="on_load" in attributes,
        loads_nif="load_nif" in atoms and _imports_load_nif(found[b"ImpT"], atoms),
    )


def read_chunks(data: bytes) -> dict[bytes, bytes]:
    """All chunks of a .beam file by their names. Raises PackageError where it is not whole."""
    try:
        return dict(_chunks(_inflated(data)))
    except (struct.error, IndexError, zlib.error) as error:
        raise _broken("it is cut off") from error


def read_atoms(chunks: Mapping[bytes, bytes]) -> list[str]:
    """Its whole table of atoms; the module's name is the first. Raises PackageError."""
    try:
        return _atoms(chunks, every=True)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise _broken("its atoms are cut off") from error


def _broken(why: str) -> PackageError:
    return PackageError(Kind.BAD_BEAM, f"it is no whole module: {why}")


def _inflated(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(data, MAX_INFLATED)
    if not stream.eof or stream.unused_data:
        raise _broken("it is compressed, and cut off or too large")
    return plain


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if data[:4] != b"FOR1" or data[8:12] != b"BEAM":
        raise _broken("it is empty" if not data else "it does not begin with FOR1 and BEAM")
    end = 8 + _u32(data, 4)[0]
    if end != len(data):
        raise _broken(f"it says that it has {end} bytes, and has {len(data)}")
    at = 12
    while at < end:
        (size,) = _u32(data, at + 4)
        if at + 8 + size > end:
            raise _broken("a chunk runs over its end")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + -size % 4


def _atoms(chunks: Mapping[bytes, bytes], *, every: bool = False) -> list[str]:
    """The table of atoms, of which the first is the module's name; the others only where they name load_nif, or all."""
    encoding = "utf-8" if b"AtU8" in chunks else "latin-1"
    data = chunks.get(b"AtU8") or chunks[b"Atom"]
    (count,) = _i32(data, 0)
    at, found = 4, []
    for _ in range(min(abs(count), len(data)) if every or b"load_nif" in data else min(abs(count), 1)):
        size = data[at]
        at += 1
        if count < 0:
            size, at = _compact(data, size, at)
        if at + size > len(data):
            raise _broken("an atom runs over its chunk")
        found.append(data[at : at + size].decode(encoding))
        at += size
    if not found:
        raise _broken("it has no name")
    return found


def _compact(data: bytes, first: int, at: int) -> tuple[int, int]:
    """A small number as a compact term: four bits, or three and the next byte."""
    if first & 0x1F == 0x08:
        return (first >> 5) << 8 | data[at], at + 1
    if first & 0x0F:
        raise _broken("the length of an atom is none")
    return first >> 4, at


def _attributes(chunk: bytes | None) -> dict[str, Any]:
    """The first value of each attribute, a list."""
    if len(chunk or b"") > MAX_ATTRIBUTES:
        raise _broken(f"its attributes have more than {MAX_ATTRIBUTES} bytes")
    found: dict[str, Any] = {}
    listed = decode(chunk, max_inflated=MAX_ATTRIBUTES) if chunk else []
    for item in listed if isinstance(listed, list) else []:
        match item:
            case (Atom() as name, value):
                found[str(name)] = [*found.get(str(name), []), *value] if isinstance(value, list) else value
    return found


def _vsn(value: Any) -> str | None:
    """[Vsn], where Vsn is a number unless the source says something else; a string is not in a list of its own."""
    match value:
        case None | []:
            return None
        case [int() as number] if number.bit_length() <= _VSN_BITS:
            return str(number)
    return text(value) or shown(value, LONGEST)


def _behaviours(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name in ("behaviour", "behavior"):
        value = attributes.get(name)
        yield from (str(item) for item in value if isinstance(item, Atom)) if isinstance(value, list) else ()


def _imports_load_nif(chunk: bytes, atoms: list[str]) -> bool:
    (count,) = _u32(chunk, 0)
    for at in range(4, min(4 + 12 * count, len(chunk) - 11), 12):
        module, function = _u32(chunk, at)[0], _u32(chunk, at + 4)[0]
        named = 0 < module <= len(atoms) and 0 < function <= len(atoms)
        if named and (atoms[module - 1], atoms[function - 1]) == ("erlang", "load_nif"):
            return True
    return False


def _md5(chunks: Mapping[bytes, bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for id in _MD5:
        if id in chunks:
            digest.update(_without_old_uniq(chunks[id]) if id == b"FunT" else chunks[id])
    return digest.hexdigest()


def _without_old_uniq(chunk: bytes) -> bytes:
    """FunT without the last four bytes of each entry's 24, which differ between compilations."""
    out = bytearray(chunk)
    for at in range(4, len(chunk) - 23, 24):
        out[at + 20 : at + 24] = bytes(4)
    return bytes(out)
