"""Tarballs that are not whole, or not harmless: each refused with a text of its own, before anything is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import posixpath
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relctld.beam.package import tarball
from relctld.beam.package.refusals import Kind, PackageError
from relctld.beam.package.tarball import What, read_tarball
from tests.packages import Version, beam, contents, elf, info, pack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.tar.gz"


def refused(path: Path, kind: Kind, why: str, **limits: int) -> None:
    with pytest.raises(PackageError, match=why) as raised:
        contents(path, **limits)
    assert raised.value.kind == kind


def members(path: Path, *added: tarfile.TarInfo) -> Path:
    return pack(path, {}, lambda archive: [archive.addfile(one, io.BytesIO(bytes(one.size))) for one in added] and None)


def test_what_it_holds(path: Path) -> None:
    version = Version("1.1.0")
    version.files["lib/web-1.1.0/priv/nif.so"] = elf(183)
    version.files["lib/web-1.1.0/ebin/torn.beam"] = b""
    found = contents(pack(path, version.files))
    assert {member.path for member in found.members} == set(version.files)
    for member in found.members:
        data = version.files[member.path]
        assert (member.what, member.size) == (What.FILE, len(data))
        assert member.sha256 == hashlib.sha256(data).hexdigest()
        assert gzip.decompress(path.read_bytes())[member.offset :][: member.size] == data
    assert found.small["releases/1.1.0/web.rel"] == version.files["releases/1.1.0/web.rel"]
    assert found.beams["lib/web-1.1.0/ebin/web_srv.beam"].module == "web_srv"
    assert "it is empty" in found.broken["lib/web-1.1.0/ebin/torn.beam"]
    assert found.machines == {"lib/web-1.1.0/priv/nif.so": 183, "erts-13.1.5/bin/erlexec": 62}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_way_to_write_long_names(path: Path, format: int) -> None:
    deep = "lib/web-1.1.0/priv/" + "long-name/" * 15
    with tarfile.open(path, "w:gz", format=format) as archive:
        archive.addfile(info(f"./{deep}file", size=3), io.BytesIO(b"abc"))
        archive.addfile(info(f"{deep}folder", tarfile.DIRTYPE, mode=0o755))
        archive.addfile(info("./.", tarfile.DIRTYPE, mode=0o755))
        if format != tarfile.USTAR_FORMAT:
            archive.addfile(info(f"{deep}link", tarfile.SYMTYPE, target="../" * 10 + "x" * 120))
            archive.addfile(info(f"{deep}ünï", size=600), io.BytesIO(bytes(600)))
    found = {member.path: member for member in contents(path).members}
    assert found[f"{deep}file"].sha256 == hashlib.sha256(b"abc").hexdigest()
    assert found[f"{deep}folder"].what is What.DIRECTORY
    if format != tarfile.USTAR_FORMAT:
        assert found[f"{deep}link"].target.endswith("x" * 120)
        assert found[f"{deep}ünï"].size == 600


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (info("/etc/passwd"), "'/etc/passwd' is absolute"),
        (info("lib/../../x"), r"has a `\.\.`"),
        (info(".."), r"has a `\.\."),
        (info("lib/a\nb"), "characters that cannot be shown"),
        (info("lib/\x1b[2J"), "characters that cannot be shown"),
        (info("lib/\udcff"), "characters that cannot be shown"),
        (info("x" * 256), "is too long"),
        (info("a/" * 600 + "x"), "is too long"),
        (info("a/" * 70 + "x"), "is too long"),
        (info("lib/x", mode=0o4755), "lib/x has a setuid or setgid bit"),
        (info("lib/x", mode=0o2755), "setuid or setgid bit"),
        (info("lib/x", tarfile.DIRTYPE, mode=0o2755), "setuid or setgid bit"),
        (info("lib/x", tarfile.LNKTYPE, target="lib/y"), "lib/x is a hard link"),
        (info("lib/x", tarfile.CHRTYPE), "lib/x is a device"),
        (info("lib/x", tarfile.BLKTYPE), "lib/x is a device"),
        (info("lib/x", tarfile.FIFOTYPE), "lib/x is a FIFO"),
        (info("lib/x", b"S"), "of a kind that no release has"),
        (info("lib/x", b"9"), "of a kind that no release has"),
        (info("./", tarfile.SYMTYPE, target="lib"), "a member has no name"),
        (info("lib/x", tarfile.SYMTYPE, target="/etc/passwd"), "link to '/etc/passwd', which may lead outside"),
        (info("lib/x", tarfile.SYMTYPE, target="../../x"), "may lead outside"),
        (info("lib/x", tarfile.SYMTYPE, target="y/../../../x"), "may lead outside"),
        (info("lib/x", tarfile.SYMTYPE, target="y/.."), "may lead outside"),
        (info("lib/x", tarfile.SYMTYPE, target=""), "may lead outside"),
        (info("lib/x", tarfile.SYMTYPE, target="a\rb"), "may lead outside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_members_that_are_refused(path: Path, member: tarfile.TarInfo, why: str) -> None:
    refused(members(path, member), Kind.UNSAFE, why)


@pytest.mark.parametrize(
    ("both", "why"),
    [
        ((info("a/b"), info("a/b")), "a/b is in it twice"),
        ((info("a/b"), info("./a//b")), "a/b is in it twice"),
        ((info("a"), info("a/b")), "a/b lies below a, which is a file"),
        ((info("a/b"), info("a")), "a is a directory and something else too"),
        ((info("a/b"), info("a", tarfile.DIRTYPE), info("a")), "a is a directory and something else"),
        ((info("a"), info("a", tarfile.DIRTYPE)), "a is in it twice"),
        ((info("a", tarfile.SYMTYPE, target="b"), info("a/b/c")), "a/b/c lies below a, which is a link"),
        ((info("a/b/c"), info("a/b", tarfile.SYMTYPE, target="c")), "a/b is a directory and something else"),
        ((info("a", tarfile.SYMTYPE, target="b"), info("a", tarfile.DIRTYPE)), "a is in it twice"),
    ],
)
def test_members_that_are_two_things(path: Path, both: tuple[tarfile.TarInfo, ...], why: str) -> None:
    refused(members(path, *both), Kind.UNSAFE, why)


def test_links_that_stay_inside(path: Path) -> None:
    named = (
        info("lib/nif.so", tarfile.SYMTYPE, target="nif.so.1"),
        info("lib/a/b", tarfile.SYMTYPE, target="../../bin/./x"),
        info("lib/a", tarfile.DIRTYPE),
        info("lib/a", tarfile.DIRTYPE),
    )
    found = contents(members(path, *named)).members
    assert [member.target for member in found if member.what is What.LINK] == ["nif.so.1", "../../bin/./x"]


# -- whole, or not ---------------------------------------------------------------------------------


def test_cut_off_anywhere(path: Path) -> None:
    """Also between two members, and inside gzip's own checksum."""
    whole = pack(path, {"lib/a": random.Random(1).randbytes(3000), "lib/b": b"b"}).read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(path, Kind.DAMAGED, "is damaged")
    path.write_bytes(whole[:-1])
    refused(path, Kind.DAMAGED, "is cut off")


def test_an_archive_cut_off_before_it_was_compressed(path: Path) -> None:
    plain = gzip.decompress(pack(path, {"lib/a": b"a", "lib/b": b"b"}).read_bytes())
    for size in (0, 512, 1024, 1536, 1537, 2048):
        path.write_bytes(gzip.compress(plain[:size]))
        refused(path, Kind.DAMAGED, "is cut off")


def test_a_bit_that_fell_over(path: Path) -> None:
    whole = pack(path, {"lib/a": random.Random(1).randbytes(3000)}).read_bytes()
    for at in range(30, len(whole), 61):  # behind the name in the header of gzip, which nobody checks
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(PackageError):
            contents(path)


def test_something_behind_its_end(path: Path) -> None:
    whole = pack(path, {"lib/a": b"a"}).read_bytes()
    for more, why in ((b"x", "something else follows"), (gzip.compress(b"x" * 600), "something follows its end")):
        path.write_bytes(whole + more)
        refused(path, Kind.DAMAGED, why)
    path.write_bytes(whole + gzip.compress(bytes(10240)))
    assert len(contents(path).members) == 1


def test_what_is_no_tarball(path: Path) -> None:
    for data in (b"", b"hello", b"PK\x03\x04", gzip.compress(b"hello" * 200)):
        path.write_bytes(data)
        with pytest.raises(PackageError, match="is damaged") as raised:
            contents(path)
        assert raised.value.hint


def test_extended_headers(path: Path) -> None:
    def archive(*headers: bytes) -> None:
        path.write_bytes(gzip.compress(b"".join(headers) + bytes(1024)))

    def header(kind: bytes, data: bytes) -> bytes:
        return info("x", kind, size=len(data)).tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)

    file = info("lib/x").tobuf(tarfile.USTAR_FORMAT)
    archive(header(b"x", b"12 path=a/b\n"), file)
    assert [member.path for member in contents(path).members] == ["a/b"]
    archive(header(b"g", b"12 path=a/b\n"), file)
    refused(path, Kind.UNSAFE, "renames all")
    archive(header(b"x", b"12 path=a/b\n"))
    refused(path, Kind.DAMAGED, "ends with an extended header")
    archive(header(b"x", b"22 GNU.sparse.major=1\n"), file)
    refused(path, Kind.UNSAFE, "sparse")
    archive(header(b"L", b"x" * 70000), file)
    refused(path, Kind.TOO_LARGE, "extended header of 70000 bytes")
    for data in (b"5 path=a/b\n", b"99 path=a/b\n", b"path=a/b\n", b"12 path=a/bb"):
        archive(header(b"x", data), file)
        refused(path, Kind.DAMAGED, "extended header in it is none")
    archive(header(b"x", b"11 size=-1\n"), file)
    refused(path, Kind.DAMAGED, "extended header in it is none")
    archive(header(b"L", b"../x\0"), file)
    refused(path, Kind.UNSAFE, r"has a `\.\.`")
    archive(header(b"L", b"a/b\0x"), file)
    refused(path, Kind.UNSAFE, "cannot be shown")


# -- bombs -----------------------------------------------------------------------------------------


def test_too_many_members(path: Path) -> None:
    members(path, *(info(f"lib/{number}") for number in range(11)))
    refused(path, Kind.TOO_LARGE, "more than 10 members", members=10)
    assert len(contents(path, members=11).members) == 11


def test_too_large(path: Path) -> None:
    pack(path, {"lib/a": bytes(100_000)})
    refused(path, Kind.TOO_LARGE, "more than 99999 bytes", inflated=99_999)


def test_a_size_that_is_a_lie(path: Path) -> None:
    path.write_bytes(gzip.compress(info("lib/a", size=1 << 60).tobuf(tarfile.GNU_FORMAT) + bytes(5000)))
    refused(path, Kind.DAMAGED, "is cut off")


def test_inflates_too_well(path: Path) -> None:
    pack(path, {"lib/a": bytes(20 << 20)})
    refused(path, Kind.TOO_LARGE, "more than 50 times its size", ratio=50)


def test_names_that_fill_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "MAX_NAMES", 1000)
    members(path, *(info(f"{number}/" + "a/" * 50 + "x") for number in range(10)))
    refused(path, Kind.TOO_LARGE, "the names in it")


def test_small_files_that_fill_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "MAX_KEPT", 1000)
    pack(path, {f"releases/1.1.0/{number}": bytes(100) for number in range(11)})
    refused(path, Kind.TOO_LARGE, "more than 1000 bytes")


# -- whatever it is --------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "lib"]), min_size=1, max_size=5).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"x", b"L", b"K", b"g"])
MEMBERS = st.lists(st.builds(info, NAMES, KINDS, st.integers(0, 600), target=NAMES), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MEMBERS)
def test_what_is_accepted_stays_inside(tmp_path: Path, listed: list[tarfile.TarInfo]) -> None:
    """Unpacked by tarfile as it is, without any protection of its own, nothing is written elsewhere."""
    path = members(tmp_path / "web.tar.gz", *listed)
    try:
        found = contents(path)
    except PackageError:
        return
    for member in found.members:
        assert ".." not in member.path.split("/")
        if member.what is What.LINK:
            reached = os.path.normpath(os.path.join("/root", os.path.dirname(member.path), member.target))
            assert reached == "/root" or reached.startswith("/root/")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000))
@example(b"")
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.tar.gz"
    for whole in (data, gzip.compress(data)):
        path.write_bytes(whole)
        with pytest.raises(PackageError):
            contents(path)


def test_a_module_that_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "MAX_BEAM", 50)
    monkeypatch.setattr(tarball, "MAX_NEW", 0)
    found = contents(pack(path, {"lib/a-1/ebin/a.beam": beam("a")}))
    assert found.broken == {"lib/a-1/ebin/a.beam": "it is too large"}


def test_what_is_installed_is_not_looked_into_and_of_the_rest_so_much_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"lib/a-1/ebin/{name}.beam": beam(name) for name in ("a", "b", "c")}
    monkeypatch.setattr(tarball, "MAX_NEW", len(files["lib/a-1/ebin/b.beam"]))
    with open(pack(path, files), "rb") as file:
        found = read_tarball(file, known=lambda path: path.endswith("/a.beam"))
    assert [posixpath.basename(name) for name in found.beams] == ["b.beam", "c.beam"]
    assert not found.broken
    kept = {posixpath.basename(member.path): member.data for member in found.members if member.what is What.FILE}
    assert kept == {"a.beam": None, "b.beam": files["lib/a-1/ebin/b.beam"], "c.beam": None}
    assert "data" not in repr(found.members)
