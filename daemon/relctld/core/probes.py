"""The questions that a release can be asked, and what an answer may say.

Rule: only a missed answer can make a release hung. Whatever else is wrong is told, and restarts nobody.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class AutoProbe:
    """The node where a link to it is possible, else the process."""


AUTO = AutoProbe()


@dataclass(frozen=True, slots=True)
class NodeProbe:
    """The node answers over the distribution, and init has started it."""


@dataclass(frozen=True, slots=True)
class MfaProbe:
    """`module:function()`, called in the node, returns true or ok."""

    module: str
    function: str


@dataclass(frozen=True, slots=True)
class ProcessProbe:
    """The process is alive: no question is asked. Ready after it lived for `launch.READY_AFTER`."""


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A TCP connection is accepted."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A GET is answered with a status from 200 to 399."""

    url: str


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """A command, run as the release's user, ends with 0."""

    argv: tuple[str, ...]


LinkProbe = AutoProbe | NodeProbe | MfaProbe
"""Asked over the link to the node."""

OutsideProbe = ProcessProbe | TcpProbe | HttpProbe | ExecProbe
"""Asked from outside."""

Probe = LinkProbe | OutsideProbe


class Verdict(StrEnum):
    """What came of a probe.

    WELL: yes · BUSY: it answers, but it is not what it should be: booting, stopping, overloaded · MISSED: no answer,
    or the answer was no · REFUSED: a link that should exist does not, for a reason other than hanging · NO_LINK:
    there is no node to ask, so the process must do (of an `AutoProbe` only).
    """

    WELL = "well"
    BUSY = "busy"
    MISSED = "missed"
    REFUSED = "refused"
    NO_LINK = "no-link"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with its reason in words, which does not change as long as the reason does not."""

    verdict: Verdict
    detail: str = ""


WELL = Finding(Verdict.WELL)
