"""What a verb is: words about it, its arguments, and one short function.

Rule 1: knows argparse and the pieces that every verb needs, no verb in particular.
"""

import argparse
import os
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

from relctl import address
from relctl.errors import CannotError, UsageError
from relctl.output import Output
from relctl.render import clean
from relctld.wire.messages import KIND_EXIT

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_NOT_GOOD: Final = 3

_WIDTH: Final = 80


class Parser(argparse.ArgumentParser):
    """argparse, except that a mistake is raised and not printed."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"relctl help {self.prog.partition(' ')[2]}")


class Call:
    """One run of a verb: its arguments, its output, and the address of the daemon."""

    def __init__(self, verb: str, options: argparse.Namespace, out: Output) -> None:
        self.verb = verb
        self.options: Any = options
        self.out = out
        self.names: list[str] = list(dict.fromkeys(getattr(options, "names", ())))

    def address(self) -> address.Address:
        """The socket to speak to."""
        return address.choose(self.options.socket, os.environ)

    def refuse(self, error: CannotError, subject: list[str] | None = None, **more: Any) -> int:
        """Say why it cannot be done, and `more` in JSON; the exit code."""
        problem = error.problem._replace(message=clean(error.problem.message), hint=clean(error.problem.hint))
        self.out.problem(self.verb, self.names if subject is None else subject, problem, **more)
        return KIND_EXIT.get(problem.kind, EXIT_FAILED)


class Verb(NamedTuple):
    """One verb. `usage`: what may follow it; `description`: paragraphs of help, wrapped by hand."""

    name: str
    summary: str
    usage: str
    description: str
    arguments: Callable[[Parser], None]
    action: Callable[[Call], int]


def parser_of(verb: Verb) -> Parser:
    """The parser of one verb; the options before a verb are allowed behind it too."""
    parser = Parser(
        prog=f"relctl {verb.name}",
        usage=_usage(verb),
        description=f"{verb.summary}.\n\n{verb.description}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument("--socket", metavar="PATH", help="the control socket of relctld")
    return parser


def _usage(verb: Verb) -> str:
    """In lines of 80 columns, each further one below the first argument."""
    name = f"relctl {verb.name} "
    lines, indent = [name], " " * len(f"usage: {name}")
    for word in re.findall(r"\[[^]]*\]\S*|\([^)]*\)|\S+", verb.usage):
        if len(lines[-1]) + len(word) > _WIDTH - len("usage: "):
            lines.append(indent)
        lines[-1] += f"{word} "
    return "\n".join(line.rstrip() for line in lines)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Of one width: argparse would import shutil at every start, only to ask the terminal."""
    return argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH)


def add_names(parser: Parser, help: str) -> None:
    """The releases that a verb is about."""
    parser.add_argument("names", nargs="*", metavar="RELEASE", default=[], help=help)


def need_names(call: Call) -> list[str]:
    """The releases named; raises UsageError where there is none."""
    if not call.names:
        raise UsageError("no release named", f"relctl help {call.verb}")
    return call.names
