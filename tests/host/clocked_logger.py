"""`python -m tests.host.clocked_logger FILE --run-dir DIR`: the logger, on a host whose clock a test can set.

FILE holds nanoseconds to add to the wall clock, in 8 bytes; it may be rewritten at any time. The monotonic clock is
not touched, nor is it by who sets a real one.
"""

import mmap
import os
import sys
import time

from relctld.logger.__main__ import main

_real = time.time_ns


def _set_clock(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    ahead = memoryview(mmap.mmap(fd, 8, prot=mmap.PROT_READ)).cast("q")
    time.time_ns = lambda: _real() + ahead[0]  # type: ignore[assignment]


if __name__ == "__main__":
    _set_clock(sys.argv[1])
    os._exit(main(sys.argv[2:]))
