"""`relctl relup`: the appups and the relup between two builds, made here, without a daemon and without Erlang.

Rule: all that knows Erlang is relctld's; it is asked in a process of its own (`python -m relctld.relup`).
"""

import json
import os
import subprocess
import sys
from typing import Any, Final

from relctl.address import absolute
from relctl.errors import CannotError, UsageError
from relctl.plan import relup_lines
from relctl.render import Object, clean
from relctl.verb import EXIT_DONE, Call, Parser, Verb

INSTRUCTIONS: Final = ("add", "delete", "load", "soft", "update", "supervisor")


def _arguments(parser: Parser) -> None:
    parser.add_argument("old", nargs="?", metavar="OLD", help="the build to come from: a release's root, or a tarball")
    parser.add_argument("new", nargs="?", metavar="NEW", help="the build to lead to; a root gets the files itself")
    parser.add_argument("-o", dest="out", metavar="TARBALL", help="write NEW, a tarball, with the files in it")
    parser.add_argument("--dir", metavar="DIR", help="write only the files, below this directory")
    parser.add_argument("--plan", action="store_true", help="only show what would be written and what it would do")
    parser.add_argument("--from", dest="before", metavar="VSN", help="which version of OLD, where it holds several")
    parser.add_argument("--to", dest="after", metavar="VSN", help="which version of NEW, where it holds several")
    parser.add_argument(
        "--as",
        dest="changes",
        action="append",
        default=[],
        metavar="MODULE=INSTRUCTION",
        help="you decide about this module: load, soft, update, supervisor, add or delete",
    )
    parser.add_argument(
        "--restart", action="append", default=[], metavar="APP", help="restart this application with its new code"
    )
    parser.add_argument("--up-only", action="store_true", help="make no way back, and ask for none")
    parser.add_argument(
        "--force", action="store_true", help="replace a relup that is there, and an appup that does not lead from OLD"
    )


def _relup(call: Call) -> int:
    options = call.options
    if options.old is None or options.new is None:
        raise UsageError("name two builds: OLD and NEW", "relctl help relup")
    reply = _made(_question(options))
    if not reply.get("ok"):
        return _refused(call, reply)
    if call.out.json:
        call.out.object({"op": "relup", **reply})
        return EXIT_DONE
    call.out.lines(relup_lines(reply, call.out.width()))
    if not options.plan:
        written = [clean(path) for path in reply.get("written", [])]
        call.out.lines([f"wrote {path}" for path in written] or ["written already"])
    return EXIT_DONE


def _question(options: Any) -> Object:
    is_tree = os.path.isdir(options.new)
    if options.out is not None and (is_tree or options.dir is not None):
        raise UsageError("-o writes a tarball from a tarball, without --dir", "relctl help relup")
    if not os.path.exists(options.new):
        raise UsageError(f"there is no {options.new}", "relctl help relup")
    if not (is_tree or options.out or options.dir or options.plan):
        raise UsageError(f"{options.new} is a tarball: say where to write", f"-o {os.path.basename(options.new)}")
    return {
        "old": absolute(options.old),
        "new": absolute(options.new),
        "from": options.before or "",
        "to": options.after or "",
        "out": options.out and absolute(options.out),
        "dir": options.dir and absolute(options.dir),
        "as": dict(map(_change, options.changes)),
        "restart": options.restart,
        "force": options.force,
        "up_only": options.up_only,
        "plan": options.plan,
    }


def _change(text: str) -> tuple[str, str]:
    module, equals, instruction = text.rpartition("=")
    if not equals or instruction not in INSTRUCTIONS:
        raise UsageError(f"--as {text}: not MODULE=INSTRUCTION", f"an instruction is {', '.join(INSTRUCTIONS)}")
    return module, instruction


def _made(question: Object) -> Object:
    """What the process of relctld's answers."""
    command = [sys.executable, "-P", "-m", "relctld.relup"]  # -P: nothing of the directory that it runs in
    done = subprocess.run(command, input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise CannotError("failed", f"{' '.join(command[1:])} ended {done.returncode} without an answer") from None


def _refused(call: Call, reply: Object) -> int:
    error, doubts = reply["error"], reply.get("doubts", [])
    if len(doubts) > 1 and not call.out.json:
        for doubt in doubts:
            call.out.note(clean(f"{doubt['application']}: {doubt['module']}: {doubt['why']}"))
    more = {"doubts": doubts} if doubts else {}
    return call.refuse(CannotError(error["kind"], error["message"], error["hint"]), **more)


_DESCRIPTION = """\
Writes what a hot upgrade from OLD to NEW needs: an appup for each application
that changed and has none, and the relup, upwards and back. Each build is the
root of a release or its tarball. It runs anywhere: no daemon, no Erlang,
nothing is started.

An appup that is there is used as it stands. For all other applications the
compiled modules are compared: processes are suspended and their state brought
along by code_change, supervisors read their children anew, other modules are
loaded, each behind what it calls. What the modules do not tell (native code,
another state without a code_change, another behaviour, children that come or
go) is refused, with the reason; then write an appup, or decide with --as or
--restart.

docs/relup.md has the rules."""

VERBS = {
    "relup": Verb(
        "relup",
        "Write appups and a relup for two builds",
        "OLD NEW [-o TARBALL | --dir DIR | --plan] [--as MODULE=INSTRUCTION]... [--restart APP]... "
        "[--up-only] [--force]",
        _DESCRIPTION,
        _arguments,
        _relup,
    ),
}
