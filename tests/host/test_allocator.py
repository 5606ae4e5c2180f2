"""Memory that lies unused below something that is in use goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.host

HOLES = """
from relctld.host import allocator
def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
allocator.be_thrifty()
blocks = [bytes(10_000) for _ in range(5_000)]
blocks = [None] * 4_999 + blocks[-1:]  # what is on top keeps the heap from shrinking
held = pages()
allocator.give_back()
print(held - pages())
"""


def test_holes_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000_000
