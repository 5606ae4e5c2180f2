"""What may happen in a round; the moment within it is chance too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.chaos.operators import DAEMON, Operators
from tests.chaos.world import NAMES, World

Act = Callable[[World, Operators], object]


def kill_daemon(world: World, operators: Operators) -> None:
    """It is away for a moment, in which more may happen."""
    world.kill_daemon(signal.SIGKILL)
    _maybe_a_vm_too(world)
    operators.listen(world.chance.uniform(0.0, 0.3))
    world.revive()


def abort_daemon(world: World, _: Operators) -> None:
    """As the watchdog does."""
    world.kill_daemon(signal.SIGABRT)
    world.revive()


def freeze_daemon(world: World, operators: Operators) -> None:
    """It misses what happens meanwhile, and finds it all at once."""
    pid = world.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    _maybe_a_vm_too(world)
    operators.listen(world.chance.uniform(0.0, 0.5))
    os.kill(pid, signal.SIGCONT)


def kill_logger(world: World, _: Operators) -> None:
    if (pid := world.daemon.logger_pid) is not None:
        os.kill(pid, signal.SIGKILL)


def freeze_logger(world: World, operators: Operators) -> None:
    if (pid := world.daemon.logger_pid) is not None:
        os.kill(pid, signal.SIGSTOP)
        operators.listen(world.chance.uniform(0.0, 0.5))
        os.kill(pid, signal.SIGCONT)


def kill_vm(world: World, _: Operators) -> None:
    if (pid := world.vm(world.chance.choice(NAMES))) is not None:
        os.kill(pid, signal.SIGKILL)


def kill_epmd(world: World, _: Operators) -> None:
    for epmd in world.epmds():
        epmd.kill()


def reexec(_: World, operators: Operators) -> bool:
    return operators.ask(DAEMON, "daemon-reexec")


def reload(world: World, operators: Operators) -> bool:
    world.configure()
    return operators.ask(DAEMON, "reload")


def start(world: World, operators: Operators) -> bool:
    return _ask(world, operators, "start")


def stop(world: World, operators: Operators) -> bool:
    return _ask(world, operators, "stop")


def restart(world: World, operators: Operators) -> bool:
    return _ask(world, operators, "restart")


def _ask(world: World, operators: Operators, op: str) -> bool:
    name = world.chance.choice(NAMES)
    return operators.ask(name, op, {"names": [name]})


def _maybe_a_vm_too(world: World) -> None:
    pid = world.vm(world.chance.choice(NAMES))
    if world.chance.random() < 0.3 and pid is not None:
        os.kill(pid, signal.SIGKILL)


ACTS: dict[str, tuple[Act, int]] = {
    "kill relctld": (kill_daemon, 4),
    "abort relctld": (abort_daemon, 1),
    "freeze relctld": (freeze_daemon, 2),
    "kill the logger": (kill_logger, 2),
    "freeze the logger": (freeze_logger, 1),
    "kill a VM": (kill_vm, 3),
    "kill epmd": (kill_epmd, 1),
    "re-exec": (reexec, 2),
    "reload": (reload, 1),
    "start": (start, 2),
    "stop": (stop, 2),
    "restart": (restart, 3),
}
"""Each with its weight."""
