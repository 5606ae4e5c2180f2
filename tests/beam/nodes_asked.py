"""Real nodes asked quickly: what the tests of `supervisor.nodes` share."""

import json
from collections.abc import Mapping
from typing import Any

from tests.running import Relctld
from tests.waiting import wait_until

QUICK: dict[str, Any] = {"interval": "0.3s", "timeout": "0.5s", "failures": 3}
REPORT: dict[str, Any] = {**QUICK, "action": "report"}

OWN = "relctld@127.0.0.1"
"""What relctld is called in the nodes of the sample releases."""


def evaluate(daemon: Relctld, name: str, text: str, **args: Any) -> dict[str, Any]:
    """The reply to `eval`."""
    return daemon.ask("eval", {"release": name, "text": text, **args}, timeout=60)


def value(daemon: Relctld, name: str, text: str) -> str:
    """The value of an expression that must not fail."""
    reply = evaluate(daemon, name, text)
    assert reply["ok"], reply
    return str(reply["value"])


def evaluate_failed(daemon: Relctld, name: str, text: str) -> str:
    """Why relctld could not have it evaluated at all."""
    done = daemon.relctl("--json", "eval", name, text, check=False)
    assert done.returncode == 1, done
    return str(json.loads(done.stdout)["error"]["message"])


def told(daemon: Relctld, name: str, words: str, timeout: float = 40.0) -> dict[str, Any]:
    """Wait until the detail of its health has these words; its status then."""
    seen: dict[str, Any] = {}

    def said() -> bool:
        seen.update(daemon.status(name))
        return words in seen["health_detail"]

    wait_until(said, timeout, 0.03, what=lambda: f"{words!r} of {name}; it is {seen}; {daemon.said()[-1000:]}")
    return seen


def healths(daemon: Relctld, name: str) -> list[str]:
    """What its health was said to be, one after the other."""
    return [event["health"] for event in daemon.events(name) if event["event"] == "health"]


def same_vm(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether no other process took its place between two looks at its status."""
    return all(before[key] == after[key] for key in ("state", "pid", "epoch", "restarts_total"))
