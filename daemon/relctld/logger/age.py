"""When a log is old. Knows the time zone of the host, no file."""

import time

_HOUR, _DAY = 3600, 86_400


def old_at(begun: float, max_age: float) -> float:
    """The moment at which a log is rotated for its age; all in seconds since the epoch.

    `1h` and `1d` mean the next hour and the next day of the local clock, whatever daylight saving time does to them: a
    day may have 23 hours, and the hour that comes twice fills two logs. Any other age counts from the first byte.
    """
    if max_age not in (_HOUR, _DAY):
        return begun + max_age
    time.tzset()  # the host may have moved to another zone since the last log
    fields = 3 if max_age == _DAY else 4
    known, later = int(begun), int(begun + max_age) + 2 * _HOUR  # a day of 25 hours ends within that
    here = _local(known, fields)
    while later - known > 1:  # the first second that the local clock counts to another day or hour
        middle = (known + later) // 2
        known, later = (middle, later) if _local(middle, fields) == here else (known, middle)
    return float(later)


def _local(seconds: int, fields: int) -> tuple[int, ...]:
    """Year, month, day and, of four, hour and offset of the local clock."""
    local = time.localtime(seconds)
    return (*local[:fields], local.tm_gmtoff) if fields > 3 else local[:fields]
