"""The arithmetic of automatic restarts: OTP's intensity and period, and the delays between them."""

import math

from relctld.core.spec import Backoff


def add_restart(restarts: tuple[float, ...], now: float, period: float) -> tuple[float, ...]:
    """The restarts within `period` seconds before `now`, and this one (OTP `supervisor:add_restart/3`)."""
    return (*within(restarts, now, period), now)


def within(restarts: tuple[float, ...], now: float, period: float) -> tuple[float, ...]:
    """Those of `restarts` that lie within the `period` seconds before `now`."""
    return tuple(at for at in restarts if now - at <= period)


def delay(backoff: Backoff, served: int, chance: float) -> float:
    """Seconds to wait before the next restart, after `served` delays in a row; `chance` from 0 to 1 is the jitter.

    `first` has no jitter: a first restart at once is at once.
    """
    if served == 0:
        return backoff.first
    try:
        plain = backoff.base * math.pow(backoff.factor, served - 1)
    except OverflowError:
        plain = backoff.max if backoff.base else 0.0
    return max(0.0, min(plain, backoff.max) * (1 + backoff.jitter * (2 * chance - 1)))
