"""A short form of `make chaos`."""

import os
import random
import shutil

import pytest

from tests.chaos.run import run

pytestmark = [pytest.mark.beam, pytest.mark.slow]

ROUNDS = 15


def test_a_little_chaos() -> None:
    if shutil.which("erl") is None and os.environ.get("RELCTL_TEST_FULL") != "1" and os.environ.get("CI") != "true":
        pytest.skip("needs Erlang")
    run(ROUNDS, random.randrange(1 << 31), rest_every=5)
