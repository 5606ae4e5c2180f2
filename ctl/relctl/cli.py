"""relctl: from a command line to a verb, and from its end to an exit code.

Rule 1: only the verb asked for is imported: its start is its speed (DESIGN §8).
Rule 2: whatever happens, the operator gets one line that says what and why, or one JSON object, never a traceback
        for something foreseen.

Exit codes (CONTRACT): 0 done · 1 failed or not in time · 2 usage or config · 3 `status`: not running or not well ·
4 the daemon cannot be reached · 5 refused.
"""

import gc
import os
import signal
import sys
from argparse import Namespace
from importlib import import_module
from typing import Final, NamedTuple, NoReturn

from relctl.errors import CannotError, UsageError
from relctl.output import Output
from relctl.verb import Call, Verb, parser_of

VERBS: Final = {
    "status": "status",
    "top": "top",
    "start": "change",
    "stop": "change",
    "restart": "change",
    "versions": "upgrade",
    "upgrade": "upgrade",
    "downgrade": "upgrade",
    "deploy": "upgrade",
    "remove": "upgrade",
    "relup": "relup",
    "logs": "logs",
    "events": "events",
    "crashes": "crashes",
    "doctor": "doctor",
    "eval": "evaluate",
    "rpc": "evaluate",
    "remote": "remote",
    "reload": "reload",
    "daemon": "daemon",
    "completion": "completion",
    "__names": "completion",
}
"""Each verb and its module in `relctl.verbs`; one that begins with an underscore is for shells, and not listed."""

USAGE: Final = "relctl [--socket PATH] [--json] VERB ..."

OPTIONS: Final = """\
  --socket PATH  the control socket; else $RELCTL_SOCKET, else your own daemon's
                 where there is one, else /run/relctl/control.sock
  --json         print JSON, one object a line
  --version      print the version and exit
  -h, --help     print help and exit"""

EXIT_CODES: Final = """\
  0  done
  1  tried and failed, or not in time
  2  usage or config
  3  status: a release asked about is not running, or not well
  4  relctld cannot be reached: not running, wrong path or no permission
  5  refused: unknown release, busy, not permitted, not possible now"""


GO_ON: Final = ("remove", "doctor", "eval", "rpc", "reload", "daemon reexec", "daemon stop")
"""What relctld goes on with when nobody waits for its end."""


class Front(NamedTuple):
    """What stands before the verb, the verb, and what stands behind it."""

    socket: str | None
    special: str
    verb: str
    rest: list[str]


def main() -> NoReturn:
    """relctl as a process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on, it is told
    gc.set_threshold(100_000)  # what a start makes is kept to the end: looking through it finds nothing
    _open_what_is_closed()
    code = run(sys.argv[1:])  # what is written is flushed at each write
    os._exit(code)  # taking the interpreter down in good order would cost an eighth of `status`, for nobody


def _open_what_is_closed() -> None:
    """A standard stream that the caller closed leads nowhere; its number must not become that of a socket."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(nowhere)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 -- for as long as we live


def run(words: list[str]) -> int:
    """Run one command line; the exit code."""
    out = Output(json="--json" in words)
    call = Call("", Namespace(), out)
    try:
        front = split(words)
        if front.special:
            return _special(front.special, out)
        call = Call(front.verb, Namespace(), out)
        if front.verb == "help":
            return _help(next((word for word in front.rest if not word.startswith("-")), ""), out)
        verb = load(front.verb)
        if {"-h", "--help"} & set(front.rest):
            return _help(front.verb, out)
        call = Call(front.verb, parse(verb, front), out)
        return verb.action(call)
    except CannotError as error:
        return call.refuse(error)
    except KeyboardInterrupt:
        return call.refuse(CannotError("timeout", "interrupted" + _fate(call)))
    finally:
        out.progress("")


def _fate(call: Call) -> str:
    """What becomes of what was asked for; start, upgrade and the like know more, and say it themselves."""
    return "; what relctld has begun goes on" if call.verb in GO_ON else ""


def split(words: list[str]) -> Front:
    """Take a command line apart at its verb; raises UsageError."""
    socket: str | None = None
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        if option in ("-h", "--help", "--version") and not equals:
            return Front(socket, option, "", [])
        if option == "--socket":
            if not equals and not rest:
                raise UsageError("--socket needs a path", "relctl help")
            socket = value if equals else rest.pop(0)
        elif option != "--json" or equals:
            raise UsageError(f"unknown option {option}", "relctl help")
    if not rest:
        raise UsageError("no verb given", "relctl help lists the verbs")
    return Front(socket, "", rest[0], rest[1:])


def load(name: str) -> Verb:
    """The verb of this name; raises UsageError, with the nearest one."""
    if name not in VERBS:
        raise UsageError("there is no such verb", _nearest(name, listed()) or "relctl help lists the verbs")
    verb: Verb = import_module(f"relctl.verbs.{VERBS[name]}").VERBS[name]
    return verb


def listed() -> list[str]:
    """The names of the verbs that people use."""
    return [name for name in VERBS if not name.startswith("_")]


def parse(verb: Verb, front: Front) -> Namespace:
    """What stands behind the verb; raises UsageError."""
    parser = parser_of(verb)
    parser.set_defaults(socket=front.socket)
    options, unknown = parser.parse_known_intermixed_args(front.rest)
    if unknown:
        word = unknown[0].partition("=")[0]
        if not word.startswith("-"):
            raise UsageError(f"unexpected argument {unknown[0]}", f"relctl help {verb.name}")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise UsageError(f"unknown option {word}", _nearest(word, flags) or f"relctl help {verb.name}")
    return options


def help_text() -> str:
    """What `relctl help` prints."""
    verbs = "\n".join(f"  {name:<12}{load(name).summary}" for name in listed())
    return (
        f"usage: {USAGE}\n\n"
        "Speaks to relctld, which keeps this host's Erlang and Elixir releases running.\n\n"
        f"verbs:\n{verbs}\n\noptions:\n{OPTIONS}\n\nexit codes:\n{EXIT_CODES}\n\n"
        "`relctl help VERB` tells more of one verb."
    )


def _help(topic: str, out: Output) -> int:
    text = parser_of(load(topic)).format_help().rstrip() if topic else help_text()
    if out.json:
        out.object({"verb": topic or None, "help": text})
    else:
        out.line(text)
    return 0


def _special(option: str, out: Output) -> int:
    if option != "--version":
        return _help("", out)
    from importlib.metadata import version  # noqa: PLC0415 -- start-up: costs as much as the rest of us

    if out.json:
        out.object({"version": version("relctl")})
    else:
        out.line(f"relctl {version('relctl')}")
    return 0


def _nearest(word: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415 -- start-up: needed for mistakes only

    bare = {name.lstrip("-"): name for name in known}
    near = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.65)
    return f"did you mean {bare[near[0]]}?" if near else ""
