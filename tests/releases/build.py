"""Builds the sample releases into a cache, once per source and tool version; needs no network.

    python tests/releases/build.py [--cache DIR] [--vsn VSN] [NAME…]     prints one path a line

    tests/releases/common/      sources that every release gets in src/
                   rapp/        rebar3, relx's extended start script        (flavour relx)
                   mapp/        mix release, with a runtime.exs             (flavour mix)
                   papp/        systools alone, no shell script             (flavour plain)
                   NAME/versions/VSN/   files that replace those of NAME in that version

    CACHE/NAME-VSN-HASH/        the unpacked release; HASH is over sources, version and tools
          NAME-VSN.lock         held while it is built

A release in the cache is shared by all tests and never changes: start a copy (`place`). The source tree
is never written to. CACHE is $RELCTL_RELEASES, else relctl/releases in the user's cache directory.
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
from pathlib import Path

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
    if name not in TOOLS:
        raise BuildError(f"cannot build {name}: the sample releases are {', '.join(NAMES)}")
    missing = [tool for tool in TOOLS[name] if shutil.which(tool) is None]
    if missing:
        packages = " ".join(debian_packages())
        raise MissingToolError(
            f"cannot build {name}: {', '.join(missing)} not found; on Debian: apt-get install {packages}"
        )
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{name}-{vsn}-{_fingerprint(name, vsn)}"
    with open(cache / f"{name}-{vsn}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache) as scratch:
                place(_build_in(Path(scratch), name, vsn), root)
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


def _build_in(scratch: Path, name: str, vsn: str) -> Path:
    """Builds from a copy of the sources in `scratch`; the release's root, still inside it."""
    source = scratch / name
    shutil.copytree(SOURCES / name, source, ignore=shutil.ignore_patterns("versions", "_build"))
    shutil.copytree(SOURCES / "common", source / "src", dirs_exist_ok=True)
    if (changed := SOURCES / name / "versions" / vsn).is_dir():
        shutil.copytree(changed, source, dirs_exist_ok=True)
    out = scratch / "out"
    match name:
        case "rapp":
            _run(["rebar3", "as", "prod", "release"], source, vsn)
            return source / "_build" / "prod" / "rel" / name
        case "mapp":
            _run(["mix", "release", "--path", str(out)], source, vsn)
        case _:
            out.mkdir()
            _run(["escript", "make_release.escript", vsn, str(out)], source, vsn)
    return out


def _run(command: list[str], source: Path, vsn: str) -> None:
    """One build command, in an environment that holds nothing of the caller's but PATH."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(source),  # rebar3's and hex's caches and configs
        "LANG": "C.UTF-8",
        "VSN": vsn,
        "MIX_ENV": "prod",
        "HEX_OFFLINE": "1",
        "REBAR_OFFLINE": "1",
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


def _fingerprint(name: str, vsn: str) -> str:
    """Changes with the sources, the version and the tools, without running a VM."""
    digest = hashlib.sha256(f"{vsn}\0".encode())
    for folder in (SOURCES / name, SOURCES / "common"):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    for path in (SOURCES / "build.py", *_tool_files(TOOLS[name])):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


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
