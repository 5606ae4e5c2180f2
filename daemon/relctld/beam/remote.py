"""The release's own remote shell: what to run for a shell on its living node.

Rule 1: nothing is run and nothing is written; what the VM really got (`arguments.living`) tells more than files.
Rule 2: no cookie is put on a command line by us. A script of the release that does so itself cannot be helped.

flavour      command                         cookie by
relx         bin/NAME remote_console         the script: RELX_COOKIE, vm.args, ~/.erlang.cookie
mix          bin/NAME remote                 the script: RELEASE_COOKIE, releases/COOKIE
distillery   bin/NAME remote_console         the script: vm.args, ~/.erlang.cookie
plain        erts-V/bin/erlexec -remsh NODE  .erlang.cookie in a HOME of the session's own

erlexec writes an -args_file out into the command line of the VM it becomes, for all to see; a file in HOME, closed to
others, is where `auth` has looked since ever. So the shell of a plain release has a HOME of its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relctld.beam.dist.arguments import values_of
from relctld.beam.heart import overruled
from relctld.beam.launch import Release
from relctld.beam.layout import ReleaseError, is_file, read_text
from relctld.beam.vmargs import full_name
from relctld.core.spec import Flavour

COOKIE_FILE = ".erlang.cookie"
DYNAMIC_NAMES_ERTS = (11, 1)  # from here a node may be named by the one it connects to, for long names too

_DIST_FLAGS = (
    "-proto_dist", "-ssl_dist_optfile", "-ssl_dist_opt", "-epmd_module", "-start_epmd", "-erl_epmd_port", "-no_epmd",
)  # fmt: skip
_NAMELESS = "its node has no name, so no shell can connect to it"
_NAME_IT = "give it one by -name or -sname in vm.args (RELEASE_NODE for mix)"


class NoRemoteShell(ReleaseError):  # noqa: N818  # as its siblings in `layout`
    """This release has no remote shell; `hint` is the next step to take."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class RemoteShell:
    """`env` comes on top of the VM's own environment. `needs_cookie`: that of `node` is expected in `COOKIE_FILE`."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    needs_cookie: bool = False


def remote_shell(release: Release, folder: Path, flags: Sequence[str], configured: str | None) -> RemoteShell:
    """The remote shell of a release whose VM runs with `flags` (empty where they cannot be seen).

    `folder` is a directory of the session's own, where scripts may write. `configured` is the node's name where the
    config has one. Raises NoRemoteShell and DamagedRelease.
    """
    named = [words for flag in ("-name", "-sname") for words in values_of(flags, flag)]
    if values_of(flags, "-root") and not named and configured is None:  # it is the VM already, no script before it
        raise NoRemoteShell(_NAMELESS, _NAME_IT)
    match release.flavour:
        case Flavour.RELX:
            script = release.command[0]
            if release.command[1:2] != ("foreground",) or "remote_console" not in (read_text(Path(script)) or ""):
                why = f"{script} is relx's simple script, which has no remote shell"
                raise NoRemoteShell(why, "build the release with {extended_start_script, true}")
            return RemoteShell((script, "remote_console"), {"RELX_OUT_FILE_PATH": str(folder)})
        case Flavour.MIX:
            return RemoteShell((release.command[0], "remote"), {"RELEASE_TMP": str(folder)})
        case Flavour.DISTILLERY:
            return RemoteShell((release.command[0], "remote_console"))
        case Flavour.PLAIN:
            return _plain(release, folder, flags, configured)


def _plain(release: Release, folder: Path, flags: Sequence[str], configured: str | None) -> RemoteShell:
    node = configured or _living_name(flags) or release.node
    if node is None:
        raise NoRemoteShell("the name of its node is not known", 'say it in the config: node = { name = "NAME@HOST" }')
    host = node.partition("@")[2]
    own = "undefined"
    if _numbers(release.erts_version or "") < DYNAMIC_NAMES_ERTS:
        own = f"remsh-{secrets.token_hex(4)}"
    distribution = [word for flag in _DIST_FLAGS for words in values_of(flags, flag) for word in (flag, *words)]
    argv = [release.command[0], *_boot(release), "-mode", "interactive"]
    argv += ["-name" if "." in host or ":" in host else "-sname", f"{own}@{host}", "-hidden", "-dist_listen", "false"]
    argv += [*distribution, "-remsh", node]
    return RemoteShell(tuple(argv), {"HOME": str(folder)}, node, needs_cookie=True)


def _living_name(flags: Sequence[str]) -> str | None:
    names = [(words[0], flag) for flag in ("-name", "-sname") for words in values_of(flags, flag) if words]
    return full_name(names[0][0], names[0][1] == "-sname") if names else None


def _boot(release: Release) -> list[str]:
    """A boot file without applications; else the release's own, with none of its applications permitted to start."""
    root, version = release.root, release.root / "releases" / release.boot_version
    for place in (version / "start_clean", root / "bin" / "start_clean", version / "no_dot_erlang"):
        if is_file(place.with_name(f"{place.name}.boot")):
            return ["-boot", str(place)]
    texts = [read_text(path) for path in (version / f"{release.name}.rel", version.parent / f"{release.name}.rel")]
    text = next(filter(None, texts), None)
    if text is None:
        why = f"{version} has neither start_clean.boot nor {release.name}.rel"
        raise NoRemoteShell(why, f"put start_clean.boot of its ERTS into {version}")
    found = re.findall(r"\{\s*([a-z][\w@]*|'[^'\\]+')\s*,\s*\"", re.sub(r"%.*", "", text))
    denied = ",".join(f"{{{name},false}}" for name in found if name not in ("erts", "kernel", "stdlib"))
    own = release.command[release.command.index("-boot") + 1]
    return ["-boot", own, "-kernel", "permissions", f"[{denied}]"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:2])


def remote_environment(env: Mapping[str, str], shell: RemoteShell, term: str) -> dict[str, str]:
    """The VM's environment made the shell's: a terminal, no heart's command, no crash dump to be taken for the VM's."""
    kept = {key: value for key, value in overruled(env).items() if not key.startswith("ERL_CRASH_DUMP")}
    return {**kept, **shell.env, "TERM": term, "ERL_CRASH_DUMP_SECONDS": "0"}
