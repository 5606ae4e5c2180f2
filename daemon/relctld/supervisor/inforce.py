"""The config in force: the one place that says which it is; and what of a config this host gives cause to doubt."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from relctld.config import Config
from relctld.host import users


@dataclass(slots=True)
class InForce:
    """`error` is what is wrong with the config on disk, where the last good one stays in force."""

    config: Config
    error: str | None


UNENFORCED = "has no effect"


def with_doubts(config: Config, unenforced: Mapping[str, str]) -> Config:
    """With a warning for each limit that is set and has no effect on this host (`Containment.unenforced`)."""
    doubts = tuple(
        f"[release.{spec.name}.limits] {key}: {UNENFORCED}: {why}"
        for spec in config.releases
        for key, why in unenforced.items()
        if getattr(spec.limits, key) is not None
    )
    return replace(config, warnings=config.warnings + doubts)


def with_unknown_accounts(config: Config) -> Config:
    """With a warning for each release that no VM can be started of, for want of its user or group. Blocks."""
    doubts = []
    for spec in config.releases:
        try:
            users.look_up(spec.user, spec.group)
        except users.UnknownUserError as error:
            doubts.append(f"[release.{spec.name}]: {error}")
    return replace(config, warnings=config.warnings + tuple(doubts))
