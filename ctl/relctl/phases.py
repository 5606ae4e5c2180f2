"""The phases of an upgrade as they pass: each is a line once it is over, with a tick, or a cross and why.

Rule 1: hears what the daemon says and shows it; asks nothing itself.
Rule 2: a phase that is not known here (the daemon may be newer) is shown by its own name.
"""

import time
from typing import Any, Final, NamedTuple

from relctl.output import Output
from relctl.render import Object, clean, duration


class _Words(NamedTuple):
    """What is said of a phase while it lasts, and once it is over; then nothing where that is empty."""

    doing: str
    done: str


_PHASES: Final = {
    "begun": _Words("unpacking and configuring", "unpacked and configured"),
    "switching": _Words("starting the new version", "the new version started"),
    "installing": _Words("installing in the node", "installed in the node"),
    "installed": _Words("verifying", "verified"),
    "soaking": _Words("soaking", "soaked"),
    "committing": _Words("making it permanent", "made permanent"),
    "undoing": _Words("looking what is to be taken back", ""),
    "reinstalling": _Words("installing the version before", "the version before installed again"),
    "restarting": _Words("restarting the VM", "the VM restarted into the version before"),
    "cleaning": _Words("cleaning up", "cleaned up"),
}


_FIRST: Final = {"restarting": _Words("stopping the new version", "the new version stopped")}
"""Of a first install: there is no version before."""

_EMULATOR: Final = {"switching": _Words("restarting the emulator", "the emulator restarted")}
"""Of a hot upgrade whose relup says so."""


class Phases:
    """Of one upgrade. On stdout, between its plan and its end; nothing under --json."""

    def __init__(self, verb: str, out: Output) -> None:
        self.heard = False
        self._words = _PHASES
        self.now = ""
        self._verb, self._out = verb, out
        self._began = self._since = time.monotonic()
        self._why = ""
        self._doing = "waiting"

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    @property
    def doing(self) -> str:
        """What it is at, in words."""
        return self._words_of(self.now).doing if self.now else self._doing

    def hear(self, word: Object) -> None:
        """A word of the daemon on the way."""
        self.heard = True
        if "phase" in word:
            self._enter(clean(word["phase"]), clean(word.get("why") or ""))
        elif "plan" in word:
            if isinstance(plan := word["plan"], dict) and plan.get("way") == "install":
                self._words = _PHASES | _FIRST
            elif isinstance(plan, dict) and plan.get("restarts_emulator") is True:
                self._words = _PHASES | _EMULATOR
            self._enter("begun", "")
        elif word.get("step") == "reading" and (share := _share(word)) is not None:
            self._doing = f"reading the tarball, {share} %"
        elif "step" in word:
            self._doing = clean(word["step"])

    def tick(self) -> None:
        """Show the line of progress."""
        self._out.progress(f"{self._verb}: {self.doing}, {self.seconds:.0f} s")

    def end(self) -> None:
        """It is done, and so is the phase that it was in."""
        if self.now:
            self._tell_done()

    def _enter(self, phase: str, why: str) -> None:
        if phase == self.now:
            if why and why != self._why:
                self._say("·", "yellow", f"still {self.doing}: {why}")
        elif self.now and why != self._why:
            self._say("✗", "red", f"{self.doing}: {why}")
        elif self.now:
            self._tell_done()
        if phase != self.now:
            self.now, self._since = phase, time.monotonic()
        self._why = why

    def _tell_done(self) -> None:
        if done := self._words_of(self.now).done:
            self._say("✓", "green", f"{done} ({duration(time.monotonic() - self._since)})")

    def _words_of(self, phase: str) -> _Words:
        return self._words.get(phase, _Words(phase, phase))

    def _say(self, mark: str, colour: str, text: str) -> None:
        if not self._out.json:
            self._out.line(f"  {self._out.paint(mark, colour)} {text}")


def _share(word: Object) -> int | None:
    """Percent."""
    done, of = (_number(word.get(key)) for key in ("bytes", "of"))
    return min(100, int(100 * done / of)) if of > 0 else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e18 else 0.0
