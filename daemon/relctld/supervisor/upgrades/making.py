"""What an operator asks for becomes an offer, the first word of a journal, and what carries it out."""

from dataclasses import replace

from relctld.beam.hybrid import hybrid_of
from relctld.beam.package import relup
from relctld.control.server import RefusedError
from relctld.core.spec import OnFailure
from relctld.core.transaction import Journal, Way
from relctld.host.process import boot_id
from relctld.supervisor.history import timestamp
from relctld.supervisor.managed import Managed
from relctld.supervisor.upgrades import deploying
from relctld.supervisor.upgrades.deploying import Deployment, Deployments
from relctld.supervisor.upgrades.ledger import Entry, Ledger
from relctld.supervisor.upgrades.offer import NoHotWayError, Offer, Wanted
from relctld.supervisor.upgrades.renewing import Renewal
from relctld.supervisor.upgrades.stepping import Stepping
from relctld.supervisor.upgrades.switching import Switch
from relctld.supervisor.upgrades.tools import Tools
from relctld.supervisor.upgrades.transaction import Transaction


async def make(
    offers: Deployments, wanted: Wanted, *, deploys: bool, with_configuration: bool, may_restart: bool
) -> Offer | Deployment | None:
    """Judge what is wanted; None: it is so already. Where no relup leads there, a restart may. Raises RefusedError."""
    if deploys:
        return await offers.make_deployment(wanted)
    try:
        return await offers.make(wanted, with_configuration=with_configuration)
    except NoHotWayError as error:
        if may_restart and (wanted.tarball or wanted.version):
            return await offers.make_deployment(wanted)
        problem = error.problem
        hint = f"{problem.hint}; or " if problem.hint else ""
        hint += "let it restart: upgrade with --allow-restart"
        raise RefusedError(problem.kind, problem.message, hint) from error


def versions_of(offer: Offer | Deployment) -> tuple[str, str]:
    """From which to which."""
    if isinstance(offer, Deployment):
        return offer.origin, offer.arrival.version
    return offer.package.running.version, offer.package.version


def entry_of(managed: Managed, request_id: str, by: str, offer: Offer | Deployment, soak: float | None) -> Entry:
    """The first word on it."""
    if isinstance(offer, Deployment):
        return Entry(deploying.journal_of(managed, request_id, by, offer, soak), offer.luggage)
    state, spec = managed.state, managed.spec.upgrade
    journal = Journal(
        release=managed.name,
        id=request_id,
        by=by,
        since=timestamp(),
        origin=offer.package.running.version,
        target=offer.package.version,
        epoch=state.epoch,
        incarnation=state.incarnation or "",
        soak=spec.soak if soak is None else soak,
        timeout=spec.timeout,
        reversible=offer.package.back is not None,
        leave=spec.on_failure is OnFailure.LEAVE,
    )
    script = offer.package.script
    if relup.restarts_emulator(script):
        journal = replace(
            journal,
            reversible=False,
            way=Way.EMULATOR,
            boot=boot_id(),
            hybrid=hybrid_of(journal.origin) if relup.begins_anew(script) else "",
            ends_anew=relup.ends_anew(script),
        )
    return Entry(journal, offer.luggage)


def transaction_of(
    managed: Managed, ledger: Ledger, entry: Entry, tools: Tools, offer: Offer | Deployment | None
) -> Stepping:
    """What carries it out; `offer`: what was judged just now, where it is begun and not gone on with."""
    if entry.journal.way is Way.RESTART:
        arrival = offer.arrival if isinstance(offer, Deployment) else None
        return Switch(managed, ledger, entry, tools, arrival)
    kind = Renewal if entry.journal.way is Way.EMULATOR else Transaction
    return kind(managed, ledger, entry, tools, offer.package if isinstance(offer, Offer) else None)
