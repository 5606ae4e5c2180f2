"""`python -m tests.chaos`."""

import argparse
import random
import signal
import sys

from tests.chaos.run import run


def main() -> None:
    """Run the rounds that were asked for; the seed is printed, so that they can be had again."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description="Kill, freeze and ask, at random moments.")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a file or a terminal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: nothing stays
    run(options.rounds, options.seed)


if __name__ == "__main__":
    main()
