"""For all tests: Ctrl-C means the same wherever they run from.

A shell starts what it runs in the background with SIGINT ignored, and every child inherits that: then no client that a
test interrupts would ever end, nor this run itself.
"""

import signal


def pytest_configure() -> None:
    """Before any test, in each worker too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
