"""Why a verb ends without having done what was asked.

Rule 1: a class of its own only where a caller acts on it; all others are a `CannotError` with a kind.
Rule 2: kinds, and the exit code of each, stand in `relctld.wire.messages.KIND_EXIT`.
"""

from relctld.wire.messages import Problem


class CannotError(Exception):
    """What was asked cannot be done; `problem` says why and, where there is one, the next step."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(kind, message, hint)


class UsageError(CannotError):
    """The command line cannot be understood."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__("usage", message, hint)


class UnreachableError(CannotError):
    """Nobody answers: followers wait for the daemon to come back."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__("unreachable", message, hint)


class TimeUpError(CannotError):
    """The waiting ended before the reply came. `accepted`: the daemon had said that it has the request."""

    def __init__(self, accepted: bool) -> None:
        super().__init__("timeout", "no reply in time")
        self.accepted = accepted
