"""Builds the sample releases into a cache, once per source and tool version; needs no network.

    python -m tests.releases.build [--cache DIR] [--vsn VSN] [NAME…]     prints one path a line

    tests/releases/common/      sources that every release gets in src/
                   rapp/        rebar3, relx's extended start script        (flavour relx)
                   mapp/        mix release, with a runtime.exs             (flavour mix)
                   papp/        systools alone, no shell script             (flavour plain)
                   NAME/versions/VSN/   files that come to, or replace, those of NAME in that version
                                NAME.appup      in which VSN stands for the version
                   versions.py  which versions there are, and what for

    CACHE/NAME-VSN-HASH/        the unpacked release; HASH is over sources, version and tools
          NAME-VSN.lock         held while it is built

A release in the cache is shared by all tests and never changes: start a copy (`place`). The source tree
is never written to. CACHE is $RELCTL_RELEASES, else relctl/releases in the user's cache directory.
`package` makes the tarballs of later versions.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.releases.versions import VERSIONS, lineage

SOURCES = Path(__file__).resolve().parent
BUILD_TIMEOUT_S = 300
TOOLS = {"rapp": ("erl", "rebar3"), "mapp": ("erl", "mix"), "papp": ("erl", "escript")}
NAMES = tuple(TOOLS)


class BuildError(Exception):
    """The release cannot be built; says why."""


class MissingToolError(BuildError):
    """Erlang, Elixir or rebar3 is not installed; names the Debian packages."""


def build(name: str, vsn: str = "1.0.0", cache: Path | None = None) -> Path:
    """The root of release `name` in the cache, built if need be; several processes may ask at once."""
    check(name, vsn)
    cache = cache or default_cache()
    root = cache / f"{name}-{vsn}-{fingerprint(name, vsn)}"
    return cached(root, cache / f"{name}-{vsn}.lock", lambda scratch: _build_in(scratch, name, vsn))


def check(name: str, vsn: str) -> None:
    """Raise a BuildError where this cannot be built here."""
    if name not in TOOLS:
        raise BuildError(f"cannot build {name}: the sample releases are {', '.join(NAMES)}")
    if vsn not in VERSIONS:
        raise BuildError(f"cannot build {name} {vsn}: the versions are {', '.join(VERSIONS)}")
    missing = [tool for tool in TOOLS[name] if shutil.which(tool) is None]
    if missing:
        packages = " ".join(debian_packages())
        raise MissingToolError(
            f"cannot build {name}: {', '.join(missing)} not found; on Debian: apt-get install {packages}"
        )


def cached(root: Path, lock: Path, make: Callable[[Path], Path]) -> Path:
    """`root`, a directory; made, if it is not there, of the one that `make` leaves in the scratch directory it gets."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not root.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
                place(make(Path(scratch)), root)
    return root


def place(root: Path, to: Path) -> Path:
    """Copies the release at `root` to `to`, which must not exist; the copy appears whole.

    The absolute paths in releases/RELEASES, where systools writes such, are those of the copy.
    """
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # a copy that was interrupted
    shutil.copytree(root, partial, symlinks=True)
    partial.chmod(0o755)
    releases = partial / "releases" / "RELEASES"
    if releases.is_file():
        releases.write_text(releases.read_text().replace(f'"{root}/', f'"{to}/'))
    return partial.rename(to)


def default_cache() -> Path:
    """Where builds are kept when the caller does not say."""
    if given := os.environ.get("RELCTL_RELEASES"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relctl" / "releases"


def debian_packages() -> list[str]:
    """What a fresh Debian machine needs to build and run the sample releases."""
    return (SOURCES / "debian-packages.txt").read_text().split()


def lay_sources(name: str, vsn: str, source: Path) -> None:
    """Puts the sources of a version into the new directory `source`."""
    for place_in, path in _sources(name, vsn).items():
        target = source / place_in
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    appup = source / f"{name}.appup"
    if appup.exists():
        appup.write_text(appup.read_text().replace('"VSN"', f'"{vsn}"'))
        if name == "rapp":  # rebar3 takes the files of ebin along
            (source / "ebin").mkdir()
            appup.rename(source / "ebin" / appup.name)


def run(command: list[str], source: Path, vsn: str, **more: str) -> None:
    """One build command, in an environment that holds nothing of the caller's but PATH, and `more`."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(source),  # rebar3's and hex's caches and configs
        "LANG": "C.UTF-8",
        "VSN": vsn,
        "MIX_ENV": "prod",
        "HEX_OFFLINE": "1",
        "REBAR_OFFLINE": "1",
        **more,
    }
    done = subprocess.run(
        command,
        cwd=source,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
        umask=0o022,
    )
    if done.returncode:
        raise BuildError(f"cannot build {source.name}: {' '.join(command)} ended {done.returncode}:\n{done.stdout}")


def fingerprint(name: str, vsn: str) -> str:
    """Changes with the sources, the version and the tools, without running a VM."""
    digest = hashlib.sha256(f"{vsn}\0".encode())
    for place_in, path in sorted(_sources(name, vsn).items()):
        digest.update(f"{place_in}\0".encode() + path.read_bytes())
    for path in (SOURCES / "build.py", *_tool_files(TOOLS[name])):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build_in(scratch: Path, name: str, vsn: str) -> Path:
    """Builds from a copy of the sources in `scratch`; the release's root, still inside it."""
    source, out = scratch / name, scratch / "out"
    lay_sources(name, vsn, source)
    release = VERSIONS[vsn].release or name
    match name:
        case "rapp":
            run(["rebar3", "as", "prod", "release", "-n", release], source, vsn)
            return source / "_build" / "prod" / "rel" / release
        case "mapp":
            run(["mix", "release", "--path", str(out)], source, vsn, RELEASE=release)
        case _:
            out.mkdir()
            run(["escript", "make_release.escript", vsn, str(out)], source, vsn)
    return out


def _sources(name: str, vsn: str) -> dict[str, Path]:
    """The files that a version is built from, by where they belong in its source tree."""
    folder = SOURCES / name
    found = {f"src/{path.name}": path for path in _files(SOURCES / "common")}
    found |= {str(path.relative_to(folder)): path for path in _files(folder) if _of_base(path.relative_to(folder))}
    for one in lineage(vsn):
        gone = VERSIONS[one].without.get(name, ())
        found = {at: path for at, path in found.items() if not any(at == it or at.startswith(f"{it}/") for it in gone)}
        layer = folder / "versions" / one
        found |= {str(path.relative_to(layer)): path for path in _files(layer)}
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _of_base(path: Path) -> bool:
    return path.parts[0] not in ("versions", "_build")


def _tool_files(tools: tuple[str, ...]) -> list[Path]:
    """Small files that differ between versions of the tools: scripts, and OTP's and Elixir's version files."""
    scripts = [Path(found).resolve() for tool in tools if (found := shutil.which(tool))]
    versions = [
        *scripts[0].parents[1].glob("releases/*/OTP_VERSION"),  # …/lib/erlang/bin/erl
        *(script.parent / "elixir" for script in scripts if script.name == "mix"),  # names its version
    ]
    return [path for path in scripts + sorted(versions) if path.is_file()]


def main() -> int:
    """Prints the root of each release asked for."""
    parser = argparse.ArgumentParser(description="Build the sample releases; print their paths.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--cache", type=lambda text: Path(text).absolute(), metavar="DIR")
    parser.add_argument("--vsn", default="1.0.0")
    options = parser.parse_args()
    try:
        for name in options.names or NAMES:
            print(build(name, options.vsn, options.cache), flush=True)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
