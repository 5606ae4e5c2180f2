"""What operators have evaluated in a node: expressions in Erlang or Elixir, and calls of functions.

Rule 1: the node parses, evaluates and prints; what comes here is text, cut in the node to what a reply can hold.
Rule 2: on a link of its own: whatever an expression does to it, the link that watches the node's life stands.
Rule 3: what an expression prints is captured; what it spawned may print on, into the release's log.

The text is given to a few lines of our own in the same language (`_ERLANG`, `_ELIXIR`), as the value of a variable.
They stand in a function, so that what the text binds stays in the node.
"""

import contextlib
from dataclasses import dataclass
from typing import Final

from relctld.beam.dist.evaluate import PARSE_WITHIN, parsed
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
_ERLANG: Final = f"""
(fun() ->
    Why = fun({{Line, Module, What}}) ->
        Words = io_lib:format("line ~tp: ~ts", [Line, Module:format_error(What)]),
        {{error, unicode:characters_to_binary(Words)}}
    end,
    case erl_scan:string(unicode:characters_to_list(Text)) of
        {{ok, Tokens, _}} ->
            Ended = case Tokens =/= [] andalso element(1, lists:last(Tokens)) of
                dot -> Tokens;
                _ -> Tokens ++ [{{dot, 1}}]
            end,
            case erl_parse:parse_exprs(Ended) of
                {{ok, Exprs}} ->
                    {{value, Value, _}} = erl_eval:exprs(Exprs, []),
                    Shown = io_lib:format("~tp", [Value], [{{chars_limit, {MAX_SHOWN}}}]),
                    {{ok, unicode:characters_to_binary(Shown)}};
                {{error, Info}} ->
                    Why(Info)
            end;
        {{error, Info, _}} ->
            Why(Info)
    end
end)()."""

_ELIXIR: Final = f"""
(fn ->
  {{value, _}} = Code.eval_string(text)
  inspect(value, pretty: true, limit: 1000, printable_limit: {MAX_SHOWN})
end).()"""


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
    loaded = await link.call("code", "ensure_loaded", [Atom("Elixir.Code")], timeout=PARSE_WITHIN)
    return isinstance(loaded, tuple) and loaded[0] == "module"


async def _in_erlang(link: Link, expression: str, timeout: float) -> Said:
    forms = await parsed(link, _ERLANG)
    return await _run(link, ("erl_eval", "exprs", [forms, [(Atom("Text"), expression.encode())]]), timeout)


async def _in_elixir(link: Link, expression: str, timeout: float) -> Said:
    binding: Term = [(Atom("text"), expression.encode())]
    return await _run(link, ("Elixir.Code", "eval_string", [_ELIXIR.encode(), binding, []]), timeout, elixir=True)


async def _run(link: Link, call: tuple[str, str, list[Term]], timeout: float, *, elixir: bool = False) -> Said:
    try:
        printed, result = await link.captured(*call, timeout=timeout)
    except CallFailed as error:
        return Said(ok=False, value=await _in_words(link, error, elixir=elixir), output="")
    output = printed[:MAX_SHOWN].decode(errors="replace")
    match result:
        case ("value", ("ok" | "error" as how, bytes() as value), _) if not elixir:
            return Said(ok=how == "ok", value=_cut(value), output=output)
        case (bytes() as value, _) if elixir:
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
            banner = await link.call("Elixir.Exception", "format_banner", call, timeout=PARSE_WITHIN)
            return text(banner, MAX_SHOWN) or shown(why, MAX_SHOWN)
    return f"{kind}: {shown(why, MAX_SHOWN)}"


def _is_stack(trace: list[Term]) -> bool:
    return all(isinstance(entry, tuple) and len(entry) == 4 for entry in trace)
