"""Erlang text evaluated in a node, with variables bound by us: no text is ever put together from values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from relctld.beam.dist.link import CallFailed, Kind, Link
from relctld.beam.term.terms import Atom, Term

PARSE_WITHIN: Final = 10.0

_DRIVER: Final = """
(fun() ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Exprs, Bound),
    Value
end)()."""

_drivers: Final[WeakKeyDictionary[Link, Term]] = WeakKeyDictionary()
"""As each node's own parser made it."""


async def parsed(link: Link, source: str) -> Term:
    """The abstract forms of a text of our own. Raises as `Link.call`."""
    match await link.call("erl_scan", "string", [list(map(ord, source))], timeout=PARSE_WITHIN):
        case ("ok", tokens, _):
            match await link.call("erl_parse", "parse_exprs", [tokens], timeout=PARSE_WITHIN):
                case ("ok", forms):
                    return forms
    raise CallFailed("erl_parse:parse_exprs/1", Kind.ERROR, Atom("our_own_erlang_is_not_understood"))


async def evaluate(link: Link, source: str, bindings: Mapping[str, Term], timeout: float) -> Term:
    """The value of an Erlang expression, ended by a dot. Raises as `Link.call`."""
    driver = _drivers.get(link)
    if driver is None:
        driver = _drivers[link] = await parsed(link, _DRIVER)
    bound: Term = [(Atom(name), value) for name, value in sorted(bindings.items())]  # an orddict
    given: Term = [(Atom("Bound"), bound), (Atom("Text"), source.encode())]
    match await link.call("erl_eval", "exprs", [driver, given], timeout=timeout):
        case ("value", value, _):
            return value
    raise CallFailed("erl_eval:exprs/2", Kind.ERROR, Atom("no_value"))
