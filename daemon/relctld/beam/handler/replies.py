"""What a node answered to orders and questions, as values. It can answer anything: a misfit is a HandlerError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from relctld.beam.term.shown import shown, text
from relctld.beam.term.terms import Term
from relctld.core.transaction import Install

_LONGEST = 1000


class HandlerError(Exception):
    """release_handler, or the node, cannot do what was asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """The latest install that was ordered: `tag` says by whom, `version` what."""

    tag: str
    version: str
    install: Install


@dataclass(frozen=True, slots=True)
class Survey:
    """`releases`: version to status, in release_handler's words; None while it is busy. `elsewhere`: where it looks for
    them, if that is not the release's tree."""

    order: Order | None
    releases: Mapping[str, str] | None
    elsewhere: str = ""

    @property
    def current(self) -> str:
        """The version that runs; empty where release_handler does not say."""
        by_status = {status: version for version, status in (self.releases or {}).items()}
        return by_status.get("current") or by_status.get("permanent") or ""

    @property
    def permanent(self) -> str:
        """What it takes for the version that a boot selects."""
        return next((version for version, status in (self.releases or {}).items() if status == "permanent"), "")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that an upgrade suspends. `busy`: it did not answer."""

    name: str
    modules: tuple[str, ...]
    busy: bool


@dataclass(frozen=True, slots=True)
class Processes:
    """Who is suspended (`count` of them, not all are named), and those that code is taken from: (name, module) each.

    `killed`: in code that is old already · `in_the_way`: the same, and the relup lets nobody be killed · `staying`: in
    code that is replaced, and killed after a while if they do not leave it.
    """

    count: int = 0
    suspended: tuple[Process, ...] = ()
    killed: tuple[tuple[str, str], ...] = ()
    in_the_way: tuple[tuple[str, str], ...] = ()
    staying: tuple[tuple[str, str], ...] = ()


def survey(term: Term) -> Survey:
    """Of `questions.SURVEY`."""
    match term:
        case (_, "none", _):
            raise HandlerError("the release has no release_handler: add sasl to its applications")
        case (order, "busy", elsewhere):
            return Survey(_order(order), None, text(elsewhere, 4096) or "")
        case (order, list() as releases, elsewhere):
            found = {}
            for each in releases:
                match each:
                    case (list() as version, str(status)) if (name := text(version, 255)) is not None:
                        found[name] = str(status)
            return Survey(_order(order), found, text(elsewhere, 4096) or "")
    raise HandlerError(f"the node answered {shown(term, 200)}")


def outcome(term: Term) -> None:
    """Of what answers ok or {error, Text}; raises HandlerError."""
    match term:
        case "ok":
            return
        case "busy":
            raise HandlerError("another install is under way in the node")
        case ("error", bytes() as why):
            raise HandlerError(why.decode(errors="replace")[:_LONGEST])
    raise HandlerError(f"the node answered {shown(term, 200)}")


def hybrid(term: Term) -> tuple[bytes, bytes]:
    """Of `questions.HYBRID`: a boot script and a configuration. Raises HandlerError."""
    match term:
        case (bytes() as boot, bytes() as config):
            return boot, config
        case ("error", bytes() as why):
            raise HandlerError(f"no boot script of both versions can be made: {_text(why)}")
    raise HandlerError(f"the node answered {shown(term, 200)}")


def findings(term: Term) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of `questions.VERIFY`: what is wrong, and who still runs old code."""
    match term:
        case (list() as wrong, list() as lingering):
            return _texts(wrong), _texts(lingering)
    raise HandlerError(f"the node answered {shown(term, 200)}")


def processes(term: Term) -> Processes:
    """Of `questions.PROCESSES`."""
    match term:
        case (int(count), list() as suspended, [list() as killed, list() as in_the_way, list() as staying]):
            found = tuple(filter(None, map(_process, suspended)))
            return Processes(count, found, _pairs(killed), _pairs(in_the_way), _pairs(staying))
    raise HandlerError(f"the node answered {shown(term, 200)}")


def names(term: Term) -> tuple[str, ...]:
    """Of `orders.PROTOCOLS`."""
    if isinstance(term, list):
        return _texts(term)
    raise HandlerError(f"the node answered {shown(term, 200)}")


def _order(term: Term) -> Order | None:
    match term:
        case (bytes() as tag, list() as version, "pending"):
            return Order(_text(tag), _text(version), Install(done=False))
        case (bytes() as tag, list() as version, "ok"):
            return Order(_text(tag), _text(version), Install(done=True))
        case (bytes() as tag, list() as version, ("error", bytes() as why)):
            return Order(_text(tag), _text(version), Install(done=True, error=_text(why)))
    return None


def _process(term: Term) -> Process | None:
    match term:
        case (name, list() as modules, busy):
            return Process(_text(name), _texts(modules), busy == "true")
    return None


def _pairs(terms: list[Term]) -> tuple[tuple[str, str], ...]:
    return tuple((_text(each[0]), _text(each[1])) for each in terms if isinstance(each, tuple) and len(each) == 2)


def _texts(terms: list[Term]) -> tuple[str, ...]:
    return tuple(_text(each) for each in terms)


def _text(term: Term) -> str:
    return text(term, _LONGEST) or shown(term, 200)
