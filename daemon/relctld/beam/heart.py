"""OTP's heart: a port program of a VM with `-heart`, which stands in for a supervisor.

Where its VM closes without having been told to stop, or does not beat for HEART_BEAT_TIMEOUT (60 s), heart runs
HEART_COMMAND, if there is one: as a rule a start of the release. A VM that is paused for that long is killed first;
without a command heart ends, and the VM with it as soon as it goes on (erts/etc/common/heart.c, kernel's heart.erl).

What the VM of a release leaves is swept before the next one is launched, so its heart starts nothing that stays. A VM
that was started for a moment only must not have one that is armed: it would start the release beside itself.
"""

from collections.abc import Mapping, Sequence

from relctld.beam.dist.arguments import values_of

_COMMAND = "HEART_COMMAND"
_NOTHING = "true"


def disarmed(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of what is not the VM of the release."""
    return {key: value for key, value in env.items() if key != _COMMAND}


def overruled(env: Mapping[str, str]) -> dict[str, str]:
    """The same for a VM that reads the release's vm.args, which may set the command too: the last flags win."""
    return disarmed(env) | {"ERL_ZFLAGS": f"{env.get('ERL_ZFLAGS', '')} -env {_COMMAND} {_NOTHING}".strip()}


def armed(flags: Sequence[str], env: Mapping[str, str]) -> bool | None:
    """Whether a VM with these arguments and this environment has a heart with a command; None: it has no heart."""
    return bool(env.get(_COMMAND)) if values_of(flags, "-heart") else None
