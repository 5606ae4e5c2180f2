"""Which commands for a release are under way (`host.command`), for the next daemon: it ends what is left.

    RUN/releases/NAME/commands/MARK     an empty file for each, there before it is forked until it has ended

A command is found by the mark in its environment, so none escapes between fork and record. What a command that ended
left in the background is not looked for: it is there on purpose.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from relctld.host.containment import Sweep


def begin(folder: Path, mark: str) -> dict[str, str]:
    """A command is about to run; what its environment must have. Where it cannot be written down, it runs all the same.

    `folder` is the release's own in the run directory.
    """
    with contextlib.suppress(OSError):
        (folder / "commands").mkdir(mode=0o700, exist_ok=True)
        (folder / "commands" / mark).touch(mode=0o600)
    return {"RELCTL_INSTANCE": mark}


def end(folder: Path, mark: str) -> None:
    """It has ended, or never ran. The run directory is in memory: this may be done by the loop."""
    with contextlib.suppress(OSError):
        os.unlink(folder / "commands" / mark)


def left(folder: Path) -> tuple[str, ...]:
    """The marks of what a former daemon did not see end."""
    try:
        return tuple(os.listdir(folder / "commands"))
    except OSError:
        return ()


def end_left(folder: Path, marks: Sequence[str]) -> tuple[str, ...]:
    """End what is left of these; describes what outlived SIGKILL. Looks at every process of the host, and blocks."""
    sweep = Sweep()
    stuck: tuple[str, ...] = ()
    for mark in marks:
        outlived = sweep.empty(folder.name, 0, mark, gentle=False)
        stuck += outlived
        if not outlived:
            end(folder, mark)
    return tuple(stuck)
