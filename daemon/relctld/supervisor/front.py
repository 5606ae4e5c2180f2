"""The other half of what the daemon is made of (`assembly`): what is there for those outside.

Configured   what follows the config: which releases there are, their logs, who may ask for what, what is told
Front        what operators meet

Nothing is open to anybody yet: that is the `Door`.
"""

from dataclasses import dataclass

from relctld.control.doorkeeper import Doorkeeper
from relctld.host.terminal import Terminals
from relctld.supervisor.announcer import Announcer
from relctld.supervisor.assembly import Base, Keeping
from relctld.supervisor.doctor.doctor import Doctor
from relctld.supervisor.ending import Ending
from relctld.supervisor.ground import Ground
from relctld.supervisor.inforce import InForce, with_doubts
from relctld.supervisor.loggers import Loggers
from relctld.supervisor.logplan import LogPlan
from relctld.supervisor.overview import Overview
from relctld.supervisor.reload import Reloader
from relctld.supervisor.remote import Remotes
from relctld.supervisor.roster import Roster
from relctld.supervisor.services import Services
from relctld.supervisor.succession import Trial


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
