"""`relctl crashes`: the crash dumps kept of a release, and the head of one."""

from relctl.client import Client
from relctl.errors import UsageError
from relctl.render import clean, crash_lines, fields
from relctl.values import number
from relctl.verb import EXIT_DONE, Call, Parser, Verb


def _arguments(parser: Parser) -> None:
    parser.add_argument("release", nargs="?", metavar="RELEASE", help="the release")
    parser.add_argument(
        "n", nargs="?", metavar="N", type=number, help="show this one of the list, with the head of its dump"
    )


def _crashes(call: Call) -> int:
    release, n = call.options.release, call.options.n
    if release is None:
        raise UsageError("no release named", "relctl help crashes")
    call.names = [release]
    with Client(call.address()) as client:
        result = client.ask("crashes", {"release": release} | ({} if n is None else {"n": n}))
    if n is not None:
        _show_one(call, result)
    elif call.out.json:
        for crash in result.get("crashes", []):
            call.out.object({"release": release, **crash})
    else:
        crashes = result.get("crashes", [])
        call.out.lines(crash_lines(crashes) if crashes else [f"{release}: no crash dumps are kept"])
    return EXIT_DONE


def _show_one(call: Call, result: dict[str, object]) -> None:
    crash, head = result.get("crash"), str(result.get("head") or "")
    facts = crash if isinstance(crash, dict) else {}
    if call.out.json:
        call.out.object({"release": call.names[0], **facts, "head": head})
    else:
        call.out.lines([*fields(facts), "", *(clean(line) for line in head.splitlines())])


_DESCRIPTION = """\
The crash dumps that were kept, newest first, with the slogan that the VM gave
as its last word. With a number, one of them and the head of its dump."""

VERBS = {
    "crashes": Verb(
        "crashes",
        "Show the crash dumps kept of a release",
        "RELEASE [N]",
        _DESCRIPTION,
        _arguments,
        _crashes,
    )
}
