"""`relctl upgrade`, `downgrade`, `versions`: another version into a node that runs, and which there are."""

import os
import time
from typing import Any

from relctl.client import Client
from relctl.errors import TimeUpError, UsageError
from relctl.plan import plan_lines, version_lines
from relctl.render import Object, clean, duration
from relctl.values import duration as duration_of
from relctl.verb import EXIT_DONE, Call, Parser, Verb


def _upgrade_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("what", nargs="?", metavar="VERSION|TARBALL", help="an installed version, or a tarball's path")
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
    if options.what is not None:
        is_path = call.verb == "upgrade" and (os.sep in options.what or options.what.endswith((".tar.gz", ".tgz")))
        args |= {"tarball": os.path.abspath(options.what)} if is_path else {"version": options.what}
    if options.soak is not None:
        args["soak_s"] = options.soak
    if getattr(options, "sha256", None) is not None:
        args["sha256"] = options.sha256
    progress = _Progress(call)
    with Client(call.address()) as client:
        try:
            result = client.ask(call.verb, args, on_progress=progress.hear, tick=progress.tick)
        except KeyboardInterrupt:
            raise TimeUpError(accepted=True) from None
    _show(call, result, progress)
    return EXIT_DONE


class _Progress:
    """Shows the plan once, then the phase it is in."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._began = time.monotonic()
        self._phase = "waiting"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def hear(self, word: Object) -> None:
        """A word of the daemon on the way."""
        if isinstance(plan := word.get("plan"), dict) and not self._call.out.json:
            self._call.out.lines(plan_lines(self._call.names[0], plan))
        elif "phase" in word:
            self._say(clean(word["phase"]), clean(word.get("why") or ""))
        elif word.get("step") == "reading" and word.get("of"):
            self._phase = f"reading the tarball, {100 * int(word.get('bytes', 0)) // int(word['of'])} %"
        elif "step" in word:
            self._phase = clean(word["step"])

    def _say(self, phase: str, why: str) -> None:
        """Each phase is a line of its own; why it goes back, once."""
        said = f"{phase}: {why}" if why else phase
        if said != self._phase and not self._call.out.json:
            self._call.out.note(f"{self._call.names[0]}: {said}")
        self._phase = said

    def tick(self) -> None:
        """Show the line of progress."""
        self._call.out.progress(f"{self._call.verb}: {self._phase}, {self.seconds:.0f} s")


def _show(call: Call, result: Object, progress: _Progress) -> None:
    if call.out.json:
        call.out.object({"seconds": round(progress.seconds, 3), **result})
        return
    name = call.names[0]
    if isinstance(plan := result.get("plan"), dict):
        call.out.lines(plan_lines(name, plan))
    elif not result.get("changed"):
        call.out.line(f"{name}: {clean(call.options.what or 'it')} runs already")
    elif result.get("accepted"):
        call.out.line(f"{name}: {clean(result.get('from'))} to {clean(result.get('to'))} is under way")
    else:
        seconds = duration(result.get("seconds"))
        call.out.line(f"{name}: {clean(result.get('to'))} is permanent, it was {clean(result.get('from'))} ({seconds})")


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
A hot upgrade: the node goes on while its code is changed, as its relup says. Before
anything is touched the tarball is judged, and the plan shown. Then it is unpacked, its
configuration evaluated, installed in the node, verified, and watched for a while
(`upgrade.soak`); only then will a boot bring it. Whatever fails, the version before
runs on, and nothing of the attempt is left.

Returns when it has ended, one way or the other. Ctrl-C ends the waiting only; an
upgrade goes on without its operator, and without relctld, whose successor takes it up.
An upgrade to the version that runs changes nothing and is no error."""

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
        "RELEASE (VERSION | TARBALL) [--plan] [--soak D] [--sha256 HEX] [--no-wait]",
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
    "versions": Verb(
        "versions",
        "Show which versions of a release there are",
        "RELEASE",
        _VERSIONS_TEXT,
        _versions_arguments,
        _versions,
    ),
}
