"""Asking a node: the link beside erl_call, relx's ping and mix's rpc; and what one bad node costs the others.

A bare node, a relx release and a mix release run. Every way of asking gets its turns in the same run. Processor time
is our own, of all processes that the question takes, not the node's.
"""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import epmds, otps
from tests.beam.nodes import COOKIE, node
from tests.releases.build import build, place
from tests.waiting import wait_until

from bench import beside
from bench.driver import BenchError
from bench.measure import row, summary, table
from bench.rig import Rig
from relctld.beam.dist import epmd
from relctld.beam.dist.link import Target, connect, prepare

STATUS = prepare("init", "get_status", [])
ROUND = 200
BOOT = 30.0
LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
HEAD = ("median", "p90", "p99", "min-max", "asked")

Noted = Callable[[str, float, float], None]
"""Told a way of asking, and what one question took: milliseconds of wall time and of processor."""


def run(rig: Rig) -> dict[str, Any]:
    """Targets: a probe under 0.2 ms median and 0.2 ms of our processor; a bad node adds less than 50 ms."""
    results = {"ways": _ways(3 if rig.quick else 15)}
    print("One question to a node, wall time:")
    print(table(("ms", *HEAD), [row(name, r["wall"]) for name, r in results["ways"].items()]))
    print("Our processor time for it:")
    print(table(("ms", *HEAD), [row(name, r["cpu"]) for name, r in results["ways"].items()]), "\n")
    results["beside"] = beside.run(2.0 if rig.quick else 5.0)
    return results


def _ways(rounds: int) -> dict[str, Any]:
    walls: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}

    def noted(name: str, wall: float, cpu: float) -> None:
        walls.setdefault(name, []).append(wall)
        cpus.setdefault(name, []).append(cpu)

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(epmds.private_port())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rb-")))
        env = otps.environment(ERL_EPMD_PORT=str(port), ERL_EPMD_ADDRESS="127.0.0.1", ERL_AFLAGS=LOOPBACK)
        bare = stack.enter_context(node("25", epmd_port=port))
        rapp = stack.enter_context(_running(folder, "rapp", "foreground", "ping", env))
        mapp = stack.enter_context(_running(folder, "mapp", "start", "pid", env))
        commands = {
            "erl_call": ["erl_call", "-R", "-c", COOKIE, "-n", bare.name, "-timeout", "5", "-a", "init get_status"],
            "relx ping": [str(rapp), "ping"],
            "mix rpc": [str(mapp), "rpc", "1"],
        }
        target = bare.target(asyncio.run(epmd.port_of(bare.short_name, "127.0.0.1", port, 5.0)))
        for _ in range(rounds):
            asyncio.run(_by_link(target, noted))
            for name, argv in commands.items():
                wall, cpu, code = _command(argv, env)
                if code:
                    raise BenchError(f"{name} said {code}")
                noted(name, wall, cpu)
    return {name: {"wall": summary(walls[name]), "cpu": summary(cpus[name])} for name in walls}


async def _by_link(target: Target, noted: Noted) -> None:
    """A round over one link; the processor time of a question is the mean of the round."""
    link = await connect(target, 5.0)
    for name, high in (("link, high priority", True), ("link, normal", False)):
        walls = []
        before = time.process_time()
        for _ in range(ROUND):
            begun = time.perf_counter()
            await link.run(STATUS, timeout=5.0, high=high)
            walls.append((time.perf_counter() - begun) * 1000)
        cpu = (time.process_time() - before) * 1000 / ROUND
        for wall in walls:
            noted(name, wall, cpu)
    link.close()


@contextlib.contextmanager
def _running(folder: Path, name: str, start: str, asked: str, env: dict[str, str]) -> Iterator[Path]:
    """A sample release that runs and answers; its script."""
    script = place(build(name), folder / name) / "bin" / name
    null = subprocess.DEVNULL
    process = subprocess.Popen([script, start], env=env, stdin=null, stdout=null, stderr=null, start_new_session=True)
    try:
        # Each command of relx's script makes sys.config anew: not while a node that boots may be reading it.
        wait_until(lambda: epmds.knows(int(env["ERL_EPMD_PORT"]), name), BOOT, what=f"the name of {name}")
        wait_until(lambda: not _command([str(script), asked], env)[2], BOOT, what=name)
        yield script
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _command(argv: Sequence[str], env: dict[str, str]) -> tuple[float, float, int]:
    """Milliseconds of wall time and of processor, its children's too, and the exit code."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000, done.returncode
