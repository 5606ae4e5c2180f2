"""`relctl completion`: a script for a shell; and the list of names that such a script asks for."""

import re
import time
from typing import Final

from relctl.errors import CannotError, UsageError
from relctl.verb import EXIT_DONE, Call, Parser, Verb

SHELLS: Final = ("bash", "zsh", "fish")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a shell may be given: bash expands the words of a completion."""
PATIENCE: Final = 1.0
"""Seconds that somebody who pressed TAB may be kept waiting."""


def _arguments(parser: Parser) -> None:
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell")


def _completion(call: Call) -> int:
    from relctl import completion  # noqa: PLC0415 -- start-up: needs every verb, and __names none

    if call.options.shell is None:
        raise UsageError(f"say which shell: {', '.join(SHELLS)}", "relctl help completion")
    script = completion.script(call.options.shell)
    if call.out.json:
        call.out.object({"shell": call.options.shell, "script": script})
    else:
        call.out.line(script)
    return EXIT_DONE


def _no_arguments(_: Parser) -> None:
    """Nothing to say."""


def _names(call: Call) -> int:
    """The names of the releases; none where nobody answers: a shell that completes wants no errors."""
    from relctl.client import Client  # noqa: PLC0415 -- start-up: the scripts themselves need no daemon

    try:
        with Client(call.address()) as client:
            result = client.ask("status", {"names": []}, deadline=time.monotonic() + PATIENCE)
    except CannotError:
        return EXIT_DONE
    names = [str(release.get("name")) for release in result.get("releases", [])]
    call.out.lines(name for name in names if _NAME.fullmatch(name))
    return EXIT_DONE


_DESCRIPTION = """\
Prints a script that completes verbs, options and the names of releases. Load
it with

  bash  source <(relctl completion bash)
  zsh   source <(relctl completion zsh)
  fish  relctl completion fish | source"""

VERBS = {
    "completion": Verb(
        "completion",
        "Print a script for shell completion",
        "(bash | zsh | fish)",
        _DESCRIPTION,
        _arguments,
        _completion,
    ),
    "__names": Verb("__names", "List the releases", "", "One name a line.", _no_arguments, _names),
}
