"""The versions of rapp and mapp, and what each of them is for.

1.0.0 is whole. Each other version is made of the sources of the version it stands `on`, and of NAME/versions/VSN/ over
them. From 1.0.0 to 1.1.0 the state of the counter is migrated, the connections get another code, modules and keys of
the configuration come and go, and in mapp the implementations of a protocol. From 1.1.0 to 1.2.0 a supervisor gets a
child more, and an application comes and another goes. Those with a word in their version are ill, each in one way;
but for that they are 1.1.0.

There are two more that need no version: 1.2.0 has no relup from 1.0.0, and a counter that was told `sleep 60000` is
busy in any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Version:
    """`since`: what its relup upgrades from, None where it has no relup. Names of samples are the keys of mappings."""

    what: str
    on: str | None = "1.1.0"
    since: str | None = "1.0.0"
    ways_back: bool = True
    release: str | None = None  # the release's name, where that is not the sample's
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # files, folders: of `on`, but not of this one
    lost: Mapping[str, str] = field(default_factory=dict)  # a member that its tarball should have


VERSIONS: Mapping[str, Version] = {
    "1.0.0": Version("the first", on=None, since=None),
    "1.1.0": Version(
        "state, connections, modules, configuration, a protocol changed",
        on="1.0.0",
        without={"rapp": ("src/rapp_v1.erl",), "mapp": ("lib/mapp/v1.ex",)},
    ),
    "1.2.0": Version(
        "a child and an application added, an application removed",
        since="1.1.0",
        without={"rapp": ("apps/rapp_legacy",), "mapp": ("apps/mapp_legacy",)},
    ),
    "1.1.0-raise": Version("code_change raises: the node restarts inside its process, and is 1.0.0 again"),
    "1.1.0-apply-before": Version("an apply fails before the point of no return: the environment is 1.1.0's already"),
    "1.1.0-apply-after": Version("the last instruction, an apply, fails: the node restarts inside its process"),
    "1.1.0-incomplete": Version("the appup forgot the connections' module: their old code goes on"),
    "1.1.0-soft": Version("soft_purge: what was told to `linger` goes on in old code, and a later install is refused"),
    "1.1.0-no-beam": Version(
        "a module that the relup loads is missing in the tarball",
        lost={"rapp": "ebin/rapp_v2.beam", "mapp": "ebin/Elixir.Mapp.V2.beam"},
    ),
    "1.1.0-bad-config": Version("the configuration cannot be made unless DEMO_LIMIT is set (to a number)"),
    "1.1.0-crash": Version("the node ends DEMO_SOAK_MS (2000) after the upgrade, by the end of its application"),
    "1.1.0-unhealthy": Version("rapp_srv:ready(), Mapp.Server.ready(), is false after the upgrade"),
    "1.1.0-no-relup": Version("no relup", since=None),
    "1.1.0-up-only": Version("the relup has no way back", ways_back=False),
    "1.1.0-other-name": Version("the release has another name", since=None, release="other"),
}


def lineage(vsn: str) -> tuple[str, ...]:
    """The versions whose sources make this one, the first of all first."""
    on = VERSIONS[vsn].on
    return (*lineage(on), vsn) if on else (vsn,)
