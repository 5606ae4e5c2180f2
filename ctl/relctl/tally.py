"""What became of each release that a changing verb was asked for.

Rule 1: hears what the daemon says and shows it; asks nothing itself.
Rule 2: one line or object for each release, in the order asked, each as soon as those before it are shown.
Rule 3: the worst end is the exit code: tried and failed (1) is worse than refused (5), and both than done.
"""

import time
from typing import Any

from relctl.errors import CannotError
from relctl.output import Output
from relctl.render import Object, changed_line, clean
from relctl.verb import EXIT_DONE, EXIT_FAILED
from relctld.wire.messages import KIND_EXIT, Problem

EVERYTHING = "all"
"""What stands for the releases where they are not known by name."""


class Tally:
    """The ends of one operation. `names` is empty for --all: then the reply gives the order."""

    def __init__(self, op: str, names: list[str], out: Output) -> None:
        self.code = EXIT_DONE
        self.heard = False
        self._op, self._names, self._out = op, names, out
        self._results: dict[str, Object] = {}
        self._states: dict[str, str] = {}
        self._shown: set[str] = set()
        self._began = time.monotonic()

    def hear(self, progress: Object) -> None:
        """A word of the daemon on the way."""
        self.heard = True
        name, result = str(progress.get("release")), progress.get("result")
        if isinstance(result, dict):
            self._states.pop(name, None)
            self._results[name] = result
            self._show(self._names)
        elif "state" in progress:
            detail = f" ({progress['detail']})" if progress.get("detail") else ""
            self._states[name] = clean(f"{name} {progress['state']}{detail}")

    def tick(self) -> None:
        """Show the line of progress, until all is told."""
        if self._names and self._shown.issuperset(self._names):
            return
        many = len(self._names) != 1 and self._results
        words = [
            f"{self._op}: {', '.join(self._states.values()) or 'waiting'}",
            f"{len(self._results)} done" if many else "",
            f"{time.monotonic() - self._began:.0f} s",
        ]
        self._out.progress(", ".join(word for word in words if word))

    def finish(self, results: list[Object]) -> None:
        """The reply is here: one result for each release."""
        self._results |= {str(result.get("release")): result for result in results}
        order = self._names or [str(result.get("release")) for result in results]
        for name in order:
            self._results.setdefault(name, self._failure("failed", "relctld says nothing of it"))
        self._show(order)

    def give_up(self, why: str, releases: list[Object]) -> None:
        """The waiting is over: say of each release without an end what it is doing now."""
        states = {str(release.get("name")): clean(release.get("state")) for release in releases}
        order = self._names or list(states) or [EVERYTHING]
        for name in order:
            state = states.get(name)
            message = f"{why}; its state is {state}" if state else why
            hint = "relctl status" if name == EVERYTHING else f"relctl status {name}"
            now = {"state": state} if state else {}
            self._results.setdefault(name, self._failure("timeout", message, hint) | now)
        self._show(order)

    def refuse(self, error: CannotError) -> None:
        """The request failed as a whole, and with it each release that is not shown yet."""
        rest = [name for name in self._names if name not in self._shown] or [EVERYTHING]
        kind, message, hint = error.problem
        if self._out.json:
            self._results |= {name: self._failure(kind, message, hint) for name in rest}
            self._show(rest)
            return
        self._worsen(kind)
        self._out.problem(self._op, rest, Problem(kind, clean(message), clean(hint)))

    def _failure(self, kind: str, message: str, hint: str = "") -> Object:
        return {"ok": False, "error": {"kind": kind, "message": message, "hint": hint}}

    def _show(self, order: list[str]) -> None:
        for name in order:
            if name in self._shown:
                continue
            if name not in self._results:
                return
            self._shown.add(name)
            self._show_one({"ok": True, "release": name, "op": self._op} | self._results[name])

    def _show_one(self, result: Object) -> None:
        error: dict[str, Any] = result.get("error") or {}
        if not result["ok"]:
            self._worsen(str(error.get("kind")))
        if self._out.json:
            self._out.object(result)
        elif result["ok"]:
            self._out.line(changed_line(result, self._out.paint))
        else:
            problem = Problem(str(error.get("kind")), clean(error.get("message")), clean(error.get("hint") or ""))
            self._out.problem(str(result["op"]), [str(result["release"])], problem)
            for line in result.get("log") or ():
                self._out.note(f"  | {clean(line)}")

    def _worsen(self, kind: str) -> None:
        code = KIND_EXIT.get(kind, EXIT_FAILED)
        self.code = EXIT_FAILED if EXIT_FAILED in (self.code, code) else max(self.code, code)
