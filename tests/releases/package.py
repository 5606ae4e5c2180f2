"""Makes the tarballs of the sample releases as a CI would publish them: whole releases, erts and all, with a relup.

    python -m tests.releases.package [--cache DIR] NAME VSN     prints the path

    CACHE/NAME-VSN-tar-HASH/NAME-VSN.tar.gz     HASH is as that of a build, and over the version upgraded from

rapp: `rebar3 relup`, then `rebar3 tar`, beside the build of the version upgraded from, so with its bin/NAME-VSN too.
mapp: `mix release` with a step that calls systools:make_relup, then its step :tar.
papp: systools:make_relup and systools:make_tar.
The relups without a way back, and the tarballs with a file missing, are made of whole ones.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
from pathlib import Path

from tests.releases.build import BuildError, build, cached, check, default_cache, fingerprint, lay_sources, place, run
from tests.releases.versions import VERSIONS

ONE_WAY = """
    [File] = init:get_plain_arguments(), {ok, [{Vsn, Ups, _}]} = file:consult(File),
    ok = file:write_file(File, io_lib:format("~tp.~n", [{Vsn, Ups, []}])), halt(0).
"""


def package(name: str, vsn: str, from_vsns: tuple[str, ...] | None = None, cache: Path | None = None) -> Path:
    """The tarball of a version in the cache, made if need be; several processes may ask at once.

    Its relup has ways from, and back to, `from_vsns`: none or one; what versions.py says if it is None.
    """
    check(name, vsn)
    cache = cache or default_cache()
    if from_vsns is None:
        from_vsns = (since,) if (since := VERSIONS[vsn].since) else ()
    if len(from_vsns) > 1:
        raise BuildError(f"cannot package {name} {vsn}: a relup from one version at most")
    before = build(name, from_vsns[0], cache) if from_vsns else None
    of = f"{fingerprint(name, vsn)} {before and before.name}".encode() + Path(__file__).read_bytes()
    folder = cache / f"{name}-{vsn}-tar-{hashlib.sha256(of).hexdigest()[:16]}"
    cached(folder, cache / f"{name}-{vsn}-tar.lock", lambda scratch: _package_in(scratch, name, vsn, before))
    return next(folder.glob("*.tar.gz"))


def bare(name: str, vsn: str, folder: Path) -> Path:
    """The tarball of a version without what was written for its upgrade by hand, in `folder`."""
    path = folder / f"{name}-{vsn}-bare.tar.gz"
    with tarfile.open(package(name, vsn)) as whole, tarfile.open(path, "w:gz", compresslevel=1) as out:
        for member in whole:
            if not member.name.endswith((f"/{name}.appup", "/relup")):
                out.addfile(member, whole.extractfile(member) if member.isfile() else None)
    return path


def by_relx(source: Path, release: str, vsn: str, before: Path | None, ways_back: bool = True) -> Path:
    """The tarball that rebar3 makes of these sources, with a relup from the release at `before`."""
    root = source / "_build" / "prod" / "rel" / release
    rebar3, tar = ["rebar3", "as", "prod"], ["tar", "-n", release, "-v", vsn]
    if before is None:
        run([*rebar3, *tar], source, vsn)
        return root / f"{release}-{vsn}.tar.gz"
    root.parent.mkdir(parents=True)
    place(before, root)
    since = (before / "releases" / "start_erl.data").read_text().split()[1]
    relup = ["relup", "-n", release, "-v", vsn, "-u", since]
    if ways_back:
        run([*rebar3, "do", *relup[:-1], f"{since},", *tar], source, vsn)
    else:
        run([*rebar3, *relup], source, vsn)
        file = root / "releases" / vsn / "relup"
        run(["erl", "-noinput", "-boot", "no_dot_erlang", "-eval", ONE_WAY, "-extra", str(file)], source, vsn)
        run([*rebar3, *tar], source, vsn)
    return root / f"{release}-{vsn}.tar.gz"


def by_mix(source: Path, release: str, vsn: str, before: Path | None, ways_back: bool = True) -> Path:
    """The tarball that mix makes of these sources, with a relup from the release at `before`."""
    since = {"FROM": str(before), "DOWN": "yes" if ways_back else "no"} if before else {}
    run(["mix", "release"], source, vsn, TAR="yes", RELEASE=release, **since)
    return source / "_build" / "prod" / f"{release}-{vsn}.tar.gz"


def by_systools(source: Path, release: str, vsn: str, before: Path | None, ways_back: bool = True) -> Path:
    """The tarball that systools makes of these sources, with a relup from the release at `before`, and back."""
    if before is None or not ways_back:
        raise BuildError(f"cannot package {release} {vsn}: its relup has both ways")
    tarball = source / f"{release}-{vsn}.tar.gz"
    run(["escript", "make_release.escript", vsn, str(tarball), str(before)], source, vsn)
    return tarball


def _package_in(scratch: Path, name: str, vsn: str, before: Path | None) -> Path:
    """A directory with the tarball alone, without the member that it is to lack."""
    version, source, folder = VERSIONS[vsn], scratch / name, scratch / "package"
    lay_sources(name, vsn, source)
    make = {"rapp": by_relx, "mapp": by_mix, "papp": by_systools}[name]
    made = make(source, version.release or name, vsn, before, version.ways_back)
    folder.mkdir()
    if name in version.lost:
        _copy_without(f"lib/{name}-{vsn}/{version.lost[name]}", made, folder / made.name)
    else:
        made.rename(folder / made.name)
    return folder


def _copy_without(lost: str, made: Path, to: Path) -> None:
    with tarfile.open(made) as whole, tarfile.open(to, "w:gz") as torn:
        if lost not in whole.getnames():
            raise BuildError(f"cannot leave {lost} out of {made.name}: it has no such member")
        for member in whole:
            if member.name != lost:
                torn.addfile(member, whole.extractfile(member) if member.isfile() else None)


def main() -> int:
    """Prints the path of the tarball asked for."""
    parser = argparse.ArgumentParser(description="Make a tarball of a sample release; print its path.")
    parser.add_argument("name", metavar="NAME", help="rapp, mapp or papp")
    parser.add_argument("vsn", metavar="VSN", help=", ".join(VERSIONS))
    parser.add_argument("--cache", type=lambda text: Path(text).absolute(), metavar="DIR")
    options = parser.parse_args()
    try:
        print(package(options.name, options.vsn, None, options.cache))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
