"""How an upgrade or a deployment ended: what is written down of it, and what operators are told."""

from typing import Any

from relctld.control.server import RefusedError
from relctld.core.state import State
from relctld.core.transaction import Finish, Journal, Way
from relctld.supervisor.managed import Managed


def outcome_of(managed: Managed, j: Journal, end: Finish, seconds: float) -> dict[str, Any]:
    """What is written down. `runs`: the version that should run; `now`: after a failure, how it is, in words."""
    state = managed.state
    restarted = state.epoch != j.epoch or (j.way is not Way.RESTART and state.incarnation != j.incarnation)
    restarted |= bool(j.candidate) and (end.ok or end.left)  # then `epoch` is already that of the candidate
    runs = j.target if end.ok or end.left else j.origin
    rests = j.way is Way.RESTART and (state.vm is None or not (j.starts or j.origin == j.target))
    return {
        "id": j.id,
        "ok": end.ok,
        "way": str(j.way),
        "from": j.origin,
        "to": j.target,
        "by": j.by,
        "why": end.why,
        "runs": "" if rests else runs,
        "left": end.left,
        "restarted": restarted,
        "now": "" if end.ok or end.left else _now(managed, j, restarted=restarted),
        "seconds": round(seconds, 3),
    } | ({"outage_s": round(j.outage, 3)} if j.way is Way.EMULATOR else {})


def told(name: str, outcome: dict[str, Any]) -> dict[str, Any]:
    """How it ended, for the operator. Raises RefusedError."""
    if outcome["ok"]:
        return {"changed": True, **outcome}
    if outcome.get("left"):
        why = f"{outcome['why']}; it runs {outcome['runs']}, and a restart would bring {outcome['from']}"
        raise RefusedError("failed", f"to {outcome['to']}: {why}", f"relctl restart {name} takes it back")
    why = f"{outcome['why']}; {outcome.get('now') or 'nothing was changed'}"
    hint = f"nothing of the attempt is left; its log may say more: relctl logs {name}"
    raise RefusedError("failed", f"to {outcome['to']}: {why}", hint)


def _now(managed: Managed, j: Journal, *, restarted: bool) -> str:
    state = managed.state
    if not j.origin:
        return "nothing is installed, as before"
    if state.state is not State.RUNNING:
        return f"{j.origin} is installed as before, and {state.state}"
    return f"it runs {j.origin} as before, {'after a restart' if restarted else 'and never stopped'}"
