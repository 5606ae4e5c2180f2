"""`relctl eval` and `relctl rpc`: have something evaluated in the running node."""

import sys
import time
from typing import Any, Final

from relctl.client import Client
from relctl.errors import CannotError, TimeUpError, UsageError
from relctl.render import clean, duration
from relctl.values import duration as duration_of
from relctl.verb import EXIT_DONE, Call, Parser, Verb

_PATIENCE: Final = 60.0
_MORE: Final = 5.0
"""Seconds beyond the node's that relctld is given to answer."""


def _timeout(parser: Parser) -> None:
    parser.add_argument(
        "--timeout", type=duration_of, metavar="D", default=_PATIENCE, help="how long the node may take (default 60s)"
    )


def _eval_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("text", nargs="?", metavar="EXPR", help="the expressions; - reads them from standard input")
    languages = parser.add_mutually_exclusive_group()
    languages.add_argument("--erlang", action="store_true", help="they are in Erlang")
    languages.add_argument("--elixir", action="store_true", help="they are in Elixir")
    _timeout(parser)


def _rpc_arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument("module", nargs="?", metavar="M", help="the module, of Elixir too: MyApp.Repo")
    parser.add_argument("function", nargs="?", metavar="F", help="the function")
    parser.add_argument("args", nargs="?", metavar="ARGS", default="[]", help="a list in Erlang's syntax (default [])")
    _timeout(parser)


def _eval(call: Call) -> int:
    options = call.options
    if options.text is None:
        raise UsageError("a release and an expression are needed", "relctl help eval")
    text = sys.stdin.read() if options.text == "-" else options.text
    language = "erlang" if options.erlang else "elixir" if options.elixir else "auto"
    return _ask(call, {"text": text, "language": language})


def _rpc(call: Call) -> int:
    options = call.options
    if options.function is None:
        raise UsageError("a release, a module and a function are needed", "relctl help rpc")
    return _ask(call, {"module": options.module, "function": options.function, "args": options.args})


def _ask(call: Call, what: dict[str, Any]) -> int:
    release, seconds = call.options.release, call.options.timeout
    call.names = [release]
    args = {"release": release, "timeout_s": seconds, **what}
    with Client(call.address()) as client:
        try:
            reply = client.ask(call.verb, args, deadline=time.monotonic() + seconds + _MORE)
        except TimeUpError:
            why = f"no reply within {duration(seconds + _MORE)}; it may still be at work in the node"
            raise CannotError("timeout", why) from None
    if call.out.json:
        call.out.object({"release": release, **reply})
        return EXIT_DONE if reply.get("ok") else 1
    value, output = str(reply.get("value", "")), str(reply.get("output", ""))
    call.out.lines([clean(line) for line in output.splitlines()])
    if not reply.get("ok"):
        return call.refuse(CannotError("failed", value))
    call.out.lines([clean(line) for line in value.splitlines()])
    return EXIT_DONE


_EVAL = """\
Evaluates in the running node, as erl_eval or Code.eval_string do, and prints what the
expressions print, then their value. What ends with a full stop is Erlang; all else is
Elixir where the release carries Elixir. An expression that fails gives exit code 1.
The text is kept in no log; that it was done, and by whom, is an event.

  relctl eval web 'erlang:memory(total).'
  relctl eval web 'Enum.count(Process.list())'"""

_RPC = """\
Calls a function in the running node and prints what it prints, then its value.

  relctl rpc web application which_applications
  relctl rpc web MyApp.Release migrate '[prod]'"""

VERBS = {
    "eval": Verb(
        "eval",
        "Evaluate an expression in the running node",
        "RELEASE EXPR [--erlang | --elixir] [--timeout D]",
        _EVAL,
        _eval_arguments,
        _eval,
    ),
    "rpc": Verb(
        "rpc",
        "Call a function in the running node",
        "RELEASE M F [ARGS] [--timeout D]",
        _RPC,
        _rpc_arguments,
        _rpc,
    ),
}
