"""What the daemon is made of: everything is made here, once, each of what was made before it.

Base         threads, signals, the reaper, containment, the history, the shell
Keeping      what keeps releases: VMs, links, hooks, what is saved; upgrades
Configured   what follows the config: which releases there are, their logs, who may ask for what, what is told
Front        what operators meet

Rule 1: nothing is half made. The one knot is `Shell.interpret`, for what an effect comes to is an event.
Rule 2: nothing acts on a release yet. That begins with `Roster.take_up`.
Rule 3: the listeners of `Shell.stepped` are called in the order in which all this is made.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from relctld.control.doorkeeper import Doorkeeper
from relctld.core.notes import Note
from relctld.core.spec import ReleaseSpec
from relctld.host import containment
from relctld.host.command import Commands
from relctld.host.containment import Containment
from relctld.host.reaper import Reaper
from relctld.host.signals import Signals
from relctld.host.systemd import Notifier
from relctld.host.terminal import Terminals
from relctld.host.workers import Workers
from relctld.supervisor import surprises
from relctld.supervisor.announcer import Announcer
from relctld.supervisor.asking import Asking
from relctld.supervisor.doctor.doctor import Doctor
from relctld.supervisor.ending import Ending
from relctld.supervisor.facts import FactFinder
from relctld.supervisor.ground import Ground
from relctld.supervisor.history import History
from relctld.supervisor.inforce import InForce, with_doubts
from relctld.supervisor.interpreter import Interpreter
from relctld.supervisor.latecomers import Latecomers
from relctld.supervisor.launcher import Launcher
from relctld.supervisor.loggers import Loggers
from relctld.supervisor.logplan import LogPlan
from relctld.supervisor.nodes.registry import Nodes
from relctld.supervisor.overview import Overview
from relctld.supervisor.parts import Parts
from relctld.supervisor.reload import Reloader
from relctld.supervisor.remote import Remotes
from relctld.supervisor.roster import Roster
from relctld.supervisor.saving import Saver
from relctld.supervisor.services import Services
from relctld.supervisor.shell import Shell
from relctld.supervisor.standby import Standbys
from relctld.supervisor.succession import Trial
from relctld.supervisor.sweeps import Sweeps
from relctld.supervisor.tasks import Tasks
from relctld.supervisor.upgrades.registry import Upgrades
from relctld.supervisor.upgrades.runner import Runner
from relctld.supervisor.vms import Vms

_WORKERS = 512
"""Threads at most for what keeps releases going; they are made on demand. Each release has a few of these at most."""

_ERRANDS = 64
"""The same for what operators ask and for log directories: full of what hangs, they delay only their like."""


@dataclass(frozen=True, slots=True)
class Base:
    """What all the rest works with. `scribe`: one thread for the small files of the run directory, in their order."""

    pool: Workers
    errands: Workers
    scribe: surprises.Scribe
    notifier: Notifier
    signals: Signals
    reaper: Reaper
    containment: Containment
    history: History
    shell: Shell
    tasks: Tasks


@dataclass(frozen=True, slots=True)
class Keeping:
    """What keeps releases."""

    launcher: Launcher
    facts: FactFinder
    nodes: Nodes
    standbys: Standbys
    asking: Asking
    vms: Vms
    saver: Saver
    parts: Parts
    upgrades: Upgrades


@dataclass(frozen=True, slots=True)
class Configured:
    """What follows the config."""

    in_force: InForce
    logplan: LogPlan
    loggers: Loggers
    roster: Roster
    overview: Overview
    announcer: Announcer
    doorkeeper: Doorkeeper
    reloader: Reloader


@dataclass(frozen=True, slots=True)
class Front:
    """What operators meet, and how they end or renew the daemon."""

    remotes: Remotes
    ending: Ending
    trial: Trial
    services: Services


def make_base(ground: Ground) -> Base:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: surprises.tell(context))
    signals = Signals(loop)
    history = History(ground.store)
    base = Base(
        pool=Workers(_WORKERS, "worker"),
        errands=Workers(_ERRANDS, "errand"),
        scribe=surprises.Scribe(),
        notifier=Notifier(ground.environ),
        signals=signals,
        reaper=Reaper(loop, signals),
        containment=containment.choose(ground.config.run_dir),
        history=history,
        shell=Shell(),
        tasks=Tasks(),
    )
    ground.store.start(loop, partial(tell_store_trouble, history))
    return base


def make_keeping(ground: Ground, base: Base) -> Keeping:
    """What effects are carried out by, and from now on are."""
    shell, tasks, reaper, history = base.shell, base.tasks, base.reaper, base.history
    launcher = Launcher(reaper, base.containment, base.errands, ground.environ, ground.soft_nofile)
    launcher.roots = partial(_roots_beside, shell)
    commands = Commands(reaper, base.pool, ground.soft_nofile)
    nodes = Nodes(base.pool, history, shell.post)
    standbys = Standbys(launcher, reaper, base.containment)
    asking = Asking(launcher=launcher, commands=commands, nodes=nodes, pool=base.pool, releases=shell.releases)
    vms = Vms(
        shell=shell,
        tasks=tasks,
        reaper=reaper,
        containment=base.containment,
        launcher=launcher,
        standbys=standbys,
        latecomers=Latecomers(base.containment, history, base.errands, tasks),
        nodes=nodes,
        pool=base.pool,
    )
    saver = Saver(shell, ground.store, base.scribe)
    parts = Parts(shell)
    interpreter = Interpreter(
        shell=shell,
        tasks=tasks,
        vms=vms,
        sweeps=Sweeps(shell=shell, tasks=tasks, containment=base.containment, pool=base.pool, errands=base.errands),
        asking=asking,
        saver=saver,
        containment=base.containment,
        history=history,
        answer=parts.answer,
    )
    shell.interpret = interpreter.carry_out
    facts = FactFinder(base.errands)
    runner = Runner(
        state_dir=ground.config.state_dir,
        run_dir=ground.config.run_dir,
        pool=base.errands,
        launcher=launcher,
        shell=shell,
        nodes=nodes,
        commands=commands,
        parts=parts,
        history=history,
        run_hook=asking.upgrade_hook,
        ask=asking.ask,
        save=saver.save,
        look_anew=facts.look_anew,
    )
    runner.launches.attend(launcher)
    upgrades = Upgrades(
        state_dir=ground.config.state_dir,
        pool=base.errands,
        runner=runner,
        shell=shell,
        nodes=nodes,
        history=history,
        run_hook=asking.upgrade_hook,
    )
    return Keeping(launcher, facts, nodes, standbys, asking, vms, saver, parts, upgrades)


def make_configured(ground: Ground, base: Base, keeping: Keeping) -> Configured:
    """As the config says at the start; no release is taken up yet."""
    config, shell, history, errands = ground.config, base.shell, base.history, base.errands
    in_force = InForce(with_doubts(config, base.containment.unenforced), ground.error)
    logplan = LogPlan(config.run_dir, history, base.scribe, shell.releases)
    loggers = Loggers(
        run_dir=config.run_dir,
        reaper=base.reaper,
        history=history,
        plan=logplan,
        pool=base.pool,
        scribe=base.scribe,
        releases=shell.releases,
    )
    roster = Roster(
        run_dir=config.run_dir,
        log_dir=config.log_dir,
        shell=shell,
        tasks=base.tasks,
        vms=keeping.vms,
        asking=keeping.asking,
        store=ground.store,
        scribe=base.scribe,
        changed=logplan.plan,
        kept=ground.kept,
    )
    roster.forgotten += [keeping.facts.forget, keeping.standbys.let_go]
    shell.stepped += [keeping.standbys.stepped, logplan.stepped]
    doorkeeper = Doorkeeper(config.access)
    overview = Overview(
        shell=shell,
        facts=keeping.facts,
        nodes=keeping.nodes,
        upgrades=keeping.upgrades,
        loggers=loggers,
        containment=base.containment,
        in_force=in_force,
        doorkeeper=doorkeeper,
        ground=ground,
    )
    announcer = Announcer(shell, base.notifier, errands, overview.look)
    reloader = Reloader(
        in_force=in_force,
        run_dir=config.run_dir,
        environ=ground.environ,
        unenforced=base.containment.unenforced,
        doorkeeper=doorkeeper,
        roster=roster,
        upgrades=keeping.upgrades,
        tasks=base.tasks,
        announcer=announcer,
        notifier=base.notifier,
        store=ground.store,
        history=history,
        shell=shell,
        errands=errands,
    )
    return Configured(in_force, logplan, loggers, roster, overview, announcer, doorkeeper, reloader)


def make_front(ground: Ground, base: Base, keeping: Keeping, configured: Configured) -> Front:
    """None of it is open to anybody yet."""
    config, shell, history, errands = ground.config, base.shell, base.history, base.errands
    in_force, overview = configured.in_force, configured.overview
    on_stop, under_systemd = (lambda: in_force.config.on_stop), base.notifier.active
    ending = Ending(base.pool, base.reaper, on_stop, under_systemd=under_systemd)
    trial = Trial(
        run_dir=config.run_dir,
        environ=ground.environ,
        reaper=base.reaper,
        history=history,
        errands=errands,
        go=ending.give_way,
    )
    remotes = Remotes(
        shell=shell,
        terminals=Terminals(base.reaper, errands),
        history=history,
        pool=errands,
        run_dir=config.run_dir,
        environ=ground.environ,
        soft_nofile=ground.soft_nofile,
    )
    doctor = Doctor(
        shell=shell,
        nodes=keeping.nodes,
        upgrades=keeping.upgrades,
        launcher=keeping.launcher,
        spawning=base.reaper.spawning,
        describe=overview.daemon,
        unenforced=base.containment.unenforced,
        history=history,
        pool=errands,
    )
    services = Services(
        shell=shell,
        overview=overview,
        nodes=keeping.nodes,
        logplan=configured.logplan,
        store=ground.store,
        errands=errands,
        remotes=remotes,
        upgrades=keeping.upgrades,
        parts=keeping.parts,
        doctor=doctor,
        reloader=configured.reloader,
        trial=trial,
        ending=ending,
    )
    return Front(remotes, ending, trial, services)


def tell_store_trouble(history: History, error: str | None) -> None:
    """The store cannot be written, or can again."""
    if error is not None:
        history.report(None, Note.STORE_FULL, {"error": error})


def _roots_beside(shell: Shell, spec: ReleaseSpec) -> Iterable[Path]:
    """The roots of all releases that run as the same user as this one."""
    specs = [managed.spec for managed in tuple(shell.releases.values())]
    return [each.root for each in specs if (each.user, each.group) == (spec.user, spec.group)]
