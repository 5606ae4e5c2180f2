"""What a bench is given: the tools that can run here, started side by side."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.driver import Child, Driver


@dataclass(frozen=True, slots=True)
class Rig:
    """`drivers`: the tools, relctl first. `quick`: fewer rounds, for a look."""

    drivers: Sequence[type[Driver]]
    program: Path
    quick: bool

    @contextmanager
    def tools(self, children: Sequence[Child]) -> Iterator[list[Driver]]:
        """All tools, each with these children running; at the end nothing of them is left."""
        with ExitStack() as stack:
            yield [stack.enter_context(driver(self.program)).begin(children) for driver in self.drivers]
