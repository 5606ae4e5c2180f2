"""`relctl doctor`: what is wrong, or will be, each with its mend; `--fix` mends what is safe."""

import textwrap
from typing import Final

from relctl.client import Client
from relctl.output import Output
from relctl.render import Object, clean, plural
from relctl.verb import EXIT_DONE, EXIT_FAILED, Call, Parser, Verb, add_names

_COLOURS: Final = {"error": "red", "warning": "yellow", "note": "dim"}


def _arguments(parser: Parser) -> None:
    add_names(parser, "the releases to look at; where none is named, all of them and the host")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended safely, and say what was done")


def _doctor(call: Call) -> int:
    with Client(call.address()) as client:
        result = client.ask("doctor-fix" if call.options.fix else "doctor", {"names": call.names})
    findings = [each for each in result.get("findings", []) if isinstance(each, dict)]
    if call.out.json:
        for each in findings:
            call.out.object(each)
    else:
        call.out.lines(_lines(call.out, findings, fix=call.options.fix))
    return EXIT_FAILED if any(map(_matters, findings)) else EXIT_DONE


def _matters(finding: Object) -> bool:
    return finding.get("severity") != "note" and finding.get("fixed") is not True


def _lines(out: Output, findings: list[Object], *, fix: bool) -> list[str]:
    lines: list[str] = []
    for finding in findings:
        severity = clean(finding.get("severity", "error"))
        about = " ".join(clean(part) for part in (finding.get("release"), finding.get("finding")) if part)
        head = f"{severity:<8} {about}: {clean(finding.get('detail', ''))}"
        folded = _folded(head, out.width())
        lines.append(out.paint(severity, _COLOURS.get(severity, "red")) + folded[0][len(severity) :])
        lines += folded[1:] + _folded(f"{'':<8} → {_then(finding)}", out.width())
    return [*lines, _summary(findings, fix=fix)]


def _then(finding: Object) -> str:
    """What to do, or what was done."""
    if finding.get("fixed") is True:
        return f"mended: {clean(finding.get('did', ''))}"
    if "fixed" in finding:
        return f"could not be mended: {clean(finding.get('error', ''))}; {clean(finding.get('mend', ''))}"
    return clean(finding.get("mend", ""))


def _folded(line: str, width: int | None) -> list[str]:
    if width is None:
        return [line]
    wide = max(40, width)
    return textwrap.wrap(line, wide, subsequent_indent=" " * 9, break_on_hyphens=False) or [""]


def _summary(findings: list[Object], *, fix: bool) -> str:
    if not findings:
        return "nothing to find fault with"
    counts = ((kind, sum(each.get("severity") == kind for each in findings)) for kind in _COLOURS)
    told = ", ".join(plural(count, kind) for kind, count in counts if count)
    if fix:
        return f"{told}; {sum(each.get('fixed') is True for each in findings)} mended"
    fixable = sum(each.get("fixable") is True for each in findings)
    return f"{told}; --fix would mend {fixable}" if fixable else told


_DESCRIPTION = """\
Looks at the releases, their trees, nodes and logs, at the disks, epmd, the
config and relctld itself, and says what is wrong or will be, the worst first,
each with its mend. Nothing is changed without --fix, which mends what is safe
and nothing else; while an upgrade of a release is under way, its tree is left
alone.

Exit code 1 says that an error or a warning is left. docs/doctor.md tells what
each finding means."""

VERBS = {
    "doctor": Verb(
        "doctor",
        "Find what is wrong, or will be, and mend it",
        "[RELEASE...] [--fix]",
        _DESCRIPTION,
        _arguments,
        _doctor,
    )
}
