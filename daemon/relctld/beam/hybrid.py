"""The release that a new emulator boots first: the old applications on the new ERTS, kernel, stdlib and sasl.

release_handler knows it by its name, and then goes on with a relup that begins with restart_new_emulator. It finds
what it needs where RELDIR says, not in the tree:

    RELDIR/RELEASES                            the candidate is `permanent` in it, so what is installed follows that
           TARGET/relup                        one way, from the origin, without the restart at its end
                  start.boot, sys.config       of the target
           __new_emulator__ORIGIN/start.boot, sys.config

OTP has `tmp_current` there, and the hybrid's name in its boot script too: then release_handler writes RELEASES, in
place, whenever it starts in that VM. The hybrid's boot script is called as the origin's is.

Source: OTP's release_handler (tmp_vsn, transform_release, get_rh_script), init (the first -boot is taken).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from relctld.beam.package.releases import entry_of, render_releases
from relctld.beam.package.relfile import Rel
from relctld.beam.package.relup import BASE, Script, before_restart
from relctld.beam.term.terms import Term
from relctld.beam.term.written import written_file
from relctld.core.spec import Flavour

PREFIX = "__new_emulator__"
RELDIR = "RELDIR"
_FLAGS = "ERL_AFLAGS"
_CONFIG = {Flavour.RELX: "RELX_CONFIG_PATH", Flavour.MIX: "RELEASE_SYS_CONFIG"}


def hybrid_of(version: str) -> str:
    """The name of the hybrid that follows a version."""
    return PREFIX + version


def shown(version: str) -> str:
    """A version that runs, as operators know it: the applications of a hybrid are still those of the origin."""
    return version.removeprefix(PREFIX)


def hybrid_rel(before: Rel, after: Rel) -> Rel:
    """Its applications."""
    base = {name: after.applications[name] for name in BASE}
    rest = {name: version for name, version in before.applications.items() if name not in BASE}
    return Rel(before.name, hybrid_of(before.version), after.erts, {**base, **rest}, before.types)


def releases(root: Path, before: Rel, after: Rel, candidate: str) -> bytes:
    """RELEASES for the VM of a candidate, or for that of the origin where there is none."""
    statuses = {before.version: "old" if candidate else "permanent", after.version: "unpacked"}
    if candidate:
        statuses[candidate] = "permanent"
    known = [before, after] + ([hybrid_rel(before, after)] if candidate == hybrid_of(before.version) else [])
    return render_releases(entry_of(rel, str(root), statuses[rel.version]) for rel in known)


def relup_of(script: Script, origin: str) -> bytes:
    """The relup that release_handler carries out: the restart at its end is ours."""
    instructions: Term = list(before_restart(script))
    ups: Term = [(_string(origin), [], instructions)]
    return written_file([(_string(script.to), ups, [])])


def environment(flavour: Flavour, folder: Path, hybrid: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the VM of a candidate gets beside its own; `folder` is what RELDIR shall name, `hybrid` the one to boot."""
    found = {RELDIR: str(folder)}
    if hybrid and flavour is not Flavour.PLAIN:
        boot, config = _files(folder, hybrid)
        found[_FLAGS] = f"-boot {boot} {env.get(_FLAGS, '')}".rstrip()
        found[_CONFIG[flavour]] = str(config if flavour is Flavour.RELX else config.with_suffix(""))
    return found


def command(flavour: Flavour, folder: Path, hybrid: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """That of a plain release, which has no script that takes these from its environment."""
    if flavour is not Flavour.PLAIN or not hybrid:
        return argv
    boot, config = _files(folder, hybrid)
    given = {"-boot": str(boot), "-config": str(config.with_suffix(""))}
    return tuple(given.get(before, word) for before, word in zip(("", *argv), argv, strict=False))


def restored(flavour: Flavour, env: Mapping[str, str]) -> dict[str, str | None]:
    """What a launch by the files sets of that which `environment` sets for a hybrid; None: it does not."""
    names = (_FLAGS, _CONFIG[flavour]) if flavour in _CONFIG else ()
    return {name: env.get(name) for name in names}


def _files(folder: Path, hybrid: str) -> tuple[Path, Path]:
    return folder / hybrid / "start", folder / hybrid / "sys.config"


def _string(text: str) -> Term:
    return [ord(char) for char in text]
