"""The config in force: the one place that says which it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from relctld.config import Config


@dataclass(slots=True)
class InForce:
    """`error` is what is wrong with the config on disk, where the last good one stays in force."""

    config: Config
    error: str | None


def with_doubts(config: Config, unenforced: Mapping[str, str]) -> Config:
    """With a warning for each limit that is set and has no effect on this host (`Containment.unenforced`)."""
    doubts = tuple(
        f"[release.{spec.name}.limits] {key}: has no effect: {why}"
        for spec in config.releases
        for key, why in unenforced.items()
        if getattr(spec.limits, key) is not None
    )
    return replace(config, warnings=config.warnings + doubts)
