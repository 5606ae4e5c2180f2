"""What operators have evaluated in a node: expressions in Erlang or Elixir, and calls of functions.

Rule 1: the node parses, evaluates and prints; what comes here is text, cut in the node to what a reply can hold.
Rule 2: on a link of its own: whatever an expression does to it, the link that watches the node's life stands.
Rule 3: what an expression prints is captured; what it spawned may print on, into the release's log.

    erl_scan:string → erl_parse:parse_exprs → erl_eval:exprs, around them io_lib:format("~tp", …)
    Code.string_to_quoted → Code.eval_quoted, around it Kernel.inspect

The expressions are put into a function, so that their variables stay in the node.
"""

import contextlib
from dataclasses import dataclass
from typing import Final

from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkBusy, LinkLost
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Atom, Term
from relctld.core.probes import Verdict
from relctld.supervisor.nodes.watch import NodeWatch
from relctld.supervisor.nodes.whereabouts import Nowhere

MAX_FRAME: Final = 1 << 20
MAX_SHOWN: Final = 100_000
"""Characters of a value; of what was printed, bytes."""

_ASKING: Final = "relctld-eval"
_PARSE_WITHIN: Final = 10.0
_LINE = 1
_FULL_STOP: Final[Term] = (Atom("dot"), _LINE)  # which may be left out
_ELIXIR = Atom("Elixir.Kernel")


class TalkError(Exception):
    """The node could not be asked; the text says why. `hint`: what may help; `kind`: of the error that is replied."""

    def __init__(self, why: str, hint: str = "", kind: str = "failed") -> None:
        super().__init__(why)
        self.hint = hint
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Said:
    """What came of it: what was printed, and the value as text, or the error (`ok` is False)."""

    ok: bool
    value: str
    output: str


class _Failed(Exception):  # noqa: N818
    """The expression is wrong, or failed; the text is for people."""


async def evaluate(watch: NodeWatch, expression: str, language: str, timeout: float) -> Said:
    """Evaluate in the node; `language` is erlang, elixir or auto. Raises TalkError."""
    try:
        link = await watch.second_link(_ASKING, MAX_FRAME)
        maybe = language == "elixir" or (language == "auto" and not _is_erlang(expression))
        if maybe and await _has_elixir(link):
            return await _in_elixir(link, expression, timeout)
        if language == "elixir":
            raise TalkError("the release carries no Elixir", "say it in Erlang: --erlang")
        return await _in_erlang(link, expression, timeout)
    except Nowhere as nowhere:
        kind = "impossible" if nowhere.finding.verdict is Verdict.NO_LINK else "failed"
        raise TalkError(nowhere.finding.detail, kind=kind) from nowhere
    except CallTimeout as error:
        why = f"no answer within {timeout:g} s; it may still be at work in the node"
        raise TalkError(why, "give it longer: --timeout", "timeout") from error
    except (LinkRefused, LinkLost, LinkBusy, CallFailed) as error:
        raise TalkError(str(error)) from error


def application(module: str, function: str, arguments: str) -> str:
    """The Erlang expression that calls a function; `arguments` is a list in Erlang's syntax."""
    elixir = module[:1].isupper() and not module.startswith("Elixir.")
    name = f"Elixir.{module}" if elixir else module
    return f"erlang:apply({_quoted(name)}, {_quoted(function)}, {arguments.strip().removesuffix('.')})."


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_erlang(expression: str) -> bool:
    """Erlang's expressions end with a full stop, Elixir's never do."""
    return expression.rstrip().endswith(".")


async def _has_elixir(link: Link) -> bool:
    loaded = await link.call("code", "ensure_loaded", [Atom("Elixir.Code")], timeout=_PARSE_WITHIN)
    return isinstance(loaded, tuple) and loaded[0] == "module"


async def _in_erlang(link: Link, expression: str, timeout: float) -> Said:
    try:
        exprs = await _parsed(link, expression)
    except _Failed as error:
        return Said(ok=False, value=str(error), output="")
    clauses: Term = (Atom("clauses"), [(Atom("clause"), _LINE, [], [], exprs)])
    block: Term = (Atom("call"), _LINE, (Atom("fun"), _LINE, clauses), [])
    limit: Term = (
        Atom("tuple"),
        _LINE,
        [(Atom("atom"), _LINE, Atom("chars_limit")), (Atom("integer"), _LINE, MAX_SHOWN)],
    )
    shape: list[Term] = [(Atom("string"), _LINE, list(map(ord, "~tp"))), _list([block]), _list([limit])]
    printed = _remote("io_lib", "format", shape)
    forms: list[Term] = [_remote("unicode", "characters_to_binary", [printed])]
    return await _run(link, ("erl_eval", "exprs", [forms, []]), timeout, "value")


async def _parsed(link: Link, source: str) -> Term:
    match await link.call("erl_scan", "string", [list(map(ord, source))], timeout=_PARSE_WITHIN):
        case ("ok", [*tokens, (Atom("dot"), _)], _):
            pass
        case ("ok", [*tokens], _):
            pass
        case ("error", info, _):
            raise _Failed(await _explained(link, info))
        case other:
            raise _Failed(shown(other, MAX_SHOWN))
    match await link.call("erl_parse", "parse_exprs", [[*tokens, _FULL_STOP]], timeout=_PARSE_WITHIN):
        case ("ok", exprs):
            return exprs
        case ("error", info):
            raise _Failed(await _explained(link, info))
        case other:
            raise _Failed(shown(other, MAX_SHOWN))


async def _explained(link: Link, info: Term) -> str:
    """{Line, Module, Descriptor} in words, by the module's own format_error/1."""
    match info:
        case (line, Atom() as module, descriptor):
            try:
                words = await link.call(str(module), "format_error", [descriptor], timeout=_PARSE_WITHIN)
                binary = await link.call("unicode", "characters_to_binary", [words], timeout=_PARSE_WITHIN)
                return f"line {shown(line, 20)}: {text(binary, MAX_SHOWN)}"
            except CallFailed:
                pass
    return shown(info, MAX_SHOWN)


async def _in_elixir(link: Link, expression: str, timeout: float) -> Said:
    try:
        quoted = await link.call("Elixir.Code", "string_to_quoted!", [expression.encode()], timeout=_PARSE_WITHIN)
    except CallFailed as error:
        return Said(ok=False, value=await _in_words(link, error, elixir=True), output="")
    function: Term = (Atom("fn"), [], [(Atom("->"), [], [[], quoted])])
    value: Term = ((Atom("."), [], [function]), [], [])
    options: Term = [(Atom("pretty"), Atom("true")), (Atom("limit"), 1000), (Atom("printable_limit"), MAX_SHOWN)]
    inspected: Term = ((Atom("."), [], [_ELIXIR, Atom("inspect")]), [], [value, options])
    return await _run(link, ("Elixir.Code", "eval_quoted", [inspected, [], []]), timeout, None)


async def _run(link: Link, call: tuple[str, str, list[Term]], timeout: float, tag: str | None) -> Said:
    try:
        printed, result = await link.captured(*call, timeout=timeout)
    except CallFailed as error:
        return Said(ok=False, value=await _in_words(link, error, elixir=tag is None), output="")
    output = printed[:MAX_SHOWN].decode(errors="replace")
    match result:
        case (first, bytes() as value, _) if first == tag:
            return Said(ok=True, value=_cut(value), output=output)
        case (bytes() as value, _) if tag is None:
            return Said(ok=True, value=_cut(value), output=output)
    return Said(ok=False, value=f"throw: {shown(result, MAX_SHOWN)}", output=output)  # rpc returns what was thrown


def _cut(value: bytes) -> str:
    said = value.decode(errors="replace")
    return said if len(said) <= MAX_SHOWN else f"{said[:MAX_SHOWN]}…"


async def _in_words(link: Link, error: CallFailed, *, elixir: bool) -> str:
    """An exception as its language writes it, else as a term. rpc hides its class in the reason of an exit."""
    why, stack, kind = error.reason, [], str(error.kind)
    match error.reason:
        case (reason, list() as trace) if _is_stack(trace):
            why, stack, kind = reason, trace, "error"
    if elixir:
        with contextlib.suppress(CallFailed, CallTimeout):
            call = [Atom(kind), why, stack]
            banner = await link.call("Elixir.Exception", "format_banner", call, timeout=_PARSE_WITHIN)
            return text(banner, MAX_SHOWN) or shown(why, MAX_SHOWN)
    return f"{kind}: {shown(why, MAX_SHOWN)}"


def _is_stack(trace: list[Term]) -> bool:
    return all(isinstance(entry, tuple) and len(entry) == 4 for entry in trace)


def _remote(module: str, function: str, arguments: list[Term]) -> Term:
    """The abstract form of module:function(arguments)."""
    name = (Atom("remote"), _LINE, (Atom("atom"), _LINE, Atom(module)), (Atom("atom"), _LINE, Atom(function)))
    return (Atom("call"), _LINE, name, arguments)


def _list(items: list[Term]) -> Term:
    form: Term = (Atom("nil"), _LINE)
    for item in reversed(items):
        form = (Atom("cons"), _LINE, item, form)
    return form
