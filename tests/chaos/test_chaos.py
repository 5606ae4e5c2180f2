"""A short form of `make chaos`."""

import random
import shutil

import pytest

from tests.asked import FULL
from tests.chaos.run import run

pytestmark = [pytest.mark.beam, pytest.mark.slow]

ROUNDS = 15


def test_a_little_chaos() -> None:
    if shutil.which("erl") is None and not FULL:
        pytest.skip("needs Erlang")
    run(ROUNDS, random.randrange(1 << 31), rest_every=5)
