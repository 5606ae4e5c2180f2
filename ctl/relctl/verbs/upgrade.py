"""`relctl upgrade`, `downgrade`, `versions`: another version into a node that runs, and which there are."""

import os
from typing import Any

from relctl.address import absolute
from relctl.client import Client
from relctl.errors import CannotError, UsageError
from relctl.phases import Phases
from relctl.plan import configuration_lines, plan_lines, version_lines
from relctl.render import Object, clean, duration, plural
from relctl.values import duration as duration_of
from relctl.verb import EXIT_DONE, Call, Parser, Verb
from relctld.wire.messages import MOST_SOAK


def _upgrade_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("what", nargs="?", metavar="VERSION|TARBALL", help="an installed version, or a tarball's path")
    parser.add_argument("--sha256", metavar="HEX", help="refuse a tarball with another checksum")
    parser.add_argument("--allow-restart", action="store_true", help="restart it where no relup leads there")
    _common(parser)


def _deploy_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("what", nargs="?", metavar="TARBALL", help="a tarball's path")
    parser.add_argument("--sha256", metavar="HEX", help="refuse a tarball with another checksum")
    _common(parser)


def _downgrade_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("what", nargs="?", metavar="VERSION", help="an installed version; else the one before")
    _common(parser)


def _common(parser: Parser) -> None:
    parser.add_argument("--plan", action="store_true", help="only show what would happen")
    parser.add_argument("--soak", type=duration_of, metavar="D", help="how long it must be well to become permanent")
    parser.add_argument("--no-wait", action="store_true", help="return when it has begun, not when it has ended")


def _upgrade(call: Call) -> int:
    options = call.options
    if options.release is None:
        raise UsageError("no release named", f"relctl help {call.verb}")
    call.names = [options.release]
    if call.verb == "upgrade" and options.what is None:
        raise UsageError("no version and no tarball named", f"relctl versions {options.release} lists the versions")
    args: dict[str, Any] = {"release": options.release, "plan": options.plan, "wait": not options.no_wait}
    if call.verb == "deploy" and options.what is None:
        raise UsageError("no tarball named", "relctl help deploy")
    if getattr(options, "allow_restart", False):
        args["allow_restart"] = True
    if options.what is not None:
        is_path = call.verb == "deploy" or (
            call.verb == "upgrade" and (os.sep in options.what or options.what.endswith((".tar.gz", ".tgz")))
        )
        args |= {"tarball": absolute(options.what)} if is_path else {"version": options.what}
    if options.soak is not None:
        if options.soak > MOST_SOAK:
            raise UsageError(f"--soak is at most {duration(MOST_SOAK)}", f"relctl help {call.verb}")
        args["soak_s"] = options.soak
    if getattr(options, "sha256", None) is not None:
        args["sha256"] = options.sha256
    result = _asked(call, args)
    _show(call, result)
    return EXIT_DONE


def _asked(call: Call, args: dict[str, Any]) -> Object:
    """The daemon's reply; what it says on the way is shown."""
    phases, out = Phases(call.verb, call.out), call.out

    def hear(word: Object) -> None:
        if isinstance(plan := word.get("plan"), dict) and not out.json:
            out.lines(plan_lines(call.names[0], plan, out.width(), brief=True))
        if not out.json:
            out.lines(configuration_lines(word, out.width()))
        phases.hear(word)

    with Client(call.address()) as client:
        try:
            result = client.ask(call.verb, args, on_progress=hear, tick=phases.tick)
        except KeyboardInterrupt:
            raise _interrupted(call, phases) from None
    if not result.get("accepted"):
        phases.end()
    return {**result, "seconds": result.get("seconds", round(phases.seconds, 3))}


def _interrupted(call: Call, phases: Phases) -> CannotError:
    """Ctrl-C ends the waiting only."""
    if call.options.plan:
        fate = "nothing was changed"
    elif phases.now:
        fate = f"it goes on: {phases.doing}"
    else:
        fate = "it goes on" if phases.heard else "relctld has not said yet that it heard of it"
    hint = "" if call.options.plan else f"relctl status {call.names[0]}"
    return CannotError("timeout", f"interrupted after {duration(phases.seconds)}, {fate}", hint)


def _show(call: Call, result: Object) -> None:
    if call.out.json:
        call.out.object(result)
        return
    name, out = call.names[0], call.out
    if isinstance(plan := result.get("plan"), dict):
        out.lines(plan_lines(name, plan, out.width()))
    elif not result.get("changed") and call.verb == "deploy":
        out.line(f"{name}: {clean(os.path.basename(call.options.what))} is deployed already")
    elif not result.get("changed"):
        out.line(f"{name}: {clean(call.options.what or 'it')} runs already")
    elif result.get("accepted"):
        out.line(f"{name}: {_way(result)} is under way")
    else:
        by_restart = result.get("way") == "restart" and call.verb != "deploy"
        done = out.paint(_DONE[call.verb], "green")
        way = f"{_way(result)}{', by a restart' if by_restart else ''}"
        dark = f", nothing was served for {duration(result['outage_s'])}" if result.get("outage_s") else ""
        out.line(f"{name}: {done} {way} ({duration(result.get('seconds'))}{dark})")


_DONE = {"upgrade": "upgraded", "downgrade": "downgraded", "deploy": "deployed"}


def _way(result: Object) -> str:
    before, after = result.get("from"), clean(result.get("to"))
    return f"{clean(before)} to {after}" if before and before != result.get("to") else after


def _remove_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("version", nargs="?", metavar="VERSION", help="an installed version")


def _remove(call: Call) -> int:
    release, version = call.options.release, call.options.version
    if release is None:
        raise UsageError("no release named", "relctl help remove")
    call.names = [release]
    if version is None:
        raise UsageError("no version named", f"relctl versions {release} lists the versions")
    with Client(call.address()) as client:
        result = client.ask("remove", {"release": release, "version": version})
    if call.out.json:
        call.out.object(result)
    else:
        gone = plural(len(result.get("removed", [])), "path")
        call.out.line(f"{release}: {call.out.paint('removed', 'green')} {clean(version)} ({gone})")
    return EXIT_DONE


def _versions(call: Call) -> int:
    release = call.options.release
    if release is None:
        raise UsageError("no release named", "relctl help versions")
    call.names = [release]
    with Client(call.address()) as client:
        result = client.ask("versions", {"release": release})
    if call.out.json:
        for version in result.get("versions", []):
            call.out.object({"release": release, **version})
    else:
        call.out.lines(version_lines(result.get("versions", [])))
        if result.get("releases_error"):
            call.out.note(f"warning: {clean(result['releases_error'])}; an upgrade mends that")
    return EXIT_DONE


def _versions_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")


_UPGRADE = """\
A hot upgrade: the node goes on while its code is changed, as its relup says.
Before anything is touched the tarball is judged, and the plan shown. Then it
is unpacked, its configuration evaluated, installed in the node, verified, and
watched for a while (`upgrade.soak`); only then will a boot bring it. Whatever
fails, the version before runs on, and nothing of the attempt is left.

What has a / in it, or ends in .tar.gz or .tgz, is a tarball's path; all else
is the version of one that is installed.

Returns when it has ended, one way or the other. Ctrl-C ends the waiting only;
an upgrade goes on without its operator, and without relctld, whose successor
takes it up. An upgrade to the version that runs changes nothing and is no
error.

A relup may restart the emulator, for another ERTS, kernel or stdlib. Then the
plan says so, and the reply for how long nothing was served; all else is as
ever.

Where no relup leads from the version that runs, or it cannot be used, or no
node runs, --allow-restart (or `upgrade.allow_restart`) does what
`relctl deploy` would."""

_DEPLOY = """\
The first install of a release, and the switch to another version by a restart:
for what has no relup, and for Ansible, Chef and others that call the same
again and again. The same tarball again changes nothing, and says so.

Judged as an upgrade is, before anything is touched; unpacked beside what is
there; the configuration that operators keep in the tree stays. Then the VM
ends and one of the new version is started, though no file selects that yet.
When it is ready, verified, and was well for a while (`upgrade.soak`), all
files that choose a version choose it. Whatever fails, the version before is
started again, and nothing of the attempt is left; where there was none,
nothing is installed. What an operator stopped stays stopped.

A tree that is damaged is mended by the tarball that it was made of."""

_REMOVE = """\
Deletes a version with all that belongs to it alone: never a library or an ERTS
that another version has in common with it, never what runs or what a boot
would bring. `upgrade.keep_versions` does the same by itself after each upgrade
and deployment."""

_DOWNGRADE = """\
The same transaction downwards: to an installed version, or to the one that was
permanent before. The relup of the running version must have a way down."""

_VERSIONS_TEXT = """\
The versions on disk with the status that release_handler gives them: permanent,
current (runs, but a boot would not bring it), old, unpacked."""

VERBS = {
    "upgrade": Verb(
        "upgrade",
        "Upgrade a running release without stopping it",
        "RELEASE (VERSION | TARBALL) [--plan] [--soak D] [--sha256 HEX] [--allow-restart] [--no-wait]",
        _UPGRADE,
        _upgrade_arguments,
        _upgrade,
    ),
    "downgrade": Verb(
        "downgrade",
        "Bring an older version back without a stop",
        "RELEASE [VERSION] [--plan] [--soak D] [--no-wait]",
        _DOWNGRADE,
        _downgrade_arguments,
        _upgrade,
    ),
    "deploy": Verb(
        "deploy",
        "Install a release, or switch it by a restart",
        "RELEASE TARBALL [--plan] [--soak D] [--sha256 HEX] [--no-wait]",
        _DEPLOY,
        _deploy_arguments,
        _upgrade,
    ),
    "remove": Verb(
        "remove",
        "Delete a version that is not needed",
        "RELEASE VERSION",
        _REMOVE,
        _remove_arguments,
        _remove,
    ),
    "versions": Verb(
        "versions",
        "Show which versions of a release there are",
        "RELEASE",
        _VERSIONS_TEXT,
        _versions_arguments,
        _versions,
    ),
}
