"""Why a node cannot be spoken to, sorted by what an operator would mend. One exception, one sentence each.

what is seen                                             kind
no answer to the TCP connect, or silence afterwards      no-answer
nobody listens on the node's port                        connection-refused
nobody listens on epmd's port                            epmd-down
epmd does not know the name                              not-registered
status not_allowed                                       not-allowed
closed after our digest, or a wrong digest of its own    wrong-cookie
status alive: our name is connected already              name-conflict
another node's name in the challenge                     wrong-node
TLS fails or is missing; certificates cannot be read     tls
closed at another point of the handshake                 closed
bytes that are not the protocol, or a too old one        protocol
"""

from enum import StrEnum


class Refusal(StrEnum):
    """The kind of a `LinkRefused`."""

    NO_ANSWER = "no-answer"
    CONNECTION_REFUSED = "connection-refused"
    EPMD_DOWN = "epmd-down"
    NOT_REGISTERED = "not-registered"
    NOT_ALLOWED = "not-allowed"
    WRONG_COOKIE = "wrong-cookie"
    NAME_CONFLICT = "name-conflict"
    WRONG_NODE = "wrong-node"
    TLS = "tls"
    CLOSED = "closed"
    PROTOCOL = "protocol"


class LinkRefused(Exception):  # noqa: N818  # reads as the sentence it is
    """There is no link to a node; `kind` says whose fault it is, the text what to mend."""

    def __init__(self, kind: Refusal, text: str) -> None:
        super().__init__(text)
        self.kind = kind
