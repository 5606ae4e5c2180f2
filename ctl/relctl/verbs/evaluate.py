"""`relctl eval` and `relctl rpc`: have something evaluated in the running node."""

import sys
import time
from typing import Any, Final

from relctl.client import Client
from relctl.errors import CannotError, TimeUpError, UsageError
from relctl.render import clean, duration
from relctl.values import duration as duration_of
from relctl.verb import EXIT_DONE, EXIT_FAILED, Call, Parser, Verb
from relctld.wire.messages import MOST_PATIENCE

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
    _need(call, release="no release named", text="no expression given")
    text = sys.stdin.read() if options.text == "-" else options.text
    if not text.strip():
        raise UsageError("the expression is empty", "relctl help eval")
    language = "erlang" if options.erlang else "elixir" if options.elixir else "auto"
    return _ask(call, {"text": text, "language": language})


def _rpc(call: Call) -> int:
    options = call.options
    _need(call, release="no release named", module="no module named", function="no function named")
    return _ask(call, {"module": options.module, "function": options.function, "args": options.args})


def _need(call: Call, **arguments: str) -> None:
    """Each argument, and what is to be said where it is missing; that the time is one that a node can be given."""
    options, help = call.options, f"relctl help {call.verb}"
    call.names = [options.release] if options.release else []
    for name, missing in arguments.items():
        if getattr(options, name) is None:
            raise UsageError(missing, help)
    if not 0 < options.timeout <= MOST_PATIENCE:
        raise UsageError(f"--timeout is more than nothing, and at most {duration(MOST_PATIENCE)}", help)


def _ask(call: Call, what: dict[str, Any]) -> int:
    release, seconds = call.options.release, call.options.timeout
    args = {"release": release, "timeout_s": seconds, **what}
    with Client(call.address()) as client:
        try:
            reply = client.ask(call.verb, args, deadline=time.monotonic() + seconds + _MORE)
        except TimeUpError:
            why = f"no reply within {duration(seconds + _MORE)}; it may still be at work in the node"
            raise CannotError("timeout", why) from None
    failed = None if reply.get("ok") else CannotError("failed", str(reply.get("value", "")), _advice(what))
    if call.out.json:
        error = {} if failed is None else {"error": failed.problem._asdict()}
        call.out.object({"release": release, "op": call.verb, **reply, **error})
        return EXIT_DONE if failed is None else EXIT_FAILED
    call.out.lines([clean(line) for line in str(reply.get("output", "")).splitlines()])
    if failed is not None:
        return call.refuse(failed)
    call.out.lines([clean(line) for line in str(reply.get("value", "")).splitlines()])
    return EXIT_DONE


def _advice(what: dict[str, Any]) -> str:
    """The next step after a failure, where one can be told."""
    args = str(what.get("args", "[]")).strip()
    return "" if args.startswith("[") else f"ARGS is a list in Erlang's syntax: '[{args}]'"


_EVAL = """\
Evaluates in the running node, as erl_eval or Code.eval_string do, and prints
what the expressions print, then their value. What ends with a full stop is
Erlang; all else is Elixir where the release carries Elixir. An expression that
fails gives exit code 1. The text is kept in no log; that it was done, and by
whom, is an event.

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
