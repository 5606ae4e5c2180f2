"""The rounds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.asking import Asker
from tests.chaos.acts import ACTS
from tests.chaos.operators import Operators
from tests.chaos.oracle import Oracle
from tests.chaos.world import NAMES, world
from tests.watching import Watching

LONGEST_PAUSE = 0.6


def run(rounds: int, seed: int, *, rest_every: int = 10, say: Callable[[str], object] = print) -> None:
    """So many rounds in a world of their own; AssertionError where something is not as it must be."""
    chance, begun, acts = random.Random(seed), time.monotonic(), Counter[str]()
    say(f"chaos: {rounds} rounds, seed {seed}")
    with world(chance) as here, Watching(here.folder) as vms, Asker(here.daemon.socket) as asker:
        operators = Operators(asker)
        oracle = Oracle(here, operators, vms)
        here.revive()
        oracle.at_rest()
        names, weights = list(ACTS), [weight for _, weight in ACTS.values()]
        for number in range(1, rounds + 1):
            operators.listen(chance.uniform(0.0, LONGEST_PAUSE))
            [name] = chance.choices(names, weights)
            acts[name] += 1
            ACTS[name][0](here, operators)
            if number % rest_every == 0 or number == rounds:
                oracle.at_rest()
                lived = ", ".join(f"{len(vms.of(release))} {release}" for release in NAMES)
                say(f"round {number}: {oracle.seq} events, VMs: {lived}, {time.monotonic() - begun:.0f} s")
        lines = oracle.in_the_end()
        assert vms.twice == []
    told = ", ".join(f"{name} {count}" for name, count in acts.most_common())
    say(f"{rounds} rounds clean in {time.monotonic() - begun:.0f} s (seed {seed}): {told}")
    say(f"answered: {dict(operators.answered)}, lines in order: {lines}")
    for refused in operators.refused:
        say(f"failed: {refused}")
