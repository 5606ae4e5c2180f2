"""`eval` and `rpc`: arguments checked, then asked of `Evaluate`."""

from collections.abc import Awaitable, Callable
from typing import Any

from relctld.control.server import RefusedError
from relctld.wire.messages import MOST_PATIENCE

LANGUAGES = ("auto", "erlang", "elixir")

_LONGEST = 256 << 10
_LONGEST_NAME = 255

Evaluate = Callable[[str, str, str, dict[str, Any], float, str], Awaitable[dict[str, Any]]]
"""(release, op, language, the text or the call, seconds, by) -> the reply. Raises RefusedError."""


async def evaluate(evaluate: Evaluate, op: str, name: str, args: dict[str, Any], by: str) -> dict[str, Any]:
    """The reply tells what was printed and the value, or the error that it was."""
    seconds = args.get("timeout_s", 60.0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MOST_PATIENCE:
        raise RefusedError("usage", f"timeout_s is a number of seconds up to {MOST_PATIENCE:g}")
    language = args.get("language", "auto")
    if language not in LANGUAGES:
        raise RefusedError("usage", f"language is one of {', '.join(LANGUAGES)}")
    if op == "eval":
        what = {"text": _text(args, "text", _LONGEST)}
    else:
        what = {key: _text(args, key, _LONGEST_NAME) for key in ("module", "function")}
        what["args"] = _text(args, "args", _LONGEST)
    return await evaluate(name, op, str(language), what, float(seconds), by)


def _text(args: dict[str, Any], key: str, longest: int) -> str:
    text = args.get(key)
    if not isinstance(text, str) or not text.strip() or len(text) > longest:
        raise RefusedError("usage", f"{key} is a text of up to {longest} characters")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RefusedError("usage", f"{key} is not UTF-8")
    return text
