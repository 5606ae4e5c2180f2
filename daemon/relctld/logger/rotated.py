"""What was rotated: retention. Knows a directory and a policy, no pipe; names are `logfiles.names`', and `compress`'.

A time index goes with its log. One left alone, by a kill between the two, is removed at the next start.
"""

import contextlib
import os
from collections.abc import Callable

from relctld.logfiles import times
from relctld.logfiles.names import Rotated, is_stem, listing

from .compress import is_temporary
from .policy import LogPolicy

Delete = Callable[[str, Rotated], None]


def delete(directory: str, log: Rotated) -> None:
    """Remove a rotated log in both its forms, and its time index."""
    for name in (log.spare, log.name, log.stem + times.SUFFIX):
        if name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def retain(directory: str, policy: LogPolicy, current_size: int, delete: Delete = delete) -> None:
    """Delete the oldest until `keep` and `max_total` hold, counting `current` as large as it may become.

    One that cannot be deleted stands in no other's way; the OSError comes at the end.
    """
    logs = listing(directory)
    sizes = [_size(directory, log) for log in logs]
    total = sum(sizes) + max(current_size, policy.limit or 0)
    keep = len(logs) if policy.keep is None else policy.keep
    room = total if policy.max_total is None else policy.max_total
    left, trouble = len(logs), None
    for log, size in zip(logs, sizes, strict=True):
        if left <= keep and total <= room:
            break
        try:
            delete(directory, log)
        except OSError as err:
            trouble = err
        else:
            left, total = left - 1, total - size
    if trouble is not None:
        raise trouble


def tidy(directory: str) -> None:
    """Remove what a killed compression or deletion left; call before any is asked for."""
    stems = {log.stem for log in listing(directory)}
    for name in os.listdir(directory):
        stem = name.removesuffix(times.SUFFIX)
        left_alone = stem != name and is_stem(stem) and stem not in stems
        if left_alone or is_temporary(name):
            with contextlib.suppress(OSError):  # a directory, say: whoever needs the name will tell
                os.unlink(os.path.join(directory, name))


def delete_oldest(directory: str, delete: Delete = delete) -> bool:
    """Make room on a full disk: delete the oldest rotated log, never the last one left. False if there was none."""
    for log in listing(directory)[:-1]:
        with contextlib.suppress(OSError):
            delete(directory, log)
            return True
    return False


def _size(directory: str, log: Rotated) -> int:
    size = 0
    for name in (log.name, log.stem + times.SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(os.path.join(directory, name), follow_symlinks=False).st_size
    return size
